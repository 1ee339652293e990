"""Zarr stores that ask for more than they hold, written as they lie on disk."""

import bz2
import gzip
import json
import lzma
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiffs import packed_zeros, pipe, zstd_zeros

SHAPE, CHUNK = [2, 64, 64], [1, 64, 64]
MANY, SMALL = 2**30, 2**25
"""Zeros, and of which gzip makes less than a chunk may have: refused where they are decoded."""


def gzip_zeros(count: int) -> bytes:
    """A gzip of many zeros; its last bytes lie about how many."""
    return gzip.compress(b"")[:10] + packed_zeros(count)[2:-4] + bytes(8)


def v2(folder: Path, chunk: bytes | None, **more: Any) -> Path:
    folder.mkdir()
    about = {"zarr_format": 2, "shape": SHAPE, "chunks": CHUNK, "dtype": "|u1", "compressor": None,
             "fill_value": 0, "order": "C", "filters": None} | more  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(about))
    for z in range(2):
        if chunk is not None:
            (folder / f"{z}.0.0").write_bytes(chunk)
    return folder


def v3(folder: Path, chunk: bytes | None, *codecs: dict[str, Any], **more: Any) -> Path:
    folder.mkdir()
    chunks = more.pop("chunks", CHUNK)
    about = {"zarr_format": 3, "node_type": "array", "shape": SHAPE, "data_type": "uint8",
             "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
             "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
             "fill_value": 0, "codecs": list(codecs) or [BYTES]} | more  # fmt: skip
    (folder / "zarr.json").write_text(json.dumps(about))
    for z in range(2):
        place = folder / "c" / str(z) / "0" / "0"
        place.parent.mkdir(parents=True)
        if chunk is not None:
            place.write_bytes(chunk)
    return folder


BYTES: dict[str, Any] = {"name": "bytes"}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
BLOSC = {"name": "blosc", "configuration": {"typesize": 1, "cname": "zstd", "clevel": 1,
                                            "shuffle": "noshuffle", "blocksize": 0}}  # fmt: skip
BLOSC_HEAD = struct.pack("<4B3I", 2, 1, 0x12, 1, MANY, MANY, 32) + bytes(16)


def sharded(inner: list[int], *codecs: dict[str, Any]) -> dict[str, Any]:
    index = [{"name": "bytes", "configuration": {"endian": "little"}}]
    return {"name": "sharding_indexed", "configuration": {
        "chunk_shape": inner, "codecs": list(codecs) or [BYTES], "index_codecs": index,
        "index_location": "end"}}  # fmt: skip


