"""What is known of the pieces that are on disk, in 13 bytes for each."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.images import Stored

BLOCK = 2**14
"""Pieces that share an array; a number far from the others costs one such array."""

KNOWN = np.dtype([("state", "u1"), ("size", "<u8"), ("crc32", "<u4")])
ABSENT, WITHOUT_CHECKSUM, WITH_CHECKSUM = range(3)


class Recorded(MutableMapping[int, Stored | None]):
    """The bytes on disk of each recorded piece by its number; None where they are not known.

    A mapping like a dict, in order of the numbers, which takes 13 bytes a piece and not 200.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, NDArray[Any]] = {}
        self._count = 0

    def __setitem__(self, piece: int, stored: Stored | None) -> None:
        number, place = divmod(piece, BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = np.zeros(BLOCK, KNOWN)
        self._count += block["state"][place] == ABSENT
        block[place] = (WITHOUT_CHECKSUM, 0, 0) if stored is None else (WITH_CHECKSUM, *stored)

    def __getitem__(self, piece: int) -> Stored | None:
        state, size, crc32 = self._known(piece)
        if state == ABSENT:
            raise KeyError(piece)
        return Stored(size, crc32) if state == WITH_CHECKSUM else None

    def __delitem__(self, piece: int) -> None:
        if piece not in self:
            raise KeyError(piece)
        number, place = divmod(piece, BLOCK)
        self._blocks[number][place] = (ABSENT, 0, 0)
        self._count -= 1

    def __contains__(self, piece: object) -> bool:
        return isinstance(piece, int | np.integer) and self._known(int(piece))[0] != ABSENT

    def __len__(self) -> int:
        return int(self._count)

    def __iter__(self) -> Iterator[int]:
        for number in sorted(self._blocks):
            places = np.flatnonzero(self._blocks[number]["state"])
            yield from (number * BLOCK + place for place in places.tolist())

    def clear(self) -> None:
        """Forget all."""
        self._blocks, self._count = {}, 0

    def largest(self) -> int | None:
        """Return the largest number; None if there is none."""
        for number in sorted(self._blocks, reverse=True):
            places = np.flatnonzero(self._blocks[number]["state"])
            if len(places):
                return number * BLOCK + int(places[-1])
        return None

    def missing(self, numbers: range) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers, of a range, that are not recorded, in order, some at a time.

        What is recorded meanwhile, of those that were yielded, changes nothing.
        """
        for first in range(numbers.start - numbers.start % BLOCK, numbers.stop, BLOCK):
            low, high = max(first, numbers.start) - first, min(BLOCK, numbers.stop - first)
            block = self._blocks.get(first // BLOCK)
            if block is None:
                yield np.arange(first + low, first + high)
            else:
                yield first + low + np.flatnonzero(block["state"][low:high] == ABSENT)

    def _known(self, piece: int) -> tuple[int, int, int]:
        number, place = divmod(piece, BLOCK)
        block = self._blocks.get(number)
        known: tuple[int, int, int] = (ABSENT, 0, 0) if block is None else block[place].item()
        return known
