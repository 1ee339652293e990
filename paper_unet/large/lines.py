"""Lines of JSON that know each other: each ends with a checksum of itself and all before it.

A line that was edited, moved, removed from between others or taken from another file is noticed; so
is one that a crash cut. Lines of earlier versions have no checksum: where the first line has none,
others may have none either.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

_CHECK = re.compile(rb', "check": "([0-9a-f]{8})"\}\Z')


@dataclass
class Lines:
    """What `read_lines` found, and where the next line goes on.

    Attributes
    ----------
    entries : list of dict
        Of the lines that are whole, without their checksums.
    length : int
        Where they end, bytes.
    crc : int
        CRC-32 of all of them.
    sealed : bool
        Whether the first one has a checksum: then all have one.
    bad : int or None
        The number, from 1, of a line that is not as it was written, and that no crash can have
        left so: something stands after it, or it is whole JSON. None if there is none.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    length: int = 0
    crc: int = 0
    sealed: bool = True
    bad: int | None = None


def sealed_line(entry: dict[str, Any], crc: int) -> tuple[bytes, int]:
    """Return the line of an entry behind lines of this CRC-32, and the CRC-32 with it."""
    text = json.dumps(entry).encode()
    crc = zlib.crc32(text, crc)
    return text[:-1] + b', "check": "%08x"}\n' % crc, crc


def read_lines(data: bytes) -> Lines:
    """Return the lines up to the first that is not as it was written."""
    lines = Lines()
    *whole, rest = data.split(b"\n")
    for number, line in enumerate(whole):
        text, check = _parted(line)
        entry, crc = _parsed(text), zlib.crc32(text, lines.crc)
        if number == 0:
            lines.sealed = check is not None
        fits = crc == check if check is not None else not lines.sealed
        if entry is None or not fits:
            last = number == len(whole) - 1 and not rest.strip(b"\0")
            lines.bad = None if last and _parsed(line) is None else number + 1
            return lines
        lines.entries.append(entry)
        lines.length += len(line) + 1
        lines.crc = crc
    return lines


def _parted(line: bytes) -> tuple[bytes, int | None]:
    """Return a line as it was before `sealed_line`, and its checksum."""
    found = _CHECK.search(line)
    return (line, None) if found is None else (line[: found.start()] + b"}", int(found[1], 16))


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None if it is none, or one that names a checksum it does not have."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
