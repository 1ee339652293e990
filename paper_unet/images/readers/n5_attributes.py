"""Which data set of an N5 store is the image, and what it says of its axes and its pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import Axes, letter, unnamed
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.readers.foreign import LARGEST_DOCUMENT, describes, json_of
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize
from paper_unet.system.files import open_regular

DOCUMENT, SUFFIX = "attributes.json", ".n5"
MOST_FOLDERS, MOST_NAMED, MOST_AXES, MOST_ABOVE = 10_000, 12, 8, 16
"""Folders that are looked through, data sets that a message names, axes that a data set may have,
and folders above one that are looked at."""

MOST_PIXELS = 2**60
TYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64",
)  # fmt: skip
LEVEL = re.compile(r"s\d+")


@dataclass(frozen=True)
class DataSet:
    """What the attributes of a data set say; all shapes are in the order of numpy.

    Attributes
    ----------
    folder : Path
    shape, block : tuple of int
    dtype : numpy.dtype
    attributes : dict
        Its own.
    above : dict
        Those of the group that it is in.
    """

    folder: Path
    shape: tuple[int, ...]
    block: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: dict[str, Any]
    above: dict[str, Any]


def is_n5(path: Path) -> bool:
    """Whether a folder is an N5 store, or in one."""
    if not path.is_dir():
        return False
    if describes(path / DOCUMENT, "dimensions", "n5"):
        return True
    above = [path, *path.absolute().parents][:MOST_ABOVE]
    return any(
        one.suffix.lower() == SUFFIX or "n5" in (json_of(one / DOCUMENT) or {}) for one in above
    )


def find_data_set(path: Path) -> DataSet:
    """Return the data set of a folder, or the only one in it that can be a stack.

    Raises
    ------
    InputError
        If there is none, or several: then it lists them.
    """
    own = _attributes(path)
    if "dimensions" in own:
        return _described(path, path, own)
    names = list(_data_sets(path))
    found = [name for name in names if not _is_smaller(name, names)]
    stacks = [name for name in found if len(_dimensions(path / name)) == 3]
    for few in (stacks, found):
        if len(few) == 1:
            return _described(path, path / few[0], _attributes(path / few[0]))
    raise InputError(f"{path}: an N5 store that holds {_listed(path, found)}")


def _attributes(folder: Path) -> dict[str, Any]:
    """Return what a folder's document says; nothing if there is none."""
    document = folder / DOCUMENT
    if not document.exists():
        return {}
    found = json_of(document)
    if found is None:
        with open_regular(document):  # may it be read?
            pass
        raise InputError(
            f"{document}: is no JSON document of less than {LARGEST_DOCUMENT} bytes; copy or "
            "export the store again"
        )
    return found


def _data_sets(path: Path) -> Iterator[str]:
    """Yield the names of the data sets in a folder and in those in it; links are not followed."""
    for folder, folders, files in islice(os.walk(path), MOST_FOLDERS):
        folders.sort()
        if DOCUMENT in files and _dimensions(Path(folder)):
            folders.clear()  # those below hold its blocks
            yield Path(folder).relative_to(path).as_posix()


def _dimensions(folder: Path) -> list[Any]:
    found = (json_of(folder / DOCUMENT) or {}).get("dimensions")
    return found if isinstance(found, list) else []


def _is_smaller(name: str, names: Sequence[str]) -> bool:
    """Whether it is a smaller version, ``s1``, of a data set ``s0``."""
    above, _, last = name.rpartition("/")
    first = f"{above}/s0" if above else "s0"
    return bool(LEVEL.fullmatch(last)) and name != first and first in names


def _listed(path: Path, names: Sequence[str]) -> str:
    if not names:
        return "no data set; give the folder of one, which has dimensions in its attributes.json"
    shapes = ["x".join(map(str, _dimensions(path / name)[::-1])) for name in names[:MOST_NAMED]]
    pairs = [f"{name} ({shape})" for name, shape in zip(names, shapes, strict=False)]
    more = ", ..." if len(names) > MOST_NAMED else ""
    return (
        f"{len(names)} data sets; name one of them, as in {path / names[0]}: "
        f"{shown(', '.join(pairs), 500)}{more}"
    )


def _described(path: Path, folder: Path, attributes: dict[str, Any]) -> DataSet:
    shape = _sizes(path, attributes, "dimensions", 0)
    block = _sizes(path, attributes, "blockSize", 1)
    name = str(attributes.get("dataType")).lower()
    if len(shape) != len(block):
        raise InputError(f"{path}: {len(shape)} dimensions and blocks of {len(block)}")
    if name not in TYPES:
        raise InputError(
            f"{path}: values of type {shown(name)}; accepted are {', '.join(TYPES)}: save it as "
            "one of these"
        )
    above = folder.parent
    group = json_of(above / DOCUMENT) or {}
    return DataSet(folder, shape, block, np.dtype(name), attributes, group)


