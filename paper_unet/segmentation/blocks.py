"""The blocks that a volume is cut into, in a fixed order, and what lies around each.

Blocks are numbered as their first voxels come in the volume: along x first, then y, then z. To see
which of its parts go on in others, a block looks one voxel beyond its lower sides (``o``), which
are voxels that its neighbours have, too::

    +---------+o--------+
    | block 0 |o block 1|
    +ooooooooo+oooooooooo
    |o block 2|o block 3|
    +---------+---------+
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from paper_unet.images import Window

Span = tuple[int, int]
Box = tuple[Span, Span, Span]
"""Half-open ranges of sections, rows and columns."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Blocks:
    """All blocks of a volume; also the pieces in which an output of its size is recorded.

    Attributes
    ----------
    shape : tuple of int, (Z, Y, X)
        Of the volume.
    block : tuple of int, (Z, Y, X)
        Of a block; those at the far sides may be smaller.
    """

    shape: Triple
    block: Triple

    @property
    def counts(self) -> Triple:
        """How many blocks there are along each axis."""
        z, y, x = (-(-size // step) for size, step in zip(self.shape, self.block, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return math.prod(self.counts)

    def place(self, index: int) -> Triple:
        """Return where a block lies, in blocks."""
        z, y, x = np.unravel_index(index, self.counts)
        return int(z), int(y), int(x)

    def box(self, index: int) -> Box:
        """Return the voxels of a block."""
        return self.grown(index, (0, 0, 0), (0, 0, 0))

    def grown(self, index: int, before: Triple, after: Triple) -> Box:
        """Return the voxels of a block and so many around it, inside the volume."""
        sides = zip(self.place(index), self.block, self.shape, before, after, strict=True)
        z, y, x = (
            (max(0, k * step - more), min((k + 1) * step + beyond, size))
            for k, step, size, more, beyond in sides
        )
        return z, y, x

    def lower(self, index: int, axis: int, halo: Triple) -> Iterator[tuple[int, Triple]]:
        """Yield the blocks that hold the voxels just below a block along an axis.

        Parameters
        ----------
        index, axis : int
        halo : tuple of int
            Voxels that a block sees below its lower side along each axis, 0 or 1.

        Yields
        ------
        block : int
        steps : tuple of int
            How many blocks it lies below along each axis: 1 along ``axis``, 0 or 1 along others.
        """
        place = self.place(index)
        choices = [(1,) if k == axis else range(more + 1) for k, more in enumerate(halo)]
        for steps in product(*choices):
            there = tuple(k - step for k, step in zip(place, steps, strict=True))
            if min(there) >= 0:
                yield int(np.ravel_multi_index(there, self.counts)), (steps[0], steps[1], steps[2])

    def windows(self, index: int) -> list[Window]:
        """Return what a block is written as: a window of each of its sections."""
        sections, rows, columns = self.box(index)
        return [(z, rows, columns) for z in range(*sections)]


def size_of(box: Box) -> Triple:
    """Return the sides of a box, voxels."""
    (a, b), (c, d), (e, f) = box
    return b - a, d - c, f - e


def within(outer: Box, inner: Box) -> tuple[slice, slice, slice]:
    """Return where a box lies in an array of a larger one."""
    z, y, x = (
        slice(start - begin, stop - begin)
        for (begin, _), (start, stop) in zip(outer, inner, strict=True)
    )
    return z, y, x
