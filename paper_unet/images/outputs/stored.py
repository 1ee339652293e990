"""What lies on disk for a part of an output: how many bytes, and their checksum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple


class Stored(NamedTuple):
    """Bytes on disk, by their number and CRC-32: encoded, in the order in which they lie there.

    Attributes
    ----------
    size : int
        How many bytes.
    crc32 : int
        Of all of them, from 0 to 2^32 - 1.
    """

    size: int
    crc32: int


def stored_bytes(parts: Iterable[Any]) -> Stored:
    """Return what bytes-like parts are, one behind the other; none of them is copied."""
    size = crc = 0
    for part in parts:
        view = memoryview(part)
        size, crc = size + view.nbytes, zlib.crc32(view, crc)
    return Stored(size, crc)


def stored_files(files: Iterable[Stored]) -> Stored:
    """Return what several files are together, each known by what it is itself."""
    files = list(files)
    text = b"".join(struct.pack("<QL", *file) for file in files)
    return Stored(sum(file.size for file in files), zlib.crc32(text))


def stored_file(path: Path) -> Stored:
    """Return what a file is; no bytes where there is none, or it cannot be read."""
    try:
        return stored_bytes([path.read_bytes()]) if path.is_file() else Stored(0, 0)
    except OSError:
        return Stored(0, 0)
