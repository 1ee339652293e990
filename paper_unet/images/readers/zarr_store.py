"""What a Zarr store may make us do: regular files alone, and chunks of no more than is declared."""

from __future__ import annotations

import asyncio
import math
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numcodecs.abc import Codec
from numpy.typing import NDArray
from zarr.abc.codec import ArrayArrayCodec, BytesBytesCodec
from zarr.abc.store import ByteRequest
from zarr.codecs import BytesCodec, ShardingCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from paper_unet.errors import InputError, shown
from paper_unet.images.codecs import decode_within, is_bounded, plain_name, with_slack
from paper_unet.images.readers.chunk_keys import word
from paper_unet.images.readers.local_files import LocalFiles
from paper_unet.images.readers.zarr_range import LARGEST_DOCUMENT, check_size, span_of
from paper_unet.images.readers.zarr_zip import ZipFiles
from paper_unet.system.files import check_regular, open_regular
from paper_unet.system.memory import Budget

MOST_DIMENSIONS: Final = 32
MOST_PIXELS: Final = 2**60
"""Values of an array; an exabyte is more than any disk has."""

CHUNKS_OF_A_SHARD: Final = 2**24
SHARDS_IN_SHARDS: Final = 3


class RegularFiles(LocalStore, LocalFiles):
    """A store on disk that reads regular files alone, none larger than it can be.

    Attributes
    ----------
    largest : int
        Bytes of a file of chunks that may be read at once.
    """

    largest: int = LARGEST_DOCUMENT

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file, or a part of one; None if it is not there."""
        await asyncio.to_thread(self._check, key, byte_range)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of files."""
        ranges = list(key_ranges)
        for key, byte_range in ranges:
            await asyncio.to_thread(self._check, key, byte_range)
        found: list[Buffer | None] = await super().get_partial_values(prototype, ranges)
        return found

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """Read a file, or a part of one, in the thread that asks; None if it is not there."""
        if not self._check(key, byte_range):
            return None
        path = self.place(key)
        try:
            if byte_range is None:
                return path.read_bytes()
            with open_regular(path) as file:
                start, stop = span_of(byte_range, file.seek(0, os.SEEK_END))
                file.seek(start)
                return file.read(stop - start)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _check(self, key: str, byte_range: ByteRequest | None) -> bool:
        """Whether a file is there; refuse what is none, or larger than it can be."""
        path = self.place(key)
        try:
            status = path.stat()  # once: a file system on a network takes its time for each
        except (FileNotFoundError, NotADirectoryError):
            return False  # what is not there is for others to judge
        if not stat.S_ISREG(status.st_mode):
            check_regular(path)  # which says what it is
        start, stop = span_of(byte_range, status.st_size)
        check_size(path, stop - start, self.largest)
        return True


Files = RegularFiles | ZipFiles
"""What holds a store; one on a network is another of the kind."""


def open_files(path: Path, budget: Budget) -> Files:
    """Open what holds a Zarr: a folder, or a ZIP file; all reading goes through it."""
    return RegularFiles(path, read_only=True) if path.is_dir() else ZipFiles(path, budget)


