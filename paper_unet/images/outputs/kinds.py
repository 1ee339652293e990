"""The kinds of output, by the ending of a name, and which lie among the labels of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from paper_unet.errors import InputError
from paper_unet.images.outputs.output import Output

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")

OUTPUTS: dict[str, str | type[Output]] = {
    **dict.fromkeys(TIFF_SUFFIXES, "paper_unet.images.outputs.tiff:TiffOutput"),
    **dict.fromkeys((".h5", ".hdf5"), "paper_unet.images.outputs.hdf5:Hdf5Output"),
    ".zarr": "paper_unet.images.outputs.zarr:ZarrOutput",
    ".precomputed": "paper_unet.images.outputs.precomputed:PrecomputedOutput",
}
"""The class for each ending of a name; as text it is imported when it is used."""

LABELS = "labels"
FORMATS: dict[str, Literal[2, 3]] = {"zarr.json": 3, ".zattrs": 2}
"""Documents of a Zarr group, and its version."""


def image_of(path: Path) -> Path | None:
    """Return the OME-Zarr image that a label image is to lie in; None if it lies elsewhere."""
    image = path.parent.parent
    inside = path.parent.name == LABELS
    return image if inside and any((image / name).is_file() for name in FORMATS) else None


def check_format(path: Path) -> None:
    """Raise InputError if an output of another format is to lie among the labels of an image."""
    kind = OUTPUTS.get(path.suffix.lower(), OUTPUTS[".zarr"])
    if kind != OUTPUTS[".zarr"] and (image := image_of(path)) is not None:
        raise InputError(
            f"{path}: the labels of the OME-Zarr image {image.name} are Zarrs, too; end its name "
            "in .zarr, or give one elsewhere"
        )
