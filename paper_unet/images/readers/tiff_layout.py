"""How a page of a TIFF is stored and what its values mean, by its tags; two pages compared."""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
from tifffile import COMPRESSION, ORIENTATION, PHOTOMETRIC, PLANARCONFIG, PREDICTOR, SAMPLEFORMAT

from paper_unet.images.readers.tiff_page import MASK, MINISBLACK, MINISWHITE, PALETTE, ramp_of

WIDTH, HEIGHT, BITS, COMPRESSED, SHOWN, EXTRA, FORMAT = 256, 257, 258, 259, 262, 338, 339
SAMPLES, ROWS, PLANAR, COLOURS, TILE, SUBSAMPLED, YCBCR = 277, 278, 284, 320, 322, 530, 6

DEFAULTS: dict[int, tuple[int, ...]] = {
    WIDTH: (0,), HEIGHT: (0,), 32997: (1,), SAMPLES: (1,), BITS: (1,), FORMAT: (1,),
    SHOWN: (MINISBLACK,), COLOURS: (), EXTRA: (), 274: (1,), COMPRESSED: (1,), 317: (1,),
    266: (1,), PLANAR: (1,), ROWS: (2**32 - 1,), TILE: (0,), 323: (0,), 32998: (1,),
    SUBSAMPLED: (2, 2), 292: (0,), 293: (0,),
}  # fmt: skip
"""The tags by which pixels are found, decoded and understood, each with what holds without it.
Where the strips or tiles lie is each page's own."""

WORDS = {
    WIDTH: "width", HEIGHT: "height", 32997: "depth", SAMPLES: "values for each pixel",
    BITS: "bits for each value", FORMAT: "sample format", SHOWN: "colour model",
    COLOURS: "palette", EXTRA: "extra samples", 274: "orientation", COMPRESSED: "compression",
    317: "predictor", 266: "fill order", PLANAR: "planar configuration", ROWS: "rows in a strip",
    TILE: "columns in a tile", 323: "rows in a tile", 32998: "slices in a tile",
    SUBSAMPLED: "subsampling", 292: "options of fax 3", 293: "options of fax 4",
}  # fmt: skip

NAMES: dict[int, type[enum.IntEnum]] = {
    COMPRESSED: COMPRESSION, SHOWN: PHOTOMETRIC, 317: PREDICTOR, PLANAR: PLANARCONFIG,
    FORMAT: SAMPLEFORMAT, 274: ORIENTATION,
}  # fmt: skip

DEFLATE = {32946: 8, 50013: 8}
"""Other numbers of the same compression."""

CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""How whole numbers are stored, by TIFF field type."""

Layout = tuple[tuple[int, ...], ...]
"""The values of `DEFAULTS`, those that make no difference left out."""


def whole_numbers(order: str, kind: int, data: bytes) -> tuple[int, ...]:
    """Return the values of a tag; the bytes where it holds no whole numbers."""
    code = CODES.get(kind, "B")
    count = len(data) // struct.calcsize(f"={code}")
    return struct.unpack(f"{order}{count}{code}", data)


def layout_of(tags: Mapping[int, tuple[int, ...]]) -> Layout:
    """Return the layout of a page that has these tags.

    Parameters
    ----------
    tags : dict
        Values by tag; others than those of `DEFAULTS` count for nothing.
    """
    found = {tag: tags.get(tag) or default for tag, default in DEFAULTS.items()}
    for tag in (BITS, FORMAT):
        if len(set(found[tag])) == 1:
            found[tag] = found[tag][:1]
    found[COMPRESSED] = (DEFLATE.get(found[COMPRESSED][0], found[COMPRESSED][0]),)
    found[ROWS] = (0,) if found[TILE][0] else (min(found[ROWS][0], found[HEIGHT][0]),)
    if found[SAMPLES] == (1,):
        found[EXTRA], found[PLANAR] = (), (1,)
    if found[SHOWN] != (YCBCR,):
        found[SUBSAMPLED] = ()
    found[SHOWN], found[COLOURS] = _shown(found[SHOWN], found[COLOURS])
    return tuple(found.values())


def _shown(model: tuple[int, ...], table: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return a colour model and its palette; a palette of even greys is a scale of grey."""
    if model != (PALETTE,):
        return model, ()
    if len(table) % 3 == 0 and (ramp := ramp_of(np.array(table, np.int64).reshape(3, -1))):
        return (MINISBLACK if ramp > 0 else MINISWHITE,), ()
    digest = blake2b(repr(table).encode(), digest_size=8).digest()
    return model, (int.from_bytes(digest, "little"),)


def differences(one: Layout, other: Layout, labels: bool) -> str:
    """Return what differs between two pages, such as "compression ADOBE_DEFLATE, not NONE".

    Parameters
    ----------
    one, other : Layout
    labels : bool
        Whether the values are numbers of cells or classes; how they are to be shown then makes no
        difference.

    Returns
    -------
    str
        "" if nothing does.
    """
    apart = []
    for tag, mine, its in zip(DEFAULTS, one, other, strict=True):
        if mine == its or (labels and _is_show_of_labels(tag, mine, its)):
            continue
        how = "" if tag == COLOURS else f" {_said(tag, mine)}, not {_said(tag, its)}"
        apart.append(f"another {WORDS[tag]}" if not how else WORDS[tag] + how)
    return "; ".join(apart)


def _is_show_of_labels(tag: int, *values: tuple[int, ...]) -> bool:
    models = {(model,) for model in (MINISBLACK, MINISWHITE, PALETTE, MASK)}
    return tag == COLOURS or (tag == SHOWN and models.issuperset(values))


def _said(tag: int, values: tuple[int, ...]) -> str:
    if tag in (ROWS, TILE, 323) and values == (0,):
        return "none"
    names = NAMES.get(tag)
    known = () if names is None else tuple(names)
    shown = [names(v).name if names and v in known else str(v) for v in values]
    return " ".join(shown[:8]) or "none"