def check_layout(path: Path, array: Any, budget: Budget) -> None:
    """Refuse an array whose shape or chunks no sound store has, before anything follows from them.

    The store then gives files as large as such chunks can be, and no larger.

    Raises
    ------
    InputError
        If a side is no length, or a chunk or the index of a shard takes too much memory.
    """
    shape, chunks = tuple(array.shape), tuple(array.chunks)
    files = tuple(array.shards or chunks)
    if len(shape) > MOST_DIMENSIONS or math.prod(shape) > MOST_PIXELS:
        raise InputError(
            f"{path}: an array of shape {shown(shape)}, more than any disk holds; copy or export "
            "it again"
        )
    if min((*chunks, *files), default=1) < 1:
        raise InputError(f"{path}: chunks of shape {shown(chunks)}; each side is at least 1")
    inner = math.prod(-(-side // chunk) for side, chunk in zip(files, chunks, strict=True))
    if inner > CHUNKS_OF_A_SHARD:
        raise InputError(f"{path}: shards of {inner} chunks; {CHUNKS_OF_A_SHARD} are the most")
    budget.allow(100 * inner, path, f"shards of {inner} chunks")
    array.store_path.store.largest = 2 * with_slack(8 * math.prod(files)) + 32 * inner


def bounded(path: Path, array: Any, budget: Budget) -> Any:
    """Return the same array, whose chunks are decoded within what their shape declares.

    Raises
    ------
    InputError
        If a chunk is encoded in a way of which the size is not known before it is decoded.
    """
    metadata = array.metadata
    items = math.prod(array.shards or array.chunks)
    stored = items * array.dtype.itemsize
    if metadata.zarr_format == 2:
        # a filter may keep values of another type while they are encoded
        most = with_slack(8 * items if metadata.filters else stored)
        new = replace(
            metadata,
            compressor=_of_v2(path, metadata.compressor, most),
            filters=tuple(_of_v2(path, one, most) for one in metadata.filters or ()) or None,
        )
    else:
        new = replace(metadata, codecs=tuple(_of_v3(path, one) for one in metadata.codecs))
    config = replace(array.async_array.config, **_one_by_one(array.async_array.config))
    return zarr.Array(zarr.AsyncArray(new, array.async_array.store_path, config))


def _one_by_one(config: Any) -> dict[str, int]:
    """Return what has the chunks of a shard read one by one.

    Newer versions of zarr read what lies between them as well, up to 16 MiB.
    """
    known = {field.name for field in fields(config)}
    wanted = {"sharding_coalesce_max_gap_bytes": 0, "sharding_coalesce_max_bytes": 1}
    return {name: value for name, value in wanted.items() if name in known}


_OF_ARRAYS: Final = ("delta", "astype", "quantize", "fixedscaleoffset")


class _Bounded(Codec):
    """A codec of Zarr v2 that decodes within a bound."""

    codec_id = "bounded"  # of an instance: that of the codec inside

    def __init__(self, inner: Any, most: int) -> None:
        self.inner, self.most, self.codec_id = inner, most, str(inner.codec_id)

    def encode(self, buf: Any) -> Any:
        return self.inner.encode(buf)

    @property
    def of_bytes(self) -> bool:
        """Whether it decodes bytes; others take arrays, and keep their length."""
        return plain_name(str(self.codec_id)) not in _OF_ARRAYS

    def decode(self, buf: Any, out: Any = None) -> Any:
        if not self.of_bytes:
            return self.inner.decode(buf)
        data = buf if isinstance(buf, bytes) else np.ascontiguousarray(buf).tobytes()
        return decode_within(str(self.codec_id), data, self.most, self.inner.decode)

    def get_config(self) -> Any:
        return self.inner.get_config()


def _of_v2(path: Path, codec: Any, most: int) -> Any:
    if codec is None:
        return None
    _require_bounded(path, str(codec.codec_id))
    return _Bounded(codec, most)


def _require_bounded(path: Path, name: str) -> None:
    if not is_bounded(name):
        raise InputError(
            f"{path}: encoded with {shown(name)}, of which the size is not known before it is "
            "decoded; save it as Zarr with blosc, zstd or gzip, or uncompressed"
        )


@dataclass(frozen=True)
class _BoundedBytes(BytesBytesCodec):
    """A codec of Zarr v3 that decodes within what the chunk's shape declares."""

    inner: Any
    name: str

    def __post_init__(self) -> None:
        # a checksum's is; newer versions of zarr let nothing else into the index of shards
        object.__setattr__(self, "is_fixed_size", bool(self.inner.is_fixed_size))

    def to_dict(self) -> Any:
        return self.inner.to_dict()

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> _BoundedBytes:
        return replace(self, inner=self.inner.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        if self.library is None:  # checksums of Zarr's own: four bytes less
            checked: Buffer = await self.inner._decode_single(chunk_bytes, chunk_spec)
            return checked
        found = await asyncio.to_thread(self.decoded, chunk_bytes.to_bytes(), size)
        return chunk_spec.prototype.buffer.from_bytes(bytes(found))

    @property
    def library(self) -> Any:
        """The codec of numcodecs inside, if it is one."""
        names = ("_gzip_codec", "_zstd_codec", "_blosc_codec", "_codec")
        return next(
            (getattr(self.inner, name) for name in names if hasattr(self.inner, name)), None
        )

    def decoded(self, data: bytes, size: int) -> Any:
        """Decode a chunk of so many bytes."""
        return decode_within(self.name, data, with_slack(size), self.library.decode)


def _of_v3(path: Path, codec: Any, level: int = 0) -> Any:
    if isinstance(codec, ShardingCodec):
        if level == SHARDS_IN_SHARDS:
            raise InputError(
                f"{path}: shards of more than {level} levels; save it with chunks or plain shards"
            )
        return ShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=[_of_v3(path, one, level + 1) for one in codec.codecs],
            index_codecs=[_of_v3(path, one) for one in codec.index_codecs],
            index_location=codec.index_location,
        )
    name = str(codec.to_dict()["name"])
    if isinstance(codec, BytesBytesCodec):
        _require_bounded(path, name)
        return _BoundedBytes(codec, name)
    if not isinstance(codec, BytesCodec | ArrayArrayCodec) or not is_bounded(name):
        _require_bounded(path, f"{name} in place of plain bytes")
    return codec


def decoder_of(array: Any) -> Callable[[bytes], NDArray[Any]] | None:
    """Return what decodes a file of chunks of an array that `bounded` gave, without zarr's loop.

    Parameters
    ----------
    array : zarr.Array

    Returns
    -------
    callable or None
        Of bytes to an ndarray of the chunk's shape, or raises an error of its own. None where
        there are shards, filters, or values in another order: these are for zarr.
    """
    metadata = array.metadata
    if metadata.zarr_format == 2:
        dtype, steps = metadata.dtype.to_native_dtype(), [metadata.compressor]
        plain = metadata.order == "C" and not metadata.filters
        steps = [step for step in steps if step is not None]
        plain &= all(isinstance(step, _Bounded) and step.of_bytes for step in steps)
    else:
        first, *steps = metadata.codecs
        plain = isinstance(first, BytesCodec)
        plain &= all(isinstance(step, _BoundedBytes) and step.library for step in steps)
        big = plain and word(first.endian) == "big"
        dtype = array.dtype.newbyteorder(">" if big else "<")
    if not plain:
        return None
    size = math.prod(array.chunks) * dtype.itemsize

    def decode(data: Any) -> NDArray[Any]:
        for step in reversed(steps):
            data = data if isinstance(data, bytes) else bytes(memoryview(data))
            data = step.decode(data) if metadata.zarr_format == 2 else step.decoded(data, size)
        return np.frombuffer(data, dtype).reshape(array.chunks)

    return decode
