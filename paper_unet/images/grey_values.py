"""From the grey values of a file to the input of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown

# bool and complex have no grey value; int8 and 64-bit integers are no image format in use
DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float16", "float32", "float64")
OF_LABELS = ("int8", "int64", "uint64")
"""Types that numbers of cells and classes may have beside these; grey values of them are none."""


class NotGreyError(InputError):
    """Values that are no grey values, and may be labels: of such a type, or places in a palette."""


def own_range(dtype: np.dtype[Any], bits: int) -> tuple[float, float] | None:
    """Return the grey values that are black and white where a file says it by its bits.

    Parameters
    ----------
    dtype : numpy.dtype
        That the values are held in.
    bits : int
        That a file has for each.

    Returns
    -------
    tuple of two floats or None
        For fewer than 8 bits; None where the rule of the dtype holds.
    """
    return (0.0, 2.0**bits - 1) if dtype == np.uint8 and bits < 8 else None


def to_unit_range(
    image: NDArray[Any],
    value_range: tuple[float, float] | None = None,
    *,
    name: str = "image",
    fill: float | None = None,
) -> NDArray[np.float32]:
    """Scale grey values by the rule of their dtype, never by their content.

    Parameters
    ----------
    image : ndarray of uint8, another integer type or float, any shape
        Grey values.
    value_range : tuple of two floats, optional
        The grey values that become 0 and 1. Needed for all integers but uint8, and for floating
        values that are not in [0, 1] already.
    name : str
        What to call the image in an error.
    fill : float, optional
        Grey value to take where the image is not finite; without it that is an error.

    Returns
    -------
    ndarray of float32, same shape
        With a range (image - low) / (high - low), clipped to [0, 1]; else image / 255 for uint8,
        and floating values as they are.

    Raises
    ------
    InputError
        If values are not finite, or the dtype needs a range and there is none.
    """
    if image.dtype.kind not in "uif":
        raise InputError(f"{name}: grey values of {image.dtype}; convert to uint8 or float32")
    if fill is not None and image.dtype.kind == "f":
        if not abs(fill) <= float(np.finfo(image.dtype).max):
            raise InputError(f"{name}: `fill` {fill:g} is no finite {image.dtype}; give another")
        image = np.where(np.isfinite(image), image, image.dtype.type(fill))
    _check_finite(image, name)
    if value_range is not None:
        low, high = _check_range(value_range, name)
        scaled = (image.astype(np.float64) - low) / (high - low)
        return np.clip(scaled, 0, 1).astype(np.float32)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if image.dtype.kind != "f":
        raise InputError(
            f"{name}: {image.dtype} has no scale of its own; "
            f"say which grey values are black and white with `value_range` LOW HIGH"
        )
    if image.size and (image.min() < 0 or image.max() > 1):
        raise InputError(
            f"{name}: {image.dtype} values from {image.min():g} to {image.max():g}, accepted "
            f"without a range is 0 to 1; say what is black and white with `value_range` LOW HIGH"
        )
    return image.astype(np.float32)


def _check_finite(image: NDArray[Any], name: str) -> None:
    bad = image.size - np.count_nonzero(np.isfinite(image))
    if bad:
        raise InputError(
            f"{name}: {bad} of {image.size} pixels are NaN or infinite; repair them, or, to "
            "predict, give the grey value to take there with `fill`"
        )


def _check_range(value_range: tuple[float, float], name: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: `value_range` is {shown(repr(value_range))}; it must be a pair of numbers"
        ) from error
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(
            f"{name}: grey-value range {low:g} to {high:g}; LOW and HIGH must be finite numbers "
            f"with LOW < HIGH"
        )
    return low, high
