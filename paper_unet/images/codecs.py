"""Decoding chunks and strips within a bound: what is declared is compared before it is allocated.

Libraries decode as much as the bytes ask for: a few kilobytes of zeros become gigabytes. Here a
stream is decoded only as far as the bound, and where a header says how much will come, it is
asked first. An encoding of which neither can be told is not decoded at all.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final

from paper_unet.images.picture_size import SIZES

OF_BOUNDED_GROWTH: Final = frozenset(
    {"adler32", "astype", "bitround", "bytes", "crc32", "crc32c", "delta", "fixedscaleoffset",
     "fletcher32", "jenkins_lookup3", "packbits", "quantize", "shuffle", "transpose"}
)  # fmt: skip
"""Encodings whose values are at most eight times as long when decoded, whatever the bytes."""

PICTURES: Final = {
    "jpeg": "jpeg", "jpegls": "jpeg", "ljpeg": "jpeg", "jpeg2k": "jpeg2000", "jpegxl": "jpegxl",
    "jpegxr": "jpegxr", "png": "png", "spng": "png", "webp": "webp", "lerc": "lerc",
}  # fmt: skip
"""Names of pictures among the codecs of imagecodecs, by those of `picture_size.SIZES`."""

PREFIXES: Final = ("numcodecs.", "imagecodecs_")

DICTIONARY: Final = 2**27
"""Bytes that LZMA may take for its dictionary; that of the highest setting takes 65 MB."""

BLOCK: Final = 2**17
"""Bytes that a compressed block of zstd decodes to, at most."""


SLACK: Final = 2**16
"""Bytes that an encoding may add to what it cannot compress, beside a 64th of it."""


def with_slack(size: int) -> int:
    """Return what so many bytes may take when they are encoded without being compressed."""
    return size + size // 64 + SLACK


def plain_name(name: str) -> str:
    """Return the name of an encoding without that of the library it comes from."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def is_bounded(name: str) -> bool:
    """Whether an encoding of this name can be decoded within a bound."""
    name = plain_name(name)
    return name in OF_BOUNDED_GROWTH or name in PICTURES or name in _STREAMS or name in _DECLARED


def decode_within(name: str, data: bytes, limit: int, decode: Callable[[bytes], Any]) -> Any:
    """Decode what a chunk holds.

    Parameters
    ----------
    name : str
        Of the encoding, as numcodecs or Zarr call it.
    data : bytes
    limit : int
        Bytes that it may decode to.
    decode : callable
        The library's own way, used where the size is known first.

    Returns
    -------
    bytes-like

    Raises
    ------
    ValueError
        If there is more in it, or nothing can be told; decoders raise errors of their own.
    """
    name = plain_name(name)
    if name in _STREAMS:
        return _STREAMS[name](data, limit)
    if name in PICTURES:
        rows, columns, _ = SIZES[PICTURES[name]](data)
        _allow(rows * columns, limit)
    elif name in _DECLARED:
        _allow(_DECLARED[name](data), limit)
    elif name in OF_BOUNDED_GROWTH:
        _allow(len(data) // 8, limit)
    else:
        raise ValueError(f"encoded as {name}, of which the size is not known before it is decoded")
    found = decode(data)
    _allow(getattr(found, "nbytes", None) or len(found), limit)
    return found


def _allow(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"it decodes to {size} bytes or more, declared are {limit} at most")


def _inflate(data: bytes, limit: int) -> bytes:
    """Decode deflate with the head of gzip or of zlib; members of gzip follow each other."""
    parts: list[bytes] = []
    while data:
        stream = zlib.decompressobj(wbits=47)  # 32 + 15: whichever head it has
        parts.append(stream.decompress(data, limit + 1))
        limit = _rest(limit, parts[-1], stream.eof)
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _rest(limit: int, part: bytes, complete: bool) -> int:
    _allow(len(part), limit)
    if not complete:
        raise ValueError("a compressed stream that is cut short")
    return limit - len(part)


def _bunzip(data: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    while data:
        stream = bz2.BZ2Decompressor()
        parts.append(stream.decompress(data, limit + 1))
        limit = _rest(limit, parts[-1], stream.eof)
        data = stream.unused_data
    return b"".join(parts)


def check_dictionary(data: bytes) -> None:
    """Raise an error if LZMA asks for a dictionary that is larger than any in use."""
    lzma.LZMADecompressor(memlimit=DICTIONARY).decompress(data, 1)


def _unlzma(data: bytes, limit: int) -> bytes:
    stream = lzma.LZMADecompressor(memlimit=DICTIONARY)
    found = stream.decompress(data, limit + 1)
    _rest(limit, found, stream.eof)
    return found


def _unlzw(data: bytes, limit: int) -> bytes:
    import imagecodecs

    found = bytes(imagecodecs.lzw_decode(data, out=limit + 1))  # it stops there
    _allow(len(found), limit)
    return found


_STREAMS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "zlib": _inflate, "gzip": _inflate, "bz2": _bunzip, "lzma": _unlzma,
    "lzw": _unlzw,
}  # fmt: skip


def _number(data: bytes, start: int, size: int) -> int:
    if len(data) < start + size:
        raise ValueError("a chunk that ends in its header")
    return int.from_bytes(data[start : start + size], "little")


def zstd_size(data: bytes) -> int:
    """Sum what the frames decode to: as they say, else as their blocks allow (RFC 8878).

    Of the last block, which is seldom full, a frame without a size says nothing: it counts once as
    one byte, so that what is true is at most `BLOCK` more.
    """
    total, at, spare = 0, 0, 0
    while at < len(data):
        magic = _number(data, at, 4)
        if magic & ~15 == 0x184D2A50:  # to be skipped
            at += 8 + _number(data, at + 4, 4)
            continue
        if magic != 0xFD2FB528:
            raise ValueError("no zstd")
        flags = _number(data, at + 4, 1)
        single, kind = bool(flags & 32), flags >> 6
        most = BLOCK if single else min(_zstd_window(_number(data, at + 5, 1)), BLOCK)
        at += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        size = (int(single), 2, 4, 8)[kind]
        said = _number(data, at, size) + (256 if size == 2 else 0) if size else None
        counted, spare, at = _zstd_blocks(data, at + size, most)
        at += 4 * bool(flags & 4)
        total += counted if said is None else said
        spare = spare if said is None else 0
    return total - spare


def _zstd_window(said: int) -> int:
    """Return the size of a window from the byte that says it: an exponent and eighths of it."""
    base = 1 << 10 + (said >> 3)
    return base + base // 8 * (said & 7)


def _zstd_blocks(data: bytes, at: int, most: int) -> tuple[int, int, int]:
    """Return the most bytes that blocks decode to, how many may lack in the last, and their end."""
    total, last, kind = 0, False, 0
    while not last:
        head = _number(data, at, 3)
        last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        total += most if kind == 2 else size
        at += 3 + (1 if kind == 1 else size)
    return total, most - 1 if kind == 2 else 0, at


def _blosc_size(data: bytes) -> int:
    """Return what a chunk of blosc decodes to, if it is all there."""
    if (packed := _number(data, 12, 4)) > len(data):
        raise ValueError(f"a chunk of {len(data)} bytes, which says that it has {packed}")
    return _number(data, 4, 4)


_DECLARED: Final[dict[str, Callable[[bytes], int]]] = {
    "zstd": zstd_size,
    "blosc": _blosc_size,
    "lz4": lambda data: _number(data, 0, 4),
}
"""Encodings that say in their first bytes what they decode to."""
