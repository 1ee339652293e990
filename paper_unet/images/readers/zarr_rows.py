"""Rows of chunks of a Zarr, read and decoded by a few threads where that takes long.

What zarr does for each chunk, in a loop and threads of its own, takes longer than most decoding.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.images.axes import Axes
from paper_unet.images.readers.zarr_store import decoder_of
from paper_unet.images.stack import Span
from paper_unet.system.overlap import together

DECODERS = min(4, os.cpu_count() or 1)
"""Threads that read and decode the chunks of a row."""

WORTH = 5e-4
"""Seconds that a chunk takes, by the first one of a row, where threads gain more than they cost."""


class RowsOfFiles:
    """The rows of chunks of an array, where each chunk is a file of its own."""

    def __init__(self, array: Any, axes: Axes, decode: Callable[[bytes], NDArray[Any]]) -> None:
        self._array, self._axes, self._decode = array, axes, decode
        self._tall, self._wide = array.chunks[axes.y], array.chunks[axes.x]
        self._at_once = getattr(array.store_path.store, "at_once", DECODERS)
        self._fill = 0 if array.fill_value is None else array.fill_value

    def read(self, z: int, down: int, columns: Span, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Read some chunks of a row; one that is not there has the fill value.

        Parameters
        ----------
        z : int
            Section.
        down : int
            Which row of chunks.
        columns : (int, int)
            Pixels, from where a chunk begins to where one, or the array, ends.
        dtype : numpy.dtype

        Returns
        -------
        ndarray of the dtype, shape (rows, columns)
        """
        height = min(self._tall, self._array.shape[self._axes.y] - down * self._tall)
        out = np.empty((height, columns[1] - columns[0]), dtype)

        def fill(k: int) -> None:
            part = out[:, k * self._wide - columns[0] : (k + 1) * self._wide - columns[0]]
            chunk = self._chunk(z, down, k)
            part[...] = self._fill if chunk is None else chunk[: part.shape[0], : part.shape[1]]

        first, *rest = range(columns[0] // self._wide, math.ceil(columns[1] / self._wide))
        start = time.perf_counter()
        fill(first)
        if not rest or time.perf_counter() - start < WORTH:
            for k in rest:
                fill(k)
            return out
        together(fill, rest, self._at_once, "decode")
        return out

    def _chunk(self, z: int, down: int, k: int) -> NDArray[Any] | None:
        """Return a section of a chunk, (rows, columns); None if it is not there."""
        place: list[int] = [0] * self._array.ndim
        inside: list[Any] = [0] * self._array.ndim
        if self._axes.z is not None:
            place[self._axes.z], inside[self._axes.z] = divmod(z, self._array.chunks[self._axes.z])
        for axis, number in self._axes.taken:
            place[axis], inside[axis] = divmod(number, self._array.chunks[axis])
        place[self._axes.y], place[self._axes.x] = down, k
        inside[self._axes.y] = inside[self._axes.x] = slice(None)
        where = self._array.store_path
        name = self._array.metadata.encode_chunk_key(tuple(place))
        data = where.store.read(f"{where.path}/{name}" if where.path else name)
        if data is None:
            return None
        part: NDArray[Any] = self._decode(data)[tuple(inside)]
        return part if self._axes.y < self._axes.x else part.T


def rows_of(array: Any, axes: Axes) -> RowsOfFiles | None:
    """Return what reads an array that `zarr_store.bounded` gave; None where only zarr can."""
    decode = decoder_of(array)
    return None if decode is None else RowsOfFiles(array, axes, decode)
