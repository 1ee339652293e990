"""From the values of a prediction to probabilities, or a refusal of what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paper_unet.errors import InputError

FEWEST_NUMBERS, ALIKE = 3, 0.8
"""Values beside 0, and share of neighbours with the same one, from which integers are taken for
numbers of cells: of probabilities in 8 bits 24 % are alike (ISBI 2012), of numbers nearly all."""


def as_probability(
    interior: npt.ArrayLike, value_range: tuple[float, float] | None = None
) -> npt.NDArray[np.float32]:
    """Return a map of probabilities as floats in [0, 1].

    Parameters
    ----------
    interior : array_like of bool, integer or float, any shape
        A map of probabilities, or a binary one.
    value_range : tuple of two floats, optional
        The values that mean 0 and 1. Default: see `probability_range`.

    Returns
    -------
    ndarray of float32, same shape
        (interior - low) / (high - low), computed in float64; with a range that is given, also
        beyond [0, 1].

    Raises
    ------
    InputError
        If it is not plausibly a map of probabilities, and nobody says what its values mean, or if
        values are not finite.
    """
    values = np.asarray(interior)
    found = probability_range(values, value_range)
    if found is None:
        return values.astype(np.float32)  # 32 bits, as the official code holds them
    low, high = found
    if values.dtype.name == "uint8" and (low, high) == (
        0,
        255,
    ):  # a quarter of the memory of the rule
        steps: npt.NDArray[np.float32] = (np.arange(256) / np.float64(255)).astype(np.float32)
        return np.asarray(steps[values])
    return np.asarray((values.astype(np.float64) - low) / (high - low), np.float32)


def probability_range(
    values: npt.NDArray[Any], given: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Return the values that mean 0 and 1; None if they are probabilities as they are.

    Floats must be in [0, 1] already. 0 and one other value, of any type, is a binary map. Other
    unsigned integers go from 0 to the largest of their type, if that can be: if one of them is in
    the upper half, and they do not look like the numbers of cells.

    Raises
    ------
    InputError
        As `as_probability`.
    """
    kind = values.dtype.kind
    if kind not in "buif":
        raise InputError(
            f"interior has dtype {values.dtype}; accepted are floats in [0, 1] or a binary map"
        )
    if values.size == 0 or kind == "b":
        return None
    if kind == "f":
        _check_finite(values)
    if given is not None:
        return _checked_range(given)
    low, high = values.min().item(), values.max().item()
    if low >= 0 and high > 1 and np.isin(values, (0, high)).all():
        return 0, high
    if low >= 0 and high <= 1:
        return None
    return _range_of_type(values, low, high)


def _range_of_type(values: npt.NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return the range of grey values by the type; refuse those that it cannot be."""
    what = f"interior holds {values.dtype} values from {low:g} to {high:g}"
    remedy = "say which values mean 0 and 1 with `value_range` LOW HIGH"
    if values.dtype.kind != "u":
        raise InputError(f"{what}; accepted are probabilities in [0, 1]: {remedy}")
    top = np.iinfo(values.dtype).max
    if high <= top // 2:
        raise InputError(
            f"{what}, none in the upper half of 0 to {top}, so they are hardly probabilities of "
            f"{8 * values.itemsize} bits; accepted are floats in [0, 1] and integers of that "
            f"range: {remedy}"
        )
    if _are_numbers(values):
        raise InputError(
            f"{what}, and neighbours are nearly all alike, as in a map of the numbers of cells; "
            f"accepted are probabilities, or a binary map (0 and one other value): {remedy}"
        )
    return 0, top


def _are_numbers(values: npt.NDArray[Any]) -> bool:
    """Whether integers look like a number for each cell."""
    if np.unique(values[values > 0]).size < FEWEST_NUMBERS or values.ndim < 2:
        return False
    top, alike, pairs = values.max(), 0, 0
    for axis in (-2, -1):
        first = np.moveaxis(values, axis, -1)[..., :-1]
        second = np.moveaxis(values, axis, -1)[..., 1:]
        # a network is sure of many pixels: those say nothing
        unsure = (first > 0) & (second > 0) & (first < top) & (second < top)
        pairs += int(np.count_nonzero(unsure))
        alike += int(np.count_nonzero(unsure & (first == second)))
    return pairs > 0 and alike > ALIKE * pairs


def _checked_range(given: tuple[float, float]) -> tuple[float, float]:
    first, last = map(float, given)
    if not (np.isfinite([first, last]).all() and first < last):
        raise InputError(
            f"value_range is {first:g} to {last:g}; accepted are two finite numbers, the lower one "
            "first"
        )
    return first, last


def _check_finite(values: npt.NDArray[Any]) -> None:
    count = values.size - int(np.count_nonzero(np.isfinite(values)))
    if count:
        raise InputError(
            f"interior holds {count} of {values.size} values that are not finite (NaN or "
            "infinite); accepted are probabilities in [0, 1]: predict again where it failed, or "
            "set them to 0, membrane"
        )
