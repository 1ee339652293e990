"""Files that are whole or absent: one way to write, to name, to say what is in the way."""

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
from paper_unet.system.address import address_of, refuse_same_address
from paper_unet.system.names import (
    BINARY,
    JOURNAL,
    REPLACED,
    UNFINISHED,
    give_name,
    kind_of,
    kind_of_mode,
    name_without_replacing,
    unnamed_file,
)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM = "make room, and give the same command again"

REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check its rights"),
    errno.EMFILE: "allow more open files (ulimit -n), or open fewer at once",
    errno.ENFILE: "the system has too many open: end other programs",
    errno.ENOMEM: "free some memory, or allow less of it",
}
"""What helps where it is the system that refuses, whatever a file holds."""


def remedy_of(error: BaseException) -> str | None:
    """Return what helps against an error that says nothing of the file; None of any other."""
    if isinstance(error, MemoryError):
        return f"{REMEDIES[errno.ENOMEM]}; if it should take less, copy or export it again"
    return REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


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
        raise cannot_be_read(path, error) from error
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
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY
        file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115  (the caller closes it)
    except OSError as error:
        raise cannot_be_read(path, error) from error
    try:
        _size_of_regular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _size_of_regular(path: str | Path, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        kind = kind_of_mode(status.st_mode)
        remedy = "name one in it" if stat.S_ISDIR(status.st_mode) else "copy the data into one"
        raise InputError(f"{path}: is a {kind}, a regular file is needed; {remedy}")
    return status.st_size


def cannot_be_read(path: str | Path, error: OSError | ValueError) -> InputError:
    """Return the error that says why the system does not give a file, and what to do."""
    reason = getattr(error, "strerror", None) or error
    remedy = remedy_of(error) or "check its name and its rights"
    return InputError(f"{path}: cannot be read ({reason}); {remedy}")


def write_atomic(path: str | Path, data: bytes, *, overwrite: bool = True, token: str = "") -> None:
    """Write a whole file or nothing.

    The bytes go to a partial file in the same folder, reach the disk, and take the final name in
    one step; a previous file of that name stays until then.

    Parameters
    ----------
    path : str or Path
        The final name; its folder must exist.
    data : bytes
        The content.
    overwrite : bool
        Whether it may take the place of a file that is there.
    token : str
        Part of the partial file's name, by which the next run knows what a killed one left; by
        default a random one.

    Raises
    ------
    InputError
        If the folder does not exist, or the name is taken and may not be replaced: by a file
        unless ``overwrite``, by a folder, a link or anything else always; or the disk is full.
    """
    path = Path(path)
    require_folder(path)
    check_free_name(path, overwrite=overwrite, folders=False)
    partial = scratch_name(path, token or secrets.token_hex(16))
    try:
        with naming_full_disk(path, len(data), ROOM):
            named = _write_beside(partial, data, None if overwrite else path)
            if overwrite:
                partial.replace(path)
            elif named == partial:
                name_without_replacing(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            check_free_name(path, overwrite=overwrite, folders=False)  # it appeared meanwhile
        raise
    sync_folder(path.parent)


def _write_beside(partial: Path, data: bytes, final: Path | None) -> Path:
    """Write a new file to the disk, and return which name it has then.

    Where the system can make a file without a name, a kill leaves nothing behind.
    """
    file = unnamed_file(partial.parent)
    name = partial if file is None or final is None else final
    with file or partial.open("xb", buffering=0) as opened:
        _write_all(opened, data)
        os.fsync(opened.fileno())
        if file is not None:
            give_name(file, name)
    return name


def replace_file(name: str, *data: bytes) -> None:
    """Write one of many small files, whole or not at all, in place of one that has its name.

    Nothing is looked at before, and it is on disk to stay only after `sync_file` and `sync_folder`.
    What a kill leaves has a name of its own that ends in ``.partial``.

    Parameters
    ----------
    name : str
        The final name, as text; its folder must exist.
    *data : bytes
        The content, in parts that follow each other.
    """
    partial = f"{name}.{secrets.token_hex(8)}{UNFINISHED}"
    try:
        with open(partial, "xb", buffering=0) as file:  # noqa: PTH123  (text is quicker)
            for part in data:
                _write_all(file, part)
        os.replace(partial, name)  # noqa: PTH105
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def scratch_name(path: Path, token: str) -> Path:
    """Return what a file is called while `write_atomic` writes it."""
    return path.with_name(f".{path.name}.{token}{UNFINISHED}")


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


def check_free_name(path: Path, *, overwrite: bool, folders: bool = True) -> None:
    """Raise InputError unless the name is free, or may be replaced.

    A symbolic link is refused, whether it leads anywhere or not: what would be replaced is not
    what was named. So are named pipes, sockets and devices, and folders if a file is to be written.
    """
    kind = kind_of(path)
    if kind == "symbolic link":
        raise InputError(
            f"{path}: is a symbolic link, to {path.readlink()}; give the name of the file or "
            "folder itself, or remove the link"
        )
    if kind is not None and kind not in ("file", "folder"):
        raise InputError(f"{path}: is a {kind} and is not replaced; choose another name")
    if kind == "folder" and not folders:
        raise InputError(f"{path}: is a folder; give the name of a file")
    if kind is not None and not overwrite:
        raise InputError(f"{path}: exists already; choose another name or add `overwrite`")


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
    addresses = address_of(source), address_of(target)
    if any(addresses):  # nothing on this machine is in the way of one elsewhere
        refuse_same_address(*addresses)
        return
    if _same(source, target):
        raise InputError(f"{target}: is the input {source} itself; choose another output")
    for place in _lineage(source):
        if _same(place, target):
            raise InputError(
                f"{target}: holds the input {source}, which would be lost; choose another output"
            )
        beside = place.name.startswith(f"{target.name}.") and place.name.endswith(
            (UNFINISHED, REPLACED, JOURNAL)
        )
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
