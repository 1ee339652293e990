"""Labels of an OME-Zarr image: they lie in its folder ``labels`` and are listed there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import zarr

from paper_unet.errors import InputError
from paper_unet.images.outputs.kinds import FORMATS, image_of
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.zarr_images import Along, Image, ome_image, says_image
from paper_unet.images.readers.zarr_store import RegularFiles
from paper_unet.images.stack import PixelSize


def make_labels(
    path: str | Path, version: str, shape: tuple[int, int, int], pixel_size: PixelSize
) -> PixelSize:
    """Make the folder that a label image is to lie in; see `paper_unet.images.make_labels`."""
    path = Path(path)
    image = image_of(path)
    if image is None:
        return pixel_size
    found = next(kind for name, kind in FORMATS.items() if (image / name).is_file())
    if found != (2 if version == "0.4" else 3):
        wanted = "0.4" if found == 2 else "0.5"
        raise InputError(
            f"{image}: is Zarr of version {found}, so its labels are OME-Zarr {wanted}; give "
            f"`ome_zarr` {wanted}, or a name elsewhere"
        )
    about = _image(image)
    along = {} if about is None else _along(about)
    lengths = {} if about is None else dict(zip(about.axes, about.array.shape, strict=True))
    whole = shape if about is None else tuple(lengths.get(axis, 1) for axis in "ZYX")
    if whole != shape:
        theirs, ours = (" x ".join(map(str, sides)) for sides in (whole, shape))
        raise InputError(
            f"{path}: would be {ours}, and the image that they are labels of is {theirs}; its "
            "labels are as large as it is: take all of it (leave `slices` out), or give a name "
            "elsewhere"
        )
    if not path.parent.exists():
        zarr.create_group(path.parent, zarr_format=found, attributes=_listing(found, []))
    z, y, x = (
        along[axis].size if size is None and axis in along else size
        for axis, size in zip("ZYX", pixel_size, strict=True)
    )
    return z, y, x


def remove_empty(folder: Path) -> None:
    """Remove a folder that `make_labels` has made, unless anything else lies in it."""
    with suppress(OSError):
        found = list(folder.iterdir())
        if {path.name for path in found} <= OF_LISTING:
            for path in found:
                path.unlink()
            folder.rmdir()


def places_in(path: Path, pixel_size: PixelSize) -> list[tuple[float, float]] | None:
    """Return where the pixels of labels lie in the image that has them; None if none has.

    Parameters
    ----------
    path : Path
        Of the labels.
    pixel_size : tuple of float or None, (z, y, x)
        Theirs, in micrometres.

    Returns
    -------
    list of (float, float) or None
        Along z, y and x, how far apart they are, and where the first one lies: in micrometres, or
        where their size is not known as the image has it.
    """
    image = image_of(path)
    about = None if image is None else _image(image)
    if about is None:
        return None
    along = _along(about)
    return [
        _place(size, along.get(axis, Along())) for axis, size in zip("ZYX", pixel_size, strict=True)
    ]


def _place(size: float | None, image: Along) -> tuple[float, float]:
    if size is None and image.size is None and image.step > 0:
        return image.step, image.start
    unit = image.size or size or 1.0
    return size or 1.0, image.start * unit / image.step if image.step else 0.0


def _along(image: Image) -> dict[str, Along]:
    return dict(zip(image.axes, image.along, strict=True)) if image.along else {}


def _image(image: Path) -> Image | None:
    """Return what is said of an image; None of a Zarr that is none, where ``labels`` is a name."""
    with reading(image, "the OME-Zarr metadata", "the store is damaged or unfinished"):
        group = zarr.open(RegularFiles(image, read_only=True), mode="r", use_consolidated=False)
        if not isinstance(group, zarr.Group) or not says_image(group):
            return None
        return ome_image(image, group)


def register(path: Path) -> None:
    """List a label image in the folder ``labels`` that it lies in, if it does."""
    if image_of(path) is None:
        return
    group = zarr.open_group(path.parent, mode="r+")
    kind = group.metadata.zarr_format
    said: Any = group.attrs.get("ome", {}) if kind == 3 else group.attrs
    names = said.get("labels") or []
    if path.name not in names:
        group.attrs.update(_listing(kind, [*names, path.name]))


OF_LISTING = {*FORMATS, ".zgroup"}
"""Documents of a folder of labels that are listed in it."""


def _listing(kind: int, names: list[str]) -> dict[str, Any]:
    return {"labels": names} if kind == 2 else {"ome": {"version": "0.5", "labels": names}}
