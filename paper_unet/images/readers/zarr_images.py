"""Which array of a Zarr store is the image, and what its axes are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import letter, unnamed
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.readers.zarr_names import DOCUMENTS, inside, joined

AXIS_TYPES = {"channel": "C", "time": "T"}
BEFORE_AXES = (None, "0.1", "0.2")
"""Versions of OME-Zarr that name no axes: they are always T, C, Z, Y and X."""

SHOWN = 8
"""Names, at most, in a list of what a store holds."""

MOST_WELLS, MOST_LOOKED, MOST_FOUND = 400, 10_000, 1000
"""Wells whose images are counted, and names and groups of a store that are looked at to say what
it holds."""


class Along(NamedTuple):
    """Where pixels lie along an axis: how far apart, and the first one, in the unit of the axis."""

    step: float = 1.0
    start: float = 0.0
    unit: object = None

    @property
    def size(self) -> float | None:
        """Of a pixel, micrometres; None where it is not known."""
        return micrometres(self.step, self.unit)


class Image(NamedTuple):
    """The array of an image, and what its store says of it.

    Attributes
    ----------
    array : zarr.Array
    axes : str
        A letter for each.
    along : sequence of Along
        Where its pixels lie along each axis; empty where nothing is said.
    channels : tuple of str
        Their names, as far as there are any.
    labels : bool
        Whether it is a label image.
    """

    array: Any
    axes: str
    along: Sequence[Along] = ()
    channels: tuple[str, ...] = ()
    labels: bool = False


def axes_of(array: Any) -> str:
    """Return the axes of a plain array: as it names them, else the last ones of Z, Y and X."""
    names = getattr(array.metadata, "dimension_names", None)  # version 3
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")  # xarray's convention for version 2
    named = isinstance(names, list | tuple) and len(names) == array.ndim and all(names)
    # xarray's own names for axes that have none
    if not named or all(re.fullmatch(r"dim_?\d+", str(name)) for name in names):
        return unnamed(array.ndim)
    return "".join(letter(name) for name in names)


def ome_image(path: Path, group: Any) -> Image:
    """Return the full-resolution array of an OME-Zarr image, its axes and its pixel size.

    Parameters
    ----------
    path : Path
        For messages.
    group : zarr.Group
        The image; or what holds images, such as a plate or what bioformats2raw writes. If it holds
        one, this is taken.

    Raises
    ------
    InputError
        If there is no image, or several.
    """
    import zarr

    if not says_image(group):
        names, many = _images(group)
        if many != 1:
            raise InputError(
                f"{path}: a Zarr group and no OME-Zarr image; {_held(group, names, many)}"
            )
        group = zarr.open_group(  # anew: `group[...]` would use copies of its arrays' documents
            group.store, path=joined(group.path, names[0]), mode="r",
            zarr_format=group.metadata.zarr_format, use_consolidated=False,
        )  # fmt: skip
    image = _attributes(group)["multiscales"][0]
    dataset = image["datasets"][0]
    array = group[_inside(path, dataset["path"])]
    channels = _channels(_attributes(group))
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes") or ()]
    if not axes and "ome" not in group.attrs and image.get("version") in BEFORE_AXES:
        letters = "TCZYX" if array.ndim == 5 else unnamed(array.ndim)
        return Image(array, letters, [Along()] * array.ndim, channels)
    if not axes:
        raise ValueError("no 'axes'")
    if array.ndim != len(axes):
        raise ValueError(f"{len(axes)} axes for an array of shape {array.shape}")
    letters = "".join(AXIS_TYPES.get(str(axis.get("type"))) or letter(axis["name"])
                      for axis in axes)  # fmt: skip
    of_labels = "image-label" in _attributes(group)
    return Image(array, letters, places_along(axes, (dataset, image)), channels, of_labels)


def says_image(group: Any) -> bool:
    """Whether a group is itself an OME-Zarr image."""
    return bool(_attributes(group).get("multiscales"))


def _inside(path: Path, name: object) -> str:
    """Return the path of what a group names in itself; refuse one that leads elsewhere."""
    found = inside(name)
    if found is None:
        raise InputError(
            f"{path}: names {shown(name)} as a part of it, which leads elsewhere; copy or export "
            "it again"
        )
    return found


def _channels(about: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the channels; damaged ones are no reason to refuse the pixels."""
    try:
        return tuple(str(one.get("label") or "") for one in about["omero"]["channels"])
    except (LookupError, TypeError, AttributeError):
        return ()


