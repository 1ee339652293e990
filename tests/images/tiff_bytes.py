"""TIFF files written byte by byte, so that every tag can be what no library would write."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORT, LONG, ASCII = 3, 4, 2
CODES = {SHORT: "H", LONG: "I"}


@dataclass
class Page:
    """One page of grey values in a single strip.

    Attributes
    ----------
    strip : bytes
    size : tuple of int, (Y, X)
    bits : int
    tags : dict
        Further tags, as (type, values), which win over the page's own; None leaves a tag out.
    beyond : dict
        Tags whose values are said to lie at an offset, as (type, count, offset).
    """

    strip: bytes
    size: tuple[int, int]
    bits: int
    tags: Mapping[int, Any] = field(default_factory=dict)
    beyond: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    def entries(self, offset: int) -> dict[int, Any]:
        height, width = self.size
        own = {
            256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [self.bits]),
            259: (SHORT, [1]), 262: (SHORT, [1]), 273: (LONG, [offset]), 277: (SHORT, [1]),
            278: (LONG, [height]), 279: (LONG, [len(self.strip)]),
        }  # fmt: skip
        return {tag: value for tag, value in {**own, **self.tags}.items() if value is not None}


def packed(values: NDArray[Any], bits: int) -> bytes:
    """Pack the rows of an image, (Y, X), into so many bits a value; a row begins with a byte."""
    powers = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    ones = (values[..., None].astype(np.int64) & powers) > 0
    return np.packbits(ones.reshape(len(values), -1), axis=1).tobytes()


def write_pages(path: Path, pages: Sequence[Page], order: str = "<", shift: int = 0) -> None:
    """Write a classic TIFF; ``shift`` bytes come before the pixels of each page."""
    file = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 0))
    link = 4
    for page in pages:
        file += bytes(shift)
        entries = page.entries(len(file))
        file += page.strip
        placed = {}
        for tag, (kind, values) in entries.items():
            placed[tag] = _field(file, order, kind, values)
        for tag, (kind, count, offset) in page.beyond.items():
            placed[tag] = struct.pack(f"{order}HII", kind, count, offset)
        file += bytes(len(file) % 2)
        struct.pack_into(f"{order}I", file, link, len(file))
        file += struct.pack(f"{order}H", len(placed))
        for tag in sorted(placed):
            file += struct.pack(f"{order}H", tag) + placed[tag]
        link = len(file)
        file += bytes(4)
    path.write_bytes(file)


def _field(file: bytearray, order: str, kind: int, values: Any) -> bytes:
    """Return an entry without its tag; values that do not fit in it are put into the file."""
    if kind == ASCII:
        data, count = values.encode() + b"\0", len(values) + 1
    else:
        data, count = struct.pack(f"{order}{len(values)}{CODES[kind]}", *values), len(values)
    if len(data) > 4:
        file += bytes(len(file) % 2)
        place = struct.pack(f"{order}I", len(file))
        file += data
        return struct.pack(f"{order}HI", kind, count) + place
    return struct.pack(f"{order}HI", kind, count) + data.ljust(4, b"\0")


def grey(image: NDArray[Any], bits: int = 8, order: str = "<", **tags: Any) -> Page:
    """Return a page of an image, (Y, X), or of several below each other (a strip of them all)."""
    size = image.shape[-2], image.shape[-1]
    whole = bits in (8, 16, 32)
    code = image.dtype.newbyteorder(order)
    strip = image.astype(code).tobytes() if whole else packed(image, bits)
    return Page(strip, size, bits, {int(name[1:]): value for name, value in tags.items()})
