"""Reading a TIFF file as one grey stack, page by page."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import grey_stack_axes
from paper_unet.images.pixel_size import tiff_pixel_size
from paper_unet.images.readers.tiff_segments import Segments
from paper_unet.images.readers.tiff_structure import check_structure
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp

# bool and complex have no grey value; int8 and 64-bit integers are no image format in use
DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float16", "float32", "float64")
MINISWHITE, MINISBLACK = 0, 1
LARGEST_SEGMENT = 2**30
"""Bytes that one compressed strip or tile may decode to."""


class TiffStack(Stack):
    """A stack in a TIFF file; see `paper_unet.images.open_stack`."""

    def __init__(self, path: Path, *, axes: str | None, series: int | None) -> None:
        self.path = path
        pages = check_structure(path)
        with silenced(), decoding(path, "the file"):
            self._file = tifffile.TiffFile(path)
            try:
                self._series = choose_series(path, self._file, series)
                self._others = _other_files(path, self._file, self._series)
                self._page = self._series.keyframe
                _check_page(path, self._page)
                self.dtype = self._page.dtype.newbyteorder("=")
                self.shape = _stack_shape(path, self._series, axes)
                self._segments = Segments(
                    self._file, self._series, self._find_pixels(pages), self.shape, self.dtype
                )
                self.cache_bytes = self._segments.cache_bytes
                self.pixel_size = tiff_pixel_size(self._file, self._series)
                _check_segment(path, self._segments)
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._segments.close()
        self._file.close()

    def _find_pixels(self, pages: int) -> int | None:
        """Offset of the pixels if there is one page for all slices, else None: one page each."""
        count, height, width = self.shape
        _check_imagej_count(self.path, self._file, self._series)
        found = 1 if self._series.is_truncated else _count_pages(self._series, count)
        if found == count:
            return None
        if self._others:
            raise InputError(
                f"{self.path}: one stack in several files, which hold {found} of its {count} "
                "slices; put all of its files into this folder"
            )
        offset = self._series.dataoffset
        if offset is None or not self._page.is_memmappable:
            raise InputError(
                f"{self.path}: the file declares {count} slices and has {found} (in {pages} "
                f"pages); copy or export it again"
            )
        need = int(offset) + count * height * width * self.dtype.itemsize
        have = self.path.stat().st_size
        if need > have:
            raise InputError(
                f"{self.path}: truncated: {count} slices need {need} bytes and the file has "
                f"{have}; copy or export it again"
            )
        return int(offset)

    def _stamp(self) -> dict[str, Any]:
        stamp: dict[str, Any] = file_stamp(self.path)
        if self._others:
            listing = "".join(f"{other.name} {file_stamp(other)}\n" for other in self._others)
            stamp["others"] = hashlib.sha256(listing.encode()).hexdigest()
        return stamp

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the others that its OME-XML names for this series."""
        return self.path, *self._others

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with silenced(), decoding(self.path, f"slice {z}"):
            plane = self._segments.window(z, rows, columns)
        if self._page.photometric == MINISWHITE:
            # the format counts down from white; with unsigned integers this is exact
            return np.asarray(np.iinfo(self.dtype).max - plane, self.dtype)
        return plane


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the reader's log lines from the user, who gets our checks' one line instead."""
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def decoding(path: Path, what: str) -> Iterator[None]:
    """Name the file and the slice in whatever a decoder raises: each codec has its own types."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in reason:
            raise _needs_codecs(path, reason) from error
        raise InputError(
            f"{path}: {what} cannot be read ({reason}); the file is damaged: "
            f"copy or export it again"
        ) from error


def _needs_codecs(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: {reason}; install it (pip install imagecodecs) or save the stack uncompressed"
    )


def choose_series(path: Path, file: tifffile.TiffFile, series: int | None) -> Any:
    """Return the image series that is asked for, or the only one."""
    found = file.series
    if series is None and len(found) == 1:
        return found[0]
    listing = ", ".join(f"{k}: {s.axes} {s.shape} {s.dtype}" for k, s in enumerate(found[:8]))
    listing += ", ..." if len(found) > 8 else ""
    if series is None:
        raise InputError(
            f"{path}: holds {len(found)} image series ({listing}); choose one with --series K"
        )
    if not 0 <= series < len(found):
        raise InputError(f"{path}: no series {series}; the file has {listing}")
    return found[series]


