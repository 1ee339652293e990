"""The parts of a section that are predicted and recorded one by one.

A section that is too wide for the memory allowed is cut into vertical strips on the 16-pixel
lattice, each with its halo of 92 pixels; a strip is streamed from top to bottom in bands. Finished
rows are written and recorded in pieces::

    strip 0        strip 1
    +-------------+----------+
    | piece 0     | piece 3  |   rows of a piece: what is lost at most when a run is killed
    +-------------+----------+
    | piece 1     | piece 4  |
    ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paper_unet.images import Chunk, Stored, Window
from paper_unet.inference.section import Span
from paper_unet.inference.settings import Plan


@dataclass(frozen=True)
class Piece:
    """A part of the output that is recorded as done when it is on disk."""

    index: int
    z: int
    rows: Span
    columns: Span


class Done(NamedTuple):
    """A piece that is on disk, its bytes there if their checksum is known, and what follows."""

    piece: int
    stored: Stored | None
    derived: Sequence[Chunk] = ()  # of `Output.derive`


@dataclass(frozen=True)
class Grid:
    """All pieces of a stack, numbered section by section, strip by strip, from top to bottom.

    Attributes
    ----------
    sections, height, width : int
        Shape of the stack, (Z, Y, X).
    plan : Plan
    """

    sections: int
    height: int
    width: int
    plan: Plan

    @property
    def strips(self) -> int:
        """Strips of a section."""
        return -(-self.width // self.plan.strip)

    @property
    def in_strip(self) -> int:
        """Pieces of a strip."""
        return -(-self.height // self.plan.rows)

    def __len__(self) -> int:
        return self.sections * self.strips * self.in_strip

    def piece(self, index: int) -> Piece:
        """Return piece ``index``."""
        strips, row = divmod(index, self.in_strip)
        z, strip = divmod(strips, self.strips)
        top, left = row * self.plan.rows, strip * self.plan.strip
        return Piece(
            index,
            z,
            (top, min(top + self.plan.rows, self.height)),
            (left, min(left + self.plan.strip, self.width)),
        )

    def windows(self, index: int) -> list[Window]:
        """Return what piece ``index`` is written as: one window of one section."""
        piece = self.piece(index)
        return [(piece.z, piece.rows, piece.columns)]

    def pixels(self, pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pixels each of some pieces, given by their numbers, has."""
        strips, row = np.divmod(pieces, self.in_strip)
        top, left = row * self.plan.rows, strips % self.strips * self.plan.strip
        rows = np.minimum(self.plan.rows, self.height - top)
        return np.asarray(rows * np.minimum(self.plan.strip, self.width - left))

    def runs(self, missing: Iterable[int], longest: int | None = None) -> Iterator[range]:
        """Gather missing pieces, which come in order, into runs of neighbours within a strip.

        A run is given when the first piece behind it has come.
        """
        start: int | None = None
        end = 0
        for index in missing:
            full = longest is not None and start is not None and index - start >= longest
            if start is None or index != end or index % self.in_strip == 0 or full:
                if start is not None:
                    yield range(start, end)
                start = index
            end = index + 1
        if start is not None:
            yield range(start, end)
