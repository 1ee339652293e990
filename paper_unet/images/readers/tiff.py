"""Reading a TIFF file as one stack, page by page."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import Axes, letters_of, read_in_order, stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.pixel_size import tiff_pixel_size
from paper_unet.images.readers.damage import reading, reason_of
from paper_unet.images.readers.orientation import TAG, orientation_note
from paper_unet.images.readers.tiff_alike import count_alike, naming_unlike
from paper_unet.images.readers.tiff_budget import check_planes
from paper_unet.images.readers.tiff_channels import channel_names, labels_said
from paper_unet.images.readers.tiff_page import check_page, needs_codecs
from paper_unet.images.readers.tiff_segments import Segments
from paper_unet.images.readers.tiff_series import choose_series, open_tiff, other_files
from paper_unet.images.readers.tiff_structure import Structure, check_structure
from paper_unet.images.readers.tiff_values import Values, counts_from_white, values_of
from paper_unet.images.stack import Span, Stack, digest_of

LARGEST_SEGMENT = 2**30
"""Bytes that one compressed strip or tile may decode to."""


class TiffStack(Stack):
    """A stack in a TIFF file; see `paper_unet.images.open_stack`."""

    format = "TiffStack"
    several = True
    chooses = True
    _sample: int | None = None  # of colours, which one is the stack

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether it is a file: its first bytes say more than its name."""
        return not path.is_dir()

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
        structure = check_structure(path, self.budget)
        with _silenced(), _decoding(path, "the file"):
            self._file = open_tiff(path, self.budget)
            try:
                with naming_unlike(path, structure):
                    self._open(structure, axes, series)
            except BaseException:
                self._file.close()
                raise

    def _open(self, structure: Structure, axes: str | None, series: int | None) -> None:
        path, pages = self.path, structure.pages
        if self._file.is_ome and self._file.ome_metadata:
            samples = self._file.pages.first.samplesperpixel
            check_planes(path, self._file.ome_metadata, pages, samples, self.budget)
        self._series = choose_series(path, self._file, pages, series, axes)
        others = other_files(path, self._file, self._series)
        self._others = list(others)
        self._page = self._series.keyframe
        several = self._page.samplesperpixel if self.chosen.channel is not None else 1
        channels = max(self.channels, several)  # of which one may be taken
        check_page(path, self._page, channels, self.labels)
        stored = self._page.dtype.newbyteorder("=")
        self._values = Values(stored, None, lambda planes: planes, ())
        if channels == 1:  # a palette or white as zero is of one value alone
            self._values = values_of(path, self._file, self._page, self.labels)
            self.white_is_zero = counts_from_white(self._page)
        turned = orientation_note(path, self._page.tags.valueof(TAG))
        self.dtype, self.notes = self._values.dtype, (*self._values.notes, *turned)
        self.own_range = self._values.own_range
        found = self._stack_axes(axes, channels)
        self.shape, self._axes, self.taken = found.shape, found, found.taken
        size = self._order_pages(channels)
        others[Path(self._file.filehandle.path)] = structure
        offset = self._find_pixels(others, pages, size, channels)
        self._segments = Segments(
            self._file, self._series, offset, size, stored, channels, found.channels_first
        )
        self.cache_bytes = self._segments.cache_bytes
        if self.channels == 1:  # journals of colour have none
            self.pixel_size = tiff_pixel_size(self._file, self._series, self._axes)
        _check_segment(path, self._segments)

    @property
    def says_labels(self) -> bool:
        """Whether the file says so, as those of this software do."""
        with _silenced():
            return labels_said(self._file, self._series)

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._segments.close()
        self._file.close()

    def _stack_axes(self, given: str | None, channels: int) -> Axes:
        """Return where the axes are by the file, or by those given."""
        axes, shape = str(self._series.axes), tuple(self._series.shape)
        chosen, names = self.chosen, channel_names(self._file, self._series)
        letters = letters_of(self.path, axes, shape, given, channels)
        if channels > 1 and "T" in letters and shape[letters.index("T")] > 1:
            raise InputError(
                f"{self.path}: {shape[letters.index('T')]} time points in colour (axes {letters}, "
                f"shape {shape}), of which a TIFF gives none alone; save one of them"
            )
        if channels > self.channels:
            picked = chosen.find(self.path, letters, shape, names)
            self._sample, chosen = next(iter(picked.values()), 0), replace(chosen, channel=None)
        found = stack_axes(self.path, axes, shape, given, channels, chosen, names)
        height, width = self._page.imagelength, self._page.imagewidth
        split = found.channels_first and self._page.samplesperpixel > 1
        if channels > 1 and (found.shape[1:] != (height, width) or split or found.taken):
            raise InputError(
                f"{self.path}: axes {letters} of shape {shape}, and pages of {height} x "
                f"{width} pixels; name the axes with `axes`"
            )
        if self._sample is not None:
            return replace(found, taken=((found.c or 0, self._sample),))
        return found

    def _order_pages(self, channels: int) -> tuple[int, int, int]:
        """Return how many pages there are, and their rows and columns."""
        found, size = self._axes, (self._page.imagelength, self._page.imagewidth)
        self._as_it_lies = channels > 1 or (
            found.in_order and size == found.shape[1:] and not found.taken
        )
        if self._as_it_lies:
            return found.shape
        shape = tuple(self._series.shape)
        while len(shape) > 2 and shape[-1] == 1 and shape[-2:] != size:
            shape = shape[:-1]  # an axis of length 1 that is none of the page's
        self._file_shape = shape
        if shape[-2:] != size:
            raise InputError(
                f"{self.path}: pages of {size[0]} x {size[1]} pixels cannot be put in the order of "
                f"its axes, {self._series.axes} of shape {self._series.shape}; save it as ZYX"
            )
        return math.prod(shape[:-2]), *size

    def _find_pixels(
        self,
        structures: dict[Path, Structure],
        pages: int,
        size: tuple[int, int, int],
        channels: int,
    ) -> int | None:
        """Offset of the pixels if there is one page for all slices, else None: pages for each."""
        values = channels * math.prod(size)
        count = size[0] * channels // self._page.samplesperpixel
        seen = 1 if self._series.is_truncated else count
        found = count_alike(self.path, structures, self._series, seen, self.labels)
        if found == count:
            return None
        if self._others:
            raise InputError(
                f"{self.path}: one stack in several files, which hold {found} of its {count} "
                "slices; put all of its files into this folder"
            )
        offset = self._series.dataoffset
        # whether they follow each other is all that counts, not at which multiple they begin
        if offset is None or not self._page.is_final:
            raise InputError(
                f"{self.path}: the file declares {count} slices and has {found} (in {pages} "
                f"pages); copy or export it again"
            )
        need = int(offset) + values * self._page.dtype.itemsize
        have = self.path.stat().st_size
        if need > have:
            raise InputError(
                f"{self.path}: truncated: {count} slices need {need} bytes and the file has "
                f"{have}; copy or export it again"
            )
        return int(offset)

    def _stamp(self) -> dict[str, Any]:
        stamp = super()._stamp()
        if others := self.files[1:]:
            stamp["others"] = digest_of(others)
        return stamp

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the others that its OME-XML names for this series, or that have it."""
        companion = self._file.companion
        return self.path, *self._others, *(() if companion is None else (companion,))

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with _silenced(), _decoding(self.path, f"slice {z}"):
            if self.channels > 1:
                return self._segments.window(z, rows, columns)
            if self._sample is not None:
                return np.ascontiguousarray(self._segments.window(z, rows, columns)[self._sample])
            if self._as_it_lies:
                return self._values.convert(self._segments.window(z, rows, columns)[0])
            block = read_in_order(
                lambda page, *spans: self._segments.window(page, *spans)[0],
                self._file_shape,
                self._axes,
                ((z, z + 1), rows, columns),
            )
            return self._values.convert(block[0])


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
    """Name the file, and the library of codecs where that is all that is missing."""
    with reading(path, what):
        try:
            yield
        except Exception as error:
            if "imagecodecs" in str(error) and not isinstance(error, InputError):
                raise needs_codecs(path, reason_of(error)) from error
            raise


def _check_segment(path: Path, segments: Segments) -> None:
    if segments.largest > LARGEST_SEGMENT:
        raise InputError(
            f"{path}: compressed in pieces of {segments.largest / 1e9:.1f} GB, each of which must "
            "be decoded at once; convert it to a tiled TIFF or to Zarr"
        )
