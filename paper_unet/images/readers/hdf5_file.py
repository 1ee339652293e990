"""Finding a data set in an HDF5 file, and what it says of its axes and the size of a pixel."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import Axes, letter, unnamed
from paper_unet.images.hdf5 import AXES_ATTRIBUTES, SIZE_ATTRIBUTES, library
from paper_unet.images.inside import file_of
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.foreign import HDF5, foreign, format_of_file
from paper_unet.images.said import SAID, says_labels
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize
from paper_unet.system.files import check_regular

LARGEST_ATTRIBUTE = 2**16
"""Bytes of an attribute that is looked at."""

MOST_OBJECTS, MOST_NAMED, MOST_LINKS = 10_000, 12, 32
"""Groups and data sets that are looked through, data sets that a message names, and soft links
that may lead to each other."""

TRUNCATED = re.compile(r"truncated file: eof = (\d+), .*stored_eof = (\d+)")


def open_file(path: Path, file: Path, through: BinaryIO | None = None) -> Any:
    """Open an HDF5 file to be read.

    Parameters
    ----------
    path : Path
        As it was given, for messages.
    file : Path
    through : BinaryIO, optional
        The same file, opened: it is read through this. Else the library takes it for the one that
        this process may have open already, with what it knew of that one.

    Raises
    ------
    InputError
        If it is none, or was cut short, or h5py is not installed.
    """
    h5py = library(path)
    if not check_regular(file):
        raise InputError(f"{path}: is empty; copy or export it again")
    with reading(path, "the file"):
        if not h5py.is_hdf5(file):
            found = format_of_file(file)
            if found not in (None, HDF5):
                raise foreign(path, str(found))
            raise InputError(f"{path}: is no HDF5 file, though its name says so; export it again")
        try:
            # other processes may read and write it; that it changes is seen in the end
            if through is not None:
                return h5py.File(through, "r", rdcc_nbytes=0)
            return h5py.File(file, "r", locking=False, rdcc_nbytes=0)
        except OSError as error:
            if cut := TRUNCATED.search(str(error)):
                raise InputError(
                    f"{path}: truncated: {cut[2]} bytes are declared and the file has {cut[1]}; "
                    "copy or export it again"
                ) from error
            raise


def find_data_set(path: Path, file: Any, name: str | None) -> Any:
    """Return the data set of a name, or the only one that can be a stack.

    Parameters
    ----------
    path : Path
        For messages.
    file : h5py.File
    name : str or None
        Without slashes around it; None or that of a group: the only one in it.

    Raises
    ------
    InputError
        If there is none, or several and no name: then it lists them.
    """
    h5py = library(path)
    found = _follow(path, file, name or "")
    if isinstance(found, h5py.Dataset):
        return found
    if not isinstance(found, h5py.Group):
        where = f"/{name} is nothing that holds pixels" if found is not None else f"has no /{name}"
        raise InputError(f"{path}: {where}; {_listed(path, _data_sets(h5py, file))}")
    inside = _data_sets(h5py, found)
    stacks = [one for one in inside if one.ndim == 3]
    if len(stacks) == 1:
        return stacks[0]
    if len(inside) == 1:
        return inside[0]
    many = "holds no data set of an image" if not inside else f"holds {len(inside)} data sets"
    raise InputError(f"{path}: {many}; {_listed(path, inside)}")


def _follow(path: Path, file: Any, name: str) -> Any:
    """Return what has a name, or None; links lead elsewhere in the file, and not out of it."""
    h5py = library(path)
    parts, links, found = deque(name.split("/")), 0, file
    while parts:
        part = parts.popleft()
        if not part:
            continue
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise InputError(
                f"{path}: {part} is a link into another file, {shown(link.filename)}; give that "
                "file, and the name of the data set in it"
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > MOST_LINKS:
                raise InputError(f"{path}: {part} is a link that leads to itself; give another")
            parts.extendleft(reversed(link.path.split("/")))
            found = file if link.path.startswith("/") else found
            continue
        found = found[part]
    return found


def _data_sets(h5py: Any, group: Any) -> list[Any]:
    """Return the data sets in a group, and in those in it, that can be stacks."""
    found: list[Any] = []
    seen = 0

    def visit(_: str, one: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(one, h5py.Dataset) and _can_be_stack(one):
            found.append(one)
        return True if seen == MOST_OBJECTS else None

    group.visititems(visit)
    return found


def _can_be_stack(one: Any) -> bool:
    try:
        numbers = one.dtype.kind in "uifb"
        return bool(numbers and one.shape is not None and 2 <= one.ndim <= 5 and 0 not in one.shape)
    except Exception:  # a type that is not known
        return False


def _listed(path: Path, found: Sequence[Any]) -> str:
    if not found:
        return "give a file that has one of two, three or four axes"
    names = [f"{one.name} ({one.dtype}, {one.shape})" for one in found[:MOST_NAMED]]
    more = ", ..." if len(found) > MOST_NAMED else ""
    first = file_of(path).name
    return f"name one of them, as in {first}:{found[0].name}: {', '.join(names)}{more}"


def check_storage(path: Path, data_set: Any) -> None:
    """Refuse a data set whose pixels lie in other files, or are another type than numbers."""
    h5py = library(path)
    settings = data_set.id.get_create_plist()
    if settings.get_layout() == h5py.h5d.VIRTUAL:
        raise InputError(
            f"{path}: is a virtual data set, put together from others, and one that is missing "
            "would be read as empty; write it into one data set (h5py: reads and writes it)"
        )
    if settings.get_external_count():
        name = Path(_text(settings.get_external(0)[0])).name
        raise InputError(
            f"{path}: its pixels lie in another file, {name}; write them into the HDF5 file "
            "(h5repack does)"
        )
    if data_set.shape is None or data_set.dtype.kind not in "uifb":
        raise InputError(
            f"{path}: holds {shown(data_set.dtype)} and no numbers; give the data set of an image"
        )


def axes_of(data_set: Any) -> str:
    """Return one letter for each axis: by an attribute, else the last three are Z, Y and X."""
    for attribute in AXES_ATTRIBUTES:
        names = _axis_names(_attribute(data_set, attribute))
        if len(names) == data_set.ndim and all(names):
            return "".join(letter(name) for name in names)
    return unnamed(data_set.ndim)


def _axis_names(value: Any) -> list[str]:
    """Return the names of the axes in an attribute: ``zyx``, an array of names, or vigra's JSON."""
    if isinstance(value, np.ndarray):
        return [_text(one) for one in value.ravel().tolist()]
    text = _text(value)
    if not text.lstrip().startswith("{"):
        return list(text)
    try:
        return [str(axis["key"]) for axis in json.loads(text)["axes"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _attribute(data_set: Any, name: str) -> Any:
    """Return a small attribute; None if there is none, or it is damaged."""
    try:
        if name not in data_set.attrs:
            return None
        about = data_set.attrs.get_id(name)
        if about.get_storage_size() > LARGEST_ATTRIBUTE:
            return None
        return data_set.attrs[name]
    except Exception:  # a damaged entry is no reason to refuse the pixels
        return None


def labels_said(data_set: Any) -> bool:
    """Whether a data set says that its values are labels."""
    return says_labels(_attribute(data_set, SAID))


def pixel_size_of(data_set: Any, axes: Axes) -> PixelSize:
    """Return the size of a pixel by the attributes of a data set."""
    for attribute, unit in SIZE_ATTRIBUTES.items():
        z, y, x = (micrometres(one, unit) for one in _along(data_set, attribute, axes))
        if (z, y, x) != UNKNOWN_SIZE:
            return z, y, x
    return UNKNOWN_SIZE


def starts_of(data_set: Any, axes: Axes) -> list[Any]:
    """Return where the first pixel lies along Z, Y and X, as CREMI says it (nanometres)."""
    return _along(data_set, "offset", axes)


def _along(data_set: Any, attribute: str, axes: Axes) -> list[Any]:
    """Return what an attribute has for Z, Y and X; None where it has nothing."""
    places = [axes.z, axes.y, axes.x]
    in_space = sorted(place for place in places if place is not None)
    values = np.ravel(_attribute(data_set, attribute)).tolist()
    by_place: dict[int, Any] = {}
    if len(values) == data_set.ndim:
        by_place = dict(enumerate(values))
    elif len(values) == len(in_space):
        by_place = dict(zip(in_space, values, strict=True))
    elif len(values) == 3 and axes.z is None:
        by_place = {min(axes.y, axes.x): values[1], max(axes.y, axes.x): values[2]}
    return [None if k is None else by_place.get(k) for k in places]


def check_block(path: Path, data_set: Any, size: int) -> bool:
    """Refuse a data set in one block that the file is too short for.

    Parameters
    ----------
    path : Path
        For messages.
    data_set : h5py.Dataset
        Without chunks.
    size : int
        Bytes of the file.

    Returns
    -------
    bool
        Whether its pixels were ever written.
    """
    if not data_set.id.get_storage_size():
        return False
    offset = data_set.id.get_offset()
    end = (offset or 0) + math.prod(data_set.shape) * data_set.dtype.itemsize
    if offset is not None and end > size:
        raise InputError(
            f"{path}: truncated: its pixels would end at byte {end} and the file has {size}; copy "
            "or export it again"
        )
    return True
