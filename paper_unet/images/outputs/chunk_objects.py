"""The objects of the chunks of a Zarr array that is written to a bucket, to the bytes of files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.images.outputs.chunk_files import ChunkFiles
from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.readers.chunk_keys import number
from paper_unet.images.remote.store import RemoteStore
from paper_unet.images.stack import Span
from paper_unet.system.overlap import together


class ChunkObjects(ChunkFiles):
    """The chunks, or shards, of a level in a bucket; see `ChunkFiles`.

    An object is there whole or not at all, and to stay when writing it returns.

    Parameters
    ----------
    store : RemoteStore
        Of the whole output.
    level : int
    array : zarr.Array
    """

    def __init__(self, store: RemoteStore, level: int, array: Any) -> None:
        super().__init__(Path(str(level)), array)
        self._level, self._remote = level, store
        self._grid = tuple(
            -(-side // step)
            for side, step in zip(array.shape, array.shards or array.chunks, strict=True)
        )

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Stored]:
        """Write a window of whole objects; return what each object is, row by row."""
        height, width = pixels.shape
        tops, lefts = range(0, height, self.side), range(0, width, self.side)

        def put(place: tuple[int, int]) -> Stored:
            top, left = place
            part = pixels[top : top + self.side, left : left + self.side]
            data = b"".join(self.encoded(part))
            name = self.folder(z, row + top) / str((column + left) // self.side)
            self._remote.write(name.as_posix(), data)
            return stored_bytes([data])

        return self._each(put, list(product(tops, lefts)))

    def stored(self, z: int, rows: Span, columns: Span) -> list[Stored]:
        """Read back the objects of a window; what is missing has no bytes."""

        def get(key: str) -> Stored:
            data = self._remote.fetch(key)
            return Stored(0, 0) if data is None else stored_bytes([data])

        return self._each(get, [path.as_posix() for path in self.files(z, rows, columns)])

    def sizes(self) -> NDArray[np.int64]:
        """Return the bytes of every object, (planes, rows, columns), by listing them all."""
        found, top = np.zeros(self._grid, np.int64), f"{self._top.as_posix()}/"
        for key, size in self._remote.objects(top):
            place = tuple(number(name) for name in key.removeprefix(top).split("/"))
            fits = len(place) == found.ndim
            if fits and all(0 <= k < n for k, n in zip(place, found.shape, strict=True)):
                found[place] = size
        return found.reshape(-1, *found.shape[-2:])

    def sync(self, z: int, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Do nothing: what was written is there."""

    def _each(self, work: Any, items: Sequence[Any]) -> list[Any]:
        return together(work, items, self._remote.at_once, "objects")
