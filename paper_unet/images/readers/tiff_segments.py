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

SEPARATE = 2
"""How TIFF says that a page has its channels one after the other."""


class Segments:
    """Where the pixels of a stack lie in its file: as sheets, each with some channels of a section.

    A page of several values for each pixel is one sheet of all channels or, where it keeps them
    separate, a sheet for each; a page of one value is a sheet.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : tifffile.TiffPageSeries
        Its pages may lie in other files, which are opened one at a time.
    offset : int or None
        Where the pixels begin if all lie in one block; None: each page has its own.
    shape : tuple of int, (Z, Y, X)
    dtype : numpy.dtype
        Native byte order.
    channels : int
    channels_first : bool
        Whether all sections of a channel come before those of the next, a page for each.

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
        channels: int,
        channels_first: bool = False,
    ) -> None:
        self._file, self._series, self._offset = file, series, offset
        self._shape, self._dtype = shape, dtype
        page = series.keyframe
        separate = page.samplesperpixel > 1 and page.planarconfig == SEPARATE
        self._sheets_of_page = page.samplesperpixel if separate else 1
        self._samples = 1 if separate else page.samplesperpixel
        self._sheets = channels // self._samples  # of a section
        # between the sections, and between the sheets of one
        self._steps = (1, shape[0]) if channels_first else (self._sheets, 1)
        plain = offset is not None or bool(page.is_final)
        self._tall, self._wide = shape[1], shape[2]
        if page.is_tiled:
            self._tall, self._wide = page.tilelength, page.tilewidth
        elif page.rowsperstrip:
            self._tall = min(page.rowsperstrip, shape[1])
        self._across = math.ceil(shape[2] / self._wide)
        self._bytes = self._tall * self._wide * self._samples * dtype.itemsize
        self.largest = 0 if plain else self._bytes
        row = self._sheets * self._across * self.largest
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
        """Read a window as a new array, (C, rows, columns)."""
        section, sheet = self._steps
        places = [z * section + k * sheet for k in range(self._sheets)]
        sheets = [self._window(place, rows, columns) for place in places]
        planes = [np.moveaxis(sheet, -1, 0) for sheet in sheets]
        return np.ascontiguousarray(planes[0] if len(planes) == 1 else np.concatenate(planes))

    def _window(self, sheet: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of a sheet, (rows, columns, samples)."""
        start = self._find(sheet)
        if start is not None:
            return self._read_rows(self._file_of(sheet), start, rows, columns)
        out = self._empty(rows, columns, self._dtype)
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            for right in range(columns[0] // self._wide, -(-columns[1] // self._wide)):
                key = sheet, down * self._across + right
                part = self._cache.get(key, self._bytes, partial(self._decode, *key))
                _paste(out, rows[0], columns[0], part, down * self._tall, right * self._wide)
        return out

    def _empty(self, rows: Span, columns: Span, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.empty((rows[1] - rows[0], columns[1] - columns[0], self._samples), dtype)

    def _page_of(self, sheet: int) -> tuple[Any, slice]:
        """Return the page that has a sheet, and which of its strips or tiles are the sheet's."""
        number, plane = divmod(sheet, self._sheets_of_page)
        page = self._series.pages[number]
        count = len(page.dataoffsets) // self._sheets_of_page
        return page, slice(plane * count, (plane + 1) * count)

    def _file_of(self, sheet: int) -> tifffile.FileHandle:
        """Return the open file of a sheet: an OME-TIFF may name others that hold some."""
        if self._offset is not None:
            return self._file.filehandle
        file: tifffile.TiffFile = self._page_of(sheet)[0].parent
        if file not in (self._file, self._other):
            if self._other is not None:
                self._other.filehandle.close()
            self._other = file
            file.filehandle.open()
        return file.filehandle

    def _find(self, sheet: int) -> int | None:
        """Return where the rows of a sheet lie one behind the other; None if they do not."""
        size = math.prod(self._shape[1:]) * self._samples * self._dtype.itemsize
        if self._offset is not None:
            return self._offset + sheet * size
        if self.largest:
            return None
        if self._start[0] != sheet:
            # the first page is so, but that says nothing of the others
            page, own = self._page_of(sheet)
            places = list(zip(page.dataoffsets[own], page.databytecounts[own], strict=True))
            start, end = places[0][0], sum(places[-1])
            joined = all(sum(one) == two[0] for one, two in pairwise(places))
            self._start = sheet, int(start) if joined and end - start == size else None
        return self._start[1]

    def _read_rows(
        self, file: tifffile.FileHandle, start: int, rows: Span, columns: Span
    ) -> NDArray[Any]:
        """Read rows that lie uncompressed in the file."""
        width, size = self._shape[2], self._samples * self._dtype.itemsize
        stored = self._dtype.newbyteorder(self._file.byteorder)
        out = self._empty(rows, columns, stored)
        start += (rows[0] * width + columns[0]) * size
        # plain reads: a memory map of a file cut short meanwhile would kill the process
        read = file.read_array
        if out.shape[1] == width:
            read(stored, out.size, start, out=out)
        else:
            for k, row in enumerate(out):
                read(stored, row.size, start + k * width * size, out=row)
        return out.view(self._dtype)  # the reader swaps the bytes

    def _decode(self, sheet: int, index: int) -> NDArray[Any]:
        page, own = self._page_of(sheet)
        file = self._file_of(sheet)
        index += own.start
        file.seek(int(page.dataoffsets[index]))
        data = file.read(int(page.databytecounts[index]))
        first = page.keyframe
        tables = page.jpegtables or first.jpegtables
        segment, _, shape = first.decode(
            data, index, jpegtables=tables, jpegheader=first.jpegheader
        )
        if segment is None:
            raise ValueError(f"strip or tile {index} holds no data")
        return np.asarray(segment[0, : shape[1], : shape[2]], self._dtype)


def _paste(
    out: NDArray[Any], top: int, left: int, part: NDArray[Any], down: int, right: int
) -> None:
    """Copy into a window that begins at (top, left) what it shares with a part at (down, right)."""
    y0, y1 = max(top, down), min(top + out.shape[0], down + part.shape[0])
    x0, x1 = max(left, right), min(left + out.shape[1], right + part.shape[1])
    out[y0 - top : y1 - top, x0 - left : x1 - left] = part[y0 - down : y1 - down,
                                                           x0 - right : x1 - right]  # fmt: skip
