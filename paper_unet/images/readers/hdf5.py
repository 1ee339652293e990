"""Data sets of HDF5 files as one stack: in one block, or in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.inside import HDF5_SUFFIXES, file_of, split_inside
from paper_unet.images.readers.chunked import ChunkRows, check_chunk, read_as
from paper_unet.images.readers.hdf5_chunks import Hdf5Chunks
from paper_unet.images.readers.hdf5_file import (
    axes_of,
    check_block,
    check_storage,
    find_data_set,
    open_file,
    pixel_size_of,
    reading,
)
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp
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
        self._file = open_file(path, self._source)
        try:
            with reading(path, "the file"):
                self._set = find_data_set(path, self._file, name)
                self._open(axes, missing)
        except BaseException:
            self._file.close()
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
        deep, tall, wide = (
            1 if k is None else data_set.chunks[k]
            for k in (self._axes.z, self._axes.y, self._axes.x)
        )
        self._grain = deep, tall, wide
        item = self.channels * self.dtype.itemsize
        self._rows = ChunkRows(self.shape, self._grain, item, self._read_chunks)
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

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        if self._rows is not None:
            self._rows.clear()
        self._file.close()

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
            return np.ascontiguousarray(self._in_order(self._set[tuple(where)])[0])

    def _in_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values in the axes of the data set as (Z, Y, X), in colour (Z, C, Y, X).

        All other axes have length 1.
        """
        places = [self._axes.z, self._axes.c, self._axes.y, self._axes.x]
        order = [place for place in places if place is not None]
        rest = [k for k in range(values.ndim) if k not in order]
        values = np.transpose(values, (*rest, *order))
        sizes = [values.shape[len(rest) + k] for k in range(len(order))]
        z = [] if self._axes.z is not None else [1]
        return values.reshape(*z, *sizes).astype(self.dtype, copy=False)

    def _read_chunks(self, sections: range, down: int, across: Span) -> NDArray[Any]:
        """Read the chunks of a row that some sections need, (Z, Y, X) or (Z, C, Y, X)."""
        deep, tall, wide = self._grain
        top, left = down * tall, across[0]
        height = min(tall, self.shape[1] - top)
        colours = (self.channels,) if self.channels > 1 else ()
        out = np.empty((len(sections), *colours, height, across[1] - left), self.dtype)
        layer = sections[0] // deep
        first = sections[0] - layer * deep
        for right in range(left // wide, -(-across[1] // wide)):
            for colour, part in self._across_colours(layer, down, right):
                x = right * wide - left
                part = part[first : first + len(sections)]
                target = out[..., x : x + part.shape[-1]]
                if colours:
                    target[:, colour : colour + part.shape[1]] = part
                else:
                    target[:] = part
        return out

    def _across_colours(self, layer: int, down: int, right: int) -> Any:
        """Yield the chunks of a place, each with its first colour, in order of the axes."""
        chunks, c = self._chunks, self._axes.c
        if chunks is None:
            return
        step = self.channels if c is None else chunks.shape[c]
        for k in range(-(-self.channels // step)):
            place = [0] * self._set.ndim
            for axis, number in (
                (self._axes.z, layer), (c, k), (self._axes.y, down), (self._axes.x, right)
            ):  # fmt: skip
                if axis is not None:
                    place[axis] = number
            inside = [slice(None)] * self._set.ndim
            for axis, number in self.taken:
                place[axis], rest = divmod(number, chunks.shape[axis])
                inside[axis] = slice(rest, rest + 1)
            yield k * step, self._in_order(chunks.read(tuple(place))[tuple(inside)])
