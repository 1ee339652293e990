"""What a page of a TIFF may hold: values of a known type and meaning, in a known encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.choice import choosing
from paper_unet.images.grey_values import DTYPES, OF_LABELS, NotGreyError

MINISWHITE, MINISBLACK, RGB, PALETTE, MASK, YCBCR = 0, 1, 2, 3, 4, 6
PHOTOMETRIC = 262
COLOURS = ("red", "green", "blue", "alpha")
"""What the values of a pixel in RGB are called."""


def photometric(page: Any) -> int:
    """Return how the values of a page are shown; a page that does not say has black as zero."""
    return int(page.photometric) if PHOTOMETRIC in page.tags else MINISBLACK


def check_page(path: Path, page: Any, channels: int, labels: bool = False) -> None:
    """Refuse what is not one value of a known type for each pixel, or one for each channel."""
    if page.imagewidth == 0 or page.imagelength == 0:
        raise InputError(
            f"{path}: an image of {page.imagelength}x{page.imagewidth} pixels; export it again"
        )
    if page.imagedepth != 1:
        raise InputError(f"{path}: pages of several slices; save it with one page for each slice")
    _check_colour(path, page, channels, labels)
    dtype = None if page.dtype is None else page.dtype.name
    accepted = (*DTYPES, *OF_LABELS) if labels else DTYPES
    if dtype not in accepted and not (dtype == "bool" and page.bitspersample == 1):
        white = photometric(page) == MINISWHITE  # what cannot be inverted is not read as it is
        raise (InputError if white else NotGreyError)(
            f"{path}: values of {dtype or 'an unknown type'}; accepted are {', '.join(accepted)}: "
            f"convert it, masks to uint8"
        )
    if photometric(page) == MINISWHITE and page.dtype.kind not in "ub" and not labels:
        raise InputError(
            f"{path}: {dtype} with white as zero (MINISWHITE) has no defined inverse; save it "
            f"with black as zero"
        )
    try:
        page.decode(None, 0)  # no data: raises only if the codec is missing or unknown
    except Exception as error:
        raise needs_codecs(path, " ".join(str(error).split())) from error


def _check_colour(path: Path, page: Any, channels: int, labels: bool) -> None:
    """Refuse other numbers of values for each pixel, and values of another meaning."""
    models: tuple[int, ...] = (MINISBLACK, MINISWHITE)
    several: tuple[int, ...] = (MINISBLACK, RGB, YCBCR)
    samples = page.samplesperpixel
    if channels == 1:
        if labels:
            models = (*models, PALETTE, MASK)
        elif photometric(page) == PALETTE and grey_ramp(page):
            return
        names = COLOURS if photometric(page) == RGB else ()
        one = f"choose {choosing('C', samples, names)}; or " if photometric(page) in several else ""
        values = (
            f"one grey value is accepted: {one}convert it (ImageJ: Image > Type > 8-bit), or use a "
            "network of as many channels"
        )
        model = (
            "grey values are accepted: convert it (ImageJ: Image > Lookup Tables > Grays, or "
            "Image > Type > 8-bit)"
        )
    else:
        models = several
        values = f"{channels} are needed: convert it, or use a network of other channels"
        model = "convert it to RGB"
    if samples not in (1, channels):
        raise InputError(
            f"{path}: {samples} values for each pixel (RGB, RGBA or channels); {values}"
        )
    if photometric(page) not in models:
        name = getattr(page.photometric, "name", page.photometric)
        places = channels == 1 and photometric(page) in (PALETTE, MASK)
        raise (NotGreyError if places else InputError)(f"{path}: colour model {name}; {model}")


def grey_ramp(page: Any) -> int:
    """Return 1 for a palette that goes evenly from black to white, -1 for the reverse, else 0."""
    return ramp_of(np.asarray(() if page.colormap is None else page.colormap, np.int64))


def ramp_of(table: NDArray[np.int64]) -> int:
    """Return the same of a palette, (3, values)."""
    if table.ndim != 2 or len(table) != 3 or (table != table[0]).any() or table.shape[1] < 2:
        return 0
    ramp = np.linspace(0, 255, table.shape[1])
    levels = table[0] / 257 if table[0].max() > 255 else table[0]
    if np.abs(levels - ramp).max() <= 1:
        return 1
    return -1 if np.abs(levels[::-1] - ramp).max() <= 1 else 0


def needs_codecs(path: Path, reason: str) -> InputError:
    """Return the error of an encoding that is not installed."""
    return InputError(
        f"{path}: {reason}; install it (pip install imagecodecs) or save the stack uncompressed"
    )
