"""Writing a stack as a folder of chunks and a pyramid, by any number of processes.

Each file holds a square of one plane: a chunk, or a shard of many that is written at once. It is
there as a whole or not at all; what lies in it, and what describes the files, is for each format to
say.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs.level_files import LevelFiles
from paper_unet.images.outputs.output import OPENING, Output
from paper_unet.images.outputs.stored import Stored, stored_file, stored_files
from paper_unet.images.outputs.tasks import Marks, Task, Tasks
from paper_unet.images.pyramid import Chunk, GrowingPyramid, halved, level_shapes, thinned
from paper_unet.images.stack import Span
from paper_unet.system.claim import remove
from paper_unet.system.files import sync_file, sync_folder
from paper_unet.system.names import REPLACED, kind_of, name_without_replacing
from paper_unet.system.stop import Stopped


class OpenedPyramid(NamedTuple):
    """What a process has open of an output: of each level its files, and what decodes them."""

    files: Sequence[LevelFiles]
    growing: GrowingPyramid
    arrays: Sequence[Any] = ()


class PyramidOutput(Output):
    """One folder with the chunks of each level of a pyramid; see `Output`.

    A subclass says what describes the chunks, opens what it made, and decodes a window. Chunks are
    one section deep; with channels, what `Task` and `Chunk` call a section is a plane of
    `Output.planes`.

    Attributes
    ----------
    called : str
        What the folder is, for messages.
    """

    called = "folder of chunks"

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._derived: dict[int, Marks] = {}  # left out of a level's stage

    @property
    def waiting(self) -> float:
        """The levels of a window; and chunks that threads compress, of which shards have one."""
        return self.dtype.itemsize * (1 / 3 if self.shard else 1.0)

    @property
    def levels(self) -> list[tuple[int, int, int]]:
        """The size of each level, (Z, Y, X); in the last one Y, X are within a chunk."""
        return level_shapes(self.shape, self.chunk)

    @property
    def chunk(self) -> int:
        """Pixels of a side of a chunk, whatever shards there are."""
        return type(self).alignment[0]

    @property
    def _side(self) -> int:
        """Pixels of a side of a file."""
        return self.shard or self.chunk

    def prepare(self, *, resume: bool) -> None:
        """Make what describes the chunks, without pixels; see `Output.prepare`."""
        self.close()
        self._derived = {}
        if resume:
            # no look at the free space: what is there takes some of it, and how well the rest
            # compresses is not known
            self._opened()
            self._sweep()
            return
        self._check()
        try:
            self.partial.mkdir()
        except FileExistsError:
            raise self.in_the_way() from None
        try:
            self._check_room()
            with self._naming_full_disk():
                self._create()
                self._sync_metadata()
        except BaseException:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> Stored:
        """Store a window of whole files; see `Output.write`."""
        windows = self._windows(z, row, column, pixels)
        return stored_files(
            file for plane, window in windows for file in self._store(0, plane, row, column, window)
        )

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Read the chunks of a window as they are on disk, encoded; see `Output.stored`."""
        return stored_files(stored_file(path) for path in self._files(z, rows, columns))

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return the bytes of the chunks of a window; see `Output.size_stored`."""
        files = self._files(z, rows, columns)
        return sum(path.stat().st_size for path in files if path.is_file())

    def read(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Decode a window that was written; see `Output.read`."""
        windows = [self._decoded(0, plane, rows, columns) for plane in self._planes(z)]
        return np.stack(windows) if self.channels else windows[0]

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether the files of a window are there and can be decoded."""
        if not all(path.is_file() for path in self._files(z, rows, columns)):
            return False
        try:
            self.read(z, rows, columns)
        except Stopped:
            raise
        except Exception:  # damage raises errors of many types
            return False
        return True

    def frame(self) -> Stored:
        """Read what describes the chunks; see `Output.frame`."""
        return stored_files(stored_file(path) for path in sorted(self._metadata()))

    def sync(self, z: int, rows: Span, columns: Span) -> None:
        """Return when a window is on disk to stay; see `Output.sync`."""
        with self._naming_full_disk():
            for plane in self._planes(z):
                chunks = range(*rows, self._side), range(*columns, self._side)
                self._files_of(0).sync(plane, *chunks)

    def derive(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Chunk]:
        """Compute the chunks of the pyramid that a window completes; see `Output.derive`.

        Those of labels are left to the stages.
        """
        if self.labels:
            return []
        made: dict[tuple[int, int, int], list[Chunk]] = {}
        for plane, window in self._windows(z, row, column, pixels):
            for chunk, means in self._opened().growing.add(plane, row, column, window):
                self._store(*chunk, means)
                made.setdefault((chunk.level, plane, chunk.row), []).append(chunk)
        for (level, plane, top), chunks in made.items():
            with self._naming_full_disk():
                self._files_of(level).sync(plane, [top], [chunk.column for chunk in chunks])
        return [chunk for chunks in made.values() for chunk in chunks]

    def leave_out(self, chunks: Iterable[Chunk]) -> None:
        """Leave chunks out of the stages; see `Output.leave_out`."""
        for level, z, row, column in chunks:
            if level not in self._derived:
                _, height, width = self.levels[level]
                grid = self.planes, math.ceil(height / self._side), math.ceil(width / self._side)
                self._derived[level] = Marks(*grid)
            self._derived[level].set(z, row // self._side, column // self._side)

    def stored_derived(self, chunk: Chunk) -> Stored:
        """Read the file of a chunk above level 0; see `Output.stored_derived`."""
        return stored_file(self._file_of(chunk))

    def size_derived(self, chunk: Chunk) -> int:
        """Return the bytes of that file."""
        path = self._file_of(chunk)
        return path.stat().st_size if path.is_file() else 0

    def _file_of(self, chunk: Chunk) -> Path:
        level, z, row, column = chunk
        return next(self._files_of(level).files(z, (row, row + 1), (column, column + 1)))

    def stages(self) -> list[Tasks]:
        """Return one stage for each level above 0: a task for each row with chunks to compute."""
        return [
            Tasks(level, self.planes, height, self._side, self._derived.get(level))
            for level, (_, height, _) in enumerate(self.levels)
            if level
        ]

    def run(self, task: Task) -> None:
        """Compute a row of chunks of a level from the level before; see `Output.run`."""
        _, height, width = self.levels[task.level]
        rows = task.row, min(task.row + self._side, height)
        chosen = range(0, width, self._side) if task.columns is None else task.columns
        for column in chosen:
            columns = column, min(column + self._side, width)
            smaller = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self.dtype)
            for top in range(*rows, self.chunk):  # a shard of the level above takes much memory
                band = top, min(top + self.chunk, rows[1])
                part = self._made(task.level, task.z, band, columns)
                smaller[top - rows[0] : band[1] - rows[0]] = part
            self._store(task.level, task.z, task.row, column, smaller)
        with self._naming_full_disk():
            self._files_of(task.level).sync(task.z, [task.row], chosen)

    def _made(self, level: int, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Compute a window of a level from the level before."""
        above = [(2 * start, 2 * stop) for start, stop in (rows, columns)]
        window = self._decoded(level - 1, z, *above)
        return thinned(window) if self.labels else halved(window)

    def finish(self) -> None:
        """Give the folder its final name; see `Output.finish`."""
        self.close()
        self._check()
        self._check_complete()
        self._sweep()  # of workers that were killed
        with self._naming_full_disk():
            self._sync_metadata()
        self._announce()
        # a folder cannot take the name of another one: the old one steps aside first
        aside = self._aside()
        there = kind_of(self.path) is not None
        if there:
            self.path.rename(aside)
        try:
            name_without_replacing(self.partial, self.path)
        except BaseException:
            if there and kind_of(self.path) is None:
                aside.rename(self.path)
            raise
        sync_folder(self.path.parent)
        remove(aside)

    def _aside(self) -> Path:
        """Return where an old output steps aside: a name that the next run knows."""
        if self._claim is not None and self._claim.token:
            return self._claim.own_name(self.path, REPLACED)
        return self.path.with_name(f"{self.path.name}.{secrets.token_hex(16)}{REPLACED}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_derived": {}}

    def _fits(self) -> bool:
        try:
            return bool(self._opened())
        except InputError:
            return False
        finally:
            self.close()

    def _check(self) -> None:
        super()._check()
        there = kind_of(self.path) is not None
        if there and not self._is_ours(self.path):
            raise InputError(
                f"{self.path}: exists and is no {self.called}, so it is not replaced; choose "
                "another name, or remove it"
            )

    def _announce(self) -> None:
        """Say elsewhere that there is this output; killed then, the run goes on."""

    @abstractmethod
    def _is_ours(self, folder: Path) -> bool:
        """Whether a folder is of this format."""

    @abstractmethod
    def _create(self) -> None:
        """Write all but the chunks into the partial output."""

    @abstractmethod
    def _open(self) -> OpenedPyramid:
        """Open the partial output, or raise what `nothing_left` returns."""

    @abstractmethod
    def _decoded(self, level: int, plane: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of a level; what of it lies beyond the image is left out."""

    @abstractmethod
    def _metadata(self) -> Iterator[Path]:
        """Yield the files that describe the chunks."""

    def _files_of(self, level: int) -> LevelFiles:
        return self._opened().files[level]

    def _opened(self) -> OpenedPyramid:
        with OPENING:
            if self._handle is None:
                self._handle = self._open()
            handle: OpenedPyramid = self._handle
            return handle

    def _check_folder(self) -> None:
        if (kind := kind_of(self.partial)) != "folder":
            raise self.nothing_left("is gone" if kind is None else f"is a {kind}")

    def _growing(self) -> GrowingPyramid:
        """Return what makes the levels of this process."""
        together = max(1, len(self.channels))
        return GrowingPyramid(self.levels, self._side, self.chunk, together)

    def _undecodable(self, level: int, z: int, error: object) -> InputError:
        return InputError(
            f"{self.begun}: section {z} of level {level} cannot be decoded ({error}); run the "
            "same again with `verify`: what is damaged is computed again"
        )

    def _store(
        self, level: int, z: int, row: int, column: int, pixels: NDArray[Any]
    ) -> list[Stored]:
        with self._naming_full_disk():
            return self._files_of(level).write(z, row, column, pixels)

    def _files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of the chunks of a window of the pixels, row by row."""
        for plane in self._planes(z):
            yield from self._files_of(0).files(plane, rows, columns)

    def _sync_metadata(self) -> None:
        for path in self._metadata():
            sync_file(path)
        for folder in {path.parent for path in self._metadata()}:
            sync_folder(folder)
        sync_folder(self.partial.parent)

    def _sweep(self) -> None:
        """Remove what writes that were killed left: only the driver, while nobody else writes."""
        for folder, _, names in os.walk(self.partial):
            for name in names:
                if name.endswith(".partial"):
                    (Path(folder) / name).unlink()

    def _check_complete(self) -> None:
        """Raise InputError unless every chunk has its file."""
        for level, (_, *size) in enumerate(self.levels):
            for missing, folder in self._files_of(level).lacking((self.planes, size[0], size[1])):
                raise InputError(
                    f"{self.partial}: {missing} chunks are missing in {folder}; were they removed? "
                    "start anew with `overwrite`"
                )
