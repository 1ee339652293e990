"""Files that are whole or absent: one way to lock, to write, to name what is in the way."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from paper_unet.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OF_A_RUN = (".partial", ".replaced", ".journal")
"""What the names end with that a run gives to what it leaves beside its output."""


KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
"""What has the name of a file and is none."""


def check_regular(path: str | Path) -> int:
    """Check that a path leads to a regular file: others may never end, or do something when read.

    Parameters
    ----------
    path : str or Path
        Links are followed.

    Returns
    -------
    int
        Its size, bytes.

    Raises
    ------
    InputError
        If it leads to anything else, or nowhere.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        raise _cannot_be_read(path, error) from error
    return _size_of_regular(path, status)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to be read; see `check_regular`.

    Returns
    -------
    BinaryIO
        Use it in a ``with`` statement or close it.

    Raises
    ------
    InputError
        If it is no regular file, or may not be read.
    """
    check_regular(path)
    try:
        # never wait for the other end of a pipe that took the name meanwhile
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115  (the caller closes it)
    except OSError as error:
        raise _cannot_be_read(path, error) from error
    try:
        _size_of_regular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _size_of_regular(path: str | Path, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise InputError(f"{path}: is {kind}, a regular file is needed; copy the data into one")
    return status.st_size


def _cannot_be_read(path: str | Path, error: OSError | ValueError) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path}: cannot be read ({reason}); check its name and its rights")


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a whole file or nothing.

    The bytes go to a partial file in the same folder, reach the disk, and take the final name in
    one step; a previous file of that name stays until then.

    Parameters
    ----------
    path : str or Path
        The final name; its folder must exist.
    data : bytes
        The content.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    path = Path(path)
    require_folder(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_alone(path: Path, taken: str) -> FileIO:
    """Open a file to read and write, for this process alone until it is closed.

    Where the system has no locks (Windows) it is only opened.

    Parameters
    ----------
    path : Path
        Made unless it is there; its folder must exist.
    taken : str
        What to say if another process has it.

    Returns
    -------
    FileIO
        Unbuffered; use it in a ``with`` statement or close it.

    Raises
    ------
    InputError
        If another process has it, or it cannot be written.
    """
    require_folder(path)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        if path.exists() and not path.is_dir():  # of a folder the system says it
            check_regular(path)  # a pipe or a device would be opened
        file = FileIO(os.open(path, flags, 0o666), "r+")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another output"
        ) from error
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # between open and lock, the other process may have renamed or removed this file
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError
    except BlockingIOError:
        file.close()
        raise InputError(taken) from None
    except BaseException:
        file.close()
        raise
    return file


def sync_file(path: Path) -> None:
    """Return when what was written to a file, by whatever process, is on disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names that were created or replaced in a folder survive a power loss."""
    if os.name == "nt":  # Windows cannot open a folder, and needs no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_stamp(path: Path) -> dict[str, int]:
    """Return size and time of a file, bytes and nanoseconds: what changes when it is written.

    Raises
    ------
    InputError
        If it is gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: is gone ({error.strerror}); put it back") from error
    return {"bytes": status.st_size, "modified": status.st_mtime_ns}


def require_folder(path: Path) -> None:
    """Raise InputError unless the folder that is to hold `path` exists."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")


def check_free_name(path: Path, *, overwrite: bool) -> None:
    """Raise InputError unless the name is free, or may be replaced."""
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name or add --overwrite")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises
    ------
    InputError
        If something else has the name, or nothing may be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made a folder ({error.strerror}); choose another"
        ) from error


@contextmanager
def naming_full_disk(path: Path, need: int, remedy: str) -> Iterator[None]:
    """Turn the errors of a full disk into one line.

    Parameters
    ----------
    path : Path
        What is written.
    need : int
        Bytes it may take in all.
    remedy : str
        What to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        reason = "the disk is full"
        if error.errno == errno.EFBIG:
            reason = "the file grows beyond what its disk or a limit (ulimit -f) allows"
        raise no_space(path, need, reason, remedy) from error


def no_space(path: Path, need: int, reason: str, remedy: str) -> InputError:
    """Return the error that says how many bytes are needed, and free."""
    free = shutil.disk_usage(path.parent).free
    return InputError(f"{path}: {reason}: {need} bytes needed, {free} free; {remedy}")


def refuse_same_file(source: str | Path, target: str | Path) -> None:
    """Raise InputError if writing the output would touch the input, under whatever name.

    Parameters
    ----------
    source, target : str or Path
        What is read, and what is to be written; files or folders. Neither needs to exist.

    Raises
    ------
    InputError
        If they are the same, one lies inside the other, or the input lies in what a run leaves
        beside its output until it is done, and removes.
    """
    source, target = Path(source), Path(target)
    if _same(source, target):
        raise InputError(f"{target}: is the input {source} itself; choose another output")
    for place in _lineage(source):
        if _same(place, target):
            raise InputError(
                f"{target}: holds the input {source}, which would be lost; choose another output"
            )
        beside = place.name.startswith(f"{target.name}.") and place.name.endswith(OF_A_RUN)
        if beside and _same(place.parent, target.parent):
            raise InputError(
                f"{target}: would replace {place.name}, which holds the input {source}; choose "
                "another output"
            )
    if any(_same(place, source) for place in _lineage(target)):
        raise InputError(
            f"{target}: lies inside the input {source}, which would change; choose another output"
        )


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def _lineage(path: Path) -> set[Path]:
    """Return a path and the folders above it, as it is given and as links lead to it."""
    given, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))  # noqa: PTH100  (keeps links)
    return {given, *given.parents, real, *real.parents}
