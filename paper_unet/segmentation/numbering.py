"""From the parts of all blocks to the numbers of whole cells: union over the voxels that two see.

Parts of all blocks stand in one row, block by block. Two of them are one where the same voxel is in
both: a block sees one voxel of its neighbours. All is arrays; see `PART` and `LINK` for what they
take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from paper_unet.segmentation.blocks import Blocks, Triple
from paper_unet.segmentation.parts import NOWHERE, Parts

Ints = NDArray[np.int64]
Numbers = NDArray[np.unsignedinteger]

PART, LINK = 64, 64
"""Bytes that numbering takes, at most, for each part of a block, and for each pair of parts in two
blocks that are one."""


@dataclass(frozen=True)
class Cells:
    """What is known of whole cells, in no order.

    Attributes
    ----------
    of_part : ndarray of int32, shape (N,)
        The cell, from 0, that each part of the row belongs to.
    begins : ndarray of int64, shape (blocks + 1,)
        Where the parts of each block begin in the row.
    sizes, firsts : ndarray of int64, shape (cells,)
        Voxels of each cell, and its first one; see `Parts`.
    seeded : ndarray of bool, shape (cells,)
        Whether there is a seed in it.
    """

    of_part: NDArray[np.int32]
    begins: Ints
    sizes: Ints
    firsts: Ints
    seeded: NDArray[np.bool_]


def join(
    blocks: Blocks, halo: Triple, read: Callable[[int], Parts], allow: Callable[[int], None]
) -> Cells:
    """Join the parts of all blocks to cells.

    Parameters
    ----------
    blocks : Blocks
    halo : tuple of int
        Voxels that a block sees below its lower side along each axis, 0 or 1.
    read : callable
        Returns the parts of a block; each is asked for some times.
    allow : callable
        Takes the bytes that the arrays are going to take, and raises if they are too many.

    Returns
    -------
    Cells
    """
    counts = np.zeros(len(blocks) + 1, np.int64)
    for index in range(len(blocks)):
        counts[index + 1] = len(read(index).sizes)
    begins = np.cumsum(counts)
    total = int(begins[-1])
    allow(PART * total)
    sizes, firsts = np.zeros(total, np.int64), np.full(total, NOWHERE, np.int64)
    seeded = np.zeros(total, np.bool_)
    links: list[Ints] = []
    for index in range(len(blocks)):
        parts = read(index)
        here = slice(begins[index], begins[index + 1])
        sizes[here], firsts[here], seeded[here] = parts.sizes, parts.firsts, parts.seeded
        links += [pairs for pairs in _links(blocks, halo, index, read, begins) if pairs.size]
        allow(PART * total + LINK * sum(pairs.shape[1] for pairs in links))
    ends = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.int64)
    del links
    graph = coo_array((np.ones(ends.shape[1], np.bool_), (ends[0], ends[1])), (total, total))
    count, of_part = connected_components(graph, directed=False) if total else (0, ends[0])
    return Cells(
        np.asarray(of_part, np.int32),
        begins,
        summed(of_part, sizes, count),
        least(of_part, firsts, count),
        summed(of_part, seeded, count) > 0,
    )


def summed(of: NDArray[np.integer], values: NDArray[np.generic], count: int) -> Ints:
    """Return the sums of the values of each of ``count`` things, exactly."""
    sums = np.zeros(count, np.int64)
    np.add.at(sums, of, values)
    return sums


def least(of: NDArray[np.integer], values: Ints, count: int) -> Ints:
    """Return the least value of each of ``count`` things; `NOWHERE` of what has none."""
    found = np.full(count, NOWHERE, np.int64)
    np.minimum.at(found, of, values)
    return found


def numbered(firsts: Ints, kept: NDArray[np.bool_]) -> Numbers:
    """Give numbers to what is kept, from 1 in the order in which it begins; the rest is 0.

    Returns
    -------
    ndarray of uint32, or uint64 if there are 2^32 or more; shape as ``firsts``
    """
    order = np.flatnonzero(kept)
    order = order[np.argsort(firsts[order], kind="stable")]
    numbers = np.zeros(len(firsts), label_dtype(len(order)))
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers


def label_dtype(largest: int) -> np.dtype[np.unsignedinteger]:
    """Return the type of numbers up to this one: uint32 as long as that holds it."""
    return np.dtype(np.uint32 if largest < 2**32 else np.uint64)


def _links(
    blocks: Blocks, halo: Triple, index: int, read: Callable[[int], Parts], begins: Ints
) -> Iterator[Ints]:
    """Yield pairs of parts, in this block and in one below it, that have a voxel in common."""
    place = blocks.place(index)
    for axis, plane in enumerate(read(index).low):
        if not plane.size:
            continue
        across = [k for k in range(3) if k != axis]
        for other, steps in blocks.lower(index, axis, halo):
            mine, theirs = [], []
            for k in across:  # the first row or column is the last one of the block below, if any
                beyond = halo[k] if place[k] else 0
                mine.append(slice(0, beyond) if steps[k] else slice(beyond, None))
                theirs.append(slice(-1, None) if steps[k] else slice(None))
            pairs = shared(plane[tuple(mine)], read(other).high[axis][tuple(theirs)])
            yield pairs + np.array([[begins[index] - 1], [begins[other] - 1]])


def shared(one: NDArray[np.integer], other: NDArray[np.integer]) -> Ints:
    """Return which labels of two arrays lie in the same place, 0 aside; shape (2, pairs)."""
    both = (one > 0) & (other > 0)
    width = int(other.max(initial=0)) + 1
    pairs = np.unique(one[both].astype(np.int64) * width + other[both])
    return np.stack(np.divmod(pairs, width))
