"""Is a TIFF file all there? Its own offsets tell, before any pixel is decoded.

A TIFF is a chain of directories (IFDs), one for each page. Each entry and each block of pixels is
found by its offset. A file that was cut short has an offset that points beyond its end. Readers
follow the chain as far as it goes and return fewer pages, so this is checked first.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from paper_unet.errors import InputError
from paper_unet.images.readers.foreign import ACCEPTED, foreign, format_of_file
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

# (offsets, byte counts) of strips and of tiles
BLOCK_TAGS = ((273, 279), (324, 325))

DECORATION = {269, 271, 272, 285, 305, 306, 315, 316, 333, 337, 700}
"""Tags of names, dates and programs."""

PRIVATE, DEPTHS = 32768, {32997, 32998}
"""Tags from here on are of no use to find or decode pixels, but for two."""


def is_needed(tag: int) -> bool:
    """Whether pixels could be read wrong without a tag; other tags may be damaged."""
    return tag in DEPTHS or (tag < PRIVATE and tag not in DECORATION)


class _Layout(NamedTuple):
    """How numbers are stored: byte order, and the widths that differ in BigTIFF."""

    order: str
    offset: str
    entry_count: str

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.offset)


class _Entry(NamedTuple):
    type: int
    values: int  # how many
    position: int  # of the values in the file


def check_structure(path: Path, budget: Budget | None = None) -> int:
    """Check that every directory, entry and block of pixels lies inside the file.

    Parameters
    ----------
    path : Path
        The file.
    budget : Budget, optional
        What its pages may take.

    Returns
    -------
    int
        How many pages it has.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, is no TIFF, or is cut short; if its directories share
        so much that reading them would not end, or there are too many for the memory.
    """
    try:
        with open_regular(path) as file:
            return _Checker(path, file, budget or current_budget()).count_pages()
    except OSError as error:
        raise cannot_be_read(path, error) from error


class _Checker:
    def __init__(self, path: Path, file: BinaryIO, budget: Budget) -> None:
        self.path, self.budget = path, budget
        self.looked_at = 0
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.page = 0

    def count_pages(self) -> int:
        layout, offset = self._read_header()
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise InputError(f"{self.path}: page {self.page} points back; the file is damaged")
            seen.add(offset)
            if not len(seen) % 1024:
                self.budget.allow(PAGE_BYTES * len(seen), self.path, f"{len(seen)} pages or more")
            entries, offset = self._read_directory(layout, offset)
            self._check_blocks(layout, entries)
            self.page += 1
        if not seen:
            raise InputError(f"{self.path}: a TIFF file without a page; nothing to read")
        return self.page

    def _read_header(self) -> tuple[_Layout, int]:
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
            return _Layout(f"{order}", "I", "H"), struct.unpack(f"{order}I", head[4:8])[0]
        return _Layout(f"{order}", "Q", "Q"), struct.unpack(f"{order}Q", head[8:16])[0]

    def _read_directory(self, layout: _Layout, offset: int) -> tuple[dict[int, _Entry], int]:
        (count,) = self._unpack(layout, layout.entry_count, offset, "directory")
        start = offset + struct.calcsize(layout.entry_count)
        entries = {}
        self._need(start + count * layout.entry_bytes, "directory")
        self._look_at(count * layout.entry_bytes)
        for position in range(start, start + count * layout.entry_bytes, layout.entry_bytes):
            tag, kind, values = self._unpack(layout, f"HH{layout.offset}", position, "directory")
            if is_needed(tag):
                entries[tag] = self._locate(layout, kind, values, position, tag)
        end = start + count * layout.entry_bytes
        (following,) = self._unpack(layout, layout.offset, end, "directory")
        if following >= self.size:
            raise self._cut_short(f"page {self.page + 1}", following + 1)
        return entries, following

    def _locate(self, layout: _Layout, kind: int, count: int, position: int, tag: int) -> _Entry:
        """Find the values of an entry: in the entry if they fit, else where it points."""
        inline = struct.calcsize(layout.offset)
        at = position + 4 + inline
        if TYPE_BYTES.get(kind, 0) * count > inline:
            (at,) = self._unpack(layout, layout.offset, at, "directory")
            self._need(at + TYPE_BYTES[kind] * count, f"tag {tag}")
            self._look_at(TYPE_BYTES[kind] * count)
        return _Entry(kind, count, at)

    def _check_blocks(self, layout: _Layout, entries: dict[int, _Entry]) -> None:
        for offsets_tag, counts_tag in BLOCK_TAGS:
            if offsets_tag not in entries or counts_tag not in entries:
                continue
            offsets = self._integers(layout, entries[offsets_tag], offsets_tag)
            counts = self._integers(layout, entries[counts_tag], counts_tag)
            ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
            if 0 in counts or not ends:
                raise InputError(f"{self.path}: page {self.page} has blocks without pixels; "
                                 f"the file is damaged or was never finished")  # fmt: skip
            self._need(max(ends), "pixels")

    def _integers(self, layout: _Layout, entry: _Entry, tag: int) -> tuple[int, ...]:
        if entry.type not in INTEGER_TYPES:
            raise InputError(f"{self.path}: page {self.page}, tag {tag}: the file is damaged")
        code = f"{entry.values}{INTEGER_TYPES[entry.type]}"
        return self._unpack(layout, code, entry.position, f"tag {tag}")

    def _look_at(self, size: int) -> None:
        """Count what is read: in a sound file hardly anything belongs to several pages."""
        self.looked_at += size
        if self.looked_at > SHARED * self.size + FORGIVEN:
            raise InputError(
                f"{self.path}: the directories of its first {self.page + 1} pages would be "
                f"{self.looked_at} bytes and the file has {self.size}: they share their entries; "
                "export it again"
            )

    def _unpack(self, layout: _Layout, code: str, position: int, what: str) -> tuple[int, ...]:
        code = layout.order + code
        self._need(position + struct.calcsize(code), what)
        self.file.seek(position)
        return struct.unpack(code, self.file.read(struct.calcsize(code)))

    def _need(self, end: int, what: str) -> None:
        if end > self.size:
            raise self._cut_short(f"the {what} of page {self.page}", end)

    def _cut_short(self, what: str, end: int) -> InputError:
        return InputError(
            f"{self.path}: truncated: {what} would end at byte {end} or later and the file has "
            f"{self.size} bytes; copy or export it again"
        )
