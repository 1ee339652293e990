"""The smaller versions of an image that lie beside it: levels of OME-Zarr, N5, precomputed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paper_unet.images.readers.foreign import json_of
from paper_unet.images.readers.zarr_names import inside


def level_paths(path: Path) -> list[Path]:
    """Return where the smaller versions of an image are, by what its folder says; none if unsure.

    Parameters
    ----------
    path : Path
        Of an OME-Zarr image, a pyramid ``s0``, ``s1``, ... of an N5 store, or a precomputed volume;
        or anything else, of which there are none.

    Returns
    -------
    list of Path
        Each can be opened as a stack of its own.
    """
    try:
        return list(_named(path))
    except (LookupError, TypeError, AttributeError, ValueError):
        return []  # a damaged document: the image itself says so when it is opened


def _named(path: Path) -> Iterator[Path]:
    about: dict[str, Any] = json_of(path / "zarr.json") or {}
    said = about.get("attributes", {}).get("ome") or json_of(path / ".zattrs") or {}
    if "multiscales" in said:
        for dataset in said["multiscales"][0]["datasets"][1:]:
            yield path / _inside(dataset["path"])
        return
    volume = json_of(path / "info")
    if volume is not None:
        for scale in volume["scales"][1:]:
            yield path / _inside(scale["key"].strip("/"))
        return
    level = 1
    while (path / "s0" / "attributes.json").exists() and (path / f"s{level}").is_dir():
        yield path / f"s{level}"
        level += 1


def _inside(name: object) -> str:
    """Return the path of what a document names as a level; ValueError if it leads elsewhere."""
    found = inside(name)
    if not found:
        raise ValueError(f"{name} is no level")
    return found
