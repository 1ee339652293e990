"""How large a compressed picture says that it is: read from its first bytes, nothing decoded.

Decoders take the memory that the picture asks for, whatever the file around it declares. Each
function here returns (rows, columns, values of a pixel), the largest that a decoder could come to,
or raises ValueError where the bytes are no such picture.

References
----------
JPEG: ITU-T T.81, B.1; JPEG-LS: T.87, C. JPEG 2000: T.800, A.5.1 and I. JPEG XL: ISO 18181-1, D.
JPEG XR: T.832, 8.3 and A. PNG: ISO 15948, 11. WebP: RFC 9649. LERC: its Lerc2 header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

Size = tuple[int, int, int]

SOF: Final = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG that a frame begins with; F7 is that of JPEG-LS."""


def jpeg(data: bytes) -> Size:
    """JPEG in all its kinds, JPEG-LS among them; header and tables may lie in front of it."""
    sizes = [(0, 0, 0)]
    at = 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        kind = data[at + 1]
        if kind in (0x00, 0x01, 0xFF) or 0xD0 <= kind <= 0xD9:  # filled, or without a length
            at += 1 if kind == 0xFF else 2
            continue
        if kind in SOF:
            _, _, rows, columns, values = _unpack(">HBHHB", data, at + 2)
            sizes.append((rows, columns, values))
        if kind == 0xDA and max(sizes)[1]:  # the scan: what follows is no header
            break
        at += 2 + max(_unpack(">H", data, at + 2)[0], 2)
    largest = max(sizes, key=lambda size: size[0] * size[1] * size[2] or size[1])
    if not largest[1]:
        raise ValueError("a JPEG without a size")
    return largest


def jpeg2000(data: bytes) -> Size:
    """JPEG 2000, as a code stream or in a JP2 file."""
    if data[:4] != b"\xff\x4f\xff\x51":
        data = next((content for kind, content in _boxes(data) if kind == b"jp2c"), b"")
    if data[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("no JPEG 2000")
    x1, y1, x0, y0, _, _, _, _, values = _unpack(">8IH", data, 8)
    return max(y1 - y0, 0), max(x1 - x0, 0), values


def jpegxl(data: bytes) -> Size:
    """JPEG XL, a single picture."""
    if data[:2] != b"\xff\x0a":
        parts = dict(reversed([*_boxes(data)]))
        data = parts.get(b"jxlc") or parts.get(b"jxlp", b"")[4:]
    if data[:2] != b"\xff\x0a":
        raise ValueError("no JPEG XL")
    bits = _Bits(data[2:64])
    small = bits.take(1)
    rows = 8 * (bits.take(5) + 1) if small else bits.length()
    ratio = bits.take(3)
    if ratio:
        above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        columns = rows * above // below
    else:
        columns = 8 * (bits.take(5) + 1) if small else bits.length()
    if not bits.take(1) and bits.take(1):  # not all as usual, and extra fields
        bits.take(3)
        if bits.take(1) or bits.take(1) or bits.take(1):
            raise ValueError("a JPEG XL that is animated, or has a preview or a size of its own")
    return rows, columns, 4


def jpegxr(data: bytes) -> Size:
    """JPEG XR: its container and its code stream each have a size."""
    if data[:4] not in (b"II\xbc\x01", b"II\xbc\x00"):
        raise ValueError("no JPEG XR")
    (start,) = _unpack("<I", data, 4)
    (count,) = _unpack("<H", data, start)
    tags = {}
    for k in range(min(count, 256)):
        tag, kind, _, value = _unpack("<HHII", data, start + 2 + 12 * k)
        tags[tag] = value & 0xFFFF if kind == 3 else value
    at = tags.get(0xBCC0, 0)
    if data[at : at + 8] != b"WMPHOTO\0":
        raise ValueError("a JPEG XR without its code stream")
    short = _unpack(">B", data, at + 10)[0] & 0x80
    columns, rows = _unpack(">HH" if short else ">II", data, at + 12)
    return max(rows + 1, tags.get(0xBC81, 0)), max(columns + 1, tags.get(0xBC80, 0)), 4


def png(data: bytes) -> Size:
    """PNG."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    columns, rows, _, kind = _unpack(">IIBB", data, 16)
    return rows, columns, {0: 1, 2: 3, 3: 4, 4: 2}.get(kind, 4)


def webp(data: bytes) -> Size:
    """WebP, a single picture."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("no WebP")
    rows = columns = 0
    at = 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], _unpack("<I", data, at + 4)
        here = at + 8
        found = (0, 0)
        if kind == b"VP8X":
            if _unpack("<B", data, here)[0] & 2:
                raise ValueError("a WebP that is animated")
            wide, high = (int.from_bytes(data[here + k : here + k + 3], "little") for k in (4, 7))
            found = high + 1, wide + 1
        elif kind == b"VP8L":
            (packed,) = _unpack("<I", data, here + 1)
            found = (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
        elif kind == b"VP8 ":
            wide, high = _unpack("<HH", data, here + 6)
            found = high & 0x3FFF, wide & 0x3FFF
        rows, columns = max(rows, found[0]), max(columns, found[1])
        at = here + length + length % 2
    if not rows or not columns:
        raise ValueError("a WebP without a size")
    return rows, columns, 4


def lerc(data: bytes) -> Size:
    """LERC, second version; its bands lie one behind the other."""
    if data[:6] != b"Lerc2 ":
        raise ValueError("no LERC of the second version")
    (version,) = _unpack("<i", data, 6)
    at = 10 if version < 3 else 14
    rows, columns = _unpack("<ii", data, at)
    (values,) = _unpack("<i", data, at + 8) if version >= 4 else (1,)
    if rows < 0 or columns < 0 or values < 0:
        raise ValueError("a LERC of a negative size")
    return rows, columns, values * data.count(b"Lerc2 ")


SIZES: Final[dict[str, Callable[[bytes], Size]]] = {
    "jpeg": jpeg, "jpeg2000": jpeg2000, "jpegxl": jpegxl, "jpegxr": jpegxr, "png": png,
    "webp": webp, "lerc": lerc,
}  # fmt: skip
"""By the name of the encoding."""


def _unpack(code: str, data: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(code, data, at)
    except struct.error as error:
        raise ValueError("a picture that ends in its header") from error


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes of a file as JP2 and JPEG XL have them."""
    at = 0
    while at + 8 <= len(data):
        (length,), kind, head = _unpack(">I", data, at), data[at + 4 : at + 8], 8
        if length == 1:
            (length,), head = _unpack(">Q", data, at + 8), 16
        end = len(data) if length == 0 else at + length
        if end < at + head:
            raise ValueError("a picture with a damaged box")
        yield kind, data[at + head : end]
        at = end


class _Bits:
    """Bits of JPEG XL, the least one of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("a picture that ends in its header")
        found = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return found

    def length(self) -> int:
        """Read a side: two bits say how many the number has."""
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1
