"""Writing files so that a final name never holds half a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from paper_unet.errors import InputError

OF_A_RUN = (".partial", ".replaced", ".journal")
"""What the names end with that a run gives to what it leaves beside its output."""


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
    return one.resolve() == other.resolve()


def _lineage(path: Path) -> set[Path]:
    """Return a path and the folders above it, as it is given and as links lead to it."""
    given, real = Path(os.path.abspath(path)), path.resolve()  # noqa: PTH100  (keeps links)
    return {given, *given.parents, real, *real.parents}
