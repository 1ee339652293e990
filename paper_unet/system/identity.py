"""What tells a file from every other one, at any time, and from itself as it was."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path


def identity_of(path: Path) -> str:
    """Return what tells a file or folder from every other one, at any time; "" if it is gone.

    The number of its inode alone does not: it is used again when a file was removed. Where the
    system does not tell when a file was born, number and type have to do.
    """
    try:
        status = path.lstat()
    except OSError:
        return ""
    return f"{stat.S_IFMT(status.st_mode):x}:{status.st_ino:x}:{_born(path, status):x}"


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written or another gets its name; None if it is gone."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _born(path: Path, status: os.stat_result) -> int:
    """Return when a file was made, nanoseconds; 0 if the system does not tell."""
    seconds = getattr(status, "st_birthtime", None)  # macOS; Windows from Python 3.12
    if seconds is not None:
        return round(float(seconds) * 1e9)
    statx = getattr(ctypes.CDLL(None), "statx", None) if os.name == "posix" else None
    if statx is None:
        return 0
    here, itself, birth = -100, 0x100, 0x800  # AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BTIME
    found = ctypes.create_string_buffer(256)
    if statx(here, os.fsencode(path), itself, birth, found):
        return 0
    fields = memoryview(found.raw)
    if not int.from_bytes(fields[:4], sys.byteorder) & birth:  # stx_mask: what was told
        return 0
    whole, rest = fields[80:88], fields[88:92]  # of stx_btime
    return int.from_bytes(whole, sys.byteorder) * 10**9 + int.from_bytes(rest, sys.byteorder)
