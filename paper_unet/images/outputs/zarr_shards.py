"""How large the shards of an OME-Zarr are: files of many chunks."""

from __future__ import annotations

import math

import zarr

from paper_unet.errors import InputError
from paper_unet.images.outputs.output import Output

SHARD, MANY_CHUNKS, LARGEST = 4096, 10**5, 2**14
"""Pixels of a side of a shard, where nothing else is said and there are more chunks than that; and
at most."""


def check_shard(place: object, shard: int, chunk: int, version: str) -> None:
    """Raise InputError unless shards of so many pixels a side can be written; 0: none."""
    if shard % chunk or not 0 <= shard <= LARGEST:
        raise InputError(
            f"{place}: `shard` is {shard}; it must be 0 or a multiple of {chunk}, up to {LARGEST}"
        )
    if shard and version == "0.4":
        raise InputError(
            f"{place}: OME-Zarr {version} has no shards; write 0.5, or leave `shard` out"
        )


def side_for(output: Output, chunk: int) -> int:
    """Return the side of the shards of an output, as an interrupted run has them, or by its size.

    0: a file for each chunk.
    """
    document = output.partial / "0" / "zarr.json"
    if document.is_file():
        try:
            found = zarr.open_array(document.parent, mode="r").shards
        except Exception:  # what is damaged there is named where it is gone on with
            return 0
        return int(found[-1]) if found else 0
    _, height, width = output.shape
    count = output.planes * math.ceil(height / chunk) * math.ceil(width / chunk)
    return SHARD if count > MANY_CHUNKS and output.version == "0.5" else 0


def files_of(shard: int) -> str:
    """Return what has a file, in words."""
    return f"each shard of {shard} x {shard} pixels" if shard else "each chunk"
