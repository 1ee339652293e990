"""Which chunks of a Zarr array are there: a reader takes one that is not for the fill value."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.readers.chunked import Present
from paper_unet.system.files import check_regular, open_regular

NOTHING = 2**64 - 1
"""What the index of a shard has in place of the offset of a chunk that is not there."""


COUNTED = 16
"""Bytes for each section while its chunks are counted."""


@dataclass(frozen=True)
class Layout:
    """How the files of chunks are named.

    Attributes
    ----------
    separator : {".", "/"}
        Between the numbers.
    top : {"", "c"}
        Before them.
    """

    separator: str
    top: str = ""

    def __str__(self) -> str:
        return self.separator.join([self.top] * bool(self.top) + ["0", "0", "0"])

    def encoding(self) -> dict[str, Any]:
        """Return it as the metadata of version 3 have it."""
        name = "default" if self.top else "v2"
        return {"name": name, "configuration": {"separator": self.separator}}


LAYOUTS = {
    2: (Layout("."), Layout("/")),
    3: (Layout("/", "c"), Layout(".", "c"), Layout("."), Layout("/")),
}
"""Those that a version may have."""


@dataclass
class Chunks(Present):
    """What is there of the files of chunks, or shards.

    Attributes
    ----------
    layout : Layout
    folders : list of str
        Names of folders where a chunk should be.
    """

    layout: Layout
    folders: list[str] = field(default_factory=list)


def layout_of(metadata: Any) -> Layout:
    """Return how the metadata of an array say that its chunks are named."""
    if metadata.zarr_format == 2:
        return Layout(metadata.dimension_separator)
    encoding = metadata.chunk_key_encoding
    return Layout(encoding.separator, "c" if encoding.name == "default" else "")


def as_named(array: Any, layout: Layout) -> Any:
    """Return an array whose chunks are named in another way than its metadata say."""
    import zarr

    metadata = array.metadata
    changed: dict[str, Any]
    if metadata.zarr_format == 2:
        changed = {"dimension_separator": layout.separator}
    else:
        changed = {"chunk_key_encoding": layout.encoding()}
    metadata = type(metadata).from_dict({**metadata.to_dict(), **changed})
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def present(folder: Path, array: Any, z: int | None) -> Chunks:
    """Find the chunks of an array, by the names that its metadata say, or else by others.

    Parameters
    ----------
    folder : Path
        Of the array.
    array : zarr.Array
    z : int or None
        Which axis is Z; None: there is none.

    Returns
    -------
    Chunks

    Raises
    ------
    InputError
        If there is none at all, or a folder where one should be.
    """
    grid = _grid(array.shape, array.shards or array.chunks)
    declared = layout_of(array.metadata)
    others = (one for one in LAYOUTS[array.metadata.zarr_format] if one != declared)
    for layout in (declared, *others):
        found = count_files(folder, grid, layout, z)
        found.deep = 1 if z is None else (array.shards or array.chunks)[z]
        if found.folders:
            raise InputError(
                f"{folder / found.folders[0]}: a folder where a chunk should be, a file; copy or "
                "export the store again"
            )
        if found.there:
            return _inside_shards(folder, array, found, grid, z) if array.shards else found
    raise InputError(
        f"{folder}: has no chunk of its {math.prod(grid)}: its pixels were never written, or not "
        "copied with it; copy or export it again"
    )


def _grid(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.ceil(length / one) for length, one in zip(shape, size, strict=True))


def count_files(folder: Path, grid: tuple[int, ...], layout: Layout, z: int | None) -> Chunks:
    """Count the files in a folder that have the names of chunks.

    Parameters
    ----------
    folder : Path
    grid : tuple of int
        How many there should be along each axis.
    layout : Layout
    z : int or None
        Which axis is Z; None: there is none.

    Returns
    -------
    Chunks
        As if each were one section deep.
    """
    along = 1 if z is None else grid[z]
    found = Chunks(np.zeros(along, np.int64), math.prod(grid) // max(along, 1), 1, layout)
    for index, entry in _entries(folder, grid, layout):
        if entry.is_dir():
            found.folders.append(os.path.relpath(entry.path, folder))
        elif entry.is_file():
            found.counts[0 if z is None else index[z]] += 1
        elif Path(entry.path).exists():
            check_regular(entry.path)
    return found


def _entries(
    folder: Path, grid: tuple[int, ...], layout: Layout
) -> Iterator[tuple[tuple[int, ...], os.DirEntry[str]]]:
    """Yield what has the name of a chunk, and which one."""
    if layout.separator == "/":
        yield from _nested(folder / layout.top, grid, ())
        return
    for entry in _listed(folder):
        parts = entry.name.split(".")
        if layout.top and parts[0] == layout.top:
            parts = parts[1:]
        elif layout.top:
            continue
        index = tuple(_number(part) for part in parts)
        if len(index) == len(grid) and all(0 <= k < n for k, n in zip(index, grid, strict=True)):
            yield index, entry


def _nested(
    folder: Path, grid: tuple[int, ...], index: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], os.DirEntry[str]]]:
    for entry in _listed(folder):
        k = _number(entry.name)
        if not 0 <= k < grid[len(index)]:
            continue
        if len(index) + 1 == len(grid):
            yield (*index, k), entry
        elif entry.is_dir():
            yield from _nested(Path(entry.path), grid, (*index, k))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _number(text: str) -> int:
    """Return a number as chunks are named by it; -1 if it is none."""
    return int(text) if text.isdecimal() and text == str(int(text)) else -1


def _inside_shards(
    folder: Path, array: Any, shards: Chunks, grid: tuple[int, ...], z: int | None
) -> Chunks:
    """Count the chunks inside the shards, by the index that each of these has."""
    codecs = array.metadata.codecs
    if len(codecs) != 1 or not hasattr(codecs[0], "index_location"):
        return shards
    inner = _grid(array.shape, array.chunks)
    many = _grid(array.shards, array.chunks)
    along = 1 if z is None else inner[z]
    found = Chunks(
        np.zeros(along, np.int64),
        math.prod(inner) // max(along, 1),
        1 if z is None else array.chunks[z],
        shards.layout,
    )
    first = str(codecs[0].index_location.value) == "start"
    tail = 4 * (len(codecs[0].index_codecs) - 1)  # of the checksum
    for index, entry in _entries(folder, grid, shards.layout):
        if not entry.is_file():
            continue  # a link that leads nowhere
        there = _read_index(Path(entry.path), many, first, tail)
        # those beyond the edge of the array are not needed
        spans = [min(count, n - k * count) for k, count, n in zip(index, many, inner, strict=True)]
        there = there[tuple(slice(0, span) for span in spans)]
        if z is None:
            found.counts[0] += there.sum()
        else:
            others = tuple(k for k in range(there.ndim) if k != z)
            start = index[z] * many[z]
            found.counts[start : start + spans[z]] += there.sum(axis=others)
    return found


def _read_index(file: Path, many: tuple[int, ...], first: bool, tail: int) -> NDArray[np.bool_]:
    size = 16 * math.prod(many)
    with open_regular(file) as shard:
        end = shard.seek(0, os.SEEK_END)
        shard.seek(0 if first else max(end - size - tail, 0))
        data = shard.read(size)
    if len(data) != size:
        raise InputError(
            f"{file}: a shard that was cut short, at {end} bytes; copy or export the store again"
        )
    offsets = np.frombuffer(data, "<u8").reshape(*many, 2)
    return np.asarray(offsets[..., 0] != NOTHING)
