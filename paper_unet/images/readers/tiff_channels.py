"""What the channels of a TIFF file are called, and whether its values are labels."""

from __future__ import annotations

from typing import Any

from paper_unet.images.readers.tiff_page import COLOURS, RGB, photometric
from paper_unet.images.said import SAID, says_labels

MOST_CHANNELS = 1000
"""Names that are looked at."""


def channel_names(file: Any, series: Any) -> tuple[str, ...]:
    """Return the names of the channels of a series of a `tifffile.TiffFile`; () if there are none.

    Those of OME-XML, of ImageJ's labels of a stack that has channels alone, or of RGB.
    """
    from tifffile import xml2dict

    page = series.keyframe
    try:
        if file.is_ome and file.ome_metadata and "C" in series.axes:
            return _ome(xml2dict(file.ome_metadata), file.series.index(series))
        if "S" in series.axes and photometric(page) == RGB:
            return COLOURS[: page.samplesperpixel]
        labels = (file.imagej_metadata or {}).get("Labels") if file.is_imagej else None
        if labels and series.axes.replace("Y", "").replace("X", "") == "C":
            return tuple(str(label) for label in labels[:MOST_CHANNELS])
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError):
        pass  # damaged names are no reason to refuse the pixels
    return ()


def _ome(document: dict[str, Any], index: int) -> tuple[str, ...]:
    images = document["OME"]["Image"]
    pixels = (images if isinstance(images, list) else [images])[index]["Pixels"]
    found = pixels.get("Channel") or []
    channels = found if isinstance(found, list) else [found]
    return tuple(str(one.get("Name") or "") for one in channels[:MOST_CHANNELS])


def labels_said(file: Any, series: Any) -> bool:
    """Whether a TIFF that this software wrote says that the values of a series are labels."""
    from tifffile import xml2dict

    try:
        if file.is_ome and file.ome_metadata:
            images = xml2dict(file.ome_metadata)["OME"]["Image"]
            one = (images if isinstance(images, list) else [images])[file.series.index(series)]
            return says_labels(one.get("Description"))
        if file.is_imagej:
            return says_labels((file.imagej_metadata or {}).get(SAID))
        described = [one for one in file.series if one.kind == "shaped"]
        return series in described and says_labels(
            file.shaped_metadata[described.index(series)].get(SAID)
        )
    except (ValueError, TypeError, LookupError, AttributeError, SyntaxError):
        return False  # a damaged entry says nothing
