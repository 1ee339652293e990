"""What is known of finished blocks, beside the output: a file that survives kill -9.

``OUT.parts`` has the mark by which it is known as ours (see `paper_unet.system.claim`), the name of
the run, and then a record of each block: its number, the size and the CRC-32 of its bytes, and
these. What a crash cut off, and what is not as it was written with all behind it, is dropped: it is
only computed again.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.system.claim import Claim, take_claim
from paper_unet.system.files import naming_full_disk

KIND = "parts"
_HEAD = struct.Struct("<QQI")
REMEDY = "make room and run the same command again: it goes on where it stopped"

Arrays = Mapping[str, NDArray[Any]]


class Records:
    """The records of a run; made by `open_records`.

    Parameters
    ----------
    claim : Claim
        Of the file.
    run : str
        32 characters that name the run; records of another one are dropped.
    count : int
        Of blocks.
    """

    def __init__(self, claim: Claim, run: str, count: int) -> None:
        self._claim, self._run = claim, run.encode()
        self._places = np.full(count, -1, np.int64)  # of the bytes of each
        self._sizes = np.zeros(count, np.int64)
        self._end = claim.start
        self._read()

    def __contains__(self, index: int) -> bool:
        return bool(self._places[index] >= 0)

    def missing(self) -> list[int]:
        """Return the blocks that have no record, in order."""
        found: list[int] = np.flatnonzero(self._places < 0).tolist()
        return found

    def __len__(self) -> int:
        return int(np.count_nonzero(self._places >= 0))

    def __getitem__(self, index: int) -> bytes:
        if index not in self:
            raise KeyError(index)
        return self._read_at(int(self._places[index]), int(self._sizes[index]))

    def append(self, index: int, data: bytes) -> None:
        """Add the record of a block; on disk when this returns."""
        head = _HEAD.pack(index, len(data), zlib.crc32(data, index))
        with naming_full_disk(self._claim.path, len(data), REMEDY):
            self._write(head + data)
        self._places[index] = self._end - len(data)
        self._sizes[index] = len(data)

    def clear(self) -> None:
        """Drop all."""
        self._places[:] = -1
        self._cut(self._claim.start)

    def _read(self) -> None:
        if self._read_at(self._end, len(self._run)) != self._run:
            self._cut(self._end)
            self._write(self._run)
            return
        self._end += len(self._run)
        size = os.fstat(self._claim.fileno()).st_size
        while len(head := self._read_at(self._end, _HEAD.size)) == _HEAD.size:
            index, length, check = _HEAD.unpack(head)
            place = self._end + _HEAD.size
            if index >= len(self._places) or place + length > size:
                break
            if zlib.crc32(self._read_at(place, length), index) != check:
                break
            self._places[index], self._sizes[index] = place, length
            self._end = place + length
        self._cut(self._end)

    def _cut(self, end: int) -> None:
        self._end = end
        os.ftruncate(self._claim.fileno(), end)
        os.fsync(self._claim.fileno())

    def _write(self, data: bytes) -> None:
        file, start = self._claim.fileno(), self._end
        os.lseek(file, start, os.SEEK_SET)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, start)
            raise
        self._end = start + len(data)

    def _read_at(self, place: int, count: int) -> bytes:
        os.lseek(self._claim.fileno(), place, os.SEEK_SET)
        parts = []
        while count and (part := os.read(self._claim.fileno(), count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


@contextmanager
def open_records(path: Path, run: str, count: int) -> Iterator[Records]:
    """Open the records of a run, for this process alone.

    Parameters
    ----------
    path : Path
        Of the file.
    run : str
        32 characters.
    count : int
        Of blocks.

    Yields
    ------
    Records
        Empty, or what the run left. When the ``with`` statement ends without any, no file remains.

    Raises
    ------
    InputError
        If another process has the file, or something else has its name.
    """
    claim = take_claim(path, KIND, f"{path}: another process is writing it; wait for it")
    keep = True
    try:
        records = Records(claim, run, count)
        try:
            yield records
        finally:
            keep = len(records) > 0
    finally:
        claim.release(keep=keep)


def packed(arrays: Arrays) -> bytes:
    """Return arrays as bytes, compressed."""
    head = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    parts = [json.dumps(head).encode(), b"\n", *(array.tobytes() for array in arrays.values())]
    return zlib.compress(b"".join(parts), level=1)


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays that `packed` was given."""
    text, _, rest = zlib.decompress(data).partition(b"\n")
    arrays, place = {}, 0
    for name, kind, shape in json.loads(text):
        array = np.frombuffer(rest, kind, int(np.prod(shape)), place).reshape(shape)
        arrays[name] = array
        place += array.nbytes
    return arrays
