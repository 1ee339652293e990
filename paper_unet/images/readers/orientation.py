"""How a picture is to be shown, which is said and not done: images and labels stay as stored."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable

UPRIGHT = 1
TAG = 0x0112
"""Of EXIF and TIFF: a number from 1, upright, to 8."""

END = "; its pixels are read in the order in which they are stored"


def orientation_note(place: object, value: object) -> tuple[str, ...]:
    """Return the note of a picture that is to be shown turned or mirrored, if it is."""
    if not isinstance(value, int) or not UPRIGHT < value <= 8:
        return ()
    return (f"{place}: is to be shown turned or mirrored (orientation {value}){END}",)


def without_orientation(notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes but those of `orientation_note`."""
    return tuple(note for note in notes if not note.endswith(END))


def of_exif(data: bytes | None) -> object:
    """Return the orientation in the EXIF of a picture; None if it has none, or is damaged."""
    from PIL import Image

    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which is no reason to refuse the pixels
            exif.load(data or b"")
            return exif.get(TAG)
    except (ValueError, TypeError, LookupError, SyntaxError, OSError, struct.error):
        return None
