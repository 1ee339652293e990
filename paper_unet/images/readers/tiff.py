"""Reading a TIFF file as one stack, page by page."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import stack_axes
from paper_unet.images.pixel_size import tiff_pixel_size
from paper_unet.images.readers.tiff_budget import check_planes
from paper_unet.images.readers.tiff_page import MINISWHITE, check_page, needs_codecs
from paper_unet.images.readers.tiff_segments import Segments
from paper_unet.images.readers.tiff_structure import check_structure
from paper_unet.images.stack import Span, Stack, digest_of

LARGEST_SEGMENT = 2**30
"""Bytes that one compressed strip or tile may decode to."""


class TiffStack(Stack):
    """A stack in a TIFF file; see `paper_unet.images.open_stack`."""

    format = "TiffStack"
    several = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether it is a file: its first bytes say more than its name."""
        return not path.is_dir()

    def __init__(
        self, path: Path, *, axes: str | None = None, series: int | None = None, channels: int = 1
    ) -> None:
        super().__init__(path, channels=channels)
        pages = check_structure(path, self.budget)
        with _silenced(), _decoding(path, "the file"):
            self._file = tifffile.TiffFile(path)
            try:
                if self._file.is_ome and self._file.ome_metadata:
                    samples = self._file.pages.first.samplesperpixel
                    check_planes(path, self._file.ome_metadata, pages, samples, self.budget)
                self._series = _choose_series(path, self._file, series)
                self._others = _other_files(path, self._file, self._series)
                self._page = self._series.keyframe
                check_page(path, self._page, channels)
                self.dtype = self._page.dtype.newbyteorder("=")
                self.shape = self._stack_shape(axes)
                offset = self._find_pixels(pages)
                self._segments = Segments(
                    self._file, self._series, offset, self.shape, self.dtype, channels
                )
                self.cache_bytes = self._segments.cache_bytes
                if channels == 1:  # journals of colour have none
                    self.pixel_size = tiff_pixel_size(self._file, self._series)
                _check_segment(path, self._segments)
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._segments.close()
        self._file.close()

    def _stack_shape(self, given: str | None) -> tuple[int, int, int]:
        """Return the size by the axes of the file, or by those given."""
        axes, shape = str(self._series.axes), tuple(self._series.shape)
        found = stack_axes(self.path, axes, shape, given, self.channels).shape
        height, width = self._page.imagelength, self._page.imagewidth
        if self.channels > 1 and found[1:] != (height, width):
            raise InputError(
                f"{self.path}: axes {given or axes} of shape {shape}, and pages of {height} x "
                f"{width} pixels; name the axes with --axes"
            )
        return found

    def _find_pixels(self, pages: int) -> int | None:
        """Offset of the pixels if there is one page for all slices, else None: pages for each."""
        values = self.channels * math.prod(self.shape)
        count = self.shape[0] * self.channels // self._page.samplesperpixel
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
        need = int(offset) + values * self.dtype.itemsize
        have = self.path.stat().st_size
        if need > have:
            raise InputError(
                f"{self.path}: truncated: {count} slices need {need} bytes and the file has "
                f"{have}; copy or export it again"
            )
        return int(offset)

    def _stamp(self) -> dict[str, Any]:
        stamp = super()._stamp()
        if self._others:
            stamp["others"] = digest_of(self._others)
        return stamp

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the others that its OME-XML names for this series."""
        return self.path, *self._others

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with _silenced(), _decoding(self.path, f"slice {z}"):
            planes = self._segments.window(z, rows, columns)
        if self.channels > 1:
            return planes
        plane: NDArray[Any] = planes[0]
        if self._page.photometric == MINISWHITE:
            # the format counts down from white; with unsigned integers this is exact
            return np.asarray(np.iinfo(self.dtype).max - plane, self.dtype)
        return plane


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the reader's log lines from the user, who gets our checks' one line instead."""
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _decoding(path: Path, what: str) -> Iterator[None]:
    """Name the file and the slice in whatever a decoder raises: each codec has its own types."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in reason:
            raise needs_codecs(path, reason) from error
        raise InputError(
            f"{path}: {what} cannot be read ({reason}); the file is damaged: "
            f"copy or export it again"
        ) from error


def _choose_series(path: Path, file: tifffile.TiffFile, series: int | None) -> Any:
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
