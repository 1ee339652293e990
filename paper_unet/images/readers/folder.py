"""A folder of sections, PNG or TIFF, and single PNG files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from paper_unet.errors import InputError
from paper_unet.images.readers.tiff import TiffStack
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp

SUFFIXES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
PNG_MODES = {"L": "uint8", "I;16": "uint16", "I": "uint16"}  # "I": older Pillow, also 16 bits


class FolderStack(Stack):
    """The images of a folder in natural order, each one section."""

    def __init__(self, path: Path, *, axes: str | None) -> None:
        self.path = path
        if axes is not None and axes.upper() not in ("ZYX", "YX"):
            raise InputError(f'{path}: axes "{axes}" for a folder of sections; accepted is ZYX')
        self._files = listing(path, SUFFIXES)
        self._open: tuple[int, Stack] | None = None
        with _section(self._files[0]) as first:
            self.shape, self.dtype = (len(self._files), *first.shape[1:]), first.dtype
            self.pixel_size = None, *first.pixel_size[1:]
        for file in self._files:
            with _section(file) as section:
                self._check_alike(file, section)
                self.cache_bytes = max(self.cache_bytes, section.cache_bytes)

    def _check_alike(self, file: Path, section: Stack) -> None:
        if (section.shape[1:], section.dtype) != (self.shape[1:], self.dtype):
            raise InputError(
                f"{file}: {section.dtype} of {section.shape[2]} x {section.shape[1]} pixels, and "
                f"{self._files[0].name} is {self.dtype} of {self.shape[2]} x {self.shape[1]}; all "
                "sections must be alike: crop or convert them"
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """The folder, and the sections that are links and so lie elsewhere."""
        return self.path, *(file for file in self._files if file.is_symlink())

    def close(self) -> None:
        """Close the section that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _stamp(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(f"{file.name} {file_stamp(file)}\n".encode())
        return {"files": digest.hexdigest()}

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._open is None or self._open[0] != z:
            self.close()
            self._open = z, _section(self._files[z])
            self._check_alike(self._files[z], self._open[1])  # it may have changed meanwhile
        return self._open[1].window(0, rows, columns)


class PngStack(Stack):
    """One PNG file, a stack of one section; decoded once, when the first window is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shape, dtype = _png_facts(path)
        self.shape, self.dtype = (1, *shape), np.dtype(dtype)
        # while it is decoded, Pillow's own pixels and two copies on the way to an array
        self.cache_bytes = 3 * shape[0] * shape[1] * self.dtype.itemsize
        self._pixels: NDArray[Any] | None = None

    def close(self) -> None:
        """Forget the pixels."""
        self._pixels = None

    def _stamp(self) -> dict[str, Any]:
        return file_stamp(self.path)

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        if self._pixels is None:
            try:
                with opened_picture(self.path) as image:
                    self._pixels = np.asarray(image, self.dtype)
            except (OSError, SyntaxError, ValueError, MemoryError) as error:
                raise InputError(
                    f"{self.path}: cannot be decoded ({error or 'memory'}); copy or export it again"
                ) from error
        return self._pixels[slice(*rows), slice(*columns)].copy()


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that puts ``section_2`` before ``section_10``."""
    parts = re.split(r"(\d+)", path.name.lower())
    # the name itself decides between 2 and 02, whatever order the disk lists them in
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def listing(folder: Path, suffixes: dict[str, str]) -> list[Path]:
    """Return the sections of a folder, all of one kind; refuse whatever else is there."""
    files = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=natural_order)
    names = " or ".join(dict.fromkeys(suffixes.values()))
    if not files:
        raise InputError(f"{folder}: the folder is empty; it needs {names} files")
    kinds = {suffixes.get(file.suffix.lower(), "") for file in files}
    if len(kinds) > 1 or "" in kinds:
        odd = next((f for f in files if f.suffix.lower() not in suffixes), files[-1])
        raise InputError(
            f"{folder}: holds {odd.name}; a folder of sections holds either {names} files "
            "and nothing else: move the rest away"
        )
    return files


def _section(file: Path) -> Stack:
    if SUFFIXES[file.suffix.lower()] == "PNG":
        return PngStack(file)
    stack = TiffStack(file, axes=None, series=None)
    if len(stack) != 1:
        stack.close()
        raise InputError(
            f"{file}: holds {len(stack)} sections; in a folder each file is one section: "
            "give this file itself, or split it"
        )
    return stack


@contextmanager
def opened_picture(path: Path, kind: str = "PNG") -> Iterator[Image.Image]:
    """Open a picture of any size: Pillow takes sections of 20,000 x 20,000 pixels for an attack."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=[kind]) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _png_facts(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with opened_picture(path) as image:
            mode, (width, height) = image.mode, image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a PNG file that can be read; export it again") from error
    if mode not in PNG_MODES:
        raise InputError(
            f"{path}: a PNG of mode {mode}; 8-bit or 16-bit grey is accepted: convert it (ImageJ: "
            "Image > Type > 8-bit), or use a network of as many channels"
        )
    return (height, width), PNG_MODES[mode]
