"""Writing a stack as a Neuroglancer precomputed volume with its scales, by any number of processes.

Each chunk is a file of its own that holds the plain values, so the bytes on disk are those that
were given; shards are not written, since they have to be written whole.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.images.outputs.level_files import sync_files
from paper_unet.images.outputs.pyramid_output import OpenedPyramid, PyramidOutput
from paper_unet.images.outputs.stored import Stored, stored_bytes
from paper_unet.images.precomputed import ABOUT, DOCUMENT, UNKNOWN, VOLUME
from paper_unet.images.stack import Span
from paper_unet.system.files import replace_file, sync_folder

CHUNK = 512


class PrecomputedOutput(PyramidOutput):
    """One precomputed volume, a folder; see `Output`.

    An image, or of labels a segmentation. Chunks of 512 x 512 x 1 (x, y, z), raw; every chunk has
    its file, one of zeros too. The folders of the scales are called by their resolution.
    """

    alignment = (CHUNK, CHUNK)
    called = "precomputed volume"

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether the chunks of a window are there and have their size."""
        size = (rows[1] - rows[0]) * (columns[1] - columns[0]) * self.dtype.itemsize
        files = list(self._files(z, rows, columns))
        whole = all(path.is_file() for path in files)
        return whole and sum(path.stat().st_size for path in files) == size

    def info(self) -> dict[str, Any]:
        """Return the document that describes the volume."""
        document = {
            "@type": VOLUME,
            "type": "segmentation" if self.labels else "image",
            "data_type": self.dtype.name,
            "num_channels": 1,
            "scales": [self._scale(level) for level in range(len(self.levels))],
        }
        return {**document, ABOUT: self.about} if self.about else document

    def _scale(self, level: int) -> dict[str, Any]:
        resolution = self._resolution(level)
        about: dict[str, Any] = {
            "key": "_".join(f"{length:.12g}" for length in resolution),
            "size": list(reversed(self.levels[level])),
            "resolution": resolution,
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [[self._side, self._side, 1]],
            "encoding": "raw",
        }
        unknown = [name for name, k in zip("zyx", self.pixel_size, strict=True) if k is None]
        return {**about, UNKNOWN: unknown[::-1]} if unknown else about

    def _resolution(self, level: int) -> list[float]:
        """Return the size of a pixel, nanometres, along X, Y and Z."""
        z, y, x = (1.0 if k is None else float(f"{1e3 * k:.12g}") for k in self.pixel_size)
        lengths = (2**level * x, 2**level * y, z)
        return [int(length) if length == int(length) else length for length in lengths]

    def _is_ours(self, folder: Path) -> bool:
        return (folder / DOCUMENT).is_file()

    def _size(self) -> int:
        pixels = sum(math.prod(shape) for shape in self.levels)
        return pixels * self.dtype.itemsize + 2**16

    def _create(self) -> None:
        for scale in self.info()["scales"]:
            (self.partial / scale["key"]).mkdir()
        (self.partial / DOCUMENT).write_text(json.dumps(self.info(), indent=1) + "\n")

    def _open(self) -> OpenedPyramid:
        self._check_folder()
        about = self.info()
        try:
            found = json.loads((self.partial / DOCUMENT).read_bytes())
        except FileNotFoundError:
            raise self.nothing_left("has no info") from None
        except (OSError, ValueError, RecursionError) as error:
            raise self.nothing_left("cannot be read") from error
        if found != about:
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape} as it was")
        files = [
            _ScaleFiles(self.partial / scale["key"], self._side, shape, self.dtype)
            for scale, shape in zip(about["scales"], self.levels, strict=True)
        ]
        return OpenedPyramid(files, self._growing())

    def _decoded(self, level: int, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        _, height, width = self.levels[level]
        rows, columns = (rows[0], min(rows[1], height)), (columns[0], min(columns[1], width))
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self.dtype)
        side = self._side
        paths = self._files_of(level).files(z, rows, columns)
        for top in range(0, out.shape[0], side):
            for left in range(0, out.shape[1], side):
                part = out[top : top + side, left : left + side]
                path = next(paths)
                try:
                    values = np.fromfile(path, self.dtype.newbyteorder("<"))
                    part[...] = values.reshape(part.shape)
                except (FileNotFoundError, ValueError) as error:
                    reason = f"{path.name} is missing or has another size"
                    raise self._undecodable(level, z, reason) from error
        return out

    def _metadata(self) -> Iterator[Path]:
        if (self.partial / DOCUMENT).exists():
            yield self.partial / DOCUMENT


class _ScaleFiles:
    """The chunks of a scale, named by where they begin and end; see `LevelFiles`."""

    def __init__(
        self, folder: Path, side: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> None:
        self._folder, self._side, self._shape = folder, side, shape
        self._dtype = dtype.newbyteorder("<")
        self._named = False  # whether the name of the folder is to stay

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Stored]:
        """Write a window of whole chunks; see `LevelFiles.write`."""
        height, width = pixels.shape
        written = []
        for top in range(0, height, self._side):
            for left in range(0, width, self._side):
                chunk = pixels[top : top + self._side, left : left + self._side]
                data = np.ascontiguousarray(chunk, self._dtype).tobytes()
                replace_file(self._name(z, row + top, column + left), data)
                written.append(stored_bytes([data]))
        return written

    def files(self, z: int, rows: Span, columns: Span) -> Iterator[Path]:
        """Yield the files of the chunks of a window; see `LevelFiles.files`."""
        for row in range(*rows, self._side):
            for column in range(*columns, self._side):
                yield Path(self._name(z, row, column))

    def sync(self, z: int, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Return when chunks are on disk to stay; see `LevelFiles.sync`."""
        files = [Path(self._name(z, row, column)) for row in rows for column in columns]
        sync_files(files)
        sync_folder(self._folder)
        if not self._named:
            sync_folder(self._folder.parent)
            self._named = True

    def lacking(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, Path]]:
        """Yield how many chunks are missing; see `LevelFiles.lacking`."""
        sections, height, width = shape
        missing = sum(
            not os.path.exists(self._name(z, row, column))  # noqa: PTH110  (there may be a million)
            for z in range(sections)
            for row in range(0, height, self._side)
            for column in range(0, width, self._side)
        )
        if missing:
            yield missing, self._folder

    def _name(self, z: int, row: int, column: int) -> str:
        bottom = min(row + self._side, self._shape[1])
        right = min(column + self._side, self._shape[2])
        name = f"{column}-{right}_{row}-{bottom}_{z}-{z + 1}"
        return f"{self._folder}{os.sep}{name}"
