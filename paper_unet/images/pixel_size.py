"""The size of a pixel, as the formats write it, in micrometres."""

from __future__ import annotations

import math
from typing import Any

from paper_unet.images.axes import Axes
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize

PREFIXES = {
    "yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15), "tera": ("T", 12),
    "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3), "hecto": ("h", 2), "deca": ("da", 1),
    "": ("", 0), "deci": ("d", -1), "centi": ("c", -2), "milli": ("m", -3), "micro": ("µ", -6),
    "nano": ("n", -9), "pico": ("p", -12), "femto": ("f", -15), "atto": ("a", -18),
    "zepto": ("z", -21), "yocto": ("y", -24),
}  # fmt: skip
"""Of the metre: its symbol, and the power of ten."""

INCH, LIGHT_YEAR, ASTRONOMICAL = 25_400.0, 9_460_730_472_580_800e6, 149_597_870_700e6
MICROMETRES = {
    **{
        name: float(f"1e{power + 6}")
        for word, (symbol, power) in PREFIXES.items()
        for name in (f"{symbol}m", f"{word}meter", f"{word}metre")
    },
    **dict.fromkeys(("μm", "um", "\\u00b5m", "micron", "microns"), 1.0),
    **dict.fromkeys(("å", "angstrom", "ångström", "ångstrom"), 1e-4),
    "in": INCH, "inch": INCH, "thou": INCH / 1000, "pt": INCH / 72, "li": INCH / 12,
    "ft": 12 * INCH, "foot": 12 * INCH, "yd": 36 * INCH, "yard": 36 * INCH,
    "mi": 63_360 * INCH, "mile": 63_360 * INCH, "ua": ASTRONOMICAL, "ly": LIGHT_YEAR,
    **dict.fromkeys(("pc", "parsec"), ASTRONOMICAL * 648_000 / math.pi),
}  # fmt: skip
"""Units of length: the symbols of OME-XML, the words of OME-Zarr, and what else files have."""

RESOLUTION_UNITS = {2: 25_400.0, 3: 1e4}  # inch, centimetre


def micrometres(value: object, unit: object) -> float | None:
    """Return a length in micrometres; None if it is none, or the unit is unknown."""
    name = str(unit).strip()  # megametres differ from millimetres in their case alone
    factor = MICROMETRES.get(name) or MICROMETRES.get(name.lower())
    try:
        length = float(value) * (factor or math.nan)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return length if math.isfinite(length) and length > 0 else None


def tiff_pixel_size(file: Any, series: Any, axes: Axes) -> PixelSize:
    """Return the pixel size of a series of a `tifffile.TiffFile`: OME's, ImageJ's, or the tags'.

    A size stays at the axis that has it, whatever given axes call that one. What has none, such as
    time points that are taken for sections, takes that of its name: there is one for the file.
    """
    of_file = dict(zip("ZYX", _by_names(file, series), strict=True))
    places = zip("ZYX", (axes.z, axes.y, axes.x), strict=True)
    z, y, x = (
        of_file.get("" if k is None else series.axes[k], of_file[name]) for name, k in places
    )
    return z, y, x


def _by_names(file: Any, series: Any) -> PixelSize:
    from tifffile import xml2dict

    try:
        if file.is_ome and file.ome_metadata:
            return _ome(xml2dict(file.ome_metadata), file.series.index(series))
        page = series.keyframe
        per = [_ratio(page.tags.get(name)) for name in ("YResolution", "XResolution")]
        if file.is_imagej:
            about: dict[str, Any] = file.imagej_metadata or {}
            unit = about.get("unit")  # of X, and of the axes that do not name another
            depth = micrometres(about.get("spacing"), about.get("zunit", unit))
            units = about.get("yunit", unit), unit
            y, x = (micrometres(1 / p, u) if p else None for p, u in zip(per, units, strict=True))
            return depth, y, x
        tag = page.tags.get("ResolutionUnit")
        factor = RESOLUTION_UNITS.get(int(tag.value)) if tag is not None else None
        y, x = (factor / p if factor and p else None for p in per)
        described = [one for one in file.series if one.kind == "shaped"]
        about = file.shaped_metadata[described.index(series)] if series in described else {}
        return micrometres(about.get("spacing"), about.get("unit")), y, x
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError):
        return UNKNOWN_SIZE  # a damaged entry, or XML, is no reason to refuse the pixels


def _ome(document: dict[str, Any], index: int) -> PixelSize:
    images = document["OME"]["Image"]
    pixels = (images if isinstance(images, list) else [images])[index]["Pixels"]
    z, y, x = (
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    return z, y, x


def _ratio(tag: Any) -> float | None:
    """Read a resolution tag, a fraction, as pixels per unit."""
    if tag is None:
        return None
    above, below = tag.value
    return above / below if above > 0 and below > 0 else None
