"""Checks of what the user hands in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paper_unet.errors import InputError
from paper_unet.metrics._probability import as_probability


def checked_stack(
    labels: npt.ArrayLike,
    interior: npt.ArrayLike,
    value_range: tuple[float, float] | None = None,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Check labels and probabilities.

    Returns
    -------
    labels : ndarray of bool, shape (Z, Y, X)
        True inside cells.
    interior : ndarray of float32, shape (Z, Y, X)

    Raises
    ------
    InputError
        If the two cannot be scored.
    """
    truth, probability = np.asarray(labels), np.asarray(interior)
    if truth.shape != probability.shape:
        raise InputError(
            f"labels have shape {truth.shape} and interior has shape {probability.shape}; "
            "accepted are two equal shapes: crop or pad one of them"
        )
    if truth.ndim not in (2, 3) or truth.size == 0:
        raise InputError(
            f"labels and interior have shape {truth.shape}; accepted are (Z, Y, X) and (Y, X) "
            "with at least one pixel: remove other axes"
        )
    shape = truth.shape if truth.ndim == 3 else (1, *truth.shape)
    return _binary_labels(truth).reshape(shape), as_probability(probability, value_range).reshape(
        shape
    )


def _binary_labels(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    if labels.dtype.kind not in "buif":
        raise InputError(
            f"labels have dtype {labels.dtype}; accepted are bool, integers and floats with 0 for "
            "membrane and 1 or 255 for cell"
        )
    inside: npt.NDArray[np.bool_] = labels != 0
    values = np.unique(labels[inside])
    if values.size > 1 or (values.size == 1 and values[0] not in (1, 255)):
        found = ", ".join(f"{value:g}" for value in values[:4])
        more = ", ..." if values.size > 4 else ""
        raise InputError(
            f"labels hold {found}{more} beside 0; accepted are 0 for membrane and one of 1 or 255 "
            "for cell: set all cells to 1, or pass a boolean array that is True inside them"
        )
    return inside


def checked_workers(workers: int | None, slices: int, available: int) -> int:
    """Give the number of workers, at most one per slice."""
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; accepted is 1 or more, or None to choose")
    return min(available if workers is None else workers, slices)
