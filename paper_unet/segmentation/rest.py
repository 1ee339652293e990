"""The cells of all flooded blocks together, with what the floods did not reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.segmentation.flood import adopted
from paper_unet.segmentation.job import Job
from paper_unet.segmentation.numbering import PART, Ints, Numbers, least, summed
from paper_unet.segmentation.parts import NOWHERE
from paper_unet.segmentation.records import Records, unpacked


@dataclass(frozen=True)
class Flooded:
    """What is known of the cells of a watershed: those of the seeds, then the rests of all blocks.

    Attributes
    ----------
    largest : int
        Number of the last cell that has a seed.
    begins : ndarray of int64, shape (blocks + 1,)
        Where the rests of each block begin behind these.
    of_part : ndarray of int64, shape (cells and rests,)
        The place of the cell that each is part of; of a cell, its own.
    sizes, firsts : ndarray of int64, same shape
        Of whole cells; a rest that is part of one has no voxel of its own.
    """

    largest: int
    begins: Ints
    of_part: Ints
    sizes: Ints
    firsts: Ints

    def places(self, index: int, names: Numbers) -> Ints:
        """Return the places of numbers as they stand in a flooded block."""
        return places(names, self.largest, int(self.begins[index]))


def places(names: NDArray[np.unsignedinteger], largest: int, begin: int) -> Ints:
    """Return the place of cells, from 0, and of rests behind all cells."""
    found = names.astype(np.int64) - 1
    found[found >= largest] += begin
    return found


def flooded_cells(
    job: Job, records: Records, largest: int, allow: Callable[[int], None]
) -> Flooded:
    """Put together what is known of all blocks; give rests to the cells that they touch.

    Parameters
    ----------
    job : Job
    records : Records
        Of the flood of every block.
    largest : int
        Number of the last cell that has a seed.
    allow : callable
        As for `paper_unet.segmentation.numbering.join`.
    """
    counts = [int(unpacked(records[k])["rest"][0]) for k in range(len(job.blocks))]
    begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = largest + int(begins[-1])
    allow(PART * total)
    sizes, firsts = np.zeros(total, np.int64), np.full(total, NOWHERE, np.int64)
    for index in range(len(job.blocks)):
        arrays = unpacked(records[index])
        here = places(arrays["names"], largest, int(begins[index]))
        sizes[here] += arrays["sizes"]
        firsts[here] = np.minimum(firsts[here], arrays["firsts"])
    of_part = np.arange(total)
    if total > largest:
        rest, neighbour, sides = _contacts(job, records, largest, begins)
        cell = adopted(rest, neighbour, sides, largest, total - largest)
        found = np.flatnonzero(cell)
        of_part[largest + found] = cell[found] - 1
    return Flooded(
        largest, begins, of_part, summed(of_part, sizes, total), least(of_part, firsts, total)
    )


def _contacts(job: Job, records: Records, largest: int, begins: Ints) -> tuple[Ints, Ints, Ints]:
    """Return which rests touch what across the sides of blocks, and by how many sides of voxels.

    Returns
    -------
    rest, neighbour, sides : ndarray of int64, shape (N,)
        As `adopted` takes them.
    """
    found = [np.zeros((3, 0), np.int64)]
    for one, other in _sides(job, records):
        both = (one[0] > 0) & (other[0] > 0)
        a = places(one[0][both], largest, int(begins[one[1]]))
        b = places(other[0][both], largest, int(begins[other[1]]))
        for mine, theirs in ((a, b), (b, a)):
            rests = mine >= largest
            pairs = np.stack([mine[rests] - largest, theirs[rests] + 1])
            kinds, count = np.unique(pairs, axis=1, return_counts=True)
            found.append(np.concatenate([kinds, count[None]]))
    rest, neighbour, sides = np.concatenate(found, axis=1)
    return rest, neighbour, sides


def _sides(job: Job, records: Records) -> Iterator[tuple[Any, Any]]:
    """Yield the planes on both sides of every border of two blocks, each with its block.

    Only where one of the two has a rest.
    """
    blocks = job.blocks
    has_rest = [bool(unpacked(records[k])["rest"][0]) for k in range(len(blocks))]
    for index in range(len(blocks)):
        for axis in range(3):
            place = list(blocks.place(index))
            place[axis] -= 1
            if place[axis] < 0 or not job.halo[axis]:
                continue
            other = int(np.ravel_multi_index(tuple(place), blocks.counts))
            if has_rest[index] or has_rest[other]:
                low = unpacked(records[index])[f"low.{axis}"]
                high = unpacked(records[other])[f"high.{axis}"]
                yield (low, index), (high, other)
