"""Files of the user's, of every kind, where a run would have its own."""

import os
import socket
from pathlib import Path


def make(path: Path, kind: str) -> None:
    """Make something of the user's."""
    if kind == "folder":
        path.mkdir()
        (path / "precious").write_text("mine")
    elif kind == "empty folder":
        path.mkdir()
    elif kind in ("link", "dangling link"):
        path.symlink_to(path.parent / ("victim" if kind == "link" else "nowhere"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # its name may be no longer than 107 bytes
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    else:
        path.write_text("" if kind == "empty file" else '{"mine": 1}\n')


KINDS = ["file", "empty file", "folder", "empty folder", "link", "dangling link"]
KINDS += ["pipe", "socket"] if os.name == "posix" else []


def everything(folder: Path) -> dict[str, object]:
    """What is in a folder and below, and that it is the same: kind, inode, time, content."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        plain = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if plain else path.is_symlink() and path.readlink()
        found[str(path.relative_to(folder))] = (
            status.st_mode, status.st_ino, status.st_mtime_ns, content
        )  # fmt: skip
    return found
