"""Single PNG and JPEG files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.choice import WHOLE, Choice, choosing
from paper_unet.images.grey_values import NotGreyError, own_range
from paper_unet.images.readers.damage import of_system, reason_of
from paper_unet.images.readers.foreign import foreign, format_of_file
from paper_unet.images.readers.orientation import of_exif, orientation_note
from paper_unet.images.readers.png import check_rows, read_header
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import check_regular

KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
# "I": older Pillow, also 16 bits
GREY = {"1": "uint8", "L": "uint8", "I;16": "uint16", "I": "uint16"}
LABELS = {**GREY, "P": "uint8"}
"""Of numbers of cells or classes: those in a palette are what its colours stand for."""

COLOUR = {2: "LA", 3: "RGB", 4: "RGBA"}
NAMES = {
    "LA": ("grey", "alpha"), "RGB": ("red", "green", "blue"),
    "RGBA": ("red", "green", "blue", "alpha"),
}  # fmt: skip
LEAST_COMPRESSED = 8300
"""Pixels that a byte of a file can become at most: deflate makes 1032 bytes of one."""


class PictureStack(Stack):
    """One PNG or JPEG file, a stack of one section; decoded once, when the first window is read."""

    format = "PngStack"
    chooses = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether the name ends as that of a picture."""
        return path.suffix.lower() in KINDS and not path.is_dir()

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
        chosen: Choice = WHOLE,
    ) -> None:
        super().__init__(path, channels=channels, labels=labels, chosen=chosen)
        self._kind = KINDS[path.suffix.lower()]
        if labels and self._kind == "JPEG":
            raise InputError(
                f"{path}: JPEG changes values, so it cannot hold labels; save them as PNG or TIFF"
            )
        stored = check_regular(path)
        mode, bits, size, turned = self._facts()
        self.notes += orientation_note(path, turned)
        grey = LABELS if labels else GREY
        channels = self._choose(mode)
        if mode not in (grey if channels == 1 else (COLOUR.get(channels),)):
            raise self._refusal(mode, bits)
        if channels > 1 and bits != 8:
            # Pillow cuts colours of 16 bits to 8 without a word
            raise InputError(f"{path}: a PNG of {bits} bits a value; save it as TIFF, or in 8 bit")
        if size[0] * size[1] > LEAST_COMPRESSED * stored:
            raise InputError(
                f"{path}: declares {size[1]} x {size[0]} pixels and has {stored} bytes, too few "
                "for any; copy or export it again"
            )
        self.shape = 1, *size
        self.dtype = np.dtype(grey[mode] if channels == 1 else "uint8")
        self.own_range = own_range(self.dtype, bits)
        # Pillow spreads grey values of 2 and 4 bits over 8
        self._spread = 255 // (2**bits - 1) if mode == "L" and bits < 8 else 1
        # while it is decoded: Pillow's own pixels, two copies on the way to an array, and in
        # colour these in another order
        copies = 3 if channels == 1 else 4
        self.cache_bytes = copies * channels * size[0] * size[1] * self.dtype.itemsize
        self._pixels: NDArray[Any] | None = None

    def _choose(self, mode: str) -> int:
        """Return how many channels are read, of which one may be taken."""
        several = next((n for n, name in COLOUR.items() if name == mode), 1)
        names = NAMES.get(mode, ())
        self.taken = tuple(self.chosen.find(self.path, "CYX", (several, 1, 1), names).items())
        self._read_channels = several if self.taken else self.channels
        return self._read_channels

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None

    def _facts(self) -> tuple[str, int, tuple[int, int], object]:
        """Return the mode, bits of a value, the size (Y, X), and the orientation, if any."""
        try:
            with _opened(self.path, self._kind) as image:
                mode, size = image.mode, (image.height, image.width)
                turned = of_exif(image.info.get("exif"))  # `getexif` would decode a PNG
            return mode, read_header(self.path).bits if self._kind == "PNG" else 8, size, turned
        except (OSError, SyntaxError, ValueError, IndexError, MemoryError) as error:
            if refused := of_system(self.path, "the file", error):
                raise refused from error
            found = format_of_file(self.path)
            if found and not found.startswith(f"a {self._kind} file"):
                raise foreign(self.path, found) from error
            raise InputError(
                f"{self.path}: not a {self._kind} file that can be read; export it again"
            ) from error

    def _refusal(self, mode: str, bits: int) -> InputError:
        about = f"{self.path}: a {self._kind} of mode {mode}; "
        if self.channels == 1:
            names = NAMES.get(mode, ()) if bits == 8 else ()
            one = f"choose {choosing('C', len(names), names)}; or " if names else ""
            return (NotGreyError if mode in LABELS else InputError)(
                f"{about}grey of up to 16 bits is accepted: {one}convert it (ImageJ: Image > "
                "Type > 8-bit), or use a network of as many channels"
            )
        wanted = COLOUR.get(self.channels, "of so many channels, which only a TIFF can have")
        return InputError(
            f"{about}{self.channels} values for each pixel are needed ({wanted}): convert it, or "
            "use a network of other channels"
        )

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._pixels is None:
            self._pixels = self._decode()
        of = ... if not self.taken else self.taken[0][1]
        return self._pixels[of, slice(*rows), slice(*columns)].copy()

    def _decode(self) -> NDArray[Any]:
        self.budget.allow(self.cache_bytes, self.path, f"decodes {self.shape[1:]} pixels at once")
        try:
            if self._kind == "PNG":
                check_rows(self.path)
            with _opened(self.path, self._kind) as image:
                pixels = np.asarray(image, self.dtype)
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError, MemoryError, zlib.error) as error:
            raise of_system(self.path, "the pixels", error) or InputError(
                f"{self.path}: cannot be decoded ({reason_of(error)}); copy or export it again"
            ) from error
        if self._spread > 1:
            pixels = pixels // np.uint8(self._spread)
        colours = (self._read_channels,) if self._read_channels > 1 else ()
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
