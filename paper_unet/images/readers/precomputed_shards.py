"""Chunks of a precomputed volume that are put together in shards, found by their numbers.

The number of a chunk interleaves the bits of its place along X, Y and Z. Some bits of a hash of it
say in which shard it is, others in which minishard of that. A shard begins with an index: where
the index of each minishard begins and ends. That has, for each chunk, its number, where it begins
and how long it is, the first two as differences. All places count from the end of the shard's
index.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.cache import ChunkCache
from paper_unet.images.codecs import decode_within, with_slack
from paper_unet.images.readers.chunked import Present, digest_of_chunks, stamp_of
from paper_unet.images.readers.precomputed_chunks import grid_of, most_encoded
from paper_unet.images.readers.precomputed_info import Scale, Sharding, Triple
from paper_unet.system.files import open_regular
from paper_unet.system.memory import Budget

KEPT, LEAST = 2**24, 2**9
"""Bytes of indexes of minishards that are kept, and that one takes at least, empty ones too."""

MOST_MINISHARD_BITS, ENTRY = 24, 24
"""Of a shard's index, and bytes of a chunk in the index of a minishard."""

GROWTH: Final = 1100
"""Bytes that a byte of gzip becomes, at most; deflate makes 1032 of one."""

Index = NDArray[np.uint64]
"""(3, chunks): the number of each, where it begins in its file, and its bytes."""


