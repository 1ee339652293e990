"""Windows of a TIFF: only the rows, strips or tiles that they touch are read and decoded."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from paper_unet.images.cache import ChunkCache
from paper_unet.images.stack import Span


class Segments:
    """Where the pixels of a stack lie in its file.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : tifffile.TiffPageSeries
        Its pages may lie in other files, which are opened one at a time.
    offset : int or None
        Where the pixels begin if all slices lie in one block; None: one page for each slice.
    shape : tuple of int, (Z, Y, X)
    dtype : numpy.dtype
        Native byte order.

    Attributes
    ----------
    largest : int
        Bytes that one strip or tile decodes to; 0 where rows are read as they are.
    cache_bytes : int
        Bytes kept decoded, at most, and of one strip or tile on its way there.
    """

    def __init__(
        self,
        file: tifffile.TiffFile,
        series: Any,
        offset: int | None,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
    ) -> None:
        self._file, self._series, self._offset = file, series, offset
        self._shape, self._dtype = shape, dtype
        page = series.keyframe
        plain = offset is not None or bool(page.is_memmappable)
        self._tall, self._wide = shape[1], shape[2]
        if page.is_tiled:
            self._tall, self._wide = page.tilelength, page.tilewidth
        elif page.rowsperstrip:
            self._tall = min(page.rowsperstrip, shape[1])
        self._across = math.ceil(shape[2] / self._wide)
        self._bytes = self._tall * self._wide * dtype.itemsize
        self.largest = 0 if plain else self._bytes
        row = self._across * self.largest
        self._cache = ChunkCache(row, math.ceil(shape[1] / self._tall) * row)
        # what is read from the file, and a copy in native byte order
        self.cache_bytes = self._cache.room + 2 * self.largest
        self._start: tuple[int, int | None] = -1, None
        self._other: tifffile.TiffFile | None = None  # the one that is open beside the first

    def close(self) -> None:
        """Forget what is decoded, and close what was opened here."""
        self._cache.clear()
        if self._other is not None:
            self._other.filehandle.close()
            self._other = None

    def window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window as a new array."""
        start = self._find(z)
        if start is not None:
            return self._read_rows(self._file_of(z), start, rows, columns)
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self._dtype)
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            for right in range(columns[0] // self._wide, -(-columns[1] // self._wide)):
                key = z, down * self._across + right
                part = self._cache.get(key, self._bytes, partial(self._decode, *key))
                _paste(out, rows[0], columns[0], part, down * self._tall, right * self._wide)
        return out

    def _file_of(self, z: int) -> tifffile.FileHandle:
        """Return the open file of a slice: an OME-TIFF may name others that hold some."""
        if self._offset is not None:
            return self._file.filehandle
        file: tifffile.TiffFile = self._series.pages[z].parent
        if file not in (self._file, self._other):
            if self._other is not None:
                self._other.filehandle.close()
            self._other = file
            file.filehandle.open()
        return file.filehandle

    def _find(self, z: int) -> int | None:
        """Return where the rows of a slice lie one behind the other; None if they do not."""
        if self._offset is not None:
            return self._offset + z * math.prod(self._shape[1:]) * self._dtype.itemsize
        if self.largest:
            return None
        if self._start[0] != z:
            # the first page is so, but that says nothing of the others
            page = self._series.pages[z]
            places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            start, end = places[0][0], sum(places[-1])
            joined = all(sum(one) == two[0] for one, two in pairwise(places))
            whole = end - start == math.prod(self._shape[1:]) * self._dtype.itemsize
            self._start = z, int(start) if joined and whole else None
        return self._start[1]

    def _read_rows(
        self, file: tifffile.FileHandle, start: int, rows: Span, columns: Span
    ) -> NDArray[Any]:
        """Read rows that lie uncompressed in the file."""
        width, size = self._shape[2], self._dtype.itemsize
        stored = self._dtype.newbyteorder(self._file.byteorder)
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), stored)
        start += (rows[0] * width + columns[0]) * size
        # plain reads: a memory map of a file cut short meanwhile would kill the process
        read = file.read_array
        if out.shape[1] == width:
            read(stored, out.size, start, out=out)
        else:
            for k, row in enumerate(out):
                read(stored, row.size, start + k * width * size, out=row)
        return out.view(self._dtype)  # the reader swaps the bytes

    def _decode(self, z: int, index: int) -> NDArray[Any]:
        page = self._series.pages[z]
        file = self._file_of(z)
        file.seek(int(page.dataoffsets[index]))
        data = file.read(int(page.databytecounts[index]))
        segment, _, shape = page.decode(data, index, jpegtables=page.keyframe.jpegtables)
        if segment is None:
            raise ValueError(f"strip or tile {index} holds no data")
        plane = segment[0, : shape[1], : shape[2], 0]
        return np.asarray(plane, self._dtype)


def _paste(
    out: NDArray[Any], top: int, left: int, part: NDArray[Any], down: int, right: int
) -> None:
    """Copy into a window that begins at (top, left) what it shares with a part at (down, right)."""
    y0, y1 = max(top, down), min(top + out.shape[0], down + part.shape[0])
    x0, x1 = max(left, right), min(left + out.shape[1], right + part.shape[1])
    out[y0 - top : y1 - top, x0 - left : x1 - left] = part[y0 - down : y1 - down,
                                                           x0 - right : x1 - right]  # fmt: skip
