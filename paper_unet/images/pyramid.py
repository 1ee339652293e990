"""The smaller versions of an image that viewers show from afar: 2 x 2 pixels become one.

Grey values become their mean; of labels, whose means would be other cells, the first is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def level_shapes(shape: tuple[int, int, int], largest: int) -> list[tuple[int, int, int]]:
    """Return the size of every level of the pyramid; Z stays, Y and X are halved, rounding up.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Of level 0.
    largest : int
        The last level is the first one with no side Y, X above this.

    Returns
    -------
    list of tuple of int, (Z, Y, X)
        At least level 0.
    """
    levels = [shape]
    while max(levels[-1][1:]) > largest:
        sections, height, width = levels[-1]
        levels.append((sections, (height + 1) // 2, (width + 1) // 2))
    return levels


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the means of 2 x 2 pixels; at an odd edge, of those that exist.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16, uint32 or float32, shape (Y, X)
        The image, or a window that starts at an even place and ends at one or at the edge.

    Returns
    -------
    ndarray of the same dtype, shape (ceil(Y / 2), ceil(X / 2))
        Floating values are added in float64, integers exactly; these are rounded half to even.
    """
    height, width = pixels.shape
    if height % 2 or width % 2:
        # an edge pixel counted twice leaves the mean of those that exist
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge")
    wide = _WIDER[pixels.dtype.name]
    rows = np.add(pixels[0::2], pixels[1::2], dtype=wide)
    sums = rows[:, 0::2] + rows[:, 1::2]
    if pixels.dtype.kind == "f":
        mean: NDArray[Any] = (sums / 4).astype(pixels.dtype)
        return mean
    # (s + 1 + the last bit of s // 4) // 4 is s / 4, rounded half to even
    sums += 1 + (sums >> 2 & 1)
    rounded: NDArray[Any] = (sums >> 2).astype(pixels.dtype)
    return rounded


def thinned(labels: NDArray[Any]) -> NDArray[Any]:
    """Return every second label of every second row.

    Parameters
    ----------
    labels : ndarray of integers, shape (Y, X)
        The image, or a window that starts at an even place.

    Returns
    -------
    ndarray of the same dtype, shape (ceil(Y / 2), ceil(X / 2))
    """
    return labels[::2, ::2]


_WIDER = {"uint8": np.uint16, "uint16": np.uint32, "uint32": np.uint64, "float32": np.float64}
"""Where sums of four values are exact."""
