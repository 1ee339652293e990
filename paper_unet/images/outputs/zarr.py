"""Writing a stack as OME-Zarr with its pyramid, file by file, by any number of processes.

Each chunk is a file of its own; or, where there are very many, a shard is: chunks of one section,
which one piece writes at once. A file is there as a whole or not at all.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from paper_unet.errors import InputError
from paper_unet.images.ome_metadata import check_ome, ome_attributes
from paper_unet.images.outputs.chunk_files import ChunkFiles
from paper_unet.images.outputs.output import OPENING, Output
from paper_unet.images.outputs.stored import Stored, stored_file, stored_files
from paper_unet.images.outputs.tasks import Marks, Task, Tasks
from paper_unet.images.outputs.zarr_labels import register
from paper_unet.images.outputs.zarr_shards import check_shard, files_of, side_for
from paper_unet.images.pyramid import Chunk, GrowingPyramid, halved, level_shapes, thinned
from paper_unet.images.stack import Span
from paper_unet.system.claim import in_the_way, remove
from paper_unet.system.files import sync_file, sync_folder
from paper_unet.system.names import REPLACED, kind_of, name_without_replacing

VERSIONS = ("0.5", "0.4")
CHUNK = 512
ZSTD_LEVEL = 3
METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


class _Opened(NamedTuple):
    """What a process has open of an output: of each level the array and its files."""

    arrays: list[Any]
    files: list[ChunkFiles]
    growing: GrowingPyramid


class ZarrOutput(Output):
    """One OME-Zarr image, a folder; see `Output`.

    Chunks of 1 x 512 x 512, compressed with zstd; every chunk has its file, one of zeros too, or
    its place in a shard that is one. The levels of the pyramid are the arrays ``0``, ``1``, ... of
    the group.

    Attributes
    ----------
    version : str
        ``0.5`` (Zarr v3) or ``0.4`` (Zarr v2).
    """

    alignment = (CHUNK, CHUNK)
    shards = True

    def __init__(self, *given: Any, shard: int | None = 0, **more: Any) -> None:
        self.shard = shard or 0
        super().__init__(*given, **more)
        self._derived: dict[int, Marks] = {}  # left out of a level's stage
        self.use_shards(side_for(self, CHUNK) if shard is None else shard)

    def use_shards(self, shard: int) -> None:
        """Write shards of so many pixels a side; 0: a file for each chunk. Before `prepare`."""
        check_shard(self.path, shard, CHUNK, self.version)
        self.shard = shard
        self.alignment = (shard, shard) if shard else type(self).alignment
        self.tasks_at_once = 1 if shard else None  # each takes the memory of a shard

    @property
    def _side(self) -> int:
        """Pixels of a side of a file."""
        return self.shard or CHUNK

    @property
    def levels(self) -> list[tuple[int, int, int]]:
        """The size of each level, (Z, Y, X); the last one has no side Y, X above 512."""
        return level_shapes(self.shape, CHUNK)

    def prepare(self, *, resume: bool) -> None:
        """Make the group and its arrays without pixels; see `Output.prepare`."""
        self.close()
        self._derived = {}
        if resume:
            # no look at the free space: what is there takes some of it, and how well the rest
            # compresses is not known
            self._arrays()
            self._sweep()
            return
        self._check()
        try:
            self.partial.mkdir()
        except FileExistsError:
            raise in_the_way(self.partial) from None
        try:
            self._check_room()
            with self._naming_full_disk():
                self._create()
                check_ome(self.partial, self.version, labels=self.labels)
                self._sync_metadata()
        except BaseException:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> Stored:
        """Store a window of whole chunks; see `Output.write`."""
        self._check_window(z, row, column, pixels)
        return stored_files(self._store(0, z, row, column, pixels))

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Read the chunks of a window as they are on disk, encoded; see `Output.stored`."""
        return stored_files(stored_file(path) for path in self._files(z, rows, columns))

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return the bytes of the chunks of a window; see `Output.size_stored`."""
        files = self._files(z, rows, columns)
        return sum(path.stat().st_size for path in files if path.is_file())

    def read(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Decode a window that was written; see `Output.read`."""
        return self._decoded(0, z, rows, columns)

    def frame(self) -> Stored:
        """Read the metadata of the group and its arrays; see `Output.frame`."""
        return stored_files(stored_file(path) for path in sorted(self._metadata()))

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether the chunks of a window are there and can be decoded."""
        if not all(path.is_file() for path in self._files(z, rows, columns)):
            return False
        try:
            self._arrays()[0][z, slice(*rows), slice(*columns)]
        except Exception:  # damage raises errors of many types
            return False
        return True

    def sync(self, z: int, rows: Span, columns: Span) -> None:
        """Return when a window is on disk to stay; see `Output.sync`."""
        with self._naming_full_disk():
            self._files_of(0).sync(z, range(*rows, self._side), range(*columns, self._side))

    def derive(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Chunk]:
        """Compute the chunks of the pyramid that a window completes; see `Output.derive`.

        Those of labels are left to the stages.
        """
        if self.labels:
            return []
        made: dict[tuple[int, int], list[Chunk]] = {}
        for chunk, means in self._opened().growing.add(z, row, column, pixels):
            self._store(*chunk, means)
            made.setdefault((chunk.level, chunk.row), []).append(chunk)
        for (level, top), chunks in made.items():
            with self._naming_full_disk():
                self._files_of(level).sync(z, [top], [chunk.column for chunk in chunks])
        return [chunk for chunks in made.values() for chunk in chunks]

    def leave_out(self, chunks: Iterable[Chunk]) -> None:
        """Leave chunks out of the stages; see `Output.leave_out`."""
        for level, z, row, column in chunks:
            if level not in self._derived:
                sections, height, width = self.levels[level]
                grid = sections, math.ceil(height / self._side), math.ceil(width / self._side)
                self._derived[level] = Marks(*grid)
            self._derived[level].set(z, row // self._side, column // self._side)

    def stages(self) -> list[Tasks]:
        """Return one stage for each level above 0: a task for each row with chunks to compute."""
        return [
            Tasks(level, sections, height, self._side, self._derived.get(level))
            for level, (sections, height, _) in enumerate(self.levels)
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
            for top in range(*rows, CHUNK):  # a shard of the level above would take much memory
                band = top, min(top + CHUNK, rows[1])
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
        if self.labels:
            register(self.path)  # killed before it has its name, the run goes on
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
            return bool(self._arrays())
        except InputError:
            return False
        finally:
            self.close()

    def _check(self) -> None:
        if self.version not in VERSIONS:
            raise InputError(
                f"OME-Zarr version {self.version!r}; accepted are {', '.join(VERSIONS)}"
            )
        super()._check()
        there = kind_of(self.path) is not None
        if there and not any((self.path / name).is_file() for name in METADATA):
            raise InputError(
                f"{self.path}: exists and is no Zarr folder, so it is not replaced; choose another "
                "name, or remove it"
            )

    def _size(self) -> int:
        """Return the bytes of all levels uncompressed: 4/3 of the pixels, and 0.5 % for the rest.

        Assumed: zstd makes no chunk larger by more than that, and the padding of chunks at the
        edge takes no room.
        """
        pixels = sum(math.prod(shape) for shape in self.levels)
        return math.ceil(pixels * self.dtype.itemsize * 1.005)

    def _arrays(self) -> list[Any]:
        """Return the array of each level, opened for this process."""
        return self._opened().arrays

    def _files_of(self, level: int) -> ChunkFiles:
        return self._opened().files[level]

    def _opened(self) -> _Opened:
        with OPENING:
            return self._open()

    def _open(self) -> _Opened:
        if self._handle is None:
            if (kind := kind_of(self.partial)) != "folder":
                raise self.nothing_left("is gone" if kind is None else f"is a {kind}")
            try:
                group = zarr.open_group(self.partial, mode="r")
                arrays: list[Any] = [group[str(level)] for level in range(len(self.levels))]
            except FileNotFoundError:
                raise self.nothing_left("is gone") from None
            except (KeyError, ValueError, TypeError) as error:
                raise self.nothing_left("cannot be read") from error
            found = [(array.shape, array.dtype, array.chunks) for array in arrays]
            if found != [(shape, self.dtype, (1, CHUNK, CHUNK)) for shape in self.levels]:
                raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape}")
            if {array.shards for array in arrays} != {self._shards}:
                raise self.nothing_left(f"has not a file for {files_of(self.shard)}")
            if group.metadata.zarr_format != self._format:
                raise self.nothing_left(f"is not OME-Zarr {self.version}")
            try:
                files = [ChunkFiles(self.partial / str(k), one) for k, one in enumerate(arrays)]
            except ValueError as error:
                raise self.nothing_left(f"is not as it was made: {error}") from error
            self._handle = _Opened(arrays, files, GrowingPyramid(self.levels, self._side, CHUNK))
        handle: _Opened = self._handle
        return handle

    @property
    def _shards(self) -> tuple[int, int, int] | None:
        return (1, self.shard, self.shard) if self.shard else None

    @property
    def _format(self) -> int:
        return 2 if self.version == "0.4" else 3

    def _create(self) -> None:
        old = self._format == 2
        attributes = ome_attributes(
            self.version, len(self.levels), self.pixel_size, labels=self.labels
        )
        group = zarr.create_group(self.partial, zarr_format=2 if old else 3, attributes=attributes)
        for level, shape in enumerate(self.levels):
            group.create_array(
                str(level),
                shape=shape,
                dtype=self.dtype,
                chunks=(1, CHUNK, CHUNK),
                shards=self._shards,
                compressors=Zstd(ZSTD_LEVEL) if old else ZstdCodec(level=ZSTD_LEVEL),
                fill_value=0,
                chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
                dimension_names=None if old else ("z", "y", "x"),
            )

    def _decoded(self, level: int, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of a level; what of it lies beyond the image is left out."""
        try:
            window: NDArray[Any] = self._arrays()[level][z, slice(*rows), slice(*columns)]
        except (InputError, OSError):
            raise
        except Exception as error:  # damage raises errors of many types
            raise InputError(
                f"{self.partial}: section {z} of level {level} cannot be decoded ({error}); run "
                "the same again with `verify`: what is damaged is computed again"
            ) from error
        return window

    def _store(
        self, level: int, z: int, row: int, column: int, pixels: NDArray[Any]
    ) -> list[Stored]:
        with self._naming_full_disk():
            return self._files_of(level).write(z, row, column, pixels)

    def _files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of the chunks of a window of the pixels, row by row."""
        return self._files_of(0).files(z, rows, columns)

    def _metadata(self) -> Iterator[Path]:
        for folder in (self.partial, *(self.partial / str(k) for k in range(len(self.levels)))):
            yield from (folder / name for name in METADATA if (folder / name).exists())

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
        for level, (sections, height, width) in enumerate(self.levels):
            wanted = {str(k) for k in range(math.ceil(width / self._side))}
            for z in range(sections):
                for row in range(0, height, self._side):
                    folder = self._files_of(level).folder(z, row)
                    found = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  (names alone)
                    if missing := wanted.difference(found):
                        raise InputError(
                            f"{self.partial}: {len(missing)} chunks are missing in {folder}; were "
                            "they removed? start anew with `overwrite`"
                        )
