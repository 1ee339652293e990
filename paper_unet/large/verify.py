"""Before a run goes on: compare the finished pieces on disk with what was written.

The sizes of all are compared. Of the bytes, a share is read, drawn anew each time, or all if asked;
if one piece is not as it was, all are read. What is not as it was is computed again. What is known
of the pieces takes 15 bytes for each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paper_unet.images import Output, Stored, Window, stored_files
from paper_unet.large.journal import Journal
from paper_unet.system.progress import progress_bar
from paper_unet.system.stop import Stop, Stopped

READ_ALWAYS = 2**30
"""Bytes that are read on every going on: up to here all, which takes a second or two."""

SHARE = 0.05
"""Of the bytes beyond that."""


class Pieces(Protocol):
    """How an output is cut into the pieces that a journal records."""

    def __len__(self) -> int:
        """Return how many there are."""

    def windows(self, index: int) -> Sequence[Window]:
        """Return what a piece is written as: windows of sections, in their order."""


def check_pieces(journal: Journal, grid: Pieces) -> None:
    """Raise InputError if the journal has pieces that the plan does not have."""
    largest = journal.stored.largest()
    if largest is not None and largest >= len(grid):
        raise journal.damaged(f"piece {largest} is none of the {len(grid)} of its plan")


def check_frame(journal: Journal, output: Output) -> None:
    """Raise InputError if what lies beside the pixels is not as it was when it was prepared."""
    if journal.sealed and output.frame() != journal.frame:
        raise output.nothing_left("is not as it was written")


def take_back_damaged(
    journal: Journal,
    output: Output,
    grid: Pieces,
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
    grid, every, say, stop, progress
        As of `find_damaged`.

    Raises
    ------
    Stopped
        If a signal came.
    """
    bad = find_damaged(
        journal.stored, output, grid, every=every, say=say, stop=stop, progress=progress
    )
    if bad.any():
        say(
            f"{np.count_nonzero(bad)} of {len(journal.done)} finished pieces are not on disk as "
            "they were written, and are computed again; the first is "
            f"{where_in(grid, int(bad.argmax()))}"
        )
        journal.take_back(numbers_of(bad))


def find_damaged(
    recorded: Mapping[int, Stored | None],
    output: Output,
    grid: Pieces,
    *,
    every: bool = False,
    surely: Collection[int] = (),
    say: Callable[[str], None] = lambda line: None,
    stop: Stop | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Compare the finished pieces with what was recorded of them.

    Parameters
    ----------
    recorded : mapping of int to Stored or None
        The finished pieces.
    output : Output
        Prepared to go on.
    grid : Pieces
    every : bool
        Whether to read all pieces, not a share.
    surely : collection of int
        Finished pieces that are read in any case.
    say : callable
        Takes what was found, in lines.
    stop : Stop, optional
        Asked after every piece.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    ndarray of bool, shape (pieces of the plan,)
        Which are not on disk as they were written, as far as was read.

    Raises
    ------
    Stopped
        If a signal came.
    """
    check = _Check(recorded, output, grid)
    finished, unknown = check.compare_sizes()
    drawn = finished if every or check.bad.any() else _drawn(check.sizes, finished)
    drawn[list(surely)] = True

    def read(pieces: NDArray[np.bool_]) -> None:
        with progress_bar(desc="verify", unit="B", unit_scale=True, show=progress) as bar:
            for index in numbers_of(pieces & ~check.bad):
                if stop is not None and stop():
                    raise Stopped(stop.signal)
                check.bad[index] = not check.bytes_are_right(index)
                bar.update(int(check.sizes[index]))

    read(drawn)
    if check.bad.any() and drawn is not finished:
        read(finished & ~drawn)
        drawn = finished
    count = len(recorded)
    say(f"verified: {np.count_nonzero(drawn)} of {count} finished pieces, and the size of all")
    if unknown:
        say(
            f"{unknown} of them have no checksum (an earlier version recorded them): their size "
            "and that they can be read is all that was compared"
        )
    return check.bad


class _Check:
    """Compares pieces on disk with their records.

    Attributes
    ----------
    sizes : ndarray of int64, shape (pieces of the plan,)
        Bytes to read of each finished piece.
    bad : ndarray of bool, shape (pieces of the plan,)
        Which are not as they were written, as far as is known.
    """

    def __init__(self, recorded: Mapping[int, Stored | None], output: Output, grid: Pieces) -> None:
        self.recorded, self.output, self.grid = recorded, output, grid
        self.sizes = np.zeros(len(grid), np.int64)
        self.bad = np.zeros(len(grid), np.bool_)

    def compare_sizes(self) -> tuple[NDArray[np.bool_], int]:
        """Compare the sizes of all; return which are finished, and how many have no checksum."""
        finished, unknown = np.zeros(len(self.grid), np.bool_), 0
        for index, recorded in self.recorded.items():
            found = _sum(self.output.size_stored(*place) for place in self.grid.windows(index))
            finished[index], self.sizes[index] = True, found or 0
            wrong = found == 0 if recorded is None else found != recorded.size
            self.bad[index] = found is not None and wrong
            unknown += recorded is None
        return finished, unknown

    def bytes_are_right(self, index: int) -> bool:
        places = self.grid.windows(index)
        recorded = self.recorded[index]
        if recorded is None:
            return all(self.output.looks_written(*place) for place in places)
        return together([self.output.stored(*place) for place in places]) == recorded


def together(windows: Sequence[Stored | None]) -> Stored | None:
    """Return what the windows of a piece are on disk; None if that is not known of one."""
    known = [window for window in windows if window is not None]
    if len(known) < len(windows):
        return None
    return known[0] if len(known) == 1 else stored_files(known)


def _sum(sizes: Iterator[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)


def _drawn(sizes: NDArray[np.int64], finished: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Draw finished pieces until they are `READ_ALWAYS` bytes and a `SHARE` of the rest."""
    wanted = READ_ALWAYS + SHARE * max(0, int(sizes.sum()) - READ_ALWAYS)
    drawn, read = np.zeros(len(sizes), np.bool_), 0
    for index in _shuffled(len(sizes)):
        if read >= wanted:
            break
        drawn[index] = finished[index]
        read += sizes[index]
    return drawn


def _shuffled(count: int) -> NDArray[Any]:
    """Return the numbers below ``count`` in an order that is another one each time."""
    numbers = np.arange(count, dtype=np.min_scalar_type(count))
    np.random.default_rng().shuffle(numbers)
    return numbers


def numbers_of(pieces: NDArray[np.bool_]) -> Iterator[int]:
    """Yield which are True, in order; a list of all would take more than they do."""
    for first in range(0, len(pieces), 2**16):
        yield from (first + np.flatnonzero(pieces[first : first + 2**16])).tolist()


def where_in(grid: Pieces, index: int) -> str:
    """Return where a piece begins, in words."""
    z, rows, _ = grid.windows(index)[0]
    return f"rows {rows[0]} to {rows[1] - 1} of section {z}"
