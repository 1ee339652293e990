"""Which bytes of a file of a store are asked for, and whether so many can be needed."""

from __future__ import annotations

from typing import Final

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)

from paper_unet.errors import InputError

LARGEST_DOCUMENT: Final = 2**26
"""Bytes of a JSON document."""


def span_of(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return the first and last byte, half-open, of a request to a file of so many bytes."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, OffsetByteRequest):
        return min(byte_range.offset, size), size
    if isinstance(byte_range, SuffixByteRequest):
        return max(size - byte_range.suffix, 0), size
    return 0, size


def check_size(name: object, size: int, largest: int) -> None:
    """Raise InputError if more bytes are asked for than can be needed."""
    if not 0 <= size <= largest:
        raise InputError(
            f"{name}: {size} bytes, where up to {largest} can be needed; the store is damaged: "
            "copy or export it again"
        )
