"""What it changes to cut an image into tiles one way or another: the numbers beside Fig. 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER, STRIDE, Tiling


@dataclass(frozen=True)
class Difference:
    """How far the log odds of a tiling are from a reference.

    Attributes
    ----------
    tile : int
        Side of the largest input, pixels.
    tiling : {"exact", "abutting"}
    map : ndarray of float32, shape (Y, X)
        Log odds minus those of the reference, in units of ``spread``.
    spread : float
        Standard deviation of the reference's log odds over the image.
    changed : ndarray of bool, shape (Y, X)
        Pixels that the tiling gives to another class, at a probability of 0.5.
    """

    tile: int
    tiling: Tiling
    map: NDArray[np.float32]
    spread: float
    changed: NDArray[np.bool_]

    @property
    def maximum(self) -> float:
        """Largest absolute difference, in units of the spread."""
        return float(np.abs(self.map).max())

    @property
    def mean(self) -> float:
        """Mean absolute difference, in units of the spread."""
        return float(np.abs(self.map).mean(dtype=np.float64))

    def starts(self) -> tuple[list[int], list[int]]:
        """Return the first row and the first column of each tile's output, pixels."""
        rows, columns = (PAPER.tiles(side, self.tile, self.tiling) for side in self.map.shape)
        return [tile.start for tile in rows], [tile.start for tile in columns]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for JSON; ``phases`` are the starts modulo 16."""
        rows, columns = self.starts()
        return {
            "tile": self.tile,
            "tiling": self.tiling,
            "starts": [rows, columns],
            "phases": [[start % STRIDE for start in axis] for axis in (rows, columns)],
            "spread_of_log_odds": self.spread,
            "max_difference_in_spreads": self.maximum,
            "mean_difference_in_spreads": self.mean,
            "pixels_of_another_class": int(self.changed.sum()),
            "share_of_pixels": float(self.changed.mean()),
        }


def log_odds(scores: Tensor) -> NDArray[np.float32]:
    """Return the log odds of the last class.

    Parameters
    ----------
    scores : Tensor of float32, shape (K, Y, X)
        Before the softmax, K at least 2.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        ``log(p / (1 - p))``: for two classes the difference of their scores.
    """
    odds: NDArray[np.float32] = (scores[-1] - torch.logsumexp(scores[:-1], dim=0)).cpu().numpy()
    return odds


def difference(
    reference: NDArray[np.float32], other: NDArray[np.float32], tile: int, tiling: Tiling
) -> Difference:
    """Compare the log odds of an image that was cut into tiles with a reference.

    Parameters
    ----------
    reference, other : ndarray of float32, shape (Y, X)
        From `log_odds`.
    tile : int
        Side of the other's largest tiles, pixels.
    tiling : {"exact", "abutting"}
        The other's.

    Returns
    -------
    Difference

    Raises
    ------
    InputError
        If the shapes differ, or the reference is the same everywhere, so that there is no scale.
    """
    if reference.shape != other.shape:
        raise InputError(
            f"scores of {reference.shape} and of {other.shape} pixels; give those of one image"
        )
    spread = float(reference.std(dtype=np.float64))
    if not spread > 0:
        raise InputError(
            f"the score is {reference.flat[0]} at every pixel; give trained weights and an image "
            "that shows something"
        )
    relative = ((other - reference) / np.float32(spread)).astype(np.float32)
    return Difference(tile, tiling, relative, spread, (reference > 0) != (other > 0))


def busiest_window(mask: NDArray[np.bool_], side: int) -> tuple[slice, slice]:
    """Return the window of an image in which most pixels of a mask lie.

    Parameters
    ----------
    mask : ndarray of bool, shape (Y, X)
    side : int
        Of the window, pixels; smaller images are one window.

    Returns
    -------
    (slice, slice)
        Rows and columns; the first such window.
    """
    rows, columns = (min(side, whole) for whole in mask.shape)
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    inside = sums[rows:, columns:] - sums[:-rows, columns:]
    inside = inside - (sums[rows:, :-columns] - sums[:-rows, :-columns])
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + rows), slice(int(left), int(left) + columns)
