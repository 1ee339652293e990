"""The blocks of an N5 data set: where each lies, and decoding it within its declared size."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.images.codecs import decode_within, with_slack
from paper_unet.images.readers.chunked import stamp_of
from paper_unet.system.files import open_regular

KINDS: Final = {
    "raw": "", "gzip": "gzip", "bzip2": "bz2", "xz": "lzma", "blosc": "blosc", "zstd": "zstd",
    "zstandard": "zstd", "lz4": "lz4",
}  # fmt: skip
"""Compressions that are read, and what numcodecs calls them."""

PLAIN, LENGTH_SAID = 0, 1
"""Modes of a block; a third holds objects."""

JAVA_LZ4: Final = struct.Struct("<8sBIII")
"""What stands before each piece of LZ4 as Java writes it: a magic word, the kind, the size encoded
and decoded, a checksum."""

LZ4_MAGIC, LZ4_STORED, LZ4_PACKED = b"LZ4Block", 0x10, 0x20


def compression_of(path: Path, attributes: dict[str, Any]) -> str:
    """Return the compression of a data set, one of `KINDS`.

    Raises
    ------
    InputError
        If it is another.
    """
    about = attributes.get("compression", attributes.get("compressionType", "raw"))
    kind = about.get("type") if isinstance(about, dict) else about
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(
            f"{path}: is compressed with {shown(kind)}; accepted are {', '.join(KINDS)}: save it "
            "with one of them"
        )
    return kind


class N5Blocks:
    """The blocks of a data set; its axes are reversed here, so that the last one is contiguous.

    Parameters
    ----------
    path : Path
        For messages.
    folder : Path
        Of the data set.
    shape, block : tuple of int
        Of the data set, and of a block, in the order of numpy.
    dtype : numpy.dtype
    compression : str
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        shape: tuple[int, ...],
        block: tuple[int, ...],
        dtype: np.dtype[Any],
        compression: str,
    ) -> None:
        self._path, self._folder, self.shape, self.block = path, folder, shape, block
        self._dtype = dtype.newbyteorder(">")
        self._kind = compression
        self._bytes = math.prod(block) * dtype.itemsize
        self._decode = _decoder(compression)
        self.held = 4 * self._bytes + with_slack(self._bytes)

    @property
    def grid(self) -> tuple[int, ...]:
        """How many blocks there are along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.block, strict=True))

    def file(self, place: tuple[int, ...]) -> tuple[str, Path]:
        """Return the name of a block in the folder, and its path."""
        name = "/".join(map(str, reversed(place)))
        return name, self._folder / name

    def stamp(self, place: tuple[int, ...]) -> tuple[str, dict[str, int] | None]:
        """Return the name of a block, and size and time of its file; None if it is missing."""
        name, file = self.file(place)
        return name, stamp_of(file)

    def read(self, place: tuple[int, ...]) -> NDArray[Any]:
        """Decode a block; what lies beyond the data set is cut off, one that is missing is zeros.

        Raises
        ------
        ValueError
            If it is damaged; decoders raise errors of other types.
        """
        inside = tuple(
            min(c, n - k * c) for k, c, n in zip(place, self.block, self.shape, strict=True)
        )
        data = read_within(self.file(place)[1], 2 * with_slack(self._bytes))
        if data is None:
            return np.zeros(inside, self._dtype)
        shape, start = self._header(data)
        if any(n < wanted for n, wanted in zip(shape, inside, strict=True)):
            raise ValueError(f"a block of shape {shape}, where {inside} is needed")
        if any(n > most for n, most in zip(shape, self.block, strict=True)):
            raise ValueError(f"a block of shape {shape}, {self.block} is declared")
        size = math.prod(shape) * self._dtype.itemsize
        values = self._values(data[start:], size)
        if len(values) != size:
            raise ValueError(f"a block of {len(values)} bytes, {size} are declared")
        found = np.frombuffer(values, self._dtype).reshape(shape)
        return found[tuple(slice(0, n) for n in inside)]

    def _header(self, data: bytes) -> tuple[tuple[int, ...], int]:
        """Return the shape of a block, and where its values begin."""
        mode, axes = struct.unpack_from(">HH", data)
        if mode not in (PLAIN, LENGTH_SAID) or axes != len(self.shape):
            raise ValueError(f"a block of mode {mode} and {axes} axes")
        sizes = struct.unpack_from(f">{axes}I", data, 4)
        return tuple(reversed(sizes)), 4 + 4 * axes + (4 if mode == LENGTH_SAID else 0)

    def _values(self, data: bytes, size: int) -> Any:
        if not KINDS[self._kind]:
            return data
        if self._kind == "lz4":
            return _java_lz4(data, size)
        return decode_within(KINDS[self._kind], data, size, self._decode)


def read_within(file: Path, most: int) -> bytes | None:
    """Read a file of no more than so many bytes; None if it is not there.

    Raises
    ------
    InputError
        If it is larger, or no regular file.
    """
    if not file.exists():
        return None
    with open_regular(file) as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise InputError(
            f"{file}: more than {most} bytes, where up to {most} can be needed; it is damaged: "
            "copy or export it again"
        )
    return data


def _decoder(kind: str) -> Callable[[bytes], Any]:
    if KINDS[kind] not in ("blosc", "zstd"):
        return bytes  # decoded as a stream, within its bound
    if KINDS[kind] == "zstd":
        from numcodecs.zstd import Zstd

        return Zstd().decode  # type: ignore[no-any-return]
    from numcodecs.blosc import Blosc

    return Blosc().decode  # type: ignore[no-any-return]


def _java_lz4(data: bytes, limit: int) -> bytes:
    """Decode what Java's LZ4BlockOutputStream wrote: pieces that each say their size."""
    from numcodecs.lz4 import decompress

    parts: list[bytes] = []
    at, left = 0, limit
    while at < len(data):
        magic, token, packed, size, _ = JAVA_LZ4.unpack_from(data, at)
        at += JAVA_LZ4.size
        kind = token & 0xF0
        if magic != LZ4_MAGIC or kind not in (LZ4_STORED, LZ4_PACKED) or size > left:
            raise ValueError("no LZ4 as Java writes it, or of more bytes than are declared")
        if not size:
            break
        piece = data[at : at + packed]
        if len(piece) != packed:
            raise ValueError("a compressed block that is cut short")
        # the library takes the size from four bytes before
        parts.append(
            piece if kind == LZ4_STORED else bytes(decompress(struct.pack("<I", size) + piece))
        )
        at, left = at + packed, left - size
    return b"".join(parts)
