"""Before a run goes on: compare the finished pieces on disk with what was written.

The sizes of all are compared. Of the bytes, a share is read, drawn anew each time, or all if asked;
if one piece is not as it was, all are read. What is not as it was is computed again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from tqdm import tqdm

from paper_unet.images import Output, Stored
from paper_unet.large.journal import Journal
from paper_unet.large.pieces import Grid
from paper_unet.system.stop import Stop, Stopped

READ_ALWAYS = 2**30
"""Bytes that are read on every going on: up to here all, which takes a second or two."""

SHARE = 0.05
"""Of the bytes beyond that."""


def check_pieces(journal: Journal, grid: Grid) -> None:
    """Raise InputError if the journal has pieces that the plan does not have."""
    if journal.done and max(journal.done) >= len(grid):
        raise journal.damaged(f"piece {max(journal.done)} is none of the {len(grid)} of its plan")


def check_frame(journal: Journal, output: Output) -> None:
    """Raise InputError if what lies beside the pixels is not as it was when it was prepared."""
    if journal.sealed and output.frame() != journal.frame:
        raise output.nothing_left("is not as it was written")


def take_back_damaged(
    journal: Journal,
    output: Output,
    grid: Grid,
    *,
    every: bool = False,
    say: Callable[[str], None] = lambda line: None,
    stop: Stop | None = None,
    progress: bool = False,
) -> None:
    """Compare the finished pieces with what was recorded; record that damaged ones are not done.

    Parameters
    ----------
    journal : Journal
    output : Output
        Prepared to go on.
    grid : Grid
    every : bool
        Whether to read all pieces, not a share.
    say : callable
        Takes what was found, in lines.
    stop : Stop, optional
        Asked after every piece.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    Stopped
        If a signal came.
    """
    check = _Check(journal, output, grid)
    bad = {index for index in journal.done if not check.size_is_right(index)}
    drawn = journal.done if every or bad else _drawn(check.sizes)

    def read(indices: Iterable[int]) -> None:
        with tqdm(desc="verify", unit="B", unit_scale=True, disable=not progress) as bar:
            for index in sorted(indices):
                if stop is not None and stop():
                    raise Stopped(stop.signal)
                if not check.bytes_are_right(index):
                    bad.add(index)
                bar.update(check.sizes[index])

    read(drawn - bad)
    if bad and drawn != journal.done:
        read(journal.done - drawn - bad)
        drawn = journal.done
    say(f"verified: {len(drawn)} of {len(journal.done)} finished pieces, and the size of all")
    if unknown := sum(journal.stored[index] is None for index in journal.done):
        say(
            f"{unknown} of them have no checksum (an earlier version recorded them): their size "
            "and that they can be read is all that was compared"
        )
    if bad:
        say(
            f"{len(bad)} of {len(journal.done)} finished pieces are not on disk as they were "
            f"written, and are computed again; the first is {_where(grid, min(bad))}"
        )
        journal.take_back(bad)


class _Check:
    """Compares pieces on disk with their records.

    Attributes
    ----------
    sizes : dict of int
        Bytes to read of each finished piece.
    """

    def __init__(self, journal: Journal, output: Output, grid: Grid) -> None:
        self.journal, self.output, self.grid = journal, output, grid
        self.sizes: dict[int, int] = {}

    def size_is_right(self, index: int) -> bool:
        piece = self.grid.piece(index)
        recorded = self.journal.stored[index]
        found = self.output.size_stored(piece.z, piece.rows, piece.columns)
        self.sizes[index] = found or 0
        return found is None or (found > 0 if recorded is None else found == recorded.size)

    def bytes_are_right(self, index: int) -> bool:
        piece = self.grid.piece(index)
        place = piece.z, piece.rows, piece.columns
        recorded: Stored | None = self.journal.stored[index]
        if recorded is None:
            return self.output.looks_written(*place)
        return self.output.stored(*place) == recorded


def _drawn(sizes: dict[int, int]) -> set[int]:
    """Draw pieces until they are `READ_ALWAYS` bytes and a `SHARE` of the rest."""
    total = sum(sizes.values())
    wanted = READ_ALWAYS + SHARE * max(0, total - READ_ALWAYS)
    drawn, read = set(), 0
    for index in random.sample(sorted(sizes), len(sizes)):
        if read >= wanted:
            break
        drawn.add(index)
        read += sizes[index]
    return drawn


def _where(grid: Grid, index: int) -> str:
    piece = grid.piece(index)
    return f"rows {piece.rows[0]} to {piece.rows[1] - 1} of section {piece.z}"
