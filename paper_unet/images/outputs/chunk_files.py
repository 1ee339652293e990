"""The files of the chunks of a Zarr array that is written: encoded as zarr would, whole or absent.

zarr makes the arrays, keeps their metadata and opens them. What it does for each chunk, in a loop
and threads of its own, takes several times as long as compressing it; so chunks are encoded and
written here, to the same bytes, by the thread that has the pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, ZstdCodec

from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.stack import Span
from paper_unet.system.files import replace_file, sync_file, sync_folder

SYNCED = 4
"""Files that are synced at a time: the disk takes what waits for it together."""


class ChunkFiles:
    """The chunks, 1 x side x side, of an array (Z, Y, X) on this disk.

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
        self.side: int = array.chunks[-1]
        self._top = folder / "c" if array.metadata.zarr_format == 3 else folder
        self._dtype, self._zstd = _encoding_of(array)
        self._fill = array.fill_value
        self._lasting: int | None = None  # section whose folder has a name to stay

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Stored]:
        """Write a window of whole chunks; return what each file is, row by row."""
        height, width = pixels.shape
        written = []
        for top in range(0, height, self.side):
            folder = str(self.folder(z, row + top))
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  (text: see below)
            for left in range(0, width, self.side):
                chunk = pixels[top : top + self.side, left : left + self.side]
                # text: a path costs as much as the call
                name = f"{folder}{os.sep}{(column + left) // self.side}"
                written.append(self._write_chunk(name, chunk))
        return written

    def files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of the chunks of a window, row by row."""
        for row in range(*rows, self.side):
            yield from self._across(self.folder(z, row), range(*columns, self.side))

    def folder(self, z: int, row: int) -> Path:
        """Return the folder of the chunks that hold a row of pixels."""
        return self._top / str(z) / str(row // self.side)

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
        with ThreadPoolExecutor(min(SYNCED, len(files)), "sync") as pool:
            for _ in pool.map(sync_file, files):
                pass
        for folder in folders:
            sync_folder(folder)
        section, *above = list(self.folder(z, 0).parents)[:3]
        sync_folder(section)
        if z != self._lasting:  # its name in "c", and that in the array's folder
            for one in above:
                sync_folder(one)
            self._lasting = z

    def _across(self, folder: Path, columns: Sequence[int]) -> Iterator[Path]:
        yield from (folder / str(column // self.side) for column in columns)

    def _write_chunk(self, name: str, pixels: NDArray[Any]) -> Stored:
        encoded = self.encoded(pixels)
        replace_file(name, encoded)
        return stored_bytes([encoded])

    def encoded(self, pixels: NDArray[Any]) -> bytes:
        """Return the bytes of a chunk, or of what the edge of the image leaves of one."""
        whole: NDArray[Any] = np.ascontiguousarray(pixels, self._dtype)
        if whole.shape != (self.side, self.side):  # at an edge
            padded = np.full((self.side, self.side), self._fill, self._dtype)
            padded[: whole.shape[0], : whole.shape[1]] = whole
            whole = padded
        return bytes(self._zstd.encode(whole))


def _encoding_of(array: Any) -> tuple[np.dtype[Any], Zstd]:
    """Return how values lie in a chunk, and what compresses it."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        plain = metadata.order == "C" and not metadata.filters
        if plain and isinstance(metadata.compressor, Zstd):
            return metadata.dtype.to_native_dtype(), metadata.compressor
    else:
        values, *rest = metadata.codecs
        if isinstance(values, BytesCodec) and [type(codec) for codec in rest] == [ZstdCodec]:
            order = ">" if getattr(values.endian, "value", "little") == "big" else "<"
            zstd = Zstd(level=rest[0].level, checksum=rest[0].checksum)
            return array.dtype.newbyteorder(order), zstd
    raise ValueError("its chunks are encoded in another way")
