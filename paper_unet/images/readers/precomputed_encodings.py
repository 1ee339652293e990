"""What a chunk of a precomputed volume holds, decoded within its declared size."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paper_unet.images.codecs import decode_within
from paper_unet.images.readers.png import rows_in

Shape = tuple[int, int, int, int]
"""Of a chunk, (C, Z, Y, X): as its values lie, X fastest."""

MODES: Final = {
    "L": ("uint8", 1), "I;16": ("uint16", 1), "I;16B": ("uint16", 1), "LA": ("uint8", 2),
    "RGB": ("uint8", 3), "RGBA": ("uint8", 4),
}  # fmt: skip
"""What Pillow calls pictures of a type and of so many values for each pixel."""


def decode_raw(
    data: bytes, shape: Shape, dtype: np.dtype[Any], block: tuple[int, ...]
) -> NDArray[Any]:
    """Decode plain values, little-endian."""
    values = np.frombuffer(data, dtype.newbyteorder("<"))
    if values.size != math.prod(shape):
        raise ValueError(f"a chunk of {values.size} values, {math.prod(shape)} are declared")
    return values.reshape(shape)


def decode_picture(
    data: bytes, shape: Shape, dtype: np.dtype[Any], block: tuple[int, ...]
) -> NDArray[Any]:
    """Decode JPEG or PNG, one picture whose pixels are those of the chunk one behind the other."""
    kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
    found: NDArray[Any] = decode_within(kind, data, math.prod(shape) * dtype.itemsize, _pixels)
    if found.dtype != dtype or found.size != math.prod(shape) or found.shape[2] != shape[0]:
        raise ValueError(
            f"a picture of {found.size} values of {found.dtype}, {math.prod(shape)} of {dtype} "
            "are declared"
        )
    return np.moveaxis(found.reshape(*shape[1:], shape[0]), -1, 0)


def _pixels(data: bytes) -> NDArray[Any]:
    """Return the pixels of a picture, (rows, columns, channels)."""
    from PIL import Image

    if data[:2] != b"\xff\xd8":
        header, found = rows_in(BytesIO(data))
        if found < header.bytes:  # Pillow would fill up with zeros
            raise ValueError("a PNG of fewer rows than it declares")
        if header.bits < 8 or (header.bits == 16 and header.colour):
            raise ValueError(f"a PNG of {header.bits} bits and colour type {header.colour}")
    # of a size that was compared: Pillow's own limit is for files that say what they like
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(BytesIO(data), formats=["JPEG", "PNG"]) as image:
            if image.mode not in MODES:
                raise ValueError(f"a picture of mode {image.mode}")
            name, channels = MODES[image.mode]
            return np.asarray(image, name).reshape(image.height, image.width, channels)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode_segmentation(
    data: bytes, shape: Shape, dtype: np.dtype[Any], block: tuple[int, ...]
) -> NDArray[Any]:
    """Decode compressed_segmentation: blocks of few values, each with a table of these.

    A channel begins where the first words say, one for each channel. For each block, X fastest, it
    has two words: where its table is (24 bits) and how many bits a voxel has (8 bits), and where
    its voxels are; all places count words of 32 bits from where the channel begins.
    """
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
    out = np.empty(shape, dtype)
    for channel, offset in zip(out, words[: shape[0]].tolist(), strict=True):
        _decode_channel(words[offset:], channel, block)
    return out


def _decode_channel(words: NDArray[np.uint32], out: NDArray[Any], block: tuple[int, ...]) -> None:
    wide, tall, deep = block
    grid = [-(-n // c) for n, c in zip(out.shape, (deep, tall, wide), strict=True)]
    headers = words[: 2 * math.prod(grid)].tolist()
    table_words = out.dtype.itemsize // 4
    at = 0
    for z in range(0, out.shape[0], deep):
        for y in range(0, out.shape[1], tall):
            for x in range(0, out.shape[2], wide):
                table, start = headers[at] & 0xFFFFFF, headers[at + 1]
                numbers = _unpacked(words[start:], headers[at] >> 24, math.prod(block))
                last = int(numbers.max()) + 1
                values = words[table : table + last * table_words]
                if values.size != last * table_words:
                    raise ValueError("a block with a table that is cut short")
                cells = values.view(out.dtype.newbyteorder("<"))[numbers]
                part = out[z : z + deep, y : y + tall, x : x + wide]
                part[...] = cells.reshape(deep, tall, wide)[tuple(map(slice, part.shape))]
                at += 2


def _unpacked(words: NDArray[np.uint32], bits: int, count: int) -> NDArray[Any]:
    """Return so many numbers of 0, 1, 2, 4, 8, 16 or 32 bits, the lowest bits of a word first."""
    if bits == 0:
        return np.zeros(count, np.uint32)
    if bits not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"a block of {bits} bits a voxel")
    packed = words[: -(-count * bits // 32)]
    if packed.size * 32 < count * bits:
        raise ValueError("a block that is cut short")
    if bits >= 8:
        return packed.view(f"<u{bits // 8}")[:count]
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    return (packed[:, None] >> shifts & np.uint32(2**bits - 1)).ravel()[:count]


DECODERS: Final[
    dict[str, Callable[[bytes, Shape, np.dtype[Any], tuple[int, ...]], NDArray[Any]]]
] = {
    "raw": decode_raw,
    "jpeg": decode_picture,
    "png": decode_picture,
    "compressed_segmentation": decode_segmentation,
}
"""By the name of an encoding: of bytes, the shape of the chunk, its type and a size of blocks."""
