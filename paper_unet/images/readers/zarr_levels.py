"""What an OME-Zarr image says of its levels, each of which may be given itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_unet.images.readers.foreign import json_of, object_of
from paper_unet.images.readers.zarr_images import Along, places_along
from paper_unet.images.readers.zarr_names import inside, joined
from paper_unet.system.address import Address

if TYPE_CHECKING:
    from paper_unet.images.readers.zarr_store import Files

DOCUMENTS = "zarr.json", ".zattrs"
"""In which a group of version 3, or 2, says what it is."""

MOST_ABOVE = 3
"""Groups above an array that are asked whether it is a level of theirs."""


def places_above(path: Path | Address, files: Files, root: str, count: int) -> list[Along]:
    """Return where the pixels of an array lie by the image that it is a level of.

    Parameters
    ----------
    path : Path or Address
        Of the array; on a network nothing above it is looked at.
    files : Files
        What holds it.
    root : str
        Where in these it lies.
    count : int
        Of its axes.

    Returns
    -------
    list of Along
        One for each axis; none if it is no level, or what says so is damaged.
    """
    for attributes, name in () if isinstance(path, Address) else _above(path, files, root):
        try:
            for image in attributes.get("ome", attributes)["multiscales"]:
                for level in image["datasets"]:
                    if inside(level["path"]) == name and len(image["axes"]) == count:
                        return places_along(image["axes"], (level, image))
        except (LookupError, TypeError, AttributeError):
            continue
    return []


def _above(path: Path, files: Files, root: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the attributes of the groups that an array is in, and its path in each."""
    in_archive = bool(files.whole())
    parts = [part for part in root.split("/") if part] if in_archive else path.absolute().parts[1:]
    for k in range(1, min(MOST_ABOVE, len(parts)) + 1):
        if in_archive:
            above = joined(*parts[:-k])
            found = [object_of(files.read(joined(above, name))) for name in DOCUMENTS]
        else:
            found = [json_of(path.absolute().parents[k - 1] / name) for name in DOCUMENTS]
        of_3, of_2 = (one or {} for one in found)
        yield of_3.get("attributes") or of_2, "/".join(parts[-k:])
