"""Files of chunks by their names, as Zarr and N5 have them: which are there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from paper_unet.images.readers.chunked import Present
from paper_unet.images.readers.zarr_names import Entry, joined
from paper_unet.system.files import check_regular

COUNTED = 16
"""Bytes for each section while its chunks are counted."""


@dataclass(frozen=True)
class Layout:
    """How the files of chunks are named.

    Attributes
    ----------
    separator : {".", "/"}
        Between the numbers.
    top : {"", "c"}
        Before them.
    """

    separator: str
    top: str = ""

    def __str__(self) -> str:
        return self.separator.join([self.top] * bool(self.top) + ["0", "0", "0"])

    def encoding(self) -> dict[str, Any]:
        """Return it as the metadata of version 3 have it."""
        name = "default" if self.top else "v2"
        return {"name": name, "configuration": {"separator": self.separator}}


LAYOUTS = {
    2: (Layout("."), Layout("/")),
    3: (Layout("/", "c"), Layout(".", "c"), Layout("."), Layout("/")),
}
"""Those that a version may have."""


@dataclass
class Chunks(Present):
    """What is there of the files of chunks, or shards.

    Attributes
    ----------
    layout : Layout
    folders : list of str
        Names of folders where a chunk should be.
    """

    layout: Layout
    folders: list[str] = field(default_factory=list)


class Listed(Protocol):
    """What holds a store: a folder, or a file."""

    def listed(self, folder: str) -> list[Entry]:
        """Return what lies in a folder; nothing if it is not there."""

    def named(self, key: str) -> str:
        """Return what a message calls a file."""


@dataclass(frozen=True)
class Sought:
    """Which chunks are looked for: those of an array, or of one place along some of its axes.

    Attributes
    ----------
    files : Listed
        What holds the store.
    folder : str
        Of the array.
    grid : tuple of int
        Files along each axis.
    layout : Layout
    only : dict of int to int
        Axes along which one file is needed, and which.
    """

    files: Listed
    folder: str
    grid: tuple[int, ...]
    layout: Layout
    only: dict[int, int]

    def wanted(self, grid: tuple[int, ...], z: int | None) -> tuple[int, int]:
        """Return how many there should be along Z, and for each of these, of a grid of chunks."""
        along = 1 if z is None else grid[z]
        count = math.prod(n for k, n in enumerate(grid) if k not in self.only)
        return along, count // max(along, 1)

    def entries(self) -> Iterator[tuple[tuple[int, ...], str, Entry]]:
        """Yield what has the name of a chunk that is needed: which one, its key, and what it is."""
        top = joined(self.folder, self.layout.top) if self.layout.separator == "/" else self.folder
        found = self._nested(top, ()) if self.layout.separator == "/" else self._flat(top)
        for index, key, entry in found:
            if all(index[axis] == k for axis, k in self.only.items()):
                yield index, key, entry

    def _flat(self, folder: str) -> Iterator[tuple[tuple[int, ...], str, Entry]]:
        layout, grid = self.layout, self.grid
        for entry in self.files.listed(folder):
            parts = entry.name.split(".")
            if layout.top and parts[0] == layout.top:
                parts = parts[1:]
            elif layout.top:
                continue
            index = tuple(number(part) for part in parts)
            fits = len(index) == len(grid)
            if fits and all(0 <= k < n for k, n in zip(index, grid, strict=True)):
                yield index, joined(folder, entry.name), entry

    def _nested(
        self, folder: str, index: tuple[int, ...]
    ) -> Iterator[tuple[tuple[int, ...], str, Entry]]:
        axis = len(index)
        for entry in self.files.listed(folder):
            k = number(entry.name)
            if not 0 <= k < self.grid[axis] or self.only.get(axis, k) != k:
                continue
            key = joined(folder, entry.name)
            if axis + 1 == len(self.grid):
                yield (*index, k), key, entry
            elif entry.kind == "folder":
                yield from self._nested(key, (*index, k))


def count_files(sought: Sought, z: int | None) -> Chunks:
    """Count the files that have the names of chunks.

    Parameters
    ----------
    sought : Sought
    z : int or None
        Which axis is Z; None: there is none.

    Returns
    -------
    Chunks
        As if each were one section deep.
    """
    along, wanted = sought.wanted(sought.grid, z)
    found = Chunks(np.zeros(along, np.int64), wanted, 1, sought.layout)
    for index, key, entry in sought.entries():
        if entry.kind == "folder":
            found.folders.append(key)
        elif entry.kind == "file":
            found.counts[0 if z is None else index[z]] += 1
        elif entry.kind == "other":
            check_regular(sought.files.named(key))  # which says what it is
    return found


def number(text: str) -> int:
    """Return a number as chunks are named by it; -1 if it is none."""
    return int(text) if text.isdecimal() and text == str(int(text)) else -1


def word(setting: Any) -> str:
    """Return a setting of a codec of zarr: an enum in its older versions, a word in newer ones."""
    return str(getattr(setting, "value", setting))


def index_comes_first(shards: Any) -> bool:
    """Whether the index of a shard lies before its chunks, as the codec of zarr has it."""
    return word(shards.index_location) == "start"
