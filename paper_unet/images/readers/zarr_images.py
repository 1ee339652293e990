"""Which array of a Zarr store is the image, and what its axes are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.errors import InputError
from paper_unet.images.axes import letter, unnamed
from paper_unet.images.pixel_size import micrometres

AXIS_TYPES = {"channel": "C", "time": "T"}
BEFORE_AXES = (None, "0.1", "0.2")
"""Versions of OME-Zarr that name no axes: they are always T, C, Z, Y and X."""

SHOWN = 8
"""Names, at most, in a list of what a store holds."""

Image = tuple[Any, str, list[float | None]]
"""An array, the letters of its axes and their pixel sizes, micrometres."""


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
    if not _attributes(group).get("multiscales"):
        names = list(_images(group))
        if len(names) != 1:
            raise InputError(f"{path}: a Zarr group and no OME-Zarr image; {_held(group, names)}")
        group = group[names[0]]
    image = _attributes(group)["multiscales"][0]
    dataset = image["datasets"][0]
    array = group[dataset["path"]]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes") or ()]
    if not axes and "ome" not in group.attrs and image.get("version") in BEFORE_AXES:
        letters = "TCZYX" if array.ndim == 5 else unnamed(array.ndim)
        return array, letters, [None] * array.ndim
    if not axes:
        raise ValueError("no 'axes'")
    if array.ndim != len(axes):
        raise ValueError(f"{len(axes)} axes for an array of shape {array.shape}")
    letters = "".join(AXIS_TYPES.get(str(axis.get("type"))) or letter(axis["name"])
                      for axis in axes)  # fmt: skip
    return array, letters, _pixel_size(axes, (dataset, image))


def _attributes(group: Any) -> dict[str, Any]:
    """Return what OME-Zarr says of a group: since version 0.5 under a name of its own."""
    found: dict[str, Any] = group.attrs.get("ome", group.attrs)
    return found


def _images(group: Any) -> Iterator[str]:
    """Yield the paths of the images in a group, as a plate or bioformats2raw has them."""
    import zarr

    about = _attributes(group)
    if "plate" in about:
        for well in about["plate"]["wells"]:
            for one in _attributes(group[well["path"]])["well"]["images"]:
                yield f"{well['path']}/{one['path']}"
    elif "well" in about:
        yield from (str(one["path"]) for one in about["well"]["images"])
    else:
        members = (item for item in group.members(max_depth=1) if isinstance(item[1], zarr.Group))
        yield from sorted(
            (name for name, one in members if _attributes(one).get("multiscales")), key=_by_number
        )


def _by_number(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _held(group: Any, images: list[str]) -> str:
    """Return what a group holds, and what to give."""
    import zarr

    if images:
        return f"it holds {len(images)}, give the path of one: {_listed(images)}"
    members = group.members(max_depth=3)
    names = sorted(name for name, member in members if isinstance(member, zarr.Array))
    if not names:
        return "it holds no array: copy or export it again"
    return f"give the path of one of its arrays: {_listed(names)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _pixel_size(axes: list[dict[str, Any]], owners: tuple[Any, ...]) -> list[float | None]:
    """Multiply the scales of a level and of the whole image, micrometres; none if damaged."""
    scale = np.ones(len(axes))
    try:
        for owner in owners:
            for transform in owner.get("coordinateTransformations") or []:
                if transform["type"] == "scale":
                    for k, factor in zip(range(len(axes)), transform["scale"], strict=True):
                        scale[k] *= float(factor)
    except (ValueError, TypeError, LookupError, AttributeError):
        return [None] * len(axes)
    return [micrometres(length, axis.get("unit")) for length, axis in zip(scale, axes, strict=True)]
