"""Single PNG and JPEG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import check_regular, open_regular

KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
GREY = {"L": "uint8", "I;16": "uint16", "I": "uint16"}  # "I": older Pillow, also 16 bits
COLOUR = {2: "LA", 3: "RGB", 4: "RGBA"}
LEAST_COMPRESSED = 8300
"""Pixels that a byte of a file can become at most: deflate makes 1032 bytes of one."""

PNG_DEPTH = 24
"""Where a PNG says how many bits a value has; Pillow cuts colours of 16 to 8 without a word."""


class PictureStack(Stack):
    """One PNG or JPEG file, a stack of one section; decoded once, when the first window is read."""

    format = "PngStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether the name ends as that of a picture."""
        return path.suffix.lower() in KINDS and not path.is_dir()

    def __init__(
        self, path: Path, *, axes: str | None = None, series: int | None = None, channels: int = 1
    ) -> None:
        super().__init__(path, channels=channels)
        self._kind = KINDS[path.suffix.lower()]
        if channels == 1 and self._kind == "JPEG":
            raise InputError(f"{path}: a JPEG is read in colour alone; use a network of 3 channels")
        stored = check_regular(path)
        mode, depth, size = self._facts()
        if mode not in (GREY if channels == 1 else (COLOUR.get(channels),)):
            raise self._refusal(mode)
        if depth != 8:
            raise InputError(f"{path}: a PNG of {depth} bits a value; save it as TIFF, or in 8 bit")
        if size[0] * size[1] > LEAST_COMPRESSED * stored:
            raise InputError(
                f"{path}: declares {size[1]} x {size[0]} pixels and has {stored} bytes, too few "
                "for any; copy or export it again"
            )
        self.shape = 1, *size
        self.dtype = np.dtype(GREY[mode] if channels == 1 else "uint8")
        # while it is decoded: Pillow's own pixels, two copies on the way to an array, and in
        # colour these in another order
        copies = 3 if channels == 1 else 4
        self.cache_bytes = copies * channels * size[0] * size[1] * self.dtype.itemsize
        self._pixels: NDArray[Any] | None = None

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None

    def _facts(self) -> tuple[str, int, tuple[int, int]]:
        """Return the mode, bits of a value in colour, and the size (Y, X)."""
        try:
            with _opened(self.path, self._kind) as image:
                mode, size = image.mode, (image.height, image.width)
            colour_png = self.channels > 1 and self._kind == "PNG"
            return mode, _png_depth(self.path) if colour_png else 8, size
        except (OSError, SyntaxError, ValueError, IndexError) as error:
            raise InputError(
                f"{self.path}: not a {self._kind} file that can be read; export it again"
            ) from error

    def _refusal(self, mode: str) -> InputError:
        about = f"{self.path}: a {self._kind} of mode {mode}; "
        if self.channels == 1:
            return InputError(
                about + "8-bit or 16-bit grey is accepted: convert it (ImageJ: Image > Type > "
                "8-bit), or use a network of as many channels"
            )
        wanted = COLOUR.get(self.channels, "of so many channels, which only a TIFF can have")
        return InputError(
            f"{about}{self.channels} values for each pixel are needed ({wanted}): convert it, or "
            "use a network of other channels"
        )

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._pixels is None:
            self._pixels = self._decode()
        return self._pixels[..., slice(*rows), slice(*columns)].copy()

    def _decode(self) -> NDArray[Any]:
        self.budget.allow(self.cache_bytes, self.path, f"decodes {self.shape[1:]} pixels at once")
        try:
            with _opened(self.path, self._kind) as image:
                pixels = np.asarray(image, self.dtype)
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise InputError(
                f"{self.path}: cannot be decoded ({error or 'memory'}); copy or export it again"
            ) from error
        colours = (self.channels,) if self.channels > 1 else ()
        if pixels.shape != (*self.shape[1:], *colours):
            raise InputError(f"{self.path}: changed while it was read; keep it as it is")
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if colours else pixels


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    """Open a picture of any size: Pillow takes sections of 20,000 x 20,000 pixels for an attack."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=[kind]) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _png_depth(path: Path) -> int:
    with open_regular(path) as file:
        return file.read(PNG_DEPTH + 1)[PNG_DEPTH]
