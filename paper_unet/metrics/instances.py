"""From a mask of all cells to one number per cell, as the authors' release does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.errors import InputError
from paper_unet.weight_map import two_nearest

MIN_AREA = 500
"""Pixels; the release's setting for PhC-C2DH-U373, kept for DIC-C2DH-HeLa (not in the paper)."""
FIELD_OF_INTEREST = 50
"""Pixels at each side of a frame; the release's setting for PhC-C2DH-U373."""


def cell_instances(
    foreground: NDArray[np.bool_],
    *,
    min_area: int = MIN_AREA,
    border: int = 0,
    fill_holes: bool = False,
    gap: float = 1.0,
) -> NDArray[np.int32]:
    """Give each cell of a mask a number: 8-connected regions of more than so many pixels.

    Parameters
    ----------
    foreground : ndarray of bool, shape (Y, X)
        True inside cells.
    min_area : int
        Regions of this many pixels or fewer are removed (the release: 500).
    border : int
        Regions that lie wholly within so many pixels of the image's sides are removed; 0 keeps
        all. The release writes its masks with 50.
    fill_holes : bool
        Fill the holes of the mask first (the release has this off).
    gap : float
        Of the training labels, pixels: wider than 1, the cells are grown back, see `grow_back`.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        0 = background, 1.. = cells, without a gap in the numbers.

    Raises
    ------
    InputError
        If the mask is not a two-dimensional array of bool, a size is negative, or the gap below 1.
    """
    if foreground.ndim != 2 or foreground.dtype != np.bool_:
        raise InputError(
            f"the mask is {foreground.dtype} of shape {foreground.shape}; bool (Y, X) is needed"
        )
    if min_area < 0 or border < 0:
        raise InputError(f"min_area is {min_area}, border {border}; both must be at least 0")
    if fill_holes:
        foreground = ndimage.binary_fill_holes(foreground)
    regions, count = ndimage.label(foreground, structure=np.ones((3, 3)))
    kept = np.bincount(regions.ravel(), minlength=count + 1) > min_area
    if border:
        inside = np.zeros(count + 1, bool)
        inside[regions[border:-border, border:-border]] = True
        kept &= inside
    kept[0] = False
    numbers = np.cumsum(kept, dtype=np.int32) * kept
    cells = np.asarray(numbers[regions], np.int32)
    return cells if gap == 1 else grow_back(cells, gap)


def grow_back(cells: NDArray[np.int32], gap: float) -> NDArray[np.int32]:
    """Give the gap between neighbouring cells back to them: what `separate_touching` took.

    Parameters
    ----------
    cells : ndarray of int32, shape (Y, X)
        0 = background, 1.. = cells.
    gap : float
        Pixels, at least 1; that of the training labels.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        A background pixel that is nearer than ``gap`` to a cell and than twice that to a second
        one belongs to the nearest. Where a cell has no neighbour it stays as it is.

    Raises
    ------
    InputError
        If the gap is below 1.
    """
    if not 1 <= gap < np.inf:
        raise InputError(f"gap is {gap} pixels; it must be at least 1, and finite")
    if not cells.any():
        return cells.copy()
    nearest, second = two_nearest(cells, 3 * gap)
    between = (nearest < gap) & (second < 2 * gap)
    y, x = ndimage.distance_transform_edt(cells == 0, return_distances=False, return_indices=True)
    return np.where(between, cells[y, x], cells)
