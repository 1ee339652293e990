"""From a mask of all cells to one number per cell, as the authors' release does, or from a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from paper_unet.errors import InputError
from paper_unet.weight_map import two_nearest

MIN_AREA = 500
"""Pixels; the release's setting for PhC-C2DH-U373, kept for DIC-C2DH-HeLa (not in the paper)."""
MIN_CORE = 200
"""Pixels; see `cells_of_map` (not in the paper)."""
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
    _check_sizes(min_area, border)
    if fill_holes:
        foreground = ndimage.binary_fill_holes(foreground)
    regions, _ = ndimage.label(foreground, structure=np.ones((3, 3)))
    cells = _kept(regions, min_area, border)
    return cells if gap == 1 else grow_back(cells, gap)


def cells_of_map(
    interior: NDArray[np.floating],
    *,
    core: float,
    edge: float = 0.5,
    min_core: int = MIN_CORE,
    min_area: int = MIN_AREA,
    border: int = 0,
    gap: float = 1.0,
    neck: float = 0.0,
) -> NDArray[np.int32]:
    """Find cells where a map is surest of them, and let them grow to where it is less so.

    A cell whose border leaks somewhere is one with its neighbour at a low threshold, and at a high
    one it is too small: so cells are told apart at the high one, ``core``, and grow from there to
    the low one, ``edge``, each as far as the others let it (a watershed of the map). What joins two
    at the high threshold, too, is often narrow: ``neck`` says how narrow no cell is.

    Parameters
    ----------
    interior : ndarray of float, shape (Y, X)
        Probability of cell.
    core, edge : float
        Thresholds; the core's is not below the edge's.
    min_core : int
        8-connected regions above ``core`` of this many pixels or fewer are no cells.
    min_area, border, gap
        As in `cell_instances`, of the cells as they have grown.
    neck : float
        Pixels: of the cores only what lies further than this from what is not above ``core``
        counts, so that what is no wider than twice this neither joins two nor is a cell itself.
        ``min_core`` is then of a disk before that much was taken off it. 0: nothing is taken off.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        0 = background, 1.. = cells, without a gap in the numbers. What no core reaches is
        background.

    Raises
    ------
    InputError
        If the map is not a two-dimensional array of floats, the core's threshold is below the
        edge's, a size or the neck is negative, or the gap below 1.
    """
    if interior.ndim != 2 or interior.dtype.kind != "f":
        raise InputError(
            f"the map is {interior.dtype} of shape {interior.shape}; floats (Y, X) are needed"
        )
    if not edge <= core:
        raise InputError(f"core is {core}, edge {edge}; the core's must not be below the edge's")
    if min_core < 0:
        raise InputError(f"min_core is {min_core}; it must be at least 0")
    if not 0 <= neck < np.inf:
        raise InputError(f"neck is {neck} pixels; it must be at least 0, and finite")
    _check_sizes(min_area, border)
    surest = interior > core
    if neck and not surest.all():  # beyond the image nothing is taken off
        surest = ndimage.distance_transform_edt(surest) > neck
        min_core = int(np.pi * max(0.0, np.sqrt(min_core / np.pi) - neck) ** 2)
    cores = cell_instances(surest, min_area=min_core)
    grown: NDArray[np.int32] = watershed(  # type: ignore[no-untyped-call]
        -interior, cores, mask=interior > edge, connectivity=2
    )
    cells = _kept(grown, min_area, border)
    return cells if gap == 1 else grow_back(cells, gap)


def _check_sizes(min_area: int, border: int) -> None:
    if min_area < 0 or border < 0:
        raise InputError(f"min_area is {min_area}, border {border}; both must be at least 0")


def _kept(regions: NDArray[np.integer], min_area: int, border: int) -> NDArray[np.int32]:
    """Give new numbers to the regions that are large enough and not wholly within the border."""
    kept = np.bincount(regions.ravel(), minlength=1) > min_area
    if border:
        inside = np.zeros(len(kept), bool)
        inside[regions[border:-border, border:-border]] = True
        kept &= inside
    kept[0] = False
    numbers = np.cumsum(kept, dtype=np.int32) * kept
    return np.asarray(numbers[regions], np.int32)


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
        one belongs to the nearest. Where a cell has no neighbour it stays as it is. At the mouths
        of a gap the cells get a little more than they had.

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
