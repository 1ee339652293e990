"""Writing a stack as a TIFF file in one go, section by section and in any order."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from paper_unet.errors import InputError
from paper_unet.images.output import check_kind
from paper_unet.images.tiff_output import SUFFIXES, TiffOutput

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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

    def __init__(self, output: TiffOutput) -> None:
        self.path = output.path
        self.partial = output.partial
        self.shape = output.shape
        self.dtype = output.dtype
        self._output = output
        self._output.remedy = "make room or write elsewhere"  # nothing is left to go on from
        self._written = np.zeros(self.shape[0], bool)
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._lock = _open_alone(self.partial, self.path)
        try:
            self._output.prepare(resume=False)
        except BaseException:
            self._discard()
            raise
        return self

    def __setitem__(self, z: int, image: NDArray[Any]) -> None:
        if self._lock is None:
            raise InputError(f"{self.path}: not open for writing; use it in a with statement")
        if not 0 <= z < self.shape[0]:
            raise IndexError(f"{self.path}: slice {z} of a stack of {self.shape[0]} slices")
        if image.shape != self.shape[1:] or image.dtype != self.dtype:
            raise InputError(
                f"{self.path}: slice {z} is {image.dtype} of shape {image.shape}; the stack takes "
                f"{self.dtype} of shape {self.shape[1:]}"
            )
        self._output.write(z, 0, 0, image)
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
        if self._lock is not None and os.name == "nt":  # Windows does not rename an open file
            self._lock.close()
        self._output.finish()
        self._unlock()

    def _discard(self) -> None:
        """Remove what is left under the partial name, then let others have it."""
        self._output.close()
        self.partial.unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def create_tiff(
    path: str | Path, shape: tuple[int, int, int], dtype: DTypeLike, *, overwrite: bool = False
) -> StackWriter:
    """Create a TIFF stack to be written slice by slice.

    Uncompressed, one page for each slice; BigTIFF beyond 4 GB. It reads back as (Z, Y, X), a
    single slice too, and opens in ImageJ and Fiji. `create_output` writes windows instead of whole
    slices, and can go on after a crash.

    Parameters
    ----------
    path : str or Path
        Ends in .tif, .tiff, .btf or .tf8; its folder must exist.
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
    check_kind(path, shape, kind)
    size = (shape[0], shape[1], shape[2])
    return StackWriter(TiffOutput(path, size, kind, overwrite=overwrite))


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
    except BlockingIOError:
        file.close()
        raise InputError(f"{path}: another process is writing it; wait for it") from None
    except BaseException:
        file.close()
        raise
    return file
