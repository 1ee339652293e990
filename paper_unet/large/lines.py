"""Lines of JSON that know each other: each ends with a checksum of itself and all before it.

A line that was edited, moved, removed from between others or taken from another file is noticed; so
is one that a crash cut. Lines of earlier versions have no checksum: where the first line has none,
others may have none either.

Lines wait to be written, and are written and synced some at a time. A power loss may lose any
sectors of what was not synced: they read as zeros, and what is behind them is lost with them.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from typing import Any

WAITING = 256
"""Lines that wait to be written, at most."""

SECONDS = 0.5
"""How long after the last sync a line is the last one that waits."""

SECTOR = 512
"""Bytes that a disk writes, or does not write, as a whole."""

TORN = 2**19
"""Bytes at the end of a file that one write may have left; `WAITING` lines are fewer."""

LONGEST = 2**28
"""Bytes of a line; none is longer."""

_CHECK = re.compile(rb', "check": "([0-9a-f]{8})"\}\Z')
_ZEROS = re.compile(rb"\0+")
Entry = dict[str, Any]


class DamagedLineError(Exception):
    """A line is not as it was written, and no crash can have left it so; the text says which."""


def sealed_line(entry: Entry, crc: int) -> tuple[bytes, int]:
    """Return the line of an entry behind lines of this CRC-32, and the CRC-32 with it."""
    text = json.dumps(entry).encode()
    crc = zlib.crc32(text, crc)
    return text[:-1] + b', "check": "%08x"}\n' % crc, crc


def first_entry(line: bytes) -> Entry | None:
    """Return the entry of the first line of a file; None if it is not whole, or none."""
    text, check = _parted(line.removesuffix(b"\n"))
    whole = line.endswith(b"\n") and (check is None or zlib.crc32(text) == check)
    return _parsed(text) if whole else None


class SealedLines:
    """An open file of such lines, read from the start and then written at its end.

    Parameters
    ----------
    descriptor : int
        Of the file, open for reading and writing.
    start : int
        Where the lines begin, bytes.

    Attributes
    ----------
    sealed : bool
        Whether the first line has a checksum: then all have one.
    """

    def __init__(self, descriptor: int, start: int = 0) -> None:
        self.sealed = True
        self._descriptor, self._start, self._crc = descriptor, start, 0
        self._waiting: list[bytes] = []
        self._synced = time.monotonic()

    # reading

    def read(self) -> Iterator[Entry]:
        """Yield the entries, without their checksums; then cut off what a crash left of the last.

        Raises
        ------
        DamagedLineError
            At a line that is not as it was written, unless a crash can have left that.
        """
        self.sealed, self._crc = True, 0
        end = self._start
        for number, line in enumerate(self._lines()):
            text, check = _parted(line)
            entry, crc = _parsed(text), zlib.crc32(text, self._crc)
            if number == 0:
                self.sealed = check is not None
            fits = crc == check if check is not None else not self.sealed
            if entry is None or not fits:
                if not self._is_torn(line, end):
                    raise DamagedLineError(f"line {number + 1} is damaged")
                break
            yield entry
            end += len(line) + 1
            self._crc = crc
        self.sealed = self.sealed or end == self._start  # a first line that was torn is gone
        if end < os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)

    def _lines(self) -> Iterator[bytes]:
        """Yield what stands before each end of a line; or is too long for one."""
        rest, place = b"", self._start
        while data := self._read_at(place, 2**18):
            place += len(data)
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
            if len(rest) > LONGEST:
                yield rest
                return

    def _is_torn(self, line: bytes, start: int) -> bool:
        """Whether a crash can have left a line that begins at ``start`` so, and what follows.

        A kill cuts the last line off. A power loss leaves sectors of zeros in what one write had:
        they begin with the write or a sector, and end with a sector or the file.
        """
        size = os.fstat(self._descriptor).st_size
        if self._only_zeros(start + len(line) + 1):
            return _parsed(line) is None
        hole = _ZEROS.search(line)
        if hole is None or size - start > TORN:
            return False
        begins, ends = start + hole.start(), start + hole.end()
        return (begins % SECTOR == 0 or not hole.start()) and (ends % SECTOR == 0 or ends == size)

    def _only_zeros(self, place: int) -> bool:
        while data := self._read_at(place, 2**20):
            if data.strip(b"\0"):
                return False
            place += len(data)
        return True

    def _read_at(self, place: int, count: int) -> bytes:
        os.lseek(self._descriptor, place, os.SEEK_SET)
        return os.read(self._descriptor, count)

    # writing

    def append(self, entry: Entry) -> None:
        """Add a line, which waits to be written."""
        line, self._crc = sealed_line(entry, self._crc)
        self._waiting.append(line)

    def due(self) -> bool:
        """Whether what waits has to be written now: it is much, or the last sync is long ago."""
        return len(self._waiting) >= WAITING or time.monotonic() - self._synced >= SECONDS

    def flush(self) -> None:
        """Return when all lines are on disk.

        Raises
        ------
        OSError
            If they could not be written; they go on waiting.
        """
        if not self._waiting:
            return
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        data = b"".join(self._waiting)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)
            raise
        self._waiting.clear()
        self._synced = time.monotonic()

    def waiting(self) -> int:
        """Return the bytes that wait to be written."""
        return sum(map(len, self._waiting))


def _parted(line: bytes) -> tuple[bytes, int | None]:
    """Return a line as it was before `sealed_line`, and its checksum."""
    found = _CHECK.search(line)
    return (line, None) if found is None else (line[: found.start()] + b"}", int(found[1], 16))


def _parsed(text: bytes) -> Entry | None:
    """Return a JSON object; None if it is none."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
