"""HDF5, MRC, N5 and precomputed volumes that ask for more than they hold, or hold less."""

import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
from others import sparse
from tiffs import link, packed_zeros, pipe, unix_socket, zstd_zeros
from zarrs import BLOSC_HEAD, BZIP2_ZEROS, LZMA_ZEROS, SMALL, gzip_zeros

Make = Callable[[Path], object]
SHAPE = (2, 64, 64)
PIXELS = np.arange(2 * 64 * 64, dtype=np.uint8).reshape(SHAPE)


# HDF5


def hdf5(change: Callable[[Any], object], **given: Any) -> Make:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            change(file.create_dataset("raw", SHAPE, "u1", **{"chunks": (1, 64, 64), **given}))

    return make


def put(data: bytes, mask: int = 0) -> Callable[[Any], object]:
    def change(data_set: Any) -> None:
        for z in range(2):
            data_set.id.write_direct_chunk((z, 0, 0), data, mask)

    return change


def cut(share: float, **given: Any) -> Make:
    def make(path: Path) -> None:
        hdf5(lambda data_set: data_set.__setitem__(..., PIXELS), **given)(path)
        os.truncate(path, int(path.stat().st_size * share))

    return make


def damaged(place: int, data: bytes, **given: Any) -> Make:
    def make(path: Path) -> None:
        hdf5(lambda data_set: data_set.__setitem__(..., PIXELS), **given)(path)
        with path.open("r+b") as file:
            file.seek(place)
            file.write(data)

    return make


def linked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink("/raw")