def _sizes(path: Path, attributes: dict[str, Any], name: str, least: int) -> tuple[int, ...]:
    """Return what an attribute has for each axis, in the order of numpy."""
    values = attributes.get(name)
    sound = isinstance(values, list) and 1 <= len(values) <= MOST_AXES
    if not (sound and values and all(type(k) is int and least <= k <= MOST_PIXELS for k in values)):
        raise InputError(
            f"{path}: its {name} are {shown(values)}, which no sound data set has; copy or export "
            "it again"
        )
    return tuple(reversed(values))


def axes_of(found: DataSet) -> str:
    """Return one letter for each axis: by an attribute, else the last three are Z, Y and X."""
    count = len(found.shape)
    named = _letters(found.attributes).get("axes")
    for names in (_backwards(named), _transform(found).get("axes")):
        if isinstance(names, list) and len(names) == count and all(names):
            return "".join(letter(name) for name in names)
    return unnamed(count)


def _backwards(values: Any) -> Any:
    """Return a list in the order of N5, X first, in that of numpy; text, such as a unit, stays."""
    return values[::-1] if isinstance(values, list) else values


def _letters(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes of which the axes, if they are text such as ``xyz``, are a list."""
    axes = attributes.get("axes")
    return {**attributes, "axes": list(axes)} if isinstance(axes, str) else attributes


def _transform(found: DataSet) -> dict[str, Any]:
    """Return what says names, scale and units, Z first, as the COSEM data have it."""
    about = found.attributes.get("transform")
    if not isinstance(about, dict):
        about = _of_multiscales(found)
    about = _letters(about)
    if str(about.get("ordering", "C")).upper() == "F":
        return {name: _backwards(value) for name, value in about.items()}
    return about


def _of_multiscales(found: DataSet) -> dict[str, Any]:
    try:
        for one in found.above["multiscales"][0]["datasets"]:
            if one["path"] == found.folder.name and isinstance(one["transform"], dict):
                return dict(one["transform"])
    except (LookupError, TypeError):
        pass
    return {}


def pixel_size_of(found: DataSet, axes: Axes) -> PixelSize:
    """Return the size of a pixel, by whichever of the attributes in use is there."""
    factors = _backwards(found.attributes.get("downsamplingFactors"))
    transform = _transform(found)
    known = (
        _by_attributes(found.attributes, len(found.shape)),
        _lengths(transform.get("scale"), transform.get("units"), len(found.shape)),
        _by_attributes(found.above, len(found.shape), factors),
    )
    for lengths in known:
        z, y, x = (None if k is None else lengths[k] for k in (axes.z, axes.y, axes.x))
        if (z, y, x) != UNKNOWN_SIZE:
            return z, y, x
    return UNKNOWN_SIZE


def starts_of(found: DataSet, axes: Axes) -> tuple[list[Any], list[Any]]:
    """Return where the first pixel lies along Z, Y and X, as COSEM says it, and the units."""
    about, count = _transform(found), len(found.shape)
    starts, units = about.get("translate"), about.get("units")
    if not isinstance(starts, list) or len(starts) != count:
        starts = [None] * count
    each = units if isinstance(units, list) and len(units) == count else [units] * count
    places = [k for k in (axes.z, axes.y, axes.x) if k is not None]
    nothing = [None] * (3 - len(places))
    return [*nothing, *(starts[k] for k in places)], [*nothing, *(each[k] for k in places)]


def _by_attributes(
    attributes: dict[str, Any], count: int, factors: Any = None
) -> list[float | None]:
    """Return the lengths, micrometres, that attributes in the order of N5 say."""
    about = attributes.get("pixelResolution")
    if isinstance(about, dict):  # of n5-viewer, with its unit, or else in micrometres
        values, units = about.get("dimensions"), _backwards(about.get("unit", "um"))
    elif about is not None:
        values, units = about, "um"
    else:  # of tensorstore, with units, or of Paintera, in nanometres
        values = attributes.get("resolution")
        units = _backwards(attributes.get("units")) or "nm"
    return _lengths(_backwards(values), units, count, factors)


def _lengths(values: Any, units: Any, count: int, factors: Any = None) -> list[float | None]:
    if not isinstance(values, list) or len(values) != count:
        return [None] * count
    each = units if isinstance(units, list) and len(units) == count else [units] * count
    found = [micrometres(value, unit) for value, unit in zip(values, each, strict=True)]
    if not isinstance(factors, list) or len(factors) != count:
        return found
    try:
        return [None if k is None else k * float(f) for k, f in zip(found, factors, strict=True)]
    except (TypeError, ValueError):
        return [None] * count