class ShardFiles:
    """Chunks in shards; see `precomputed_chunks.ChunkSource`."""

    def __init__(
        self, path: Path, scale: Scale, chunk: Triple, sharding: Sharding, budget: Budget
    ) -> None:
        self._path, self._scale, self._chunk = path, scale, chunk
        self._sharding, self._grid = sharding, grid_of(scale, chunk)
        self._most = most_encoded(scale, chunk)
        if sharding.minishard_bits > MOST_MINISHARD_BITS:
            raise InputError(
                f"{path}: shards of 2^{sharding.minishard_bits} minishards; 2^"
                f"{MOST_MINISHARD_BITS} are the most"
            )
        self._head: int = 16 * 2**sharding.minishard_bits
        budget.allow(3 * self._head, path, "shards with an index of so many minishards")
        self._budget = budget
        self._kept = ChunkCache(KEPT, KEPT, LEAST)

    @property
    def held(self) -> int:
        """Bytes, at most, of a chunk encoded, of what gzip makes of it, and of indexes."""
        return 2 * self._most + KEPT + self._head

    def present(self) -> Present:
        """Look through the indexes of all shards."""
        counts = np.zeros(self._grid[2], np.int64)
        for number, file in self._shards():
            with open_regular(file) as opened:
                size = opened.seek(0, os.SEEK_END)
                opened.seek(0)
                head = opened.read(self._head)
            if len(head) < self._head:
                raise self._damaged(file, f"{size} bytes, its index alone has {self._head}")
            spans = np.frombuffer(head, "<u8").reshape(-1, 2)
            for minishard in np.flatnonzero(spans[:, 1] > spans[:, 0]).tolist():
                index = self._index(number, minishard)
                z = self._along_z(index[0])
                counts += np.bincount(z[z < self._grid[2]], minlength=self._grid[2])
        return Present(counts, self._grid[0] * self._grid[1], self._chunk[2])

    def data(self, place: Triple) -> bytes | None:
        """Find a chunk and read it."""
        number = number_of(place, self._grid)
        shard, minishard = place_of(number, self._sharding)
        if not self._file(shard).exists():
            return None
        ids, starts, sizes = self._index(shard, minishard)
        found = np.flatnonzero(ids == np.uint64(number))
        if not found.size:
            return None
        start, size = int(starts[found[0]]), int(sizes[found[0]])
        if size > self._most:
            raise ValueError(f"a chunk of {size} bytes, where up to {self._most} can be needed")
        data = self._read(self._file(shard), start, size)
        if self._sharding.data_encoding == "gzip":
            return bytes(decode_within("gzip", data, self._most, bytes))
        return data

    def digest(self) -> str:
        """Digest size and time of shards."""
        files = [file for _, file in self._shards()]
        return digest_of_chunks((len(files),), lambda k: (files[k[0]].name, stamp_of(files[k[0]])))

    def _shards(self) -> list[tuple[int, Path]]:
        """Return the shards that are there, and their numbers."""
        found = []
        try:
            with os.scandir(self._scale.folder) as entries:
                for entry in entries:
                    stem, dot, ending = entry.name.partition(".")
                    if dot and ending == "shard" and set(stem) <= set("0123456789abcdef") and stem:
                        found.append((int(stem, 16), Path(entry.path)))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return sorted(found)

    def _file(self, shard: int) -> Path:
        digits = -(-self._sharding.shard_bits // 4)
        return self._scale.folder / f"{shard:0{digits}x}.shard"

    def _index(self, shard: int, minishard: int) -> Index:
        """Read the index of a minishard, or return the one that is kept."""
        return self._kept.get((shard, minishard), None, lambda: self._read_index(shard, minishard))

    def _read_index(self, shard: int, minishard: int) -> Index:
        file = self._file(shard)
        begin, end = np.frombuffer(self._read(file, 16 * minishard, 16), "<u8").tolist()
        return self._decoded(file, begin, end) if end > begin else np.zeros((3, 0), np.uint64)

    def _decoded(self, file: Path, begin: int, end: int) -> Index:
        chunks = self._grid[0] * self._grid[1] * self._grid[2]
        packed = self._sharding.minishard_index_encoding == "gzip"
        span = min(end - begin, file.stat().st_size)
        most = min(ENTRY * chunks, span * (GROWTH if packed else 1))
        self._budget.allow(4 * most, self._path, "an index of a shard")
        if end - begin > with_slack(ENTRY * chunks):
            raise self._damaged(file, f"an index of {end - begin} bytes, of {chunks} chunks")
        data = self._read(file, self._head + begin, end - begin)
        if packed:
            data = bytes(decode_within("gzip", data, most, bytes))
        if len(data) % ENTRY or len(data) > most:
            raise self._damaged(file, f"an index of {len(data)} bytes")
        index = np.frombuffer(data, "<u8").reshape(3, -1).astype(np.uint64)
        ids, starts, sizes = index
        np.cumsum(ids, out=ids)
        # each begins where the one before it ends, and as much later as is said
        starts[1:] += sizes[:-1]
        np.cumsum(starts, out=starts)
        starts += np.uint64(self._head)
        size = file.stat().st_size
        ends = starts + sizes
        if ids.size and (ends.max() > size or starts.max() > size or sizes.max() > size):
            raise self._damaged(file, f"{size} bytes, and chunks that end behind them")
        return index

    def _read(self, file: Path, start: int, size: int) -> bytes:
        """Read so many bytes of a shard."""
        with open_regular(file) as opened:
            whole = opened.seek(0, os.SEEK_END)
            if not 0 <= start <= start + size <= whole:
                raise self._damaged(file, f"{whole} bytes, {start + size} are needed")
            opened.seek(start)
            data = opened.read(size)
        if len(data) != size:
            raise self._damaged(file, f"{whole} bytes, {start + size} are needed")
        return data

    def _damaged(self, file: Path, reason: str) -> InputError:
        return InputError(
            f"{file}: a shard that is damaged or was cut short ({reason}); copy or export the "
            "volume again"
        )

    def _along_z(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the place along Z of chunks by their numbers; one beyond all if there is none."""
        found = [np.zeros(numbers.size, np.uint64) for _ in range(3)]
        at = 0
        for axis, bit in _bits(self._grid):
            found[axis] |= (numbers >> np.uint64(at) & np.uint64(1)) << np.uint64(bit)
            at += 1
        inside = numbers < np.uint64(2**at) if at < 64 else np.ones(numbers.size, bool)
        for axis in range(3):
            inside &= found[axis] < np.uint64(self._grid[axis])
        return np.where(inside, found[2], np.uint64(self._grid[2])).astype(np.int64)


def _bits(grid: Triple) -> list[tuple[int, int]]:
    """Return which axis each bit of a number is of, and which of its bits."""
    return [
        (axis, bit)
        for bit in range(max(n - 1 for n in grid).bit_length())
        for axis in range(3)
        if 2**bit < grid[axis]
    ]


def number_of(place: Triple, grid: Triple) -> int:
    """Return the number of a chunk by its place along X, Y and Z: their bits, interleaved."""
    return sum((place[axis] >> bit & 1) << k for k, (axis, bit) in enumerate(_bits(grid)))


def place_of(number: int, sharding: Sharding) -> tuple[int, int]:
    """Return in which shard, and in which minishard of it, a chunk is."""
    hashed = number >> sharding.preshift_bits
    if sharding.hash != "identity":
        hashed = murmur_hash(hashed)
    minishard = hashed & (2**sharding.minishard_bits - 1)
    shard = hashed >> sharding.minishard_bits & (2**sharding.shard_bits - 1)
    return shard, minishard


def murmur_hash(number: int) -> int:
    """Return the lower 64 bits of MurmurHash3_x86_128, seed 0, of eight bytes, little-endian."""
    h1, h2, h3, h4 = 0, 0, 0, 0
    k1, k2 = number & _ALL, number >> 32 & _ALL
    h2 ^= _times(_rotated(_times(k2, 0xAB0E9789), 16), 0x38B34AE5)
    h1 ^= _times(_rotated(_times(k1, 0x239B961B), 15), 0xAB0E9789)
    h1, h2, h3, h4 = (h ^ 8 for h in (h1, h2, h3, h4))
    h1 = h1 + h2 + h3 + h4 & _ALL
    h2, h3, h4 = (h + h1 & _ALL for h in (h2, h3, h4))
    h1, h2, h3, h4 = (_mixed(h) for h in (h1, h2, h3, h4))
    h1 = h1 + h2 + h3 + h4 & _ALL
    return h1 | (h2 + h1 & _ALL) << 32


_ALL: Final = 2**32 - 1


def _times(value: int, factor: int) -> int:
    return value * factor & _ALL


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _ALL


def _mixed(value: int) -> int:
    value = _times(value ^ value >> 16, 0x85EBCA6B)
    value = _times(value ^ value >> 13, 0xC2B2AE35)
    return value ^ value >> 16
