"""A Zarr store under another address is known by what it holds: its names say nothing of that."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np

from paper_unet.images.readers.chunk_keys import Sought
from paper_unet.images.readers.zarr_chunks import layout_of
from paper_unet.images.readers.zarr_names import DOCUMENTS, joined
from paper_unet.system.address import HTTP, Address
from paper_unet.system.overlap import together

AT_ONCE: Final = 16
"""Files that are asked for at a time: each waits for a disk or a network."""

LOOKED: Final = 8
"""Chunks among which the one that is compared is chosen."""


def spread_keys(array: Any, taken: Mapping[int, int], most: int) -> list[str]:
    """Return the keys of so many files of chunks, evenly spread.

    Parameters
    ----------
    array : zarr.Array
    taken : mapping of int to int
        Axes along which one place is read, and which.
    most : int
        How many, at most.
    """
    sides = array.shards or array.chunks
    first = [taken.get(axis, 0) // side for axis, side in enumerate(sides)]
    grid = tuple(
        1 if axis in taken else math.ceil(length / sides[axis])
        for axis, length in enumerate(array.shape)
    )
    count = math.prod(grid)
    looked = min(count, most)
    keys = []
    for k in range(looked):
        index = np.unravel_index(k * (count - 1) // max(looked - 1, 1), grid)
        place = tuple(int(k) + start for k, start in zip(index, first, strict=True))
        keys.append(joined(array.path, array.metadata.encode_chunk_key(place)))
    return list(dict.fromkeys(keys))


def stamps(files: Any, keys: list[str]) -> dict[str, dict[str, Any] | None]:
    """Return what a store says of files, by their keys; None of those that are not there."""
    return dict(zip(keys, together(files.stamp, keys, AT_ONCE, "look"), strict=True))


def lies_in(
    place: Any, path: Path | Address, files: Any, array: Any, taken: Mapping[int, int]
) -> bool:
    """Whether an array lies in another store, as far as its document and a chunk tell.

    Wherever in that store: below each of the names that end the array's own, since addresses of
    the same thing end alike.

    Parameters
    ----------
    place : Files or RemoteStore
        The other store; one that does not refuse a chunk that is missing.
    path : Path or Address
        Of the store that is read.
    files : Files or RemoteStore
        That store.
    array : zarr.Array
    taken : mapping of int to int
        Axes along which one place is read, and which.

    Returns
    -------
    bool
        True if both have the same bytes.
    """
    place.largest = files.largest
    chunk = _a_chunk(files, array, taken)
    if chunk is None:
        return False
    here = [joined(array.path, name) for name in DOCUMENTS]
    keys = [next((key for key in here if files.read(key) is not None), chunk), chunk]
    parts = _parts(path, array.path)
    return any(
        all(_has(place, _below(tail, key, array.path), files.read(key)) for key in keys)
        for tail in ("/".join(parts[len(parts) - k :]) for k in range(len(parts) + 1))
    )


def _below(tail: str, key: str, folder: str) -> str:
    """Return the key of a file of an array's folder where that folder has another name."""
    return joined(tail, key[len(folder) :].lstrip("/"))


def _has(place: Any, key: str, data: bytes | None) -> bool:
    """Whether a store has a file of these bytes; one of another size is not read."""
    stamp = None if data is None else place.stamp(key)
    return stamp is not None and stamp["bytes"] == len(data or b"") and place.read(key) == data


def _a_chunk(files: Any, array: Any, taken: Mapping[int, int]) -> str | None:
    """Return the key of a chunk that is there: the largest of a few, as others may be empty."""
    found = stamps(files, spread_keys(array, taken, LOOKED))
    sizes = {key: stamp["bytes"] for key, stamp in found.items() if stamp is not None}
    if sizes:
        return max(sizes, key=lambda key: sizes[key])
    return next(_all_chunks(files, array), None)


def _all_chunks(files: Any, array: Any) -> Iterator[str]:
    """Yield the keys of all chunks that are there, where files can be listed."""
    sides = array.shards or array.chunks
    grid = tuple(-(-length // side) for length, side in zip(array.shape, sides, strict=True))
    sought = Sought(files, array.path, grid, layout_of(array.metadata), {})
    return (key for _, key, entry in sought.entries() if entry.kind == "file")


def _parts(path: Path | Address, inside: str) -> list[str]:
    """Return the names on the way to an array, from the outermost."""
    if isinstance(path, Address):
        way = unquote(path.path) if path.scheme in HTTP else path.path
    else:
        way = Path(os.path.realpath(path)).as_posix()
    return [part for part in posixpath.normpath(f"/{way}/{inside}").split("/") if part]
