"""The warping error's second step: name the mismatches that are left.

Arrays here are x-first, shape (X, Y), as in the first step.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from paper_unet.metrics._warp import NEIGHBOURS, neighbourhood_tables

RADIUS = 20  # pixels; how far two halves may reconnect before a cut counts as a split
BATCH = 512  # windows labelled at once

# 4-connected inside each window of a batch, never from window to window.
WITHIN_WINDOW = np.zeros((3, 3, 3), dtype=np.bool_)
WITHIN_WINDOW[1] = [[False, True, False], [True, True, True], [False, True, False]]


class Mismatch(IntEnum):
    """What a pixel is that the warped labels and the prediction still see differently.

    Only `SPLIT` and `MERGER` count in the warping error. The names are the official ones; where a
    mismatch touches both an object and background, those of the holes are swapped.
    """

    NONE = 0
    SPLIT = 1  # membrane predicted through an object
    MERGER = 2  # interior predicted across the membrane between objects
    HOLE_ADDITION = 3  # the prediction has a hole that the labels lack
    HOLE_DELETION = 4  # the prediction lacks a hole of the labels
    OBJECT_ADDITION = 5  # the prediction has an object that the labels lack
    OBJECT_DELETION = 6  # the prediction lacks an object of the labels


def classify(
    warped: npt.NDArray[np.bool_], rest: npt.NDArray[np.int64], *, constant: bool
) -> npt.NDArray[np.uint8]:
    """Name the mismatches that the warp could not remove.

    Parameters
    ----------
    warped : ndarray of bool, shape (X, Y)
    rest : ndarray of int64
        Flat positions of the mismatches.
    constant : bool
        The labels of the slice were all membrane or all interior. The official code then sees no
        objects and calls every mismatch an object addition.

    Returns
    -------
    ndarray of uint8, shape of `rest`
        `Mismatch` codes.
    """
    if constant:
        return np.full(rest.size, Mismatch.OBJECT_ADDITION, dtype=np.uint8)
    outside = -1
    components = np.pad(ndimage.label(warped)[0], 1, constant_values=outside)
    x, y = np.divmod(rest, warped.shape[1])
    near = np.stack([components[x + 1 + dx, y + 1 + dy] for dx, dy in NEIGHBOURS])
    largest = near.max(axis=0, initial=0)
    smallest = np.where(near > 0, near, largest).min(axis=0, initial=np.iinfo(near.dtype).max)
    background = (near == 0).any(axis=0)
    alone = largest == 0
    # Two objects without background between them exist only in images one pixel wide; that is two
    # values, not three, and takes the row of the hole.
    several = (smallest != largest) & background
    white = warped.ravel()[rest]
    classes = np.where(white, Mismatch.HOLE_ADDITION, Mismatch.HOLE_DELETION)
    classes[background & ~white] = Mismatch.HOLE_ADDITION
    classes[alone] = np.where(white, Mismatch.OBJECT_DELETION, Mismatch.OBJECT_ADDITION)[alone]
    classes[several] = np.where(white, Mismatch.SPLIT, Mismatch.MERGER)[several]
    codes = ((near > 0) << np.arange(8)[:, None]).sum(axis=0)
    joined = neighbourhood_tables()[1][codes]
    doubtful = np.flatnonzero(white & background & ~alone & ~several)
    classes[doubtful] = Mismatch.HOLE_DELETION  # unless the window says otherwise
    doubtful = doubtful[~joined[doubtful]]
    for some in np.array_split(doubtful, doubtful.size // BATCH + 1):
        classes[some[_cuts(warped, x[some], y[some])]] = Mismatch.SPLIT
    return classes.astype(np.uint8)


def _cuts(
    warped: npt.NDArray[np.bool_], x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Tell which pixels part their neighbours into pieces not joined within `RADIUS` pixels."""
    if min(warped.shape) < RADIUS:  # as the official code: the whole image
        windows = np.repeat(np.pad(warped, 1)[None], x.size, axis=0)
        x, y = x + 1, y + 1
    else:
        side = 2 * RADIUS + 1
        windows = sliding_window_view(np.pad(warped, RADIUS), (side, side))[x, y]
        x, y = np.full_like(x, RADIUS), np.full_like(y, RADIUS)
    index = np.arange(x.size)
    windows[index, x, y] = False
    pieces = ndimage.label(windows, WITHIN_WINDOW)[0]
    near = np.stack([pieces[index, x + dx, y + dy] for dx, dy in NEIGHBOURS])
    largest = near.max(axis=0)
    parted: npt.NDArray[np.bool_] = ((near > 0) & (near != largest)).any(axis=0)
    return parted
