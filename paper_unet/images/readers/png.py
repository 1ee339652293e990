"""What a PNG file says of itself, and whether it holds as many rows: Pillow fills up with zeros."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from paper_unet.errors import InputError
from paper_unet.system.files import open_regular

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values for each pixel, by the number of a colour type."""

# the seven passes of an interlaced file: first column and row, and the steps between them
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
STEP = 2**20
"""Bytes that are decompressed at once."""


@dataclass(frozen=True)
class PngHeader:
    """The header of a PNG file.

    Attributes
    ----------
    width, height : int
        Pixels.
    bits : int
        Of a value.
    colour : int
        The number of its colour type.
    interlaced : bool
    """

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool

    @property
    def bytes(self) -> int:
        """Bytes of all rows, each with one for its filter."""
        passes = PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, right, down in passes:
            columns = math.ceil((self.width - left) / right)
            rows = math.ceil((self.height - top) / down)
            if columns > 0 and rows > 0:
                total += rows * (1 + math.ceil(columns * self.bits * SAMPLES[self.colour] / 8))
        return total


def read_header(path: Path) -> PngHeader:
    """Read the header of a PNG file; ValueError if it has none."""
    with open_regular(path) as file:
        return _header_of(file)


def _header_of(file: BinaryIO) -> PngHeader:
    head = file.read(29)
    if len(head) < 29 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise ValueError("no header")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[16:29])
    if colour not in SAMPLES:
        raise ValueError(f"colour type {colour}")
    return PngHeader(width, height, bits, colour, bool(interlaced))


def check_rows(path: Path) -> None:
    """Raise InputError if a PNG file holds fewer rows than it declares."""
    with open_regular(path) as file:
        header, found = rows_in(file)
    if found < header.bytes:
        raise InputError(
            f"{path}: declares {header.height} rows and holds {found} of their {header.bytes} "
            "bytes; copy or export it again"
        )


def rows_in(file: BinaryIO) -> tuple[PngHeader, int]:
    """Return the header of an open PNG file, and how many bytes of its rows there are at least.

    No more than the header declares are decompressed. Raises ValueError without a header.
    """
    header = _header_of(file)
    found, decoder = 0, zlib.decompressobj()
    for data in _image_data(file):
        while data and found < header.bytes:
            found += len(decoder.decompress(data, STEP))
            data = decoder.unconsumed_tail
        if found >= header.bytes or decoder.eof:
            break
    return header, found


def _image_data(file: BinaryIO) -> Iterator[bytes]:
    """Yield the compressed pixels, chunk by chunk, in parts."""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = file.tell() + length + 4
        if kind == b"IEND":
            return
        while kind == b"IDAT" and length > 0:
            part = file.read(min(length, STEP))
            if not part:
                return
            length -= len(part)
            yield part
        file.seek(end)
