"""The watershed of a block with its context, and the voxels that it does not reach.

Arrays in, arrays out. Every part of the foreground has a seed, but it may lie farther away than the
context. What is not flooded for that goes to the cell that it touches most across the sides of
blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from paper_unet.segmentation.numbering import Ints, Numbers
from paper_unet.segmentation.parts import label

Bool = NDArray[np.bool_]


def deep(inside: Bool, distance: float, sampling: tuple[float, float, float], dims: int) -> Bool:
    """Return the voxels that are farther from the background than a distance.

    Parameters
    ----------
    inside : ndarray of bool, shape (Z, Y, X)
        The foreground. What lies beyond the array is none.
    distance : float
        In the unit of the sampling.
    sampling : tuple of float, (z, y, x)
        Of the voxels.
    dims : 2 or 3
        In 2-D each section has distances of its own.
    """
    if dims == 2:
        sections = [_distances(section, sampling[1:]) > distance for section in inside]
        return np.stack(sections)
    return np.asarray(_distances(inside, sampling) > distance)


def _distances(inside: Bool, sampling: tuple[float, ...]) -> NDArray[np.float64]:
    if inside.all():  # there is nothing to be far from
        return np.full(inside.shape, np.inf)
    found: NDArray[np.float64] = ndimage.distance_transform_edt(inside, sampling=sampling)
    return found


def flooded(
    probability: NDArray[np.float32], inside: Bool, seeds: Numbers, structure: Bool
) -> Numbers:
    """Flood the inverted probability from the seeds, within the foreground.

    Parameters
    ----------
    probability : ndarray of float32, shape (Z, Y, X)
    inside : ndarray of bool, same shape
        The foreground.
    seeds : ndarray of unsigned integers, same shape
        Numbers of cells; 0 is none.
    structure : ndarray of bool, shape (3, 3, 3)
        Which voxels are neighbours.

    Returns
    -------
    ndarray, type and shape as ``seeds``
        The number of the cell of each voxel of the foreground; 0 where no seed is connected.
    """
    there = seeds > 0
    names, places = np.unique(seeds[there], return_inverse=True)
    if not names.size:
        return np.zeros_like(seeds)
    markers = np.zeros(seeds.shape, np.int32)
    markers[there] = places.reshape(-1) + 1
    found: NDArray[np.int32] = watershed(  # type: ignore[no-untyped-call]
        -probability, markers, mask=inside, connectivity=structure
    )
    return np.asarray(np.concatenate([[seeds.dtype.type(0)], names])[found])


def with_rest(cells: Numbers, inside: Bool, structure: Bool, largest: int) -> tuple[Numbers, int]:
    """Give numbers to the parts of the foreground that no flood reached, from ``largest`` + 1.

    Returns
    -------
    cells : ndarray, as it was given, with these
    count : int
        How many there are.
    """
    rest = label(inside & (cells == 0), structure)
    count = int(rest.max(initial=0))
    if count:
        cells = np.where(rest > 0, rest.astype(cells.dtype) + cells.dtype.type(largest), cells)
    return cells, count


def adopted(rest: Ints, neighbour: Ints, contact: Ints, largest: int, count: int) -> Ints:
    """Give what was not flooded to the cells that it touches.

    In rounds: each goes to the cell that it shares the most sides of voxels with, of equals the
    first one; then what touches these, and so on.

    Parameters
    ----------
    rest, neighbour : ndarray of int64, shape (N,)
        Pairs that touch: a rest, from 0, and a cell from 1 to ``largest``, or another rest as its
        number + ``largest`` + 1.
    contact : ndarray of int64, shape (N,)
        Sides of voxels that they share.
    largest : int
        Number of the last cell.
    count : int
        Of rests.

    Returns
    -------
    ndarray of int64, shape (count,)
        The cell of each; 0 of what no cell is near.
    """
    cell = np.zeros(count, np.int64)
    while True:
        known = np.concatenate([np.arange(largest + 1), cell])[neighbour]
        wanted = (cell[rest] == 0) & (known > 0)
        if not wanted.any():
            return cell
        # all contact with one cell together, then the most, then the first cell
        pairs, places = np.unique(rest[wanted] * (largest + 1) + known[wanted], return_inverse=True)
        sides = np.zeros(len(pairs), np.int64)
        np.add.at(sides, places, contact[wanted])
        who, which = np.divmod(pairs, largest + 1)
        order = np.lexsort((which, -sides, who))
        first = order[np.unique(who[order], return_index=True)[1]]
        cell[who[first]] = which[first]
