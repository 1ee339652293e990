"""The chunks of a scale of a precomputed volume: files of their own, or parts of shards."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.codecs import decode_within, with_slack
from paper_unet.images.readers.chunked import Present, digest_of_chunks, stamp_of
from paper_unet.images.readers.n5_blocks import read_within
from paper_unet.images.readers.precomputed_encodings import DECODERS, Shape
from paper_unet.images.readers.precomputed_info import Scale, Triple

NAME = re.compile(r"(-?\d{1,20})-(-?\d{1,20})_(-?\d{1,20})-(-?\d{1,20})_(-?\d{1,20})-(-?\d{1,20})")
GZIP, UNREAD = ".gz", (".br", ".zstd")
"""What CloudVolume adds to the names of files that it compressed."""


class ChunkSource(Protocol):
    """Where the bytes of chunks are."""

    @property
    def held(self) -> int:
        """Bytes, at most, that are kept or taken besides a chunk itself."""

    def present(self) -> Present:
        """Count the chunks that are there."""

    def data(self, place: Triple) -> bytes | None:
        """Return the bytes of a chunk, by its number along X, Y and Z; None if it is not there."""

    def digest(self) -> str:
        """Digest size and time of files."""


class PrecomputedChunks:
    """Chunks of one size, decoded.

    Parameters
    ----------
    scale : Scale
    chunk : tuple of int
        Size of a chunk, (X, Y, Z).
    source : ChunkSource
    """

    def __init__(self, scale: Scale, chunk: Triple, source: ChunkSource) -> None:
        self._scale, self._chunk, self._source = scale, chunk, source
        self._decode = DECODERS[scale.encoding]
        x, y, z = chunk
        colours = (scale.channels,) if scale.channels > 1 else ()
        self.shape = (*colours, z, y, x)
        """Of a chunk, in the axes of `Scale.shape`."""

    def read(self, place: tuple[int, ...]) -> NDArray[Any]:
        """Decode the chunk of a number along each axis of `Scale.shape`; zeros if it is missing.

        Raises
        ------
        ValueError
            If it is damaged; decoders raise errors of other types.
        """
        z, y, x = place[-3:]
        wide, tall, deep = sizes_of(self._scale, self._chunk, (x, y, z))
        shape: Shape = (self._scale.channels, deep, tall, wide)
        data = self._source.data((x, y, z))
        if data is None:
            values: NDArray[Any] = np.zeros(shape, self._scale.dtype)
        else:
            values = self._decode(data, shape, self._scale.dtype, self._scale.block)
        return values if self._scale.channels > 1 else values[0]


def grid_of(scale: Scale, chunk: Triple) -> Triple:
    """Return how many chunks there are along X, Y and Z."""
    x, y, z = (-(-n // c) for n, c in zip(scale.size, chunk, strict=True))
    return x, y, z


def sizes_of(scale: Scale, chunk: Triple, place: Triple) -> Triple:
    """Return the size of a chunk, which is cut off at the edge, along X, Y and Z."""
    x, y, z = (min(c, n - k * c) for k, c, n in zip(place, chunk, scale.size, strict=True))
    return x, y, z


def most_encoded(scale: Scale, chunk: Triple) -> int:
    """Return the bytes that a chunk may have in its file."""
    values = math.prod(chunk) * scale.channels
    # compressed_segmentation: tables and places of blocks, too
    blocks = math.prod(-(-c // b) for c, b in zip(chunk, scale.block, strict=True))
    padded = blocks * math.prod(scale.block) * scale.channels if scale.encoding[0] == "c" else 0
    need = max(values, padded) * scale.dtype.itemsize + 4 * padded
    return 2 * with_slack(need + 8 * blocks * scale.channels)


class ChunkFiles:
    """Chunks that are files of their own."""

    def __init__(self, path: Path, scale: Scale, chunk: Triple) -> None:
        self._path, self._scale, self._chunk = path, scale, chunk
        self._most = most_encoded(scale, chunk)
        self._grid = grid_of(scale, chunk)

    @property
    def held(self) -> int:
        """Bytes, at most, of a file, and of what gzip makes of it."""
        return 2 * self._most

    def present(self) -> Present:
        """Look through the folder; see `ChunkSource.present`."""
        counts = np.zeros(self._grid[2], np.int64)
        try:
            with os.scandir(self._scale.folder) as entries:
                for entry in entries:
                    place = self._place(entry.name)
                    if place is None:
                        continue
                    if entry.is_dir():
                        raise InputError(
                            f"{entry.path}: a folder where a chunk should be, a file; copy or "
                            "export the volume again"
                        )
                    twice = entry.name.endswith(GZIP) and Path(entry.path[: -len(GZIP)]).exists()
                    counts[place[2]] += entry.is_file() and not twice
        except (FileNotFoundError, NotADirectoryError):
            pass
        return Present(counts, self._grid[0] * self._grid[1], self._chunk[2])

    def data(self, place: Triple) -> bytes | None:
        """Read a file; see `ChunkSource.data`."""
        file = self._file(place)
        data = read_within(file, self._most)
        if data is not None and file.name.endswith(GZIP):
            return bytes(decode_within("gzip", data, self._most, bytes))
        return data

    def digest(self) -> str:
        """Digest size and time of chunks."""

        def stamp(index: tuple[int, ...]) -> tuple[str, dict[str, int] | None]:
            z, y, x = index
            found = self._file((x, y, z))
            return found.name, stamp_of(found)

        return digest_of_chunks(self._grid[::-1], stamp)

    def _file(self, place: Triple) -> Path:
        plain = self._scale.folder / self._name(place)
        packed = plain.with_name(plain.name + GZIP)
        return packed if not plain.exists() and packed.exists() else plain

    def _name(self, place: Triple) -> str:
        starts = [o + k * c for o, k, c in zip(self._scale.offset, place, self._chunk, strict=True)]
        sizes = sizes_of(self._scale, self._chunk, place)
        parts = (f"{start}-{start + size}" for start, size in zip(starts, sizes, strict=True))
        return "_".join(parts)

    def _place(self, name: str) -> Triple | None:
        """Return which chunk has a name; None if none has it."""
        plain = name.removesuffix(GZIP)
        if plain.endswith(UNREAD):
            raise InputError(
                f"{self._path}: its chunks are compressed ({name}); accepted are plain files and "
                ".gz: save it as one of these"
            )
        found = NAME.fullmatch(plain)
        if found is None:
            return None
        numbers = [int(text) for text in found.groups()]
        starts = [n - o for n, o in zip(numbers[::2], self._scale.offset, strict=True)]
        x, y, z = (n // c for n, c in zip(starts, self._chunk, strict=True))
        inside = all(0 <= k < n for k, n in zip((x, y, z), self._grid, strict=True))
        if not inside or self._name((x, y, z)) != plain:
            return None
        return x, y, z