def _other_files(path: Path, file: tifffile.TiffFile, series: Any) -> list[Path]:
    """Return the other files of a series, sorted; check that each is whole and of one layout."""
    if series.kind != "ome":
        return []
    pages = [page for page in series.pages if page is not None and page.parent is not file]
    others = sorted({Path(page.parent.filehandle.path) for page in pages})
    for other in others:
        check_structure(other)
    for page in pages:
        # what is read is located and decoded by the layout of the series, and of its own file
        if page.keyframe.parent is not page.parent or page.keyframe.hash != series.keyframe.hash:
            raise InputError(
                f"{path}: its slices lie in several files, and {page.parent.filename} is stored "
                "in another way than the first; save the stack as one file"
            )
    return others


def _check_page(path: Path, page: Any) -> None:
    """Refuse what is not one grey value of a known type for each pixel."""
    if page.imagewidth == 0 or page.imagelength == 0:
        raise InputError(
            f"{path}: an image of {page.imagelength}x{page.imagewidth} pixels; export it again"
        )
    if page.samplesperpixel != 1:
        raise InputError(
            f"{path}: {page.samplesperpixel} values for each pixel (RGB, RGBA or channels); one "
            f"grey value is accepted: convert it (ImageJ: Image > Type > 8-bit), or use a network "
            "of as many channels"
        )
    if page.imagedepth != 1:
        raise InputError(f"{path}: pages of several slices; save it with one page for each slice")
    dtype = None if page.dtype is None else page.dtype.name
    if dtype not in DTYPES:
        raise InputError(
            f"{path}: values of {dtype or 'an unknown type'}; accepted are {', '.join(DTYPES)}: "
            f"convert it, masks to uint8"
        )
    if page.photometric not in (MINISBLACK, MINISWHITE):
        name = getattr(page.photometric, "name", page.photometric)
        raise InputError(
            f"{path}: colour model {name}; grey values are accepted: convert it "
            f"(ImageJ: Image > Lookup Tables > Grays, or Image > Type > 8-bit)"
        )
    if page.photometric == MINISWHITE and page.dtype.kind != "u":
        raise InputError(
            f"{path}: {dtype} with white as zero (MINISWHITE) has no defined inverse; save it "
            f"with black as zero"
        )
    try:
        page.decode(None, 0)  # no data: raises only if the codec is missing or unknown
    except Exception as error:
        raise _needs_codecs(path, " ".join(str(error).split())) from error


def _stack_shape(path: Path, series: Any, axes: str | None) -> tuple[int, int, int]:
    """Read the shape as (Z, Y, X) by the axes of the file, or by those given."""
    _, shape = grey_stack_axes(path, str(series.axes), tuple(series.shape), axes)
    return shape


def _check_segment(path: Path, segments: Segments) -> None:
    if segments.largest > LARGEST_SEGMENT:
        raise InputError(
            f"{path}: compressed in pieces of {segments.largest / 1e9:.1f} GB, each of which must "
            "be decoded at once; convert it to a tiled TIFF or to Zarr"
        )


def _count_pages(series: Any, expected: int) -> int:
    """Count the slices that have a page; a missing one is None, or the list ends early."""
    found = 0
    for k in range(expected):
        try:
            found += series.pages[k] is not None
        except IndexError:
            break
    return found


def _check_imagej_count(path: Path, file: tifffile.TiffFile, series: Any) -> None:
    """ImageJ writes how many images there are; a reader that cannot match it falls back."""
    declared = int((file.imagej_metadata or {}).get("images", 0))
    if declared and series.kind != "imagej":
        raise InputError(
            f"{path}: ImageJ declares {declared} images and the file has {len(series.pages)}; "
            f"copy or export it again"
        )
