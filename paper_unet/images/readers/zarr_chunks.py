"""Which chunks of a Zarr array are there: a reader takes one that is not for the fill value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest, SuffixByteRequest

from paper_unet.errors import InputError
from paper_unet.images.readers.chunk_keys import (
    LAYOUTS,
    Chunks,
    Layout,
    Sought,
    count_files,
    index_comes_first,
)

NOTHING = 2**64 - 1
"""What the index of a shard has in place of the offset of a chunk that is not there."""


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


def present(
    files: Any,
    array: Any,
    z: int | None,
    taken: Sequence[tuple[int, int]] = (),
    *,
    unwritten: bool = False,
) -> Chunks:
    """Find the chunks of an array, by the names that its metadata say, or else by others.

    Parameters
    ----------
    files : Files
        What holds the store.
    array : zarr.Array
    z : int or None
        Which axis is Z; None: there is none.
    taken : sequence of (int, int)
        Axes along which one place is read, and which: the chunks there are counted.
    unwritten : bool
        Whether there may be none at all.

    Returns
    -------
    Chunks

    Raises
    ------
    InputError
        If there is none at all, or a folder where one should be.
    """
    size = array.shards or array.chunks
    grid = _grid(array.shape, size)
    only = {axis: k // size[axis] for axis, k in taken}
    declared = layout_of(array.metadata)
    others = (one for one in LAYOUTS[array.metadata.zarr_format] if one != declared)
    for layout in (declared, *others):
        sought = Sought(files, array.path, grid, layout, only)
        found = count_files(sought, z)
        found.deep = 1 if z is None else size[z]
        if found.folders:
            raise InputError(
                f"{files.named(found.folders[0])}: a folder where a chunk should be, a file; copy "
                "or export the store again"
            )
        if found.there:
            if array.shards is None:
                return found
            return _inside_shards(files, sought, array, found, z, taken)
    if unwritten:
        return Chunks(np.zeros_like(found.counts), found.wanted, found.deep, declared)
    raise InputError(
        f"{files.named(array.path)}: has no chunk of its {math.prod(sought.wanted(grid, z))}: its "
        "pixels were never written, or not copied with it; copy or export it again"
    )


def _grid(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.ceil(length / one) for length, one in zip(shape, size, strict=True))


def _inside_shards(
    files: Any,
    sought: Sought,
    array: Any,
    shards: Chunks,
    z: int | None,
    taken: Sequence[tuple[int, int]],
) -> Chunks:
    """Count the chunks inside the shards, by the index that each of these has."""
    codecs = array.metadata.codecs
    if len(codecs) != 1 or not hasattr(codecs[0], "index_location"):
        return shards
    inner = _grid(array.shape, array.chunks)
    many = _grid(array.shards, array.chunks)
    along, wanted = sought.wanted(inner, z)
    found = Chunks(
        np.zeros(along, np.int64), wanted, 1 if z is None else array.chunks[z], shards.layout
    )
    first = index_comes_first(codecs[0])
    tail = 4 * (len(codecs[0].index_codecs) - 1)  # of the checksum
    within = {axis: k % array.shards[axis] // array.chunks[axis] for axis, k in taken}
    for index, key, entry in sought.entries():
        if entry.kind != "file":
            continue  # a link that leads nowhere
        there = _read_index(files, key, many, first, tail)
        # those beyond the edge of the array are not needed
        spans = [min(count, n - k * count) for k, count, n in zip(index, many, inner, strict=True)]
        there = there[tuple(
            slice(within[axis], within[axis] + 1) if axis in within else slice(0, span)
            for axis, span in enumerate(spans)
        )]  # fmt: skip
        if z is None:
            found.counts[0] += there.sum()
        else:
            others = tuple(k for k in range(there.ndim) if k != z)
            start = index[z] * many[z]
            found.counts[start : start + spans[z]] += there.sum(axis=others)
    return found


def _read_index(
    files: Any, key: str, many: tuple[int, ...], first: bool, tail: int
) -> NDArray[np.bool_]:
    size = 16 * math.prod(many)
    wanted = RangeByteRequest(0, size) if first else SuffixByteRequest(size + tail)
    data = (files.read(key, wanted) or b"")[:size]
    if len(data) != size:
        end = (files.stamp(key) or {"bytes": 0})["bytes"]
        raise InputError(
            f"{files.named(key)}: a shard that was cut short, at {end} bytes; copy or export the "
            "store again"
        )
    offsets = np.frombuffer(data, "<u8").reshape(*many, 2)
    return np.asarray(offsets[..., 0] != NOTHING)
