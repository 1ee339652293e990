"""Colour images: photographs, and stacks with several values for each pixel.

They are small beside sections of electron microscopy, so that a section is decoded as a whole when
the first window of it is read, and kept until the next one is.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from paper_unet.errors import InputError
from paper_unet.images.axes import UNKNOWN_AXES
from paper_unet.images.readers.folder import listing, opened_picture
from paper_unet.images.readers.tiff import DTYPES, choose_series, decoding, silenced
from paper_unet.images.readers.tiff_structure import check_structure
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SUFFIXES = {**PICTURES, ".tif": "TIFF", ".tiff": "TIFF", ".btf": "TIFF"}
MODES = {2: "LA", 3: "RGB", 4: "RGBA"}
MINISBLACK, RGB, YCBCR = 1, 2, 6
PNG_DEPTH = 24
"""Where a PNG says how many bits a value has; Pillow cuts 16 to 8 without a word."""
COPIES = 4
"""Of a section while it is decoded: the decoder's own, the pixels, and these in another order."""


class ColourStack(Stack):
    """A stack of colour sections; see `paper_unet.images.open_stack`."""

    def __init__(self, path: Path, *, channels: int, axes: str | None, series: int | None) -> None:
        self.path, self.channels = path, channels
        self._files = listing(path, SUFFIXES) if path.is_dir() else [path]
        if path.is_dir() and (axes, series) != (None, None):
            raise InputError(f"{path}: --axes and --series are for single files; leave them out")
        self._choice = axes, series
        self._kept: tuple[int, NDArray[Any]] | None = None
        with self._open(self._files[0]) as first:
            self.dtype, size = first.dtype, first.size
            self._each = first.count
        if path.is_dir():
            self._check_sections(size)
        self.shape = (self._each * len(self._files), *size)
        self.cache_bytes = COPIES * channels * size[0] * size[1] * self.dtype.itemsize

    @property
    def files(self) -> tuple[Path, ...]:
        """The file or folder, and the sections that are links and so lie elsewhere."""
        return self.path, *(f for f in self._files if f != self.path and f.is_symlink())

    def close(self) -> None:
        """Forget the pixels."""
        self._kept = None

    def _open(self, file: Path) -> _Colours:
        if file.suffix.lower() in PICTURES:
            return _Picture(file, self.channels)
        return _Tiff(file, self.channels, *self._choice)

    def _check_sections(self, size: tuple[int, int]) -> None:
        for file in self._files:
            with self._open(file) as one:
                if one.count != 1:
                    raise InputError(
                        f"{file}: holds {one.count} sections; in a folder each file is one "
                        "section: give this file itself, or split it"
                    )
                if (one.size, one.dtype) != (size, self.dtype):
                    raise InputError(
                        f"{file}: {one.dtype} of {one.size[1]} x {one.size[0]} pixels, and "
                        f"{self._files[0].name} is {self.dtype} of {size[1]} x {size[0]}; all "
                        "sections must be alike: crop or convert them"
                    )

    def _stamp(self) -> dict[str, Any]:
        facts = "".join(f"{file.name} {file_stamp(file)}\n" for file in self._files)
        return {"files": hashlib.sha256(facts.encode()).hexdigest(), "channels": self.channels}

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._kept is None or self._kept[0] != z:
            self._kept = None
            file = self._files[z // self._each]
            with self._open(file) as one:
                pixels = one.read(z % self._each)
            if pixels.shape != (self.channels, *self.shape[1:]) or pixels.dtype != self.dtype:
                raise InputError(f"{file}: changed while it was read; keep it as it is")
            self._kept = z, pixels
        return self._kept[1][:, slice(*rows), slice(*columns)].copy()


class _Colours(ABC):
    """One file of colour sections."""

    size: tuple[int, int]
    dtype: np.dtype[Any]
    count: int = 1

    @abstractmethod
    def read(self, k: int) -> NDArray[Any]:
        """Return section k, shape (C, Y, X)."""

    def __enter__(self) -> _Colours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Close the file."""


class _Picture(_Colours):
    """A PNG or JPEG."""

    def __init__(self, path: Path, channels: int) -> None:
        self.path, self.kind = path, PICTURES[path.suffix.lower()]
        self.dtype = np.dtype(np.uint8)
        try:
            with opened_picture(path, self.kind) as image:
                mode, self.size = image.mode, (image.height, image.width)
            depth = _png_depth(path) if self.kind == "PNG" else 8
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, IndexError) as error:
            raise InputError(
                f"{path}: not a {self.kind} file that can be read; export it again"
            ) from error
        if mode != MODES.get(channels):
            wanted = MODES.get(channels, "of so many channels, which only a TIFF can have")
            raise InputError(
                f"{path}: a {self.kind} of mode {mode}; {channels} values for each pixel are "
                f"needed ({wanted}): convert it, or use a network of other channels"
            )
        if depth != 8:
            raise InputError(f"{path}: a PNG of {depth} bits a value; save it as TIFF, or in 8 bit")

    def read(self, k: int) -> NDArray[Any]:
        try:
            with opened_picture(self.path, self.kind) as image:
                return np.ascontiguousarray(np.moveaxis(np.asarray(image, self.dtype), -1, 0))
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise InputError(
                f"{self.path}: cannot be decoded ({error or 'memory'}); copy or export it again"
            ) from error


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(PNG_DEPTH + 1)[PNG_DEPTH]


class _Tiff(_Colours):
    """A TIFF: several values in each page, or a page for each channel of each section."""

    def __init__(self, path: Path, channels: int, axes: str | None, series: int | None) -> None:
        self.path, self.channels = path, channels
        check_structure(path)
        with silenced(), decoding(path, "the file"):
            self._file = tifffile.TiffFile(path)
            try:
                self._series = choose_series(path, self._file, series)
                page = self._series.keyframe
                self._check_values(page)
                self._pages = 1 if page.samplesperpixel == channels else channels
                self.size = page.imagelength, page.imagewidth
                self.count = self._sections(axes)
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        self._file.close()

    def _check_values(self, page: Any) -> None:
        dtype = None if page.dtype is None else page.dtype.name
        if dtype not in DTYPES:
            raise InputError(
                f"{self.path}: values of {dtype or 'an unknown type'}; accepted are "
                f"{', '.join(DTYPES)}: convert it"
            )
        if page.photometric not in (MINISBLACK, RGB, YCBCR):
            name = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{self.path}: colour model {name}; convert it to RGB")
        if page.samplesperpixel not in (1, self.channels):
            raise InputError(
                f"{self.path}: {page.samplesperpixel} values for each pixel, {self.channels} are "
                "needed: convert it, or use a network of other channels"
            )
        self.dtype = page.dtype.newbyteorder("=")

    def _sections(self, given: str | None) -> int:
        """Return how many sections there are, by the axes of the file or those given."""
        found, shape = str(self._series.axes), tuple(self._series.shape)
        axes = found if given is None else given.upper()
        if len(axes) != len(shape) or len(set(axes)) != len(axes):
            raise InputError(
                f'{self.path}: axes "{axes}" for an image of shape {shape} ({found}); give one '
                f"letter for each of its {len(shape)} axes, such as ZCYX"
            )
        kept = [(a, n) for a, n in zip(axes, shape, strict=True) if n != 1 or a in "YX"]
        letters = "".join(axis for axis, _ in kept)
        channel = next((n for axis, n in kept if axis in "CS"), 1)
        leading = letters[:-3]
        # the values of a page come first or last; those of several pages before Y
        ordered = letters[-3:] in ("CYX", "SYX") + (("YXS", "YXC") if self._pages == 1 else ())
        if channel != self.channels or not ordered or leading not in ("", "Z", *UNKNOWN_AXES):
            raise InputError(
                f"{self.path}: axes {axes} of shape {shape}; a stack of {self.channels} values for "
                "each pixel is needed, (Z)YXS or (Z)CYX: save it so, or name the axes with --axes"
            )
        count = kept[0][1] if leading else 1
        pages = len(self._series.pages)
        if pages != count * self._pages or any(page is None for page in self._series.pages):
            raise InputError(
                f"{self.path}: {count} sections need {count * self._pages} pages and the file has "
                f"{pages}; copy or export it again"
            )
        return count

    def read(self, k: int) -> NDArray[Any]:
        with silenced(), decoding(self.path, f"section {k}"):
            pages = range(k * self._pages, (k + 1) * self._pages)
            parts = [np.squeeze(self._series.pages[page].asarray()) for page in pages]
            if self._pages > 1:
                return np.stack([part.reshape(self.size) for part in parts])
            (part,) = parts
            first = part.shape[0] == self.channels and part.shape[1:] == self.size
            part = part.reshape((self.channels, *self.size) if first else (*self.size, -1))
            return np.ascontiguousarray(part if first else np.moveaxis(part, -1, 0))