def _attributes(group: Any) -> dict[str, Any]:
    """Return what OME-Zarr says of a group: since version 0.5 under a name of its own."""
    found: dict[str, Any] = group.attrs.get("ome", group.attrs)
    return found


def _images(group: Any) -> tuple[list[str], int]:
    """Return the paths of images in a group, and how many there are, as far as it is known.

    The group is a plate, a well, or what bioformats2raw writes: images by their numbers.
    """
    about = _attributes(group)
    if "plate" in about:
        wells = [str(well["path"]) for well in about["plate"]["wells"]]
        looked = wells if len(wells) <= MOST_WELLS else wells[:SHOWN]
        found = [f"{well}/{name}" for well in looked for name in _of_well(group[well])]
        return found, len(found) if looked is wells else max(len(wells), len(found))
    found = _of_well(group) if "well" in about else sorted(_images_below(group), key=_by_number)
    return found, len(found)


def _of_well(well: Any) -> list[str]:
    return [str(one["path"]) for one in _attributes(well)["well"]["images"]]


def _images_below(group: Any) -> Iterator[str]:
    import zarr

    for name in _folders(group, "", 1):
        one = group[name]
        if isinstance(one, zarr.Group) and says_image(one):
            yield name


def _folders(group: Any, folder: str, deep: int) -> Iterator[str]:
    """Yield the paths of the groups and arrays in a group, of so many levels, from the top."""
    files, waiting, looked, found = group.store, [(folder, 1)], 0, 0
    while waiting:
        here, level = waiting.pop(0)
        for entry in files.listed(joined(group.path, here)):
            looked += 1
            if looked > MOST_LOOKED or found == MOST_FOUND:
                return
            name = joined(here, entry.name)
            if entry.kind != "folder":
                continue
            documents = (joined(group.path, name, document) for document in DOCUMENTS)
            if any(files.stamp(key) is not None for key in documents):
                found += 1
                yield name
                if level < deep:
                    waiting.append((name, level + 1))


def _by_number(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _held(group: Any, images: list[str], many: int) -> str:
    """Return what a group holds, and what to give."""
    import zarr

    if images:
        wells = "" if many == len(images) else " or more"
        return f"it holds {many}{wells}, give the path of one: {_listed(images)}"
    if not group.store.supports_listing:
        return "what it holds cannot be listed over a network; give the path of an image in it"
    names = sorted(name for name in _folders(group, "", 3) if isinstance(group[name], zarr.Array))
    if not names:
        return "it holds no array: copy or export it again"
    return f"give the path of one of its arrays: {_listed(names)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def places_along(axes: list[dict[str, Any]], owners: tuple[Any, ...]) -> list[Along]:
    """Apply what a level and then the whole image say of places; nothing if it is damaged."""
    found = [Along(unit=axis.get("unit")) for axis in axes]
    try:
        for owner in owners:
            for transform in owner.get("coordinateTransformations") or []:
                if transform["type"] == "scale":
                    pairs = zip(found, map(float, transform["scale"]), strict=True)
                    found = [Along(one.step * k, one.start * k, one.unit) for one, k in pairs]
                elif transform["type"] == "translation":
                    pairs = zip(found, _shifts(transform, len(axes)), strict=True)
                    found = [one._replace(start=one.start + k) for one, k in pairs]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return [Along()] * len(axes)
    return [one if math.isfinite(one.start) else one._replace(start=0.0) for one in found]


def _shifts(transform: Any, count: int) -> list[float]:
    """Return how far a translation leads; nowhere if it is damaged, which leaves the scale."""
    try:
        found = [float(one) for one in transform["translation"]]
    except (ValueError, TypeError, LookupError, OverflowError):
        return [0.0] * count
    return found if len(found) == count else [0.0] * count
