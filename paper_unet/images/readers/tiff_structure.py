"""Is a TIFF file all there? Its own offsets tell, before any pixel is decoded.

A TIFF is a chain of directories (IFDs), one for each page. Each entry and each block of pixels is
found by its offset. A file that was cut short has an offset that points beyond its end. Readers
follow the chain as far as it goes and return fewer pages, so this is checked first.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

from paper_unet.errors import InputError
from paper_unet.images.readers.foreign import ACCEPTED, foreign, format_of_file
from paper_unet.images.readers.tiff_layout import DEFAULTS, Layout, layout_of, whole_numbers
from paper_unet.system.files import cannot_be_read, open_regular
from paper_unet.system.memory import Budget, current_budget

# bytes of one value, by TIFF field type
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
INTEGER_TYPES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
PAGE_BYTES = 1000
"""Bytes of memory that a page takes at least, once it is known."""

SHARED, FORGIVEN = 2, 2**22
"""Directories and their entries may be so many times as large as the file, and bytes beside."""

MOST_OF_TAG = 2**20
"""Bytes of a tag that are compared; the longest of use, a palette of 16 bits, has 384 KiB."""

SHORT = 64
"""Bytes of a tag that may be kept for each layout; of longer ones a digest is."""

# (offsets, byte counts) of strips and of tiles
BLOCK_TAGS = ((273, 279), (324, 325))

DECORATION = {269, 271, 272, 285, 305, 306, 315, 316, 333, 337, 700}
"""Tags of names, dates and programs."""

PRIVATE, DEPTHS = 32768, {32997, 32998}
"""Tags from here on are of no use to find or decode pixels, but for two."""


def is_needed(tag: int) -> bool:
    """Whether pixels could be read wrong without a tag; other tags may be damaged."""
    return tag in DEPTHS or (tag < PRIVATE and tag not in DECORATION)


@dataclass
class Structure:
    """The pages of a file.

    Attributes
    ----------
    path : Path
    layouts : dict
        How each is stored, by the offset of its directory and in the order of the pages. Pages
        that are alike share one object.
    """

    path: Path
    layouts: dict[int, Layout] = field(default_factory=dict)

    @property
    def pages(self) -> int:
        """How many there are."""
        return len(self.layouts)

    def layout(self, offset: int) -> Layout:
        """Return the layout of the page whose directory is there: one of the chain, or within."""
        if (known := self.layouts.get(offset)) is not None:
            return known
        with open_regular(self.path) as file:
            return _Checker(self.path, file, current_budget()).layout_at(offset)


class _Form(NamedTuple):
    """How numbers are stored: byte order, and the widths that differ in BigTIFF."""

    order: str
    offset: str
    entry_count: str

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.offset)

    @property
    def entry(self) -> str:
        """How an entry is stored: its tag, its type, how many values, and these or their offset."""
        return f"{self.order}HH{self.offset}{struct.calcsize(self.offset)}s"


class _Entry(NamedTuple):
    type: int
    values: int  # how many
    position: int  # of the values in the file
    inline: bytes  # the values, or where they are


def check_structure(path: Path, budget: Budget | None = None) -> Structure:
    """Check that every directory, entry and block of pixels lies inside the file.

    Parameters
    ----------
    path : Path
        The file.
    budget : Budget, optional
        What its pages may take.

    Returns
    -------
    Structure
        Its pages.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, is no TIFF, or is cut short; if its directories share
        so much that reading them would not end, or there are too many for the memory.
    """
    try:
        with open_regular(path) as file:
            return _Checker(path, file, budget or current_budget()).follow()
    except OSError as error:
        raise cannot_be_read(path, error) from error


class _Checker:
    def __init__(self, path: Path, file: BinaryIO, budget: Budget) -> None:
        self.path, self.budget = path, budget
        self.looked_at = 0
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.page = 0
        self.found = Structure(path)
        self.known: dict[object, Layout] = {}  # by the tags that they are made of
        self.kinds: dict[Layout, Layout] = {}

    def follow(self) -> Structure:
        form, offset = self._read_header()
        layouts = self.found.layouts
        while offset:
            if offset in layouts:
                raise InputError(f"{self.path}: page {self.page} points back; the file is damaged")
            if not (len(layouts) + 1) % 1024:
                many = len(layouts) + 1
                self.budget.allow(PAGE_BYTES * many, self.path, f"{many} pages or more")
            entries, following = self._read_directory(form, offset)
            self._check_blocks(form, entries)
            layouts[offset] = self._layout(form, entries)
            offset = following
            self.page += 1
        if not layouts:
            raise InputError(f"{self.path}: a TIFF file without a page; nothing to read")
        return self.found

    def layout_at(self, offset: int) -> Layout:
        form, _ = self._read_header()
        entries, _ = self._read_directory(form, offset)
        return self._layout(form, entries)

    def _layout(self, form: _Form, entries: dict[int, _Entry]) -> Layout:
        """Return a page's layout, which hardly any page has for itself alone."""
        values = [
            (tag, entry.type, self._bytes(entry, tag))
            for tag, entry in entries.items()
            if tag in DEFAULTS
        ]
        key: object = tuple(values)
        if any(len(data) > SHORT for _, _, data in values):
            key = blake2b(repr(values).encode(), digest_size=16).digest()
        if key not in self.known:
            found = {tag: whole_numbers(form.order, kind, data) for tag, kind, data in values}
            layout = layout_of(found)
            self.known[key] = self.kinds.setdefault(layout, layout)
        return self.known[key]

    def _bytes(self, entry: _Entry, tag: int) -> bytes:
        size = TYPE_BYTES.get(entry.type, 0) * entry.values
        if size <= len(entry.inline):
            return entry.inline[:size]
        return self._read(entry.position, min(size, MOST_OF_TAG), f"tag {tag}")

    def _read_header(self) -> tuple[_Form, int]:
        head = self.file.read(16)
        if not head:
            raise InputError(f"{self.path}: the file is empty; copy or export it again")
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        magic = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 4 else 0
        if magic not in (42, 43):
            if name := format_of_file(self.path):
                raise foreign(self.path, name)
            raise InputError(f"{self.path}: not a TIFF file (by its first bytes); {ACCEPTED}")
        if len(head) < (8 if magic == 42 else 16):
            raise self._cut_short("the header", 8 if magic == 42 else 16)
        if magic == 42:
            return _Form(f"{order}", "I", "H"), struct.unpack(f"{order}I", head[4:8])[0]
        return _Form(f"{order}", "Q", "Q"), struct.unpack(f"{order}Q", head[8:16])[0]

    def _read_directory(self, form: _Form, offset: int) -> tuple[dict[int, _Entry], int]:
        (count,) = self._unpack(form, form.entry_count, offset, "directory")
        start, width = offset + struct.calcsize(form.entry_count), form.entry_bytes
        size = count * width
        self._need(start + size, "directory")
        self._look_at(size)
        entries = {}
        table = self._read(start, size, "directory")
        for k, (tag, kind, values, inline) in enumerate(struct.iter_unpack(form.entry, table)):
            if is_needed(tag):
                entries[tag] = self._locate(form, kind, values, start + k * width, tag, inline)
        (following,) = self._unpack(form, form.offset, start + size, "directory")
        if following >= self.size:
            raise self._cut_short(f"page {self.page + 1}", following + 1)
        return entries, following

    def _locate(
        self, form: _Form, kind: int, count: int, position: int, tag: int, inline: bytes
    ) -> _Entry:
        """Find the values of an entry: in the entry if they fit, else where it points."""
        at = position + 4 + len(inline)
        if TYPE_BYTES.get(kind, 0) * count > len(inline):
            (at,) = struct.unpack(f"{form.order}{form.offset}", inline)
            self._need(at + TYPE_BYTES[kind] * count, f"tag {tag}")
            self._look_at(TYPE_BYTES[kind] * count)
        return _Entry(kind, count, at, inline)

    def _check_blocks(self, form: _Form, entries: dict[int, _Entry]) -> None:
        for offsets_tag, counts_tag in BLOCK_TAGS:
            if offsets_tag not in entries or counts_tag not in entries:
                continue
            offsets = self._integers(form, entries[offsets_tag], offsets_tag)
            counts = self._integers(form, entries[counts_tag], counts_tag)
            ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
            if 0 in counts or not ends:
                raise InputError(f"{self.path}: page {self.page} has blocks without pixels; "
                                 f"the file is damaged or was never finished")  # fmt: skip
            self._need(max(ends), "pixels")

    def _integers(self, form: _Form, entry: _Entry, tag: int) -> tuple[int, ...]:
        if entry.type not in INTEGER_TYPES:
            raise InputError(f"{self.path}: page {self.page}, tag {tag}: the file is damaged")
        code = f"{entry.values}{INTEGER_TYPES[entry.type]}"
        return self._unpack(form, code, entry.position, f"tag {tag}")

    def _look_at(self, size: int) -> None:
        """Count what is read: in a sound file hardly anything belongs to several pages."""
        self.looked_at += size
        if self.looked_at > SHARED * self.size + FORGIVEN:
            raise InputError(
                f"{self.path}: the directories of its first {self.page + 1} pages would be "
                f"{self.looked_at} bytes and the file has {self.size}: they share their entries; "
                "export it again"
            )

    def _unpack(self, form: _Form, code: str, position: int, what: str) -> tuple[int, ...]:
        code = form.order + code
        return struct.unpack(code, self._read(position, struct.calcsize(code), what))

    def _read(self, position: int, size: int, what: str) -> bytes:
        self._need(position + size, what)
        self.file.seek(position)
        return self.file.read(size)

    def _need(self, end: int, what: str) -> None:
        if end > self.size:
            raise self._cut_short(f"the {what} of page {self.page}", end)

    def _cut_short(self, what: str, end: int) -> InputError:
        return InputError(
            f"{self.path}: truncated: {what} would end at byte {end} or later and the file has "
            f"{self.size} bytes; copy or export it again"
        )
