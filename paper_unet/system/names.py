"""Names in a folder: what has one, and giving one without taking it from something else."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0)
"""Flag of `os.open` that refuses a symbolic link; Windows has none."""

BINARY: int = getattr(os, "O_BINARY", 0)
"""Flag of `os.open` that leaves line ends as they are, for Windows."""

UNFINISHED, REPLACED, JOURNAL = ".partial", ".replaced", ".journal"
"""What the names end with that a run gives to what it leaves beside its output: to what it makes,
to an earlier output until the new one has its place, and to its record."""

_PART = re.compile(r"|\.(\d+-of-\d+)", re.ASCII)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
}


def kind_of(path: Path) -> str | None:
    """Return what has a name, without following a link: "file", "folder", ...; None if nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return kind_of_mode(mode)


def kind_of_mode(mode: int) -> str:
    """Return what a mode, of `os.stat`, is that of: "file", "folder", ..., "device"."""
    return _KINDS.get(stat.S_IFMT(mode), "device")


def journals_of(out: Path) -> dict[str, os.DirEntry[str]]:
    """Return what has the name of a journal of an output.

    Parameters
    ----------
    out : Path
        The output's final name; its folder must exist.

    Returns
    -------
    dict of str to os.DirEntry
        By the name of a part, such as ``2-of-3``; "" is the journal of a run, or what all parts
        share. Whose they are is not looked at.
    """
    name = out.name + JOURNAL
    with os.scandir(out.parent) as entries:
        beside = {one.name[len(name) :]: one for one in entries if one.name.startswith(name)}
    found = ((_PART.fullmatch(ending), entry) for ending, entry in beside.items())
    return {match[1] or "": entry for match, entry in found if match}


def name_without_replacing(made: Path, name: Path) -> None:
    """Rename a file or a folder; what has the name already stays.

    Raises
    ------
    FileExistsError
        If the name is taken.
    """
    if kind_of(name) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name))
    if kind_of(made) == "file":
        try:
            os.link(made, name)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            made.unlink()
            return
    made.rename(name)


def unnamed_file(folder: Path) -> FileIO | None:
    """Make a file without a name, which is gone if this process is; None where that cannot be."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return FileIO(os.open(folder, flag | os.O_RDWR, 0o666), "r+")
    except OSError:  # this file system has none; what else is wrong shows with a name
        return None


def give_name(file: FileIO, name: Path) -> None:
    """Name a file that `unnamed_file` made.

    Raises
    ------
    FileExistsError
        If the name is taken.
    """
    # with a folder given, Python follows the link of /proc to the file itself
    folder = os.open(name.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", name.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def where_links_lead(folder: Path) -> Iterator[Path]:
    """Yield the real path of each symbolic link in a folder, below it, and in what they lead to."""
    waiting, seen = [str(folder)], set()
    while waiting:
        here = waiting.pop()
        try:
            status = os.stat(here)  # noqa: PTH116  (there may be a million)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        yield Path(target)
                        if os.path.isdir(target):  # noqa: PTH112
                            waiting.append(target)
                    elif entry.is_dir():
                        waiting.append(entry.path)
        except OSError:  # is gone, or may not be read: who reads it will say so
            continue
