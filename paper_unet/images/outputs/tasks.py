"""What is computed from the written pixels: rows of chunks of the levels of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """A piece of what is computed from the written pixels: rows of one section of one level.

    Attributes
    ----------
    level : int
        Of the pyramid; 0 are the pixels as written.
    z : int
        Section.
    row : int
        First row, in pixels of this level.
    columns : tuple of int or None
        First columns of the chunks that are to be computed; None: of all.
    """

    level: int
    z: int
    row: int
    columns: tuple[int, ...] | None = None


class Marks:
    """Which chunks of a level are there, a bit for each.

    Parameters
    ----------
    sections, rows, across : int
        Sections, rows of chunks, and chunks of a row.
    """

    def __init__(self, sections: int, rows: int, across: int) -> None:
        self._across = across
        self._bits = np.zeros((sections, rows, -(-across // 8)), np.uint8)  # fills as it is used

    def set(self, z: int, row: int, k: int) -> None:
        """Note that chunk k of a row is there."""
        self._bits[z, row, k // 8] |= 128 >> k % 8

    def missing(self, z: int, row: int) -> NDArray[np.intp]:
        """Return which chunks of a row are not there."""
        return np.flatnonzero(np.unpackbits(self._bits[z, row], count=self._across) == 0)

    def incomplete(self) -> NDArray[np.int64]:
        """Return the rows of which a chunk is not there, numbered section by section."""
        whole = np.packbits(np.ones(self._across, np.uint8))
        _, rows, _ = self._bits.shape
        found = (np.flatnonzero((bits != whole).any(axis=1)) for bits in self._bits)
        return np.concatenate([z * rows + some for z, some in enumerate(found)])


@dataclass(frozen=True)
class Tasks(Sequence[Task]):
    """The tasks of a level, section by section, made when they are asked for.

    Attributes
    ----------
    level : int
    sections, height : int
        Its size.
    step : int
        Rows of a task, and columns of a chunk.
    there : Marks, optional
        Chunks that need no task.
    """

    level: int
    sections: int
    height: int
    step: int
    there: Marks | None = field(default=None, compare=False)

    def __len__(self) -> int:
        if self.there is not None:
            return len(self._left)
        return self.sections * self._in_section

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if self.there is not None:
            number = int(self._left[number])
        z, k = divmod(number, self._in_section)
        return Task(self.level, z, k * self.step, self._columns(z, k))

    @property
    def _in_section(self) -> int:
        return -(-self.height // self.step)

    @cached_property
    def _left(self) -> NDArray[np.int64]:
        """The numbers of the rows that need a task."""
        return np.empty(0, np.int64) if self.there is None else self.there.incomplete()

    def _columns(self, z: int, k: int) -> tuple[int, ...] | None:
        if self.there is None:
            return None
        return tuple((self.there.missing(z, k) * self.step).tolist())
