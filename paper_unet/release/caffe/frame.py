"""A walk over the frame of a Caffe file before a library makes objects of it.

A protocol buffer is a row of fields, each with its length in front. A few bytes on disk can become
a large object in memory (an empty message takes 2 bytes in a file), so what is not weights is
counted first. Truncated files and files of another kind are noticed here, with the place.
"""

from __future__ import annotations

from typing import Final

from paper_unet.errors import InputError

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""The kinds of fields that a Caffe file has."""

MOST_BESIDE_WEIGHTS: Final = 2**20
"""Bytes of names and settings; a network of 23 layers has some ten thousand."""

LEAST_OF_A_FIELD: Final = 16
"""Bytes that a field counts for at least, since an empty one becomes an object too."""

NETWORK, OLD_LAYER, NEW_LAYER, BLOB = "network", "layers", "layer", "blob"
PARTS_OF: Final[dict[str, dict[int, str | None]]] = {
    NETWORK: {2: OLD_LAYER, 100: NEW_LAYER},
    OLD_LAYER: {6: BLOB},
    NEW_LAYER: {7: BLOB},
    BLOB: {5: None, 6: None, 8: None, 9: None},  # data, diff, and both in double precision
}
"""Fields that may be long: what they hold, or None for plain numbers."""

NO_CAFFE: Final = "truncated, damaged or no .caffemodel: fetch or unpack it again"


def check_frame(data: bytes) -> None:
    """Check that a file is a complete row of fields, and small but for its weights.

    Parameters
    ----------
    data : bytes
        A ``NetParameter`` of Caffe.

    Raises
    ------
    InputError
        If a field reaches beyond what holds it, is of a kind that Caffe does not write, or names
        and settings are more than a mebibyte.
    """
    pending, beside = [(NETWORK, 0, len(data))], 0
    while pending:
        holder, at, end = pending.pop()
        while at < end:
            number, kind, start, stop = _field(data, at, end)
            long = kind == LENGTH and number in PARTS_OF[holder]
            beside += LEAST_OF_A_FIELD + (0 if long else stop - start)
            if beside > MOST_BESIDE_WEIGHTS:
                raise InputError(
                    f"more than {MOST_BESIDE_WEIGHTS} bytes of names and settings beside the "
                    "packed weights; phseg_v5.caffemodel has few: give that file"
                )
            inside = PARTS_OF[holder].get(number) if long else None
            if inside is not None:
                pending.append((inside, start, stop))
            at = stop


def _field(data: bytes, at: int, end: int) -> tuple[int, int, int, int]:
    """Return number, kind, start and end of the field at a place; all in bytes from the start."""
    tag, start = _varint(data, at, end)
    number, kind = tag >> 3, tag & 7
    if number == 0 or kind not in (VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES):
        raise InputError(f"field {number} of kind {kind} at byte {at}; {NO_CAFFE}")
    if kind == VARINT:
        return number, kind, start, _varint(data, start, end)[1]
    length = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind, 0)
    if kind == LENGTH:
        length, start = _varint(data, start, end)
    if start + length > end:
        raise InputError(
            f"the field at byte {at} needs {length} bytes, {end - start} are left; {NO_CAFFE}"
        )
    return number, kind, start, start + length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return an integer of 7 bits a byte, and the place behind it."""
    value = 0
    for place, byte in enumerate(data[at : min(at + 10, end)]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise InputError(f"no complete number at byte {at}; {NO_CAFFE}")
