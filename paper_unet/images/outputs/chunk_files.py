"""The files of the chunks of a Zarr array that is written: encoded as zarr would, whole or absent.

zarr makes the arrays, keeps their metadata and opens them. What it does for each chunk, in a loop
and threads of its own, takes several times as long as compressing it; so chunks are encoded and
written here, to the same bytes, by the thread that has the pixels.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from paper_unet.images.outputs.level_files import sync_files
from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.readers.chunk_keys import index_comes_first, word
from paper_unet.images.stack import Span
from paper_unet.system.files import replace_file, sync_folder


class ChunkFiles:
    """The files of an array (Z, Y, X) on this disk: each is a chunk, or a shard of many.

    Attributes
    ----------
    side : int
        A file holds 1 x side x side pixels.

    Of an array (C, Z, Y, X), all sections of a channel come before those of the next: z counts on.

    Parameters
    ----------
    folder : Path
        Of the array.
    array : zarr.Array
        As zarr has opened it: version, values and codecs.

    Raises
    ------
    ValueError
        If its chunks are encoded in another way than zstd of plain values.
    """

    def __init__(self, folder: Path, array: Any) -> None:
        self._chunk: int = array.chunks[-1]
        self._sharded = array.shards is not None
        self.side: int = (array.shards or array.chunks)[-1]
        self._top = folder / "c" if array.metadata.zarr_format == 3 else folder
        self._sections: int = array.shape[-3]
        self._channels = array.ndim > 3
        self._dtype, self._zstd = _encoding_of(array)
        self._fill = array.fill_value
        self._lasting: int | None = None  # section whose folder has a name to stay

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Stored]:
        """Write a window of whole files; return what each file is, row by row."""
        height, width = pixels.shape
        written = []
        for top in range(0, height, self.side):
            folder = str(self.folder(z, row + top))
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  (text: see below)
            for left in range(0, width, self.side):
                chunk = pixels[top : top + self.side, left : left + self.side]
                # text: a path costs as much as the call
                name = f"{folder}{os.sep}{(column + left) // self.side}"
                parts = self.encoded(chunk)
                replace_file(name, *parts)
                written.append(stored_bytes(parts))
        return written

    def files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of a window, row by row."""
        for row in range(*rows, self.side):
            yield from self._across(self.folder(z, row), range(*columns, self.side))

    def folder(self, z: int, row: int) -> Path:
        """Return the folder of the chunks that hold a row of pixels."""
        return self._section(z) / str(row // self.side)

    def _section(self, z: int) -> Path:
        channel, section = divmod(z, self._sections)
        return self._top / str(channel) / str(section) if self._channels else self._top / str(z)

    def sync(self, z: int, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Return when chunks are on disk to stay, with the folders above them.

        Parameters
        ----------
        z : int
        rows, columns : sequence of int
            Where they begin, at least one each.
        """
        folders = [self.folder(z, row) for row in rows]
        files = [path for folder in folders for path in self._across(folder, columns)]
        sync_files(files)
        for folder in folders:
            sync_folder(folder)
        section, *above = list(self.folder(z, 0).parents)[: 4 if self._channels else 3]
        sync_folder(section)
        if z != self._lasting:  # its name in "c", and that in the array's folder
            for one in above:
                sync_folder(one)
            self._lasting = z

    def lacking(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, Path]]:
        """Yield how many chunks of a level of this shape are missing, and in which folder."""
        sections, height, width = shape
        wanted = {str(k) for k in range(math.ceil(width / self.side))}
        for z in range(sections):
            for row in range(0, height, self.side):
                folder = self.folder(z, row)
                found = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  (names alone)
                if missing := wanted.difference(found):
                    yield len(missing), folder

    def _across(self, folder: Path, columns: Sequence[int]) -> Iterator[Path]:
        yield from (folder / str(column // self.side) for column in columns)

    def encoded(self, pixels: NDArray[Any]) -> list[bytes]:
        """Return the bytes of a file, in parts, or of what the edge of the image leaves of one."""
        return self._shard(pixels) if self._sharded else [self._encoded(pixels)]

    def _shard(self, pixels: NDArray[Any]) -> list[bytes]:
        """Return what a shard holds: its chunks, row by row, and where each of them lies.

        Chunks that lie wholly beyond the image are not there.
        """
        many = self.side // self._chunk
        index = np.full((many, many, 2), NOTHING, "<u8")
        parts, end = [], 0
        for top in range(0, pixels.shape[0], self._chunk):
            for left in range(0, pixels.shape[1], self._chunk):
                chunk = pixels[top : top + self._chunk, left : left + self._chunk]
                parts.append(self._encoded(chunk))
                index[top // self._chunk, left // self._chunk] = end, len(parts[-1])
                end += len(parts[-1])
        where = index.tobytes()
        return [*parts, where, struct.pack("<I", google_crc32c.value(where))]

    def _encoded(self, pixels: NDArray[Any]) -> bytes:
        whole: NDArray[Any] = np.ascontiguousarray(pixels, self._dtype)
        if whole.shape != (self._chunk, self._chunk):  # at an edge
            padded = np.full((self._chunk, self._chunk), self._fill, self._dtype)
            padded[: whole.shape[0], : whole.shape[1]] = whole
            whole = padded
        return bytes(self._zstd.encode(whole))


NOTHING = 2**64 - 1
"""What the index of a shard has for a chunk that is not there."""


def _encoding_of(array: Any) -> tuple[np.dtype[Any], Zstd]:
    """Return how values lie in a chunk, and what compresses it."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        plain = metadata.order == "C" and not metadata.filters
        if plain and isinstance(metadata.compressor, Zstd):
            return metadata.dtype.to_native_dtype(), metadata.compressor
    else:
        codecs = metadata.codecs
        if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
            if not _is_plain(codecs[0]):
                raise ValueError("its shards have another index")
            codecs = codecs[0].codecs
        values, *rest = codecs
        if isinstance(values, BytesCodec) and [type(codec) for codec in rest] == [ZstdCodec]:
            order = ">" if word(values.endian) == "big" else "<"
            zstd = Zstd(level=rest[0].level, checksum=rest[0].checksum)
            return array.dtype.newbyteorder(order), zstd
    raise ValueError("its chunks are encoded in another way")


def _is_plain(shards: ShardingCodec) -> bool:
    """Whether the index lies at the end of a shard, in plain values and with a checksum."""
    kinds = [type(codec) for codec in shards.index_codecs]
    little = word(getattr(shards.index_codecs[0], "endian", "")) == "little"
    return little and kinds == [BytesCodec, Crc32cCodec] and not index_comes_first(shards)