def outside(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["raw"] = h5py.ExternalLink("/dev/zero", "/raw")


def in_other_files(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", SHAPE, "u1", external=[("/dev/zero", 0, 2 * 64 * 64)])


def virtual(path: Path) -> None:
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(SHAPE, "u1")
        layout[:] = h5py.VirtualSource("missing.h5", "raw", SHAPE)
        file.create_virtual_dataset("raw", layout)


def of_shape(shape: tuple[int, ...], **given: Any) -> Make:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", shape, "u1", **given)

    return make


GZIP: dict[str, Any] = {"compression": "gzip"}
HDF5S: dict[str, Make] = {
    "hdf5 gzip bomb": hdf5(put(packed_zeros(SMALL)), **GZIP),
    "hdf5 gzip bomb behind shuffle": hdf5(put(packed_zeros(SMALL)), **GZIP, shuffle=True),
    "hdf5 gzip of a chunk that is too large": hdf5(put(packed_zeros(2**30)), **GZIP),
    "hdf5 gzip that is cut short": hdf5(put(zlib.compress(bytes(4096))[:-4]), **GZIP),
    "hdf5 gzip of too few bytes": hdf5(put(zlib.compress(bytes(4095))), **GZIP),
    "hdf5 lzf of nothing": hdf5(put(b"\x00"), compression="lzf"),
    "hdf5 lzf bomb": hdf5(put(b"\x00\x00" + b"\xe0\xff\x00" * 2**14), compression="lzf"),
    "hdf5 of an exabyte": of_shape((2**20, 2**20, 2**20), chunks=(1, 64, 64)),
    "hdf5 of a chunk of 3 GB": of_shape((2**10, 2**11, 2**11), chunks=(2**10, 2**11, 2**10 + 500)),
    "hdf5 of 2^40 sections": of_shape((2**40, 64, 64), chunks=(1, 64, 64)),
    "hdf5 never written": of_shape(SHAPE),
    "hdf5 of links in a circle": linked,
    "hdf5 that links to a device": outside,
    "hdf5 with pixels in a device": in_other_files,
    "hdf5 of parts that are missing": virtual,
    "hdf5 cut in half": cut(0.5),
    "hdf5 cut in half, in one block": cut(0.5, chunks=None),
    "hdf5 cut by a byte": cut(0.9999),
    "hdf5 cut to its signature": cut(0.001),
    "hdf5 with a damaged header": damaged(8, b"\xff" * 40),
    "hdf5 with damaged groups": damaged(96, b"\xff" * 400),
    "hdf5 of zeros behind its signature": damaged(8, bytes(2000)),
    "hdf5 of 8 GB of nothing": sparse(2**33),
    "hdf5 that is a pipe": pipe,
    "hdf5 that is a device": link("/dev/zero"),
    "hdf5 that is a socket": unix_socket,
    "hdf5 that is a loop": link("in.h5"),
}


# MRC


def mrc(*changes: tuple[int, str, tuple[int | float, ...]], cut: int | None = None) -> Make:
    """A sound file with other numbers at places of its header, in whole or cut."""

    def make(path: Path) -> None:
        with mrcfile.new(path) as file:
            file.set_data(PIXELS.astype("i2"))
        data = bytearray(path.read_bytes())
        for place, code, values in changes:
            struct.pack_into(f"<{code}", data, place, *values)
        path.write_bytes(data[:cut])

    return make


MRCS: dict[str, Make] = {
    "mrc of an exabyte": mrc((0, "3i", (2**20, 2**20, 2**20))),
    "mrc of 2^31 sides": mrc((0, "3i", (2**31 - 1, 2**31 - 1, 2**31 - 1))),
    "mrc of negative sides": mrc((0, "3i", (-64, 64, 2))),
    "mrc of no sections": mrc((8, "i", (0,))),
    "mrc of one section too many": mrc((8, "i", (3,))),
    "mrc with an extended header of 2 GB": mrc((92, "i", (2**31 - 1,))),
    "mrc with an extended header of -1 bytes": mrc((92, "i", (-1,))),
    "mrc with an extended header of -1024 bytes": mrc((92, "i", (-1024,))),
    "mrc of mode 3": mrc((12, "i", (3,))),
    "mrc of mode 2^30": mrc((12, "i", (2**30,))),
    "mrc of axes that are twice the same": mrc((64, "3i", (1, 1, 3))),
    "mrc of an unknown order of bytes": mrc((212, "4B", (1, 2, 3, 4))),
    "mrc in the other order of bytes": mrc((212, "4B", (0x11, 0x11, 0, 0))),
    "mrc without its word": mrc((208, "4B", (0, 0, 0, 0))),
    "mrc cut in its header": mrc(cut=1023),
    "mrc cut behind its header": mrc(cut=1024),
    "mrc cut by a byte": mrc(cut=-1),
    "mrc of no bytes": mrc(cut=0),
    "mrc of 8 GB of nothing": sparse(2**33),
    "mrc that is a pipe": pipe,
    "mrc that is a device": link("/dev/zero"),
    "mrc that is a loop": link("in.mrc"),
}


# N5


def n5(block: bytes | None, **more: Any) -> Make:
    def make(folder: Path) -> None:
        about = {"dimensions": [64, 64, 2], "blockSize": [64, 64, 1], "dataType": "uint8",
                 "compression": {"type": "raw"}} | more  # fmt: skip
        (folder / "0" / "0").mkdir(parents=True)
        (folder / "attributes.json").write_text(json.dumps(about))
        for z in range(2):
            if block is not None:
                (folder / "0" / "0" / str(z)).write_bytes(block)

    return make


def block(data: bytes, *sides: int, mode: int = 0) -> bytes:
    sides = sides or (64, 64, 1)
    return struct.pack(f">HH{len(sides)}I", mode, len(sides), *sides) + data


def packed(kind: str, data: bytes) -> Make:
    return n5(block(data), compression={"type": kind})


def first_is(make: Make, *parts: str) -> Make:
    """A sound store but for one file."""

    def store(folder: Path) -> None:
        sound = n5 if parts[0] != "1" else precomputed
        sound(block(bytes(4096)) if sound is n5 else bytes(4096))(folder)
        (folder.joinpath(*parts)).unlink()
        make(folder.joinpath(*parts))

    return store


def document(text: str, of: str) -> Make:
    def store(folder: Path) -> None:
        folder.mkdir()
        (folder / of).write_text(text)

    return store


def document_is(make: Make, of: str) -> Make:
    def store(folder: Path) -> None:
        folder.mkdir()
        make(folder / of)

    return store


def java_lz4(size: int) -> bytes:
    return struct.pack("<8sBIII", b"LZ4Block", 0x20, 4, size, 0) + b"\x1f\x00\x01\x00"


BLOCK = ("0", "0", "1")
N5S: dict[str, Make] = {
    "n5 gzip bomb": packed("gzip", gzip_zeros(SMALL)),
    "n5 zlib bomb": packed("gzip", packed_zeros(SMALL)),
    "n5 gzip of a file that is too large": packed("gzip", gzip_zeros(2**30)),
    "n5 bzip2 bomb": packed("bzip2", BZIP2_ZEROS * 16),
    "n5 xz bomb": packed("xz", LZMA_ZEROS),
    "n5 zstd bomb": packed("zstd", zstd_zeros(2**30, said=True)),
    "n5 zstd bomb, size unsaid": packed("zstd", zstd_zeros(2**30, said=False)),
    "n5 blosc bomb": packed("blosc", BLOSC_HEAD),
    "n5 lz4 bomb": packed("lz4", java_lz4(2**30)),
    "n5 lz4 of nothing": packed("lz4", b"LZ4Block"),
    "n5 gzip that is cut short": packed("gzip", gzip.compress(bytes(4096))[:-9]),
    "n5 raw that is cut short": n5(block(bytes(4095))),
    "n5 raw of a byte too much": n5(block(bytes(4097))),
    "n5 block of 2^31 sides": n5(block(b"", 2**31, 2**31, 2**31)),
    "n5 block that is smaller": n5(block(bytes(4032), 63, 64, 1)),
    "n5 block of 65,535 axes": n5(struct.pack(">HH", 0, 65535) + bytes(4096)),
    "n5 block of objects": n5(block(bytes(4096), mode=2)),
    "n5 block of no bytes": n5(b""),
    "n5 of an exabyte": n5(block(bytes(4096)), dimensions=[2**20] * 3),
    "n5 of 2^40 sections": n5(block(bytes(4096)), dimensions=[64, 64, 2**40]),
    "n5 of a block of an exabyte": n5(block(b""), blockSize=[2**20] * 3),
    "n5 of blocks of no side": n5(block(b""), blockSize=[0, 64, 1]),
    "n5 of digits": document('{"dimensions": [' + "9" * 10**5 + "]}", "attributes.json"),
    "n5 of many levels": document("[" * 10**6, "attributes.json"),
    "n5 of no document": document("", "attributes.json"),
    "n5 document of 8 GB": document_is(sparse(2**33), "attributes.json"),
    "n5 document that is a pipe": document_is(pipe, "attributes.json"),
    "n5 document that is a device": document_is(link("/dev/zero"), "attributes.json"),
    "n5 without blocks": n5(None),
    "n5 block that is a pipe": first_is(pipe, *BLOCK),
    "n5 block that is a device": first_is(link("/dev/zero"), *BLOCK),
    "n5 block that is a loop": first_is(link("1"), *BLOCK),
    "n5 block of 8 GB": first_is(sparse(2**33), *BLOCK),
    "n5 block that is a folder": first_is(Path.mkdir, *BLOCK),
}


# precomputed

SHARDED = {
    "@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 0, "hash": "identity",
    "minishard_bits": 0, "shard_bits": 0, "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}  # fmt: skip


def precomputed(chunk: bytes | None, of: str = "uint8", **scale: Any) -> Make:
    def make(folder: Path) -> None:
        about = {"key": "1", "size": [64, 64, 2], "resolution": [4, 4, 50],
                 "chunk_sizes": [[64, 64, 1]], "encoding": "raw"} | scale  # fmt: skip
        info = {"@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": of,
                "num_channels": 1, "scales": [about]}  # fmt: skip
        (folder / "1").mkdir(parents=True)
        (folder / "info").write_text(json.dumps(info))
        for z in range(2):
            if chunk is not None:
                (folder / "1" / f"0-64_0-64_{z}-{z + 1}").write_bytes(chunk)

    return make


def compressed_twice(data: bytes) -> Make:
    """By CloudVolume, which adds .gz to the names."""

    def make(folder: Path) -> None:
        precomputed(data)(folder)
        for file in (folder / "1").iterdir():
            file.rename(f"{file}.gz")

    return make


def shard(data: bytes, **more: Any) -> Make:
    def make(folder: Path) -> None:
        precomputed(None, sharding={**SHARDED, **more})(folder)
        digits = -(-more.get("shard_bits", 0) // 4)
        (folder / "1" / f"{'0' * max(digits, 1)}.shard").write_bytes(data)

    return make


def long_index(encoding: str) -> Make:
    """A shard whose index has 8 GB, as the file has, for two chunks."""

    def make(folder: Path) -> None:
        shard(struct.pack("<QQ", 0, 2**33), minishard_index_encoding=encoding)(folder)
        os.truncate(folder / "1" / "0.shard", 2**33 + 16)

    return make


def minishard(*numbers: int) -> bytes:
    """A shard whose only index begins behind the shard's index."""
    return struct.pack(f"<QQ{len(numbers)}Q", 0, 8 * len(numbers), *numbers)


def shard_of_index(data: bytes, chunks: bytes = b"") -> Make:
    """A shard of chunks, and an index in gzip behind them."""
    head = struct.pack("<QQ", len(chunks), len(chunks) + len(data))
    return shard(head + chunks + data, minishard_index_encoding="gzip")


def shard_of_chunk(data: bytes) -> Make:
    """A shard of two chunks in gzip, behind their index."""
    size = len(data)
    return shard(minishard(0, 1, 48, 0, size, size) + 2 * data, data_encoding="gzip")


def picture(kind: str, sides: tuple[int, int]) -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.new("L", sides).save(stream, kind)
    return stream.getvalue()


def claims(data: bytes, mark: bytes, place: int, sides: bytes) -> bytes:
    at = data.index(mark) + place
    return data[:at] + sides + data[at + len(sides) :]


def segmentation(data: bytes, block_size: list[int] | None = None) -> Make:
    block_size = block_size or [8, 8, 8]
    more = {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": block_size}
    return precomputed(data, "uint32", **more)


CHUNK = ("1", "0-64_0-64_1-2")
WHOLE = [0, 1, 0, 0, 4096, 4096]
PRECOMPUTED: dict[str, Make] = {
    "precomputed raw that is cut short": precomputed(bytes(4095)),
    "precomputed raw of a byte too much": precomputed(bytes(4097)),
    "precomputed of no bytes": precomputed(b""),
    "precomputed gzip bomb": compressed_twice(gzip_zeros(SMALL)),
    "precomputed gzip of a file that is too large": compressed_twice(gzip_zeros(2**30)),
    "precomputed gzip that is cut short": compressed_twice(gzip.compress(bytes(4096))[:-9]),
    "precomputed png of other sides": precomputed(picture("PNG", (64, 63)), encoding="png"),
    "precomputed png of 2^30 sides": precomputed(
        claims(picture("PNG", (64, 64)), b"IHDR", 4, struct.pack(">II", 2**30, 2**30)),
        encoding="png",
    ),
    "precomputed png of more rows than it holds": precomputed(
        claims(picture("PNG", (64, 4)), b"IHDR", 8, struct.pack(">I", 64)), encoding="png"
    ),
    "precomputed png that is no picture": precomputed(bytes(4096), encoding="png"),
    "precomputed jpeg of other sides": precomputed(picture("JPEG", (65, 64)), encoding="jpeg"),
    "precomputed jpeg of 65,500 sides": precomputed(
        claims(picture("JPEG", (64, 64)), b"\xff\xc0", 5, struct.pack(">HH", 65500, 65500)),
        encoding="jpeg",
    ),
    "precomputed jpeg that is cut short": precomputed(
        picture("JPEG", (64, 64))[:-40], encoding="jpeg"
    ),
    "segmentation of nothing": segmentation(b""),
    "segmentation that begins behind its end": segmentation(struct.pack("<I", 2**31)),
    "segmentation of 255 bits": segmentation(struct.pack("<3I", 1, 0xFF << 24, 0) + bytes(8192)),
    "segmentation with a table behind its end": segmentation(
        struct.pack("<3I", 1, 0xFFFFFF, 0) + bytes(8192)
    ),
    "segmentation with voxels behind its end": segmentation(
        struct.pack("<3I", 1, 32 << 24, 2**32 - 1) + bytes(8192)
    ),
    "segmentation of numbers that no table has": segmentation(
        struct.pack("<3I", 1, 32 << 24, 100) + b"\xff" * 8192
    ),
    "segmentation of blocks of an exabyte": segmentation(bytes(4096), [2**20] * 3),
    "shard of nothing": shard(b""),
    "shard that is cut in its index": shard(bytes(15)),
    "shard with an index of an exabyte": shard(struct.pack("<QQ", 0, 2**60)),
    "shard with an index that ends before it begins": shard(struct.pack("<QQ", 64, 8)),
    "shard with an index of 23 bytes": shard(struct.pack("<QQ", 0, 23) + bytes(23)),
    "shard with an index of 8 GB of nothing": long_index("raw"),
    "shard with an index of 8 GB, packed": long_index("gzip"),
    "shard with chunks behind its end": shard(minishard(*WHOLE)),
    "shard with chunks of 2^64 bytes": shard(minishard(0, 1, 0, 2**63, 2**63, 2**63)),
    "shard with chunks that wrap around": shard(minishard(0, 1, 2**64 - 32, 0, 32, 2**64 - 1)),
    "shard with chunks that are cut short": shard(
        minishard(0, 1, 48, 0, 4095, 4095) + bytes(2 * 4096)
    ),
    "shard with chunks of other numbers": shard(minishard(7, 9, 48, 0, 4096, 4096) + bytes(8192)),
    "shard of an index bomb": shard_of_index(gzip_zeros(SMALL)),
    "shard of an index that is too large": shard_of_index(gzip_zeros(2**30)),
    "shard of a chunk bomb": shard_of_chunk(gzip_zeros(SMALL)),
    "shard of a chunk that is too large": shard_of_chunk(gzip_zeros(2**30)),
    "shards of 2^60 minishards": shard(bytes(64), minishard_bits=60),
    "shards of 2^24 minishards": shard(bytes(64), minishard_bits=24),
    "precomputed of an exabyte": precomputed(bytes(4096), size=[2**20] * 3),
    "precomputed of 2^40 sections": precomputed(bytes(4096), size=[64, 64, 2**40]),
    "precomputed of a chunk of an exabyte": precomputed(bytes(4096), chunk_sizes=[[2**20] * 3]),
    "precomputed of chunks of no side": precomputed(bytes(4096), chunk_sizes=[[0, 1, 1]]),
    "precomputed of a key that leads out": precomputed(bytes(4096), key="../../../etc"),
    "precomputed of digits": document('{"scales": [' + "9" * 10**5 + "]}", "info"),
    "precomputed of many levels": document("[" * 10**6, "info"),
    "precomputed of no document": document("", "info"),
    "precomputed document of 8 GB": document_is(sparse(2**33), "info"),
    "precomputed document that is a pipe": document_is(pipe, "info"),
    "precomputed document that is a device": document_is(link("/dev/zero"), "info"),
    "precomputed without chunks": precomputed(None),
    "precomputed chunk that is a pipe": first_is(pipe, *CHUNK),
    "precomputed chunk that is a device": first_is(link("/dev/zero"), *CHUNK),
    "precomputed chunk that is a loop": first_is(link(CHUNK[1]), *CHUNK),
    "precomputed chunk of 8 GB": first_is(sparse(2**33), *CHUNK),
    "precomputed chunk that is a folder": first_is(Path.mkdir, *CHUNK),
}
