"""Border thinning: a watershed of a binary image, flooded first in, first out.

Arrays here are x-first, shape (X, Y): the official scan runs over x in the outer loop, so its order
is the memory order of the transposed slice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

UNSEEN = -1  # membrane that was never queued
QUEUED = -2  # membrane in the queue: counts as unlabelled
LINE = 0  # watershed line, and the ring around the image

FloodLoop = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int64], int], npt.NDArray[np.int32]]


def flood_plain(
    state: npt.NDArray[np.int32], shores: npt.NDArray[np.int64], stride: int
) -> npt.NDArray[np.int32]:
    """Flood from the basins over the membrane, one queue for the whole image.

    Parameters
    ----------
    state : ndarray of int32, flat image with a ring of `LINE` around it
        Basin numbers from 1; membrane is `UNSEEN`, or `QUEUED` for the pixels in `shores`.
    shores : ndarray of int64
        Flat positions of the membrane pixels beside a basin, in memory order.
    stride : int
        Length of one row of the flat image.

    Returns
    -------
    ndarray of int32
        Region of every pixel, `LINE` where regions meet.
    """
    label = state.tolist()
    queue = shores.tolist()
    steps = (-stride, -1, stride, 1)
    for pixel in queue:  # grows while it is walked
        region = LINE
        meets = False
        for step in steps:
            near = label[pixel + step]
            if near > 0:
                meets = meets or (region != LINE and near != region)
                region = near
            elif near == UNSEEN:
                label[pixel + step] = QUEUED
                queue.append(pixel + step)
        label[pixel] = LINE if meets else region
    return np.array(label, dtype=np.int32)


def thin(
    interior: npt.NDArray[np.bool_], basins: npt.NDArray[np.int32], flood: FloodLoop
) -> npt.NDArray[np.int32]:
    """Grow the regions of a binary image over the membrane until they meet.

    Parameters
    ----------
    interior : ndarray of bool, shape (X, Y)
        True inside cells.
    basins : ndarray of int32, shape (X, Y)
        4-connected components of `interior`, numbered from 1; 0 is membrane.
    flood : callable
        `flood_plain` or its compiled twin.

    Returns
    -------
    ndarray of int32, shape (X, Y)
        Regions numbered as in `basins`, 0 on the lines between them. An image without interior is
        one region.
    """
    if not interior.any():
        return np.ones(interior.shape, dtype=np.int32)
    width, height = interior.shape
    padded = np.pad(interior, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    shores = beside & ~interior
    state = np.full((width + 2, height + 2), LINE, dtype=np.int32)
    state[1:-1, 1:-1] = np.where(interior, basins, np.where(shores, QUEUED, UNSEEN))
    x, y = np.nonzero(shores)
    stride = height + 2
    positions = (x + 1) * stride + y + 1
    flooded = flood(state.ravel(), positions, stride)
    return flooded.reshape(state.shape)[1:-1, 1:-1]
