"""From a mask of all cells to one number per cell, as the authors' release does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.errors import InputError

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

    Returns
    -------
    ndarray of int32, shape (Y, X)
        0 = background, 1.. = cells, without a gap in the numbers.

    Raises
    ------
    InputError
        If the mask is not a two-dimensional array of bool, or a size is negative.
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
    return np.asarray(numbers[regions], np.int32)
