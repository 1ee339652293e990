"""The connected parts of a block: their sizes, where they begin, and what of them touches others.

Arrays in, arrays out. A block is seen with one voxel beyond its lower sides; a part may lie in
these alone, and has no voxels of its own then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.segmentation.blocks import Box, Triple, size_of, within

Labels = NDArray[np.int32]
Bool = NDArray[np.bool_]

NOWHERE = 2**63 - 1
"""Where a part begins that has no voxel of its own: behind all others."""


def neighbourhood(dims: int, connectivity: int) -> Bool:
    """Return which voxels of 3 x 3 x 3 touch the middle one; in 2-D none of other sections.

    Parameters
    ----------
    dims : 2 or 3
    connectivity : int
        1: by faces; 2: by edges, too; 3: by corners, too.
    """
    structure: Bool = ndimage.generate_binary_structure(3, min(connectivity, dims))
    if dims == 2:
        structure[[0, 2]] = False
    return structure


def label(inside: Bool, structure: Bool) -> Labels:
    """Give numbers to the connected parts of a volume, from 1 in the order of their first voxels.

    Parameters
    ----------
    inside : ndarray of bool, shape (Z, Y, X)
    structure : ndarray of bool, shape (3, 3, 3)
        Of `neighbourhood`.
    """
    labels = np.empty(inside.shape, np.int32)
    ndimage.label(inside, structure, output=labels)
    return labels


@dataclass(frozen=True)
class Parts:
    """What is known of the parts of a block, part k at place k - 1.

    Attributes
    ----------
    sizes : ndarray of int64, shape (N,)
        Voxels of each part in the block.
    firsts : ndarray of int64, shape (N,)
        Number in the volume, in the order of memory, of its first voxel in the block; `NOWHERE` if
        there is none.
    seeded : ndarray of bool, shape (N,)
        Whether there is a seed in it.
    low : tuple of three ndarray of int32
        Parts of the voxels just below the block along each axis, and below it along the others;
        empty where the volume ends.
    high : tuple of three ndarray of int32
        Parts of the last voxels of the block along each axis.
    """

    sizes: NDArray[np.int64]
    firsts: NDArray[np.int64]
    seeded: Bool
    low: tuple[Labels, Labels, Labels]
    high: tuple[Labels, Labels, Labels]


def sizes_and_firsts(
    labels: NDArray[np.integer], count: int, box: Box, shape: Triple
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the voxels of the labels 1 to ``count`` in a block, and where each begins.

    Parameters
    ----------
    labels : ndarray of integers
        Of the box.
    count : int
        The largest label that there may be.
    box : Box
        Where the block lies in the volume.
    shape : tuple of int, (Z, Y, X)
        Of the volume.

    Returns
    -------
    sizes, firsts : ndarray of int64, shape (count,)
        As in `Parts`.
    """
    flat = labels.reshape(-1)
    # runs of one label: fewer than voxels
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    of_run, lengths = flat[starts], np.diff(starts, append=flat.size)
    sizes = np.zeros(count + 1, np.int64)
    np.add.at(sizes, of_run, lengths)
    firsts = np.full(count + 1, NOWHERE, np.int64)
    places = np.unravel_index(starts, size_of(box))
    moved = tuple(place + begin for place, (begin, _) in zip(places, box, strict=True))
    firsts[of_run[::-1]] = np.ravel_multi_index(moved, shape)[::-1]  # the last one written stays
    return sizes[1:], firsts[1:]


def parts_of(
    labels: Labels, grown: Box, box: Box, shape: Triple, seeds: Bool | None = None
) -> Parts:
    """Gather what other blocks have to know of the parts of a block.

    Parameters
    ----------
    labels : ndarray of int32
        Of the block and what it sees below its lower sides, by `label`.
    grown, box : Box
        Where that lies in the volume, and the block alone.
    shape : tuple of int, (Z, Y, X)
        Of the volume.
    seeds : ndarray of bool, optional
        Where seeds are; as large as ``labels``.
    """
    count = int(labels.max(initial=0))
    own = labels[within(grown, box)]
    sizes, firsts = sizes_and_firsts(own, count, box, shape)
    seeded = np.zeros(count + 1, np.bool_)
    if seeds is not None:
        seeded[labels[seeds]] = True
    below = [begin > outer for (outer, _), (begin, _) in zip(grown, box, strict=True)]
    return Parts(
        sizes,
        firsts,
        seeded[1:],
        low=_planes(labels, 0, below),
        high=_planes(own, -1, [stop < size for (_, stop), size in zip(box, shape, strict=True)]),
    )


def _planes(labels: Labels, place: int, wanted: list[bool]) -> tuple[Labels, Labels, Labels]:
    """Return the first or last plane along each axis, where another block needs it."""
    empty = np.zeros((0, 0), np.int32)
    z, y, x = (
        np.ascontiguousarray(labels.take(place, axis)) if needed else empty
        for axis, needed in enumerate(wanted)
    )
    return z, y, x
