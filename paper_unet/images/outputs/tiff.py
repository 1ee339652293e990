"""Writing a stack as an uncompressed TIFF file, window by window and in any order."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs.output import OPENING, Output
from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.stack import Span
from paper_unet.system.claim import in_the_way
from paper_unet.system.files import DISK_FULL, sync_folder
from paper_unet.system.names import BINARY, NO_LINKS, kind_of

BIG_SUFFIXES = (".btf", ".tf8")
# a classic TIFF counts its bytes in 32 bits; this much is kept for the directories
CLASSIC_LIMIT = 2**32 - 2**25
BYTES_PER_PAGE = 512  # more than any directory this module writes
READ_AT_ONCE = 2**22  # bytes
HIGHEST_RESOLUTION = 2**32 - 1  # pixels for each centimetre, as TIFF stores it


class TiffOutput(Output):
    """One TIFF file, one page for each section; see `Output`.

    BigTIFF beyond 4 GB, and where the name ends in .btf or .tf8. OME-TIFF where the name has .ome
    before its end. Pixels lie in one block, so a window is written where it belongs.
    """

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
        self._check_window(z, row, column, pixels)
        descriptor, _ = self._opened()
        rows, columns = (row, row + pixels.shape[0]), (column, column + pixels.shape[1])
        plain = np.ascontiguousarray(pixels, self.dtype.newbyteorder("<"))
        data, begin = plain.reshape(-1).view(np.uint8).data, 0
        with self._naming_full_disk():
            for place, length in self._places(z, rows, columns):
                _write_at(descriptor, data[begin : begin + length], place)
                begin += length
        return stored_bytes([data])

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Read the bytes of a window; see `Output.stored`."""
        return stored_bytes(self._read(z, rows, columns))

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return the bytes of a window, 0 if the file ends before; see `Output.size_stored`."""
        descriptor, offset = self._opened()
        _, height, width = self.shape
        end = ((z * height + rows[1] - 1) * width + columns[1]) * self.dtype.itemsize
        if offset + end > os.fstat(descriptor).st_size:
            return 0
        return (rows[1] - rows[0]) * (columns[1] - columns[0]) * self.dtype.itemsize

    def frame(self) -> Stored:
        """Read the directories before and behind the pixels; the size is that of the file."""
        descriptor, offset = self._opened()
        end = offset + math.prod(self.shape) * self.dtype.itemsize
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
            raise InputError(f"{self.path}: is a folder; give the name of a TIFF file")
        if self._ome and self.dtype == np.uint64:
            raise InputError(
                f"{self.path}: OME-TIFF has no values of {self.dtype}; end it in .tif or .zarr"
            )
        super()._check()

    def _fits(self) -> bool:
        try:
            return self._find_pixels() > 0
        except InputError:
            return False

    @property
    def _ome(self) -> bool:
        return ".ome" in self.path.suffixes[-2:-1]

    def _big(self) -> bool:
        return self.path.suffix.lower() in BIG_SUFFIXES or self._size() > CLASSIC_LIMIT

    def _size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize + BYTES_PER_PAGE * (self.shape[0] + 1)

    def _places(self, z: int, rows: Span, columns: Span) -> Iterator[tuple[int, int]]:
        """Yield where the bytes of a window lie, and how many: rows of full width are one."""
        _, height, width = self.shape
        step, offset = self.dtype.itemsize, self._opened()[1]
        start = offset + ((z * height + rows[0]) * width + columns[0]) * step
        count, length = rows[1] - rows[0], columns[1] - columns[0]
        if length == width:
            yield start, count * length * step
            return
        for k in range(count):
            yield start + k * width * step, length * step

    def _read(self, z: int, rows: Span, columns: Span) -> Iterator[bytes]:
        descriptor, _ = self._opened()
        for place, length in self._places(z, rows, columns):
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

    def _find_pixels(self) -> int:
        """Read the header; raise InputError if it is not the one of this output."""
        if kind_of(self.partial) not in ("file", None):
            raise self.nothing_left(f"is a {kind_of(self.partial)}")
        try:
            with tifffile.TiffFile(self.partial) as file:
                page, count = file.pages.first, math.prod(self.shape)
                offset = int(file.series[0].dataoffset or 0)
                same = (page.dtype, page.is_memmappable) == (self.dtype, True)
                same &= offset > 0 and math.prod(file.series[0].shape) == count
                # columns of one pixel may be stored as one page
                same &= page.imagewidth == self.shape[2] or self.shape[2] == 1
                same &= offset + count * self.dtype.itemsize <= file.filehandle.size
        except FileNotFoundError:
            raise self.nothing_left("is gone") from None
        except Exception as error:  # a damaged header raises errors of many types
            raise self.nothing_left("cannot be read") from error
        if not same:
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape}")
        return offset

    def _create(self) -> None:
        try:
            file = self.partial.open("xb")  # never through a link
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

    def _write_header(self, file: BinaryIO) -> None:
        """Write everything but the pixels, which are left to be filled in."""
        ome = self._ome
        about = self._about_ome() if ome else self._about()
        # never imagej=True: beyond 4 GB that writes one page and a warning
        with tifffile.TiffWriter(
            file, bigtiff=self._big(), byteorder="<", ome=ome, shaped=not ome
        ) as writer:
            writer.write(
                None,
                shape=self.shape,
                dtype=self.dtype,
                photometric="minisblack",
                metadata={"axes": "ZYX", **about},
                returnoffset=True,
                **self._resolution(),
            )

    def _resolution(self) -> dict[str, Any]:
        """Return the pixels for each centimetre: the unit that ImageJ's own reader knows."""
        _, y, x = self.pixel_size
        if x is None or y is None:
            return {}
        resolution = 1e4 / x, 1e4 / y
        if not all(1 / HIGHEST_RESOLUTION < value < HIGHEST_RESOLUTION for value in resolution):
            return {}
        return {"resolution": resolution, "resolutionunit": "CENTIMETER"}

    def _about(self) -> dict[str, Any]:
        z = self.pixel_size[0]
        return {} if z is None else {"spacing": z, "unit": "um"}

    def _about_ome(self) -> dict[str, Any]:
        sizes = {
            f"PhysicalSize{axis}": size
            for axis, size in zip("ZYX", self.pixel_size, strict=True)
            if size is not None
        }
        units = {f"{name}Unit": "µm" for name in sizes}
        # the writer's default is a new UUID each time; the same pixels shall give the same bytes
        name = repr((self.shape, self.dtype.name, self.pixel_size))
        fixed = uuid.uuid5(uuid.NAMESPACE_URL, f"paper-unet:{name}")
        return {**sizes, **units, "UUID": str(fixed), "Creator": "paper_unet"}

    def _reserve(self, file: BinaryIO) -> None:
        """Take the disk space now, so that a full disk shows before the first section."""
        if not hasattr(os, "posix_fallocate"):
            return
        size = file.seek(0, os.SEEK_END)
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
