"""Writing a stack as a TIFF file, slice by slice and in any order."""

from __future__ import annotations

import errno
import math
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from paper_unet.errors import InputError
from paper_unet.images.files import require_folder, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIXES = (".tif", ".tiff")
DTYPES = ("uint8", "uint16", "uint32", "float32")
# a classic TIFF counts its bytes in 32 bits; this much is kept for the directories
CLASSIC_LIMIT = 2**32 - 2**25
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BYTES_PER_PAGE = 512  # more than any directory this module writes


class StackWriter:
    """A TIFF stack that takes its name only when every slice is on disk.

    Made by `create_tiff` and used in a ``with`` statement; ``writer[z] = image`` stores one slice.
    If the block ends by an exception, or with slices missing, no file appears.

    Attributes
    ----------
    path : Path
        The final name.
    partial : Path
        Where the slices are until then: the same name with ``.partial`` behind it.
    shape : tuple of int, (Z, Y, X)
        The size of the stack.
    dtype : numpy.dtype
        Of its values.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], *, overwrite: bool
    ) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.shape = shape
        self.dtype = dtype
        self._overwrite = overwrite
        self._written = np.zeros(shape[0], bool)
        self._file: BinaryIO | None = None
        self._offset = 0

    def __enter__(self) -> Self:
        check_output(self.path, overwrite=self._overwrite)
        _check_space(self.path, self._size())
        self._file = _open_alone(self.partial, self.path)
        try:
            self._offset = self._write_header(self._file)
            self._reserve(self._file)
        except BaseException:
            self._discard()
            raise
        return self

    def __setitem__(self, z: int, image: NDArray[Any]) -> None:
        if self._file is None:
            raise InputError(f"{self.path}: not open for writing; use it in a with statement")
        if not 0 <= z < self.shape[0]:
            raise IndexError(f"{self.path}: slice {z} of a stack of {self.shape[0]} slices")
        if image.shape != self.shape[1:] or image.dtype != self.dtype:
            raise InputError(
                f"{self.path}: slice {z} is {image.dtype} of shape {image.shape}; the stack takes "
                f"{self.dtype} of shape {self.shape[1:]}"
            )
        pixels = np.ascontiguousarray(image, self.dtype.newbyteorder("<"))
        try:
            self._file.seek(self._offset + z * pixels.nbytes)
            self._file.write(pixels.tobytes())
            self._file.flush()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise _no_space(self.path, self._size(), "the disk is full") from error
        self._written[z] = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        missing = np.flatnonzero(~self._written)
        if missing.size:
            raise InputError(
                f"{self.path}: {missing.size} of {self.shape[0]} slices were never written, the "
                f"first is {missing[0]}; nothing was saved"
            )
        if self._file is None:
            raise InputError(f"{self.path}: not open for writing")
        self._file.flush()
        os.fsync(self._file.fileno())
        if os.name == "nt":  # Windows does not rename an open file
            self._file.close()
        check_output(self.path, overwrite=self._overwrite)
        self.partial.replace(self.path)
        sync_folder(self.path.parent)
        self._file.close()
        self._file = None

    def _discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _big(self) -> bool:
        return math.prod(self.shape) * self.dtype.itemsize > CLASSIC_LIMIT

    def _size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize + BYTES_PER_PAGE * (self.shape[0] + 1)

    def _write_header(self, file: BinaryIO) -> int:
        """Write everything but the pixels; return where these begin."""
        # never imagej=True: beyond 4 GB that writes one page and a warning
        with tifffile.TiffWriter(file, bigtiff=self._big(), byteorder="<") as writer:
            located = writer.write(
                None,
                shape=self.shape,
                dtype=self.dtype,
                photometric="minisblack",
                metadata={"axes": "ZYX"},
                returnoffset=True,
            )
        if located is None:
            raise RuntimeError("tifffile returned no offset for a contiguous stack")
        return int(located[0])

    def _reserve(self, file: BinaryIO) -> None:
        """Take the disk space now, so that a full disk shows before the first slice."""
        if not hasattr(os, "posix_fallocate"):
            return
        size = file.seek(0, os.SEEK_END)
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in DISK_FULL:  # this file system cannot reserve
                return
            raise _no_space(self.path, size, "the disk is full") from error


def create_tiff(
    path: str | Path, shape: tuple[int, int, int], dtype: DTypeLike, *, overwrite: bool = False
) -> StackWriter:
    """Create a TIFF stack to be written slice by slice.

    Uncompressed, one page for each slice; BigTIFF beyond 4 GB. It reads back as (Z, Y, X), a
    single slice too, and opens in ImageJ and Fiji.

    Parameters
    ----------
    path : str or Path
        Ends in .tif or .tiff; its folder must exist.
    shape : tuple of int, (Z, Y, X)
        The size of the stack.
    dtype : uint8, uint16, uint32 or float32
        Of its values.
    overwrite : bool
        Whether an existing file may be replaced; it stays until the new one is complete.

    Returns
    -------
    StackWriter
        To be used in a ``with`` statement.

    Raises
    ------
    InputError
        If the output exists, its folder does not, the name is no TIFF name, the disk has too
        little room, or another process writes the same output.

    Examples
    --------
    >>> with create_tiff("out.tif", (2, 4, 4), "uint8") as writer:  # doctest: +SKIP
    ...     for z in range(2):
    ...         writer[z] = np.zeros((4, 4), np.uint8)
    """
    path = Path(path)
    kind = np.dtype(dtype).newbyteorder("=")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: output must be a TIFF file; end its name in .tif")
    if kind.name not in DTYPES:
        raise InputError(f"{path}: output of {kind}; accepted are {', '.join(DTYPES)}")
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{path}: output of shape {shape}; accepted is (Z, Y, X), each at least 1")
    check_output(path, overwrite=overwrite)
    return StackWriter(path, (shape[0], shape[1], shape[2]), kind, overwrite=overwrite)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise InputError unless a file of this name may be written."""
    require_folder(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a TIFF file")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name or add --overwrite")


def _check_space(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise _no_space(path, need, "not enough room on the disk")


def _no_space(path: Path, need: int, reason: str) -> InputError:
    free = shutil.disk_usage(path.parent).free
    return InputError(
        f"{path}: {reason}: {need} bytes needed, {free} free; make room or write elsewhere"
    )


def _open_alone(partial: Path, path: Path) -> BinaryIO:
    """Open the partial file for this process alone; a leftover of a killed run is reused."""
    partial.touch()
    file = partial.open("r+b")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # between open and lock, the other process may have finished and renamed this file
            if not partial.exists() or partial.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError
        file.truncate(0)
    except BlockingIOError:
        file.close()
        raise InputError(f"{path}: another process is writing it; wait for it") from None
    except BaseException:
        file.close()
        raise
    return file
