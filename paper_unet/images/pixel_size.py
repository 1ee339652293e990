"""The size of a pixel, as the formats write it, in micrometres."""

from __future__ import annotations

import math
from typing import Any

from paper_unet.images.axes import Axes
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize

MICROMETRES = {
    "m": 1e6, "meter": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "\\u00b5m": 1.0, "nm": 1e-3, "nanometer": 1e-3, "å": 1e-4, "angstrom": 1e-4,
    "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
RESOLUTION_UNITS = {2: 25_400.0, 3: 1e4}  # inch, centimetre


def micrometres(value: object, unit: object) -> float | None:
    """Return a length in micrometres; None if it is none, or the unit is unknown."""
    factor = MICROMETRES.get(str(unit).strip().lower())
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
