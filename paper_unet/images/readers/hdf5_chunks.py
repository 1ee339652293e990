"""The chunks of an HDF5 data set: which are there, and decoding each within its declared size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.codecs import decode_within, zstd_size
from paper_unet.images.hdf5 import library
from paper_unet.images.readers.chunked import Present
from paper_unet.system.memory import Budget

SHUFFLE, FLETCHER32, LZF, BITSHUFFLE = 2, 3, 32000, 32008

STREAMS: Final = {1: "zlib", 307: "bz2"}
"""Filters that are decoded here, within a bound: the library would go on while there is more."""

NAMES: Final = {
    1: "gzip", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset",
    307: "bzip2", LZF: "lzf", 32001: "blosc", 32004: "lz4", BITSHUFFLE: "bitshuffle", 32013: "zfp",
    32015: "zstd", 32017: "sz", 32026: "blosc2",
}  # fmt: skip
"""Filters by their registered numbers."""

LZF_GROWTH: Final = 88
"""Bytes that one byte of LZF becomes at most: three become 264."""

SLACK: Final = 2**16
PER_CHUNK: Final = 16
"""Bytes of a file that a chunk takes in its index, at least, and some that its encoding may add."""


def _declared(code: int, values: tuple[int, ...], data: bytes) -> int:
    """Return what an encoded chunk says that it decodes to."""
    if code == 4:
        return int.from_bytes(data[:4], "little")
    if code == 32001:
        return int.from_bytes(data[4:8], "little")
    if code == 32015:
        return zstd_size(data)
    if code == 32004 or (code == BITSHUFFLE and len(values) > 4 and values[4]):
        return int.from_bytes(data[:8], "big")
    return lzf_size(data) if code == LZF else len(data)


DECLARING: Final = frozenset({4, 32001, 32004, 32015, BITSHUFFLE, LZF})
"""Filters that the library decodes, once it is known how much comes out."""


class Hdf5Chunks:
    """The chunks of a data set.

    Parameters
    ----------
    path : Path
        For messages.
    data_set : h5py.Dataset
    size : int
        Bytes of its file.
    budget : Budget

    Attributes
    ----------
    shape : tuple of int
        Of a chunk, in the axes of the data set.
    held : int
        Bytes, at most, that are taken while one is read.

    Raises
    ------
    InputError
        If a filter is missing, or it cannot be told how much it decodes to.
    """

    def __init__(self, path: Path, data_set: Any, size: int, budget: Budget) -> None:
        self._path, self._set, self._size = path, data_set, size
        self.shape: tuple[int, ...] = data_set.chunks
        self._bytes = math.prod(self.shape) * data_set.dtype.itemsize
        settings = data_set.id.get_create_plist()
        found = [settings.get_filter(k) for k in range(settings.get_nfilters())]
        self._filters = [(int(code), tuple(values)) for code, _, values, _ in found]
        for code, _, _, name in found:
            self._check_filter(int(code), name)
        packed = [code for code, _ in self._filters if code not in (SHUFFLE, FLETCHER32)]
        if len(packed) > 1:
            raise self._unbounded(" and ".join(NAMES.get(code, str(code)) for code in packed))
        self.held = 4 * self._bytes
        budget.allow(self.held, path, f"chunks of shape {self.shape}, decoded one at a time")
        h5t = library(path).h5t
        plain = h5t.py_create(data_set.dtype).equal(data_set.id.get_type())
        own = {SHUFFLE, *STREAMS}
        self._own = bool(plain) and all(code in own for code, _ in self._filters)
        self._lacking = False

    def _check_filter(self, code: int, name: bytes) -> None:
        h5z = library(self._path).h5z
        known = NAMES.get(code) or name.decode("utf-8", "replace").split(";")[0] or "no name"
        if code not in (SHUFFLE, FLETCHER32) and code not in STREAMS and code not in DECLARING:
            raise self._unbounded(f"{known} (filter {code})")
        if code in STREAMS or h5z.filter_avail(code):
            return
        try:
            import hdf5plugin  # noqa: F401  (it registers its filters)
        except ImportError:
            remedy = "install it (pip install hdf5plugin), or "
        else:
            remedy = ""
            if h5z.filter_avail(code):
                return
        raise InputError(
            f"{self._path}: is compressed by the filter {known} ({code}), which is not there; "
            f"{remedy}save it with another (h5repack -f GZIP=4)"
        )

    def _unbounded(self, name: str) -> InputError:
        return InputError(
            f"{self._path}: encoded with {name}, of which the size is not known before it is "
            "decoded; save it with another filter (h5repack -f GZIP=4), or uncompressed"
        )

    def present(
        self, z: int | None, budget: Budget, taken: Sequence[tuple[int, int]] = ()
    ) -> Present:
        """Look through the index of the chunks; count those that are there.

        Parameters
        ----------
        z : int or None
            Which axis is Z; None: there is none.
        budget : Budget
        taken : sequence of (int, int)
            Axes along which one place is read, and which: the chunks there are counted.

        Raises
        ------
        InputError
            If one lies beyond the end of the file, or is larger than it can be.
        """
        grid = [-(-n // c) for n, c in zip(self._set.shape, self.shape, strict=True)]
        only = [(axis, number // self.shape[axis]) for axis, number in taken]
        wanted = math.prod(n for k, n in enumerate(grid) if k not in dict(only))
        along = 1 if z is None else grid[z]
        budget.allow(PER_CHUNK * along, self._path, f"counts the chunks of {along} sections")
        counts = np.zeros(along, np.int64)
        most, largest, wrong = 2 * self._bytes + SLACK, 0, ""

        def look(chunk: Any) -> bool | None:
            nonlocal largest, wrong
            place = [k // c for k, c in zip(chunk.chunk_offset, self.shape, strict=True)]
            if any(k >= n for k, n in zip(place, grid, strict=True)):
                return None
            if all(place[axis] == number for axis, number in only):
                counts[0 if z is None else place[z]] += 1
            largest = max(largest, chunk.size)
            if chunk.byte_offset + chunk.size > self._size:
                end = chunk.byte_offset + chunk.size
                wrong = f"truncated: a chunk would end at byte {end} and the file has {self._size}"
            elif chunk.size > most:
                wrong = f"a chunk of {chunk.size} bytes, where up to {most} can be needed"
            return True if wrong else None

        self._set.id.chunk_iter(look)
        if wrong:
            raise InputError(f"{self._path}: {wrong}; copy or export it again")
        if any(code == LZF for code, _ in self._filters):
            budget.allow(LZF_GROWTH * largest, self._path, "chunks in LZF")
        found = Present(counts, wanted // max(along, 1), 1 if z is None else self.shape[z])
        self._lacking = found.missing > 0
        return found

    def read(self, place: tuple[int, ...]) -> NDArray[Any]:
        """Decode the chunk of a number along each axis; what lies beyond the data set is cut off.

        Raises
        ------
        ValueError
            If it does not decode to what is declared; the library raises errors of other types.
        """
        start = tuple(k * c for k, c in zip(place, self.shape, strict=True))
        inside = [min(c, n - k) for c, n, k in zip(self.shape, self._set.shape, start, strict=True)]
        if self._lacking and self._set.id.get_chunk_info_by_coord(start).byte_offset is None:
            return np.full(inside, self._set.fillvalue, self._set.dtype)
        mask, data = self._set.id.read_direct_chunk(start)
        if self._own:
            values = np.frombuffer(self._decode(mask, data), self._set.dtype).reshape(self.shape)
            return values[tuple(slice(0, n) for n in inside)]
        self._check_declared(mask, data)
        del data
        where = tuple(slice(k, k + n) for k, n in zip(start, inside, strict=True))
        found: NDArray[Any] = self._set[where]
        return found

    def _decode(self, mask: int, data: bytes) -> bytes:
        for k, (code, values) in reversed(list(enumerate(self._filters))):
            if mask & 1 << k:
                continue
            if code in STREAMS:
                data = decode_within(STREAMS[code], data, self._bytes, bytes)
            else:
                data = _unshuffled(data, values[0] if values else 1)
        if len(data) != self._bytes:
            raise ValueError(f"a chunk of {len(data)} bytes, declared are {self._bytes}")
        return data

    def _check_declared(self, mask: int, data: bytes) -> None:
        """Raise ValueError unless the library decodes as many bytes as are declared.

        Of more it would take the first, and where there are fewer, what its memory held before.
        """
        size = len(data)
        for k, (code, values) in reversed(list(enumerate(self._filters))):
            if mask & 1 << k or code == SHUFFLE:
                continue
            if code == FLETCHER32:
                data, size = data[:-4], size - 4
            elif code in STREAMS:
                data = decode_within(STREAMS[code], data, self._bytes + 4, bytes)
                size = len(data)
            elif code == LZF and _is_lzf_of(self._bytes, data):
                size = self._bytes
            else:
                size = _declared(code, values, data)
        if size != self._bytes:
            than = "more" if size > self._bytes else "fewer"
            raise ValueError(
                f"a chunk of {size} bytes, {than} than the {self._bytes} bytes that are declared"
            )


def _is_lzf_of(size: int, data: bytes) -> bool:
    """Whether LZF decodes to so many bytes, where imagecodecs is there to say it fast."""
    try:
        import imagecodecs

        return len(imagecodecs.lzf_decode(data, header=False, out=size)) == size
    except (ImportError, RuntimeError):  # then they are counted
        return False


def lzf_size(data: bytes) -> int:
    """Return what LZF decodes to, which it says nowhere: the sum of its runs and repeats.

    Raises
    ------
    ValueError
        If it ends within one.
    """
    at = size = 0
    end = len(data)
    try:
        while at < end:
            head = data[at]
            if head < 32:  # so many bytes as they are, and one
                at, size = at + head + 2, size + head + 1
            elif head < 224:  # a repeat of up to 8 bytes
                at, size = at + 2, size + (head >> 5) + 2
            else:
                at, size = at + 3, size + data[at + 1] + 9
    except IndexError:
        at = end + 1
    if at != end:
        raise ValueError("LZF that ends within a run")
    return size


def _unshuffled(data: bytes, size: int) -> bytes:
    """Put the bytes of each value together; the filter has all first ones before the second."""
    if size < 2:
        return data
    count = len(data) // size
    planes = np.frombuffer(data, np.uint8, count * size).reshape(size, count)
    return planes.T.tobytes() + data[count * size :]
