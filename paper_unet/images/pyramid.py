"""The smaller versions of an image that viewers show from afar: 2 x 2 pixels become one.

Grey values become their mean; of labels, whose means would be other cells, the first is taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


def level_shapes(shape: tuple[int, int, int], largest: int) -> list[tuple[int, int, int]]:
    """Return the size of every level of the pyramid; Z stays, Y and X are halved, rounding up.

    Parameters
    ----------
    shape : tuple of int, (Z, Y, X)
        Of level 0.
    largest : int
        The last level is the first one with no side Y, X above this.

    Returns
    -------
    list of tuple of int, (Z, Y, X)
        At least level 0.
    """
    levels = [shape]
    while max(levels[-1][1:]) > largest:
        sections, height, width = levels[-1]
        levels.append((sections, (height + 1) // 2, (width + 1) // 2))
    return levels


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the means of 2 x 2 pixels; at an odd edge, of those that exist.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16, uint32 or float32, shape (Y, X)
        The image, or a window that starts at an even place and ends at one or at the edge.

    Returns
    -------
    ndarray of the same dtype, shape (ceil(Y / 2), ceil(X / 2))
        Floating values are added in float64, integers exactly; these are rounded half to even.
    """
    height, width = pixels.shape
    if height % 2 or width % 2:
        # an edge pixel counted twice leaves the mean of those that exist
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge")
    if pixels.dtype.kind == "f":
        rows = np.add(pixels[0::2], pixels[1::2], dtype=np.float64)
        total = rows[:, 0::2] + rows[:, 1::2]
        total /= 4
        mean: NDArray[Any] = total.astype(pixels.dtype)
        return mean
    # two neighbours of a row are one integer of twice the width, which has room for four of them
    bits = 8 * pixels.dtype.itemsize
    pairs = np.ascontiguousarray(pixels).view(f"u{pixels.dtype.itemsize * 2}")
    upper, lower = pairs[0::2], pairs[1::2]
    low = 2**bits - 1
    sums = upper & low
    sums += lower & low
    sums += upper >> bits
    sums += lower >> bits
    # (s + 1 + the last bit of s // 4) // 4 is s / 4, rounded half to even
    odd = sums >> 2
    odd &= 1
    sums += odd
    sums += 1
    sums >>= 2
    rounded: NDArray[Any] = sums.astype(pixels.dtype)
    return rounded


def thinned(labels: NDArray[Any]) -> NDArray[Any]:
    """Return every second label of every second row.

    Parameters
    ----------
    labels : ndarray of integers, shape (Y, X)
        The image, or a window that starts at an even place.

    Returns
    -------
    ndarray of the same dtype, shape (ceil(Y / 2), ceil(X / 2))
    """
    return labels[::2, ::2]


TOGETHER = 4
"""Chunks of a row that are computed at once, where a value takes a byte: each step waits for
Python's lock, and takes memory."""


class Chunk(NamedTuple):
    """A square of a level above 0, or what the edge of the level leaves of it.

    Attributes
    ----------
    level, z : int
        Level and section.
    row, column : int
        Where it begins, in pixels of its level.
    """

    level: int
    z: int
    row: int
    column: int


class _Waiting(NamedTuple):
    """A chunk of which some is there, and the quarters of it that have not come."""

    pixels: NDArray[Any]
    missing: set[tuple[int, int]]


class GrowingPyramid:
    """Makes chunks of the levels above 0 as soon as all pixels under them have been seen.

    Used by several threads. What is not complete waits; where that takes more room than twice the
    largest window, the oldest is forgotten, and is never given.

    Parameters
    ----------
    levels : list of tuple of int, (Z, Y, X)
        Of `level_shapes`.
    side : int
        Pixels of a side of a chunk, even.
    step : int, optional
        Pixels of a side of the parts that are computed at a time, even; the side is a multiple of
        it. Default: the side.
    together : int
        Windows that come with the same rows and columns, of as many sections.
    """

    def __init__(
        self,
        levels: list[tuple[int, int, int]],
        side: int,
        step: int | None = None,
        together: int = 1,
    ) -> None:
        self._levels, self._side, self._step = levels, side, step or side
        self._together = together
        self._waiting: OrderedDict[Chunk, _Waiting] = OrderedDict()
        self._held = self._room = 0
        self._lock = Lock()

    def add(
        self, z: int, row: int, column: int, pixels: NDArray[Any], level: int = 0
    ) -> Iterator[tuple[Chunk, NDArray[Any]]]:
        """Take a window of whole chunks of a level; yield the chunks above that it completes.

        Parameters
        ----------
        z, row, column : int
            Section, and where the window begins.
        pixels : ndarray, shape (rows, columns)
        level : int

        Yields
        ------
        Chunk and ndarray, shape (rows, columns)
            Of the next level and of those above it.
        """
        if level + 1 == len(self._levels):
            return
        self._room = max(self._room, 2 * self._together * pixels.nbytes)
        for chunk, y, x, part in self._parts(z, row, column, pixels, level + 1):
            whole = self._joined(chunk, y, x, part)
            if whole is not None:
                yield chunk, whole
                yield from self.add(z, chunk.row, chunk.column, whole, chunk.level)

    def _parts(
        self, z: int, row: int, column: int, pixels: NDArray[Any], level: int
    ) -> Iterator[tuple[Chunk, int, int, NDArray[Any]]]:
        """Halve a window, some steps at a time; yield what lies in each chunk, and where."""
        step, side = 2 * self._step, self._side
        wide = step * max(1, TOGETHER // pixels.dtype.itemsize)
        for top in range(row - row % step, row + pixels.shape[0], step):
            y = max(top, row)
            for first in range(column - column % step, column + pixels.shape[1], wide):
                x = max(first, column)
                half = halved(
                    pixels[y - row : top + step - row, x - column : first + wide - column]
                )
                at, right = x // 2, x // 2 + half.shape[1]
                while at < right:
                    left = at - at % side
                    part = half[:, at - x // 2 : left + side - x // 2]
                    yield Chunk(level, z, top // 2 // side * side, left), y // 2, at, part
                    at = left + side

    def _joined(self, chunk: Chunk, y: int, x: int, part: NDArray[Any]) -> NDArray[Any] | None:
        """Put a part of a chunk to what is there of it; return all of it when it is complete."""
        _, height, width = self._levels[chunk.level]
        shape = min(self._side, height - chunk.row), min(self._side, width - chunk.column)
        if part.shape == shape:
            return part
        y, x = y - chunk.row, x - chunk.column
        with self._lock:
            waiting = self._waiting.get(chunk) or self._begun(chunk, shape, part.dtype)
            waiting.pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
            waiting.missing.difference_update(self._quarters(y, x, part.shape))
            if waiting.missing:
                return None
            self._held -= self._waiting.pop(chunk).pixels.nbytes
            return waiting.pixels

    def _begun(self, chunk: Chunk, shape: tuple[int, int], dtype: np.dtype[Any]) -> _Waiting:
        waiting = _Waiting(np.empty(shape, dtype), set(self._quarters(0, 0, shape)))
        self._held += waiting.pixels.nbytes
        while self._waiting and self._held > self._room:
            self._held -= self._waiting.popitem(last=False)[1].pixels.nbytes
        self._waiting[chunk] = waiting
        return waiting

    def _quarters(self, y: int, x: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Yield which quarters of the steps of a chunk begin in a part of it."""
        half = self._step // 2
        for top in range(y, y + shape[0], half):
            yield from ((top // half, left // half) for left in range(x, x + shape[1], half))
