"""Data sets of HDF5 files as one stack: in one block, or in chunks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.inside import HDF5_SUFFIXES, file_of, split_inside
from paper_unet.images.readers.chunked import ChunkRows, InOrder, check_chunk, in_order, read_as
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.hdf5_chunks import Hdf5Chunks
from paper_unet.images.readers.hdf5_file import (
    axes_of,
    check_block,
    check_storage,
    find_data_set,
    labels_said,
    open_file,
    pixel_size_of,
    starts_of,
)
from paper_unet.images.readers.origin import origin_note
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp, open_regular
from paper_unet.system.names import UNFINISHED

CONVERTED = 2**21
"""Bytes, at most, that HDF5 holds while it reads a window of a block."""


class Hdf5Stack(Stack):
    """A stack in a data set of an HDF5 file, ``FILE.h5:/DATASET``; see `open_stack`."""

    format = "Hdf5Stack"
    sparse = True
    chooses = True

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether the name is that of an HDF5 file, or of a data set in one."""
        file = file_of(path)
        return file.suffix.lower() in HDF5_SUFFIXES and not file.is_dir()

    @classmethod
    def unfinished(cls, path: Path) -> bool:
        """Whether it is the partial output of a run."""
        return file_of(path).name.endswith(UNFINISHED)

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
        missing: str = "fail",
        chosen: Choice = WHOLE,
    ) -> None:
        super().__init__(path, channels=channels, labels=labels, chosen=chosen)
        self._source, name = split_inside(path)
        self._held = ExitStack()
        try:
            through = None
            if self.unfinished(path):  # looked at again and again while it is written
                through = self._held.enter_context(open_regular(self._source))
            self._file = self._held.enter_context(open_file(path, self._source, through))
            with reading(path, "the file"):
                self._set = find_data_set(path, self._file, name)
                self._open(axes, missing)
        except BaseException:
            self._held.close()
            raise
        if self._set.name.strip("/") != name:
            self.notes += (f"{path}: its data set {self._set.name} is read",)

    def _open(self, given: str | None, missing: str) -> None:
        path, data_set = self.path, self._set
        check_storage(path, data_set)
        self.dtype, self.own_range = read_as(path, data_set.dtype, self.labels)
        self._axes = stack_axes(
            path, axes_of(data_set), data_set.shape, given, self.channels, self.chosen
        )
        self.shape, self.taken = self._axes.shape, self._axes.taken
        if self.channels == 1:  # journals of colour have none
            self.pixel_size = pixel_size_of(data_set, self._axes)
        self.notes += origin_note(path, starts_of(data_set, self._axes), ["nm"] * 3)
        self._rows, self._chunks = None, None
        size = self._source.stat().st_size
        if data_set.chunks is None:
            written = check_block(path, data_set, size)
            self.notes += self._check_written(written, missing)
            self.cache_bytes = CONVERTED
            return
        check_chunk(path, data_set.chunks, self.dtype)
        self._chunks = Hdf5Chunks(path, data_set, size, self.budget)
        found = self._chunks.present(self._axes.z, self.budget, self.taken)
        if not found.there:
            self.notes += self._check_written(False, missing)
        else:
            self.notes += found.check(path, self.shape[0], data_set.fillvalue, missing)
        ordered = InOrder(self._axes, data_set.chunks, self.channels, self.dtype, self._chunks.read)
        item = self.channels * self.dtype.itemsize
        self._rows = ChunkRows(self.shape, ordered.grain, item, ordered.rows)
        self.cache_bytes = self._rows.room + self._chunks.held

    def _check_written(self, written: bool, missing: str) -> tuple[str, ...]:
        if written:
            return ()
        value = self._set.fillvalue
        if missing != "fill":
            raise InputError(
                f"{self.path}: its pixels were never written; export it again, or say `missing` "
                f"fill to read them as its fill value, {value}"
            )
        return (f"{self.path}: never written; it is read as its fill value, {value}",)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, without the name of the data set."""
        return (self._source,)

    @property
    def says_labels(self) -> bool:
        """Whether the data set says so."""
        return labels_said(self._set)

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        if self._rows is not None:
            self._rows.clear()
        self._held.close()

    def _stamp(self) -> dict[str, Any]:
        return {**file_stamp(self._source), "data_set": self._set.name}

    def _sections(self) -> list[Path]:
        return [self._source]

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with reading(self.path, f"slice {z}"):
            if self._rows is not None:
                return self._rows.window(z, rows, columns)
            where: list[Any] = [slice(0, 1)] * self._set.ndim
            along = [(place, (k, k + 1)) for place, k in self.taken]
            for place, span in ((self._axes.y, rows), (self._axes.x, columns), *along):
                where[place] = slice(*span)
            if self._axes.z is not None:
                where[self._axes.z] = slice(z, z + 1)
            if self._axes.c is not None:
                where[self._axes.c] = slice(None)
            values = in_order(self._set[tuple(where)], self._axes)
            return np.ascontiguousarray(values[0], self.dtype)
