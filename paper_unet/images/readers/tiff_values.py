"""What the values of a TIFF mean: bits, white as zero, palettes, ImageJ's calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.grey_values import own_range
from paper_unet.images.readers.tiff_page import MINISWHITE, PALETTE, grey_ramp, photometric

Convert = Callable[[NDArray[Any]], NDArray[Any]]

STRAIGHT_LINE, UNCALIBRATED = 0, 20
"""ImageJ's numbers of calibration functions; those between are curves."""


@dataclass(frozen=True)
class Values:
    """How stored values become those of a stack.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the values that come out, in native byte order.
    own_range : tuple of two floats or None
        What black and white are by the file itself.
    convert : callable
        From stored values, ndarray, to those.
    notes : tuple of str
        What is done to them, each a line for the user.
    """

    dtype: np.dtype[Any]
    own_range: tuple[float, float] | None
    convert: Convert
    notes: tuple[str, ...]


def values_of(path: Path, file: Any, page: Any, labels: bool) -> Values:
    """Return what the values of a grey page mean.

    Parameters
    ----------
    path : Path
        For messages.
    file : tifffile.TiffFile
    page : tifffile.TiffPage
        That `check_page` has accepted.
    labels : bool
        Whether the values are numbers of cells or classes. How they are to be shown, inverted or
        in colours, then says nothing.

    Raises
    ------
    InputError
        If ImageJ gives them a meaning that is not followed here.
    """
    bits = int(page.bitspersample)
    dtype = np.dtype("uint8") if page.dtype.kind == "b" else page.dtype.newbyteorder("=")
    plain = Values(
        dtype, own_range(dtype, bits), lambda stored: stored.astype(dtype, copy=False), ()
    )
    if not labels and counts_from_white(page):
        plain = _inverted(path, plain, bits)
    return _calibrated(path, file.imagej_metadata if file.is_imagej else None, plain, labels)


def counts_from_white(page: Any) -> bool:
    """Whether a grey page has white as zero."""
    model = photometric(page)
    return model == MINISWHITE or (model == PALETTE and grey_ramp(page) == -1)


def _inverted(path: Path, plain: Values, bits: int) -> Values:
    """Count down from white, which has all bits set; with unsigned integers this is exact."""
    white, dtype = 2**bits - 1, plain.dtype

    def convert(stored: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(dtype.type(white) - plain.convert(stored), dtype)

    note = f"{path}: white is stored as zero; inverted, a value v is read as {white} - v"
    return Values(dtype, plain.own_range, convert, (note,))


def _calibrated(path: Path, about: dict[str, Any] | None, plain: Values, labels: bool) -> Values:
    """Apply the straight line by which ImageJ shows stored values; see its class Calibration."""
    if about is None:
        return plain
    # ImageJ, too, takes coefficients with a unit and without a function for those of a line
    line = all(name in about for name in ("c0", "c1", "vunit"))
    function = _number(about.get("cf"), STRAIGHT_LINE if line else UNCALIBRATED)
    if function == UNCALIBRATED:
        return plain
    zero, slope = (_number(about.get(name), fallback) for name, fallback in (("c0", 0), ("c1", 1)))
    offset = (zero, slope, function) == (-32768, 1, STRAIGHT_LINE)
    if plain.dtype == np.int16 and offset:
        return plain  # what the line leads to is what is stored
    if plain.dtype.kind != "u" or plain.dtype.itemsize > 2:
        note = (
            f"{path}: ImageJ's calibration is not applied: it is for unsigned integers of 8 and "
            "16 bits"
        )
        return Values(plain.dtype, plain.own_range, plain.convert, (*plain.notes, note))
    signed = offset and plain.dtype == np.uint16
    if (labels and not signed) or (zero, slope, function) == (0, 1, STRAIGHT_LINE):
        return plain
    if function == STRAIGHT_LINE and not np.isfinite([zero, slope]).all():
        raise InputError(
            f"{path}: ImageJ calibrates its values by a straight line of which c0 or c1 is no "
            "finite number; save it without (in ImageJ, Analyze > Calibrate > None)"
        )
    if function != STRAIGHT_LINE:
        raise InputError(
            f"{path}: ImageJ calibrates its values by the curve number {function:g} (cf), and only "
            "straight lines are applied; in ImageJ, Image > Type > 32-bit applies it: save that, "
            "or the values without it (Analyze > Calibrate > None)"
        )
    note = f"{path}: ImageJ's calibration is applied, a value v is read as {zero:g} + {slope:g} v"
    dtype = np.dtype("int16" if signed else "float32")

    def convert(stored: NDArray[Any]) -> NDArray[Any]:
        values = plain.convert(stored)
        if signed:
            return np.asarray(values.astype(np.int32) - 32768, dtype)
        return np.asarray(zero + slope * values.astype(np.float64), dtype)

    return Values(dtype, None, convert, (*plain.notes, note))


def _number(value: object, fallback: float) -> float:
    if value is None:
        return fallback
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
