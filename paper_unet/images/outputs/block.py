"""Writing a stack whose pixels lie in one block of a file, not compressed, in any order.

Everything but the pixels is written before the first of them, and is never touched again: whatever
stops a run, what lies around the pixels is whole.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs.output import OPENING, Output
from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.stack import Span
from paper_unet.system.claim import in_the_way
from paper_unet.system.files import DISK_FULL, sync_folder
from paper_unet.system.names import BINARY, NO_LINKS, kind_of

READ_AT_ONCE = 2**22  # bytes


class BlockOutput(Output):
    """One file, in which the pixels, (Z, Y, X) or (C, Z, Y, X), are one block; see `Output`.

    They are little-endian. A subclass says what a file of its format is called, writes what lies
    around the block, and finds the block again.
    """

    kind = "file"
    holds_channels = True

    def prepare(self, *, resume: bool) -> None:
        """Write everything but the pixels, and take the room for these; see `Output.prepare`."""
        self.close()
        if resume:
            self._opened()
            with self.partial.open("r+b") as file:
                self._reserve(file)
            return
        self._check()
        self._create()

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> Stored:
        """Store a window; see `Output.write`."""
        windows = self._windows(z, row, column, pixels)
        return stored_bytes(self._write_window(*window, row, column) for window in windows)

    def _write_window(self, plane: int, pixels: NDArray[Any], row: int, column: int) -> memoryview:
        """Write a window of one plane; return its bytes."""
        descriptor, _ = self._opened()
        rows, columns = (row, row + pixels.shape[0]), (column, column + pixels.shape[1])
        plain = np.ascontiguousarray(pixels, self.dtype.newbyteorder("<"))
        data, begin = plain.reshape(-1).view(np.uint8).data, 0
        with self._naming_full_disk():
            for place, length in self._places(plane, rows, columns):
                _write_at(descriptor, data[begin : begin + length], place)
                begin += length
        return data

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Read the bytes of a window; see `Output.stored`."""
        return stored_bytes(self._read(z, rows, columns))

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return the bytes of a window, 0 if the file ends before; see `Output.size_stored`."""
        descriptor, offset = self._opened()
        _, height, width = self.shape
        planes = self._planes(z)
        end = ((planes[-1] * height + rows[1] - 1) * width + columns[1]) * self.dtype.itemsize
        if offset + end > os.fstat(descriptor).st_size:
            return 0
        pixels = (rows[1] - rows[0]) * (columns[1] - columns[0])
        return len(planes) * pixels * self.dtype.itemsize

    def frame(self) -> Stored:
        """Read what lies before and behind the pixels; the size is that of the file."""
        descriptor, offset = self._opened()
        end = offset + self._pixel_bytes
        size = os.fstat(descriptor).st_size
        around = [*_read_at(descriptor, 0, offset), *_read_at(descriptor, end, size - end)]
        return Stored(size, stored_bytes(around).crc32)

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether every row of a window has a byte that is not 0, which all are until written."""
        lines = (self._read(z, (row, row + 1), columns) for row in range(*rows))
        return all(any(part.count(0) < len(part) for part in line) for line in lines)

    def sync(self, z: int, rows: Span, columns: Span) -> None:
        """Return when all that was written is on disk; see `Output.sync`."""
        with self._naming_full_disk():
            os.fsync(self._opened()[0])

    def close(self) -> None:
        """Close the file of this process."""
        if self._handle is not None:
            os.close(self._handle[0])
            self._handle = None

    def _check(self) -> None:
        if kind_of(self.path) == "folder":
            raise InputError(f"{self.path}: is a folder; give the name of {self.kind}")
        super()._check()

    @property
    def _pixel_bytes(self) -> int:
        return math.prod(self.full_shape) * self.dtype.itemsize

    @abstractmethod
    def _write_header(self, file: BinaryIO) -> None:
        """Write everything but the pixels, which are left to be filled in; `file` is empty."""

    @abstractmethod
    def _find_pixels(self) -> int:
        """Return where the pixels begin; raise InputError unless the file is of this output."""

    def _fits(self) -> bool:
        try:
            return self._find_pixels() > 0
        except InputError:
            return False

    def _require_file(self) -> None:
        """Raise InputError if the partial output is there and no file."""
        if kind_of(self.partial) not in ("file", None):
            raise self.nothing_left(f"is a {kind_of(self.partial)}")

    def _places(self, plane: int, rows: Span, columns: Span) -> Iterator[tuple[int, int]]:
        """Yield where the bytes of a window lie, and how many: rows of full width are one."""
        _, height, width = self.shape
        step, offset = self.dtype.itemsize, self._opened()[1]
        start = offset + ((plane * height + rows[0]) * width + columns[0]) * step
        count, length = rows[1] - rows[0], columns[1] - columns[0]
        if length == width:
            yield start, count * length * step
            return
        for k in range(count):
            yield start + k * width * step, length * step

    def _read(self, z: int, rows: Span, columns: Span) -> Iterator[bytes]:
        descriptor, _ = self._opened()
        for plane in self._planes(z):
            for place, length in self._places(plane, rows, columns):
                yield from _read_at(descriptor, place, length)

    def _opened(self) -> tuple[int, int]:
        """Return the open file, and where its pixels begin."""
        with OPENING:
            if self._handle is None:
                offset = self._find_pixels()
                flags = os.O_RDWR | NO_LINKS | BINARY
                self._handle = os.open(self.partial, flags), offset
            descriptor, offset = self._handle
        return descriptor, offset

    def _create(self) -> None:
        try:
            file = self.partial.open("x+b")  # never through a link
        except FileExistsError:
            raise in_the_way(self.partial) from None
        try:
            # named also when closing the file fails, which writes what waits
            with self._naming_full_disk(), file:
                self._check_room()
                self._write_header(file)
                self._reserve(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.partial.unlink(missing_ok=True)
            raise
        sync_folder(self.path.parent)

    def _reserve(self, file: BinaryIO, size: int | None = None) -> None:
        """Take the disk space now, so that a full disk shows before the first section.

        As many bytes as the file has, unless told.
        """
        if not hasattr(os, "posix_fallocate"):
            return
        size = file.seek(0, os.SEEK_END) if size is None else size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise  # anything else: this file system cannot reserve


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all bytes at a place; the system may take them in parts."""
    while data:
        if hasattr(os, "pwrite"):
            count = os.pwrite(descriptor, data, offset)
        else:  # Windows has one position for all threads
            with OPENING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                count = os.write(descriptor, data)
        data, offset = data[count:], offset + count


def _read_at(descriptor: int, offset: int, length: int) -> Iterator[bytes]:
    """Yield the bytes at a place in parts; fewer if the file ends."""
    while length > 0:
        if hasattr(os, "pread"):
            part = os.pread(descriptor, min(length, READ_AT_ONCE), offset)
        else:
            with OPENING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                part = os.read(descriptor, min(length, READ_AT_ONCE))
        if not part:
            return
        yield part
        offset, length = offset + len(part), length - len(part)
