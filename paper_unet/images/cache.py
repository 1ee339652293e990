"""The pieces of an image that were decoded last, within a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

KEPT = 2**25
"""Bytes of pieces worth keeping: the rows of tiles of 572 in a section 20,000 pixels wide."""


class ChunkCache:
    """Arrays by key, of which those used longest ago make room for new ones.

    Parameters
    ----------
    row, section : int
        Bytes of a row of pieces, which has to be kept so that bands of rows from top to bottom
        decode each piece once, and of all pieces of a section, beyond which nothing is gained.
    least : int
        Bytes that an array counts for at least: key and object take more than a few values.

    Attributes
    ----------
    room : int
        Bytes kept at most, those of an array that is being made included if its size is given.
    """

    def __init__(self, row: int, section: int, least: int = 0) -> None:
        self.room, self._least = min(max(row, KEPT), section), least
        self._arrays: OrderedDict[Hashable, tuple[NDArray[Any], int]] = OrderedDict()
        self._held = 0

    def get(
        self, key: Hashable, size: int | None, make: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """Return the array of a key, which takes `size` bytes; make it unless it is there.

        None if its size is not known before it is made: then it is kept, however large it is, until
        another one is.
        """
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key][0]
        if size is not None:
            self._make_room(size)
        array = make()
        taken = max(array.nbytes if size is None else size, self._least)
        self._make_room(taken)
        if size is None or taken <= self.room:
            self._arrays[key] = array, taken
            self._held += taken
        return array

    def _make_room(self, size: int) -> None:
        while self._arrays and self._held + size > self.room:
            self._held -= self._arrays.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        self._arrays.clear()
        self._held = 0
