"""Windows of a TIFF: only the rows, strips or tiles that they touch are read and decoded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from paper_unet.images.stack import Span


class Segments:
    """Where the pixels of a stack lie in its file.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : tifffile.TiffPageSeries
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
        Bytes kept decoded, at most: two rows of strips or tiles, which a band may straddle.
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
        self._plain = offset is not None or bool(page.is_memmappable)
        self._tall, self._wide = shape[1], shape[2]
        if page.is_tiled:
            self._tall, self._wide = page.tilelength, page.tilewidth
        elif page.rowsperstrip:
            self._tall = min(page.rowsperstrip, shape[1])
        self._across = math.ceil(shape[2] / self._wide)
        self._kept: dict[tuple[int, int], NDArray[Any]] = {}
        self.largest = self.cache_bytes = 0
        if not self._plain:
            self.largest = self._tall * self._wide * dtype.itemsize
            self.cache_bytes = 2 * self._across * self.largest

    def window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window as a new array."""
        if self._plain:
            return self._read_rows(z, rows)[:, slice(*columns)].copy()
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self._dtype)
        needed = {}
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            for right in range(columns[0] // self._wide, -(-columns[1] // self._wide)):
                key = z, down * self._across + right
                segment = self._kept.get(key)
                needed[key] = self._decode(*key) if segment is None else segment
                _paste(out, rows[0], columns[0], needed[key], down * self._tall, right * self._wide)
        self._kept = needed
        return out

    def _read_rows(self, z: int, rows: Span) -> NDArray[Any]:
        """Read whole rows that lie uncompressed in the file."""
        _, height, width = self._shape
        if self._offset is None:
            start = int(self._series.pages[z].dataoffsets[0])
        else:
            start = self._offset + z * height * width * self._dtype.itemsize
        start += rows[0] * width * self._dtype.itemsize
        stored = self._dtype.newbyteorder(self._file.byteorder)
        # a plain read: a memory map of a file cut short meanwhile would kill the process
        flat = self._file.filehandle.read_array(stored, (rows[1] - rows[0]) * width, start)
        return np.asarray(flat, self._dtype).reshape(-1, width)

    def _decode(self, z: int, index: int) -> NDArray[Any]:
        page = self._series.pages[z]
        self._file.filehandle.seek(int(page.dataoffsets[index]))
        data = self._file.filehandle.read(int(page.databytecounts[index]))
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
