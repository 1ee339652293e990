"""The files of a level of a pyramid, whatever lies in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from paper_unet.images.outputs.stored import Stored
from paper_unet.images.stack import Span
from paper_unet.system.files import sync_file
from paper_unet.system.overlap import together

SYNCED = 8
"""Files that are synced at a time: the disk takes what waits for it together."""


def sync_files(files: Sequence[Path]) -> None:
    """Return when files, at least one, are on disk to stay; their names may not be yet."""
    together(sync_file, files, SYNCED, "sync")


class LevelFiles(Protocol):
    """The files of a level; z counts the planes of `Output.planes`."""

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Stored]:
        """Write a window of whole files; return what each file is, row by row."""

    def files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of a window, row by row."""

    def sync(self, z: int, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Return when files, by where they begin, are on disk to stay."""

    def lacking(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, Path]]:
        """Yield how many files of planes of this shape are missing, and in which folder."""
