"""A sound file of each kind, made as the hostile ones are: so that those fail for what they are."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from others import png
from tiffs import ome, page, write
from volumes import (
    GZIP,
    PIXELS,
    block,
    compressed_twice,
    hdf5,
    minishard,
    mrc,
    n5,
    packed,
    picture,
    precomputed,
    put,
    segmentation,
    shard,
    shard_of_chunk,
    shard_of_index,
)
from zarrs import BYTES, sharded, v2, v3
from zarrs import GZIP as GZIP_OF_V3
from zips import image, in_shards, plate, sound, without_last, zipped

ZEROS = bytes(4096)
RANGE = ("--range", "0", "255")


def one_segment() -> bytes:
    """compressed_segmentation of 8 x 8 blocks that have one number, in a table of their own."""
    heads = b"".join(struct.pack("<II", 128, 128) for _ in range(64))
    return struct.pack("<I", 1) + heads + struct.pack("<I", 7)


def index_of_two() -> bytes:
    """Of two chunks, which follow each other behind the index of the shard's indexes."""
    return struct.pack("<6Q", 0, 1, 0, 0, 4096, 4096)


SOUND: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "tiff": ("in.tif", lambda path: write(path, [page(), page()]), ()),
    "ome-tiff": ("in.ome.tif", lambda path: ome(path, z=2), ()),
    "zarr 2": ("in.zarr", lambda path: v2(path, ZEROS), ()),
    "zarr 2, gzip": ("in.zarr", lambda path: v2(path, gzip.compress(ZEROS),
                                               compressor={"id": "gzip", "level": 1}), ()),
    "zarr 3": ("in.zarr", lambda path: v3(path, ZEROS), ()),
    "zarr 3, gzip": ("in.zarr", lambda path: v3(path, gzip.compress(ZEROS), BYTES, GZIP_OF_V3), ()),
    "zarr 3, shards": ("in.zarr", lambda path: v3(
        path, ZEROS + struct.pack("<8Q", *(k for at in range(4) for k in (1024 * at, 1024))),
        sharded([1, 32, 32])), ()),
    "zip": ("in.ozx", zipped(sound), ()),
    "zip, another chunk": ("in.ozx", zipped(without_last, ("1.0.0", ZEROS)), ()),
    "zip, shards": ("in.ozx", zipped(in_shards, ("c/1/0/0", ZEROS + struct.pack(
        "<8Q", *(k for at in range(4) for k in (1024 * at, 1024))))), ()),
    "ome-zarr": ("in.zarr", image("0"), ()),
    "plate": ("in.zarr", plate("0", images=[{"path": "0"}]), ()),
    "hdf5": ("in.h5", hdf5(put(ZEROS)), ()),
    "hdf5, gzip": ("in.h5", hdf5(put(zlib.compress(ZEROS)), **GZIP), ()),
    "hdf5, lzf": ("in.h5", hdf5(lambda raw: raw.__setitem__(..., PIXELS), compression="lzf"), ()),
    "mrc": ("in.mrc", mrc(), RANGE),
    "n5": ("in.n5", n5(block(ZEROS)), ()),
    "n5, gzip": ("in.n5", packed("gzip", gzip.compress(ZEROS)), ()),
    "n5, zlib": ("in.n5", packed("gzip", zlib.compress(ZEROS)), ()),
    "precomputed": ("in", precomputed(ZEROS), ()),
    "precomputed, gzip": ("in", compressed_twice(gzip.compress(ZEROS)), ()),
    "precomputed, png": ("in", precomputed(picture("PNG", (64, 64)), encoding="png"), ()),
    "segmentation": ("in", segmentation(one_segment(), [8, 8, 1]), RANGE),
    "shard": ("in", shard(minishard(0, 1, 48, 0, 4096, 4096) + 2 * ZEROS), ()),
    "shard, packed index": ("in", shard_of_index(gzip.compress(index_of_two()), 2 * ZEROS), ()),
    "shard, packed chunks": ("in", shard_of_chunk(gzip.compress(ZEROS)), ()),
    "png": ("in.png", png(64, 64, zlib.compress(bytes(65 * 64))), ()),
}  # fmt: skip
"""Name, what makes it, and options that its values need."""