def one_chunk_is(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def store(folder: Path) -> Path:
        v3(folder, bytes(4096))
        (folder / "c/0/0/0").unlink()
        make(folder / "c/0/0/0")
        return folder

    return store


def sparse(size: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def document(text: str) -> Callable[[Path], Path]:
    def store(folder: Path) -> Path:
        v3(folder, bytes(4096))
        (folder / "zarr.json").write_text(text)
        return folder

    return store


def document_is(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def store(folder: Path) -> Path:
        v3(folder, bytes(4096))
        (folder / "zarr.json").unlink()
        make(folder / "zarr.json")
        return folder

    return store


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, ("it-ran",)


def of_v2(codec: str, chunk: bytes, **more: Any) -> Callable[[Path], Path]:
    return lambda folder: v2(folder, chunk, compressor={"id": codec, **more})


ZEROS = bytes(2**26)
BZIP2_ZEROS, LZMA_ZEROS = bz2.compress(ZEROS), lzma.compress(ZEROS)
ZARRS: dict[str, Callable[[Path], Path]] = {
    "v2 zlib bomb": of_v2("zlib", packed_zeros(SMALL), level=1),
    "v2 gzip bomb": of_v2("gzip", gzip_zeros(SMALL), level=1),
    "v2 gzip of a file that is too large": of_v2("gzip", gzip_zeros(MANY), level=1),
    "v2 bz2 bomb": of_v2("bz2", BZIP2_ZEROS * 16, level=1),
    "v2 lzma bomb": of_v2("lzma", LZMA_ZEROS),
    "v2 zstd bomb": of_v2("zstd", zstd_zeros(MANY, said=True), level=1),
    "v2 zstd bomb, size unsaid": of_v2("zstd", zstd_zeros(MANY, said=False), level=1),
    "v2 blosc bomb": of_v2("blosc", BLOSC_HEAD, cname="zstd", clevel=1, shuffle=0),
    "v2 lz4 bomb": of_v2("lz4", struct.pack("<I", MANY) + bytes(64), acceleration=1),
    "v2 pickle": lambda f: v2(f, pickle.dumps(Payload()), filters=[{"id": "pickle"}]),
    "v2 chunks of 0": lambda f: v2(f, b"", chunks=[0, 64, 64]),
    "v2 shape of 2^62": lambda f: v2(f, bytes(4096), shape=[2**62, 2**62, 64]),
    "v2 chunks of 2^62": lambda f: v2(f, bytes(4096), chunks=[1, 2**62, 64]),
    "v2 shape of 10^400": lambda f: v2(f, bytes(4096), shape=[10**400, 64, 64]),
    "v2 negative": lambda f: v2(f, bytes(4096), shape=[-2, 64, 64]),
    "v2 values of a gigabyte": lambda f: v2(f, bytes(4096), dtype="|V1073741824"),
    "v2 more than declared": lambda f: v2(f, bytes(5000)),
    "v3 gzip bomb": lambda f: v3(f, gzip_zeros(SMALL), BYTES, GZIP),
    "v3 gzip of a file that is too large": lambda f: v3(f, gzip_zeros(MANY), BYTES, GZIP),
    "v3 zstd bomb": lambda f: v3(f, zstd_zeros(MANY, said=True), BYTES, ZSTD),
    "v3 zstd bomb, size unsaid": lambda f: v3(f, zstd_zeros(MANY, said=False), BYTES, ZSTD),
    "v3 zstd twice": lambda f: v3(f, zstd_zeros(MANY, said=False), BYTES, GZIP, ZSTD),
    "v3 blosc bomb": lambda f: v3(f, BLOSC_HEAD, BYTES, BLOSC),
    "v3 shape of 2^62": lambda f: v3(f, bytes(4096), shape=[2**62] * 3),
    "v3 chunks of 0": lambda f: v3(f, bytes(4096), chunks=[1, 0, 64]),
    "v3 chunks of 2^62": lambda f: v3(f, bytes(4096), chunks=[2**62, 2**62, 64]),
    "v3 2^31 sections": lambda f: v3(f, bytes(4096), shape=[2**31, 1, 1], chunks=[4096, 1, 1]),
    "v3 shards of 2^40 chunks": lambda f: v3(
        f, bytes(4096), sharded([1, 1, 1]), shape=[1, 2**20, 2**20], chunks=[1, 2**20, 2**20]
    ),
    "v3 a shard that says 2^62": lambda f: v3(
        f, bytes(4096) + struct.pack("<8Q", *[0, 2**62] * 4), sharded([1, 32, 32])
    ),
    "v3 a bomb in a shard": lambda f: v3(
        f, (z := zstd_zeros(MANY, said=True)) + struct.pack("<8Q", *[0, len(z)] * 4),
        sharded([1, 32, 32], BYTES, ZSTD),
    ),
    "v3 codecs in codecs": lambda f: v3(f, bytes(4096), nested(150)),
    "v3 a document of many levels": document("[" * 10**6),
    "v3 a document of digits": document('{"zarr_format": 3, "shape": [' + "9" * 10**6 + "]}"),
    "v3 a document that is a pipe": document_is(pipe),
    "v3 a document of 4 GB": document_is(sparse(2**32)),
    "a chunk that is a pipe": one_chunk_is(pipe),
    "a chunk that is a device": one_chunk_is(lambda path: path.symlink_to("/dev/zero")),
    "a chunk that is a folder": one_chunk_is(lambda path: path.mkdir()),
    "a chunk of 4 GB": one_chunk_is(sparse(2**32)),
    "a chunk that is a loop": one_chunk_is(lambda path: path.symlink_to(path.name)),
}  # fmt: skip


def nested(levels: int) -> dict[str, Any]:
    codec = sharded([1, 64, 64])
    for _ in range(levels):
        codec = sharded([1, 64, 64], codec)
    return codec
