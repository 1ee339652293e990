"""What formats of chunks share: windows out of whole rows of them, and which are not there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import Axes
from paper_unet.images.cache import KEPT, ChunkCache
from paper_unet.images.grey_values import DTYPES, OF_LABELS, NotGreyError
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp
from paper_unet.system.names import UNFINISHED

LARGEST_CHUNK = 2**30
"""Bytes that a chunk may decode to."""

DAMAGED = "the store is damaged"


class ChunkedStack(Stack):
    """A stack in a folder of chunks, some of which may not be there."""

    sparse = True
    chooses = True

    @classmethod
    def unfinished(cls, path: Path) -> bool:
        """Whether it is, or lies in, the partial output of a run."""
        return any(name.endswith(UNFINISHED) for name in path.parts)


class ChunkRows:
    """Windows of sections that are cut into chunks; whole rows of chunks are read and kept.

    Bands of rows are much lower than chunks, so that each row of chunks is needed again.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Of the stack.
    chunk : tuple of int, (sections, rows, columns)
        Of a chunk. If all chunks of so many sections are little to keep, these are kept together.
    itemsize : int
        Bytes of a pixel.
    read : callable
        Reads sections (a range), rows of chunks by their number, and columns (a half-open range);
        gives an ndarray, (Z, Y, X) or (Z, C, Y, X) of these.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        chunk: tuple[int, int, int],
        itemsize: int,
        read: Callable[[range, int, Span], NDArray[Any]],
    ) -> None:
        self._shape, self._read = shape, read
        self._deep, self._tall, self._wide = chunk
        self._bytes = self._tall * itemsize
        down, row = math.ceil(shape[1] / self._tall), self._bytes * shape[2]
        deep = min(self._deep, shape[0])
        self._deep = deep if deep * down * row <= KEPT else 1
        self._cache = ChunkCache(self._deep * row, self._deep * down * row)

    @property
    def room(self) -> int:
        """Bytes kept at most."""
        return self._cache.room

    def clear(self) -> None:
        """Forget what is kept."""
        self._cache.clear()

    def window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of section z as a new array, (rows, columns) or (C, rows, columns)."""
        left = columns[0] // self._wide * self._wide
        across = left, min(-(-columns[1] // self._wide) * self._wide, self._shape[2])
        first = z // self._deep * self._deep
        sections = range(first, min(first + self._deep, self._shape[0]))
        size = len(sections) * self._bytes * (across[1] - left)
        out: NDArray[Any] = np.empty(0)
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            key = first, down, across
            part = self._cache.get(key, size, partial(self._read, sections, down, across))[
                z - first
            ]
            if not out.size:
                shape = *part.shape[:-2], rows[1] - rows[0], columns[1] - columns[0]
                out = np.empty(shape, part.dtype)
            top = down * self._tall
            start, stop = max(rows[0], top), min(rows[1], top + self._tall)
            out[..., start - rows[0] : stop - rows[0], :] = part[
                ..., start - top : stop - top, columns[0] - left : columns[1] - left
            ]
            del part  # what was forgotten meanwhile is not held
        return out


def in_order(values: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """Return values in the axes of a file as (Z, Y, X), in colour (Z, C, Y, X).

    All other axes have length 1.
    """
    order = [place for place in (axes.z, axes.c, axes.y, axes.x) if place is not None]
    rest = [k for k in range(values.ndim) if k not in order]
    values = np.transpose(values, (*rest, *order))
    sizes = [values.shape[len(rest) + k] for k in range(len(order))]
    z = [] if axes.z is not None else [1]
    return values.reshape(*z, *sizes)


class InOrder:
    """Rows of chunks (Z, Y, X), whatever the order in which a file has its axes.

    Parameters
    ----------
    axes : Axes
    chunk : tuple of int
        Its shape, in the axes of the file.
    channels : int
        Values for each pixel.
    dtype : numpy.dtype
        That they are given in.
    read : callable
        Gives the chunk of a number along each axis of the file, without what lies beyond the edge.

    Attributes
    ----------
    grain : tuple of int, (sections, rows, columns)
        Of a chunk.
    """

    def __init__(
        self,
        axes: Axes,
        chunk: tuple[int, ...],
        channels: int,
        dtype: np.dtype[Any],
        read: Callable[[tuple[int, ...]], NDArray[Any]],
    ) -> None:
        self._axes, self._chunk, self._channels = axes, chunk, channels
        self._dtype, self._read = dtype, read
        deep, tall, wide = (1 if k is None else chunk[k] for k in (axes.z, axes.y, axes.x))
        self.grain = deep, tall, wide

    def rows(self, sections: range, down: int, across: Span) -> NDArray[Any]:
        """Read what `ChunkRows` asks for: sections that a chunk has, of a row of chunks."""
        deep, tall, wide = self.grain
        top, left = down * tall, across[0]
        height = min(tall, self._axes.shape[1] - top)
        colours = (self._channels,) if self._channels > 1 else ()
        out = np.empty((len(sections), *colours, height, across[1] - left), self._dtype)
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

    def _across_colours(
        self, layer: int, down: int, right: int
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the chunks of a place, each with its first colour, in order of the axes."""
        axes = self._axes
        step = self._channels if axes.c is None else self._chunk[axes.c]
        for k in range(-(-self._channels // step)):
            place = [0] * len(self._chunk)
            for axis, number in ((axes.z, layer), (axes.c, k), (axes.y, down), (axes.x, right)):
                if axis is not None:
                    place[axis] = number
            inside = [slice(None)] * len(self._chunk)
            for axis, number in axes.taken:
                place[axis], rest = divmod(number, self._chunk[axis])
                inside[axis] = slice(rest, rest + 1)
            yield k * step, in_order(self._read(tuple(place))[tuple(inside)], axes)


STAMPED = 10_000
"""Files of chunks, at most, whose size and time are part of the identity."""


def digest_of_chunks(
    grid: tuple[int, ...], stamp: Callable[[tuple[int, ...]], tuple[str, dict[str, int] | None]]
) -> str:
    """Digest size and time of files of chunks: of all, or of as many as `STAMPED`, evenly spread.

    Parameters
    ----------
    grid : tuple of int
        How many files there are along each axis.
    stamp : callable
        Gives the name by which one is known, and its size and time; None if it is not there.
    """
    count = math.prod(grid)
    looked = min(count, STAMPED)
    digest = hashlib.sha256()
    for k in range(looked):
        index = np.unravel_index(k * (count - 1) // max(looked - 1, 1), grid)
        key, found = stamp(tuple(map(int, index)))
        digest.update(f"{key} {found}\n".encode())
    return digest.hexdigest()


def stamp_of(file: Path) -> dict[str, int] | None:
    """Return size and time of a file; None if it is not there."""
    try:
        return file_stamp(file)
    except InputError:  # is gone
        return None


@dataclass
class Present:
    """How many chunks are there.

    Attributes
    ----------
    counts : ndarray of int, shape (number along Z,)
        Chunks that are there, for each number along Z.
    wanted : int
        Chunks that there should be for each number along Z.
    deep : int
        Sections that a number along Z stands for.
    """

    counts: NDArray[np.int64]
    wanted: int
    deep: int

    @property
    def there(self) -> int:
        """How many are there."""
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        """How many are not."""
        return self.wanted * len(self.counts) - self.there

    def sections(self, count: int) -> str:
        """Return the first and last of so many sections that have chunks missing, in words."""
        lacking = np.flatnonzero(self.counts < self.wanted)
        first, last = int(lacking[0]) * self.deep, int(lacking[-1] + 1) * self.deep - 1
        last = min(last, count - 1)
        return f"of section {first}" if first == last else f"of sections {first} to {last}"

    def check(self, path: Path, count: int, value: object, missing: str) -> tuple[str, ...]:
        """Refuse a stack of which chunks are missing, unless they are to be filled.

        Parameters
        ----------
        path : Path
        count : int
            Sections of the stack.
        value : object
            What is read in their place.
        missing : {"fail", "fill"}

        Returns
        -------
        tuple of str
            What a user has to know.
        """
        if not self.missing:
            return ()
        where = self.sections(count)
        many = f"{self.missing} of {self.missing + self.there} chunks are missing, {where}"
        if missing != "fill":
            raise InputError(
                f"{path}: {many}; copy or export it again, or, if nothing was written there, "
                f"say `missing` fill to read them as its fill value, {value}"
            )
        return (f"{path}: {many}; they are read as its fill value, {value}",)


def check_chunk(path: Path, chunk: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise InputError if a chunk is too large to be decoded at once."""
    size = math.prod(chunk) * dtype.itemsize
    if size > LARGEST_CHUNK:
        raise InputError(
            f"{path}: chunks of {size / 1e9:.1f} GB, each of which must be decoded at once; "
            "convert it to smaller ones"
        )


def read_as(
    path: Path, stored: np.dtype[Any], labels: bool
) -> tuple[np.dtype[Any], tuple[float, float] | None]:
    """Return the dtype that values are read in, and which are black and white if it says that.

    Raises
    ------
    InputError
        If grey values, or labels, of this type are not read.
    """
    name = stored.name
    if name == "bool":
        return np.dtype("uint8"), (0.0, 1.0)
    accepted = (*DTYPES, *OF_LABELS) if labels else DTYPES
    if name not in accepted:
        raise NotGreyError(
            f"{path}: values of {name}; accepted are {', '.join(accepted)}: convert it, masks to "
            "uint8"
        )
    return stored.newbyteorder("="), None
