"""Writing a stack as a TIFF file in one go, section by section and in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import DTypeLike, NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs import create_output
from paper_unet.images.outputs.kinds import TIFF_SUFFIXES
from paper_unet.images.outputs.output import Output
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize
from paper_unet.system.claim import Claim, claim_output


class StackWriter:
    """An `Output` that takes its name only when every slice is on disk.

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

    def __init__(self, output: Output) -> None:
        self.path, self.partial = output.path, output.partial
        self.shape, self.dtype = output.shape, output.dtype
        self._output = output
        self._output.remedy = "make room or write elsewhere"  # nothing is left to go on from
        self._missing = set(range(self.shape[0]))
        self._claim: Claim | None = None

    def __enter__(self) -> Self:
        self._claim = claim_output(self.path)
        try:
            if self._claim.has_content and not self._output.overwrite:
                raise InputError(
                    f"{self.path}: an interrupted prediction of it can be gone on with; finish it, "
                    "choose another name, or allow it to be overwritten"
                )
            self._output.take(self._claim, left=self._claim.has_content)
            self._claim.reset()
            self._output.start()
        except BaseException:
            self._release()
            raise
        return self

    def __setitem__(self, z: int, image: NDArray[Any]) -> None:
        if self._claim is None:
            raise InputError(f"{self.path}: not open for writing; use it in a with statement")
        if not 0 <= z < self.shape[0]:
            raise IndexError(f"{self.path}: slice {z} of a stack of {self.shape[0]} slices")
        if image.shape != self.shape[1:] or image.dtype != self.dtype:
            raise InputError(
                f"{self.path}: slice {z} is {image.dtype} of shape {image.shape}; the stack takes "
                f"{self.dtype} of shape {self.shape[1:]}"
            )
        self._output.write(z, 0, 0, image)
        self._missing.discard(z)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        with self._whole_or_gone():
            self._finish()

    def _finish(self) -> None:
        if self._missing:
            raise InputError(
                f"{self.path}: {len(self._missing)} of {self.shape[0]} slices were never written, "
                f"the first is {min(self._missing)}; nothing was saved"
            )
        self._output.finish()
        self._release(whole=True)

    @contextmanager
    def _whole_or_gone(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Remove what is left under the partial name, then let others have it."""
        self._output.discard()
        self._release(whole=True)

    def _release(self, *, whole: bool = False) -> None:
        """Let others write this output; what an interrupted run recorded stays, unless dropped."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release(keep=claim.has_content and not whole)


def create_tiff(
    path: str | Path,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size: PixelSize = UNKNOWN_SIZE,
    overwrite: bool = False,
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
    pixel_size : tuple of float or None, (z, y, x)
        In micrometres; None where it is not known.
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
    if Path(path).suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(f"{path}: output must be a TIFF file; end its name in .tif")
    return StackWriter(
        create_output(path, shape, dtype, pixel_size=pixel_size, overwrite=overwrite)
    )
