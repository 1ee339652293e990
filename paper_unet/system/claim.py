"""Whose a file is: a marked file locks a name, and knows what a run made beside it.

A name proves nothing. What is made for a run is known in one of two ways: by its name, if that
holds the random token which the marked file holds, too; or by its identity (inode and time of
birth), which the marked file records before the thing gets a name that others may have chosen.
Everything else belongs to somebody else: it is refused by name, and neither written to, nor
followed, nor removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from paper_unet.errors import InputError
from paper_unet.system.files import require_folder, scratch_name, sync_folder
from paper_unet.system.identity import identity_of
from paper_unet.system.names import (
    BINARY,
    JOURNAL,
    NO_LINKS,
    REPLACED,
    UNFINISHED,
    give_name,
    kind_of,
    name_without_replacing,
    unnamed_file,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MARK = '{{"paper_unet": "{}", "token": "{}", "partial": "{:50}"}}\n'
_PATTERN = re.compile(
    rb'\{"paper_unet": "(\w+)", "token": "([0-9a-f]{32})", "partial": "([^"\n]{50})"\}\n'
)
_TOKEN = 32
_EARLIER = b'{"version": 1, "input": {'
"""How every journal of an earlier version begins."""


class TakenError(InputError):
    """Another process has a name; it can be waited for."""


class Claim:
    """The right of this process to a name and to what a run makes beside it; see `take_claim`.

    Attributes
    ----------
    path : Path
        The marked file, locked.
    token : str
        Part of the names of what only this program can have made; "" in a file of an earlier
        version.
    start : int
        Where the mark ends and the content of the file begins, bytes.
    """

    def __init__(self, path: Path, file: FileIO, kind: str) -> None:
        self.path, self._file, self._kind = path, file, kind
        self.token, self._known = _parsed(_head(file), kind)
        self.start = len(_mark(kind)) if self.token else 0

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._file.fileno()

    @property
    def has_content(self) -> bool:
        """Whether anything stands behind the mark."""
        return os.fstat(self.fileno()).st_size > self.start

    def reset(self) -> None:
        """Drop what stands behind the mark; a file of an earlier version gets a mark."""
        if not self.token:
            self._replace()
        os.ftruncate(self.fileno(), self.start)
        os.fsync(self.fileno())

    def own_name(self, out: Path, ending: str) -> Path:
        """Return the name beside `out` that nothing but a run of this claim can have."""
        return out.with_name(f"{out.name}.{self.token}{ending}")

    def owns(self, path: Path) -> bool:
        """Whether a file or folder is the one that was adopted."""
        return bool(self._known) and identity_of(path) == self._known

    def adopt(self, path: Path) -> None:
        """Record a file or folder as made by a run of this claim; on disk when this returns."""
        self._known = identity_of(path)
        if self.token:
            self._write()

    def publish(self, made: Path, name: Path) -> None:
        """Adopt what was made under a name of our own, and give it the name that all see.

        Raises
        ------
        InputError
            If the name was taken meanwhile.
        """
        self.adopt(made)
        try:
            name_without_replacing(made, name)
        except FileExistsError:
            raise in_the_way(name) from None
        sync_folder(name.parent)

    def clear(self, path: Path) -> None:
        """Remove what was adopted under a name.

        Raises
        ------
        InputError
            If something else has the name.
        """
        if kind_of(path) is None:
            return
        if not self.owns(path):
            raise in_the_way(path)
        remove(path)

    def sweep(self, out: Path) -> None:
        """Remove what a run that was killed left under names of our own."""
        if not self.token:
            return
        remove(self.own_name(out, UNFINISHED))
        if kind_of(out) is not None:  # else the earlier output is still needed
            remove(self.own_name(out, REPLACED))
        partial = out.with_name(out.name + UNFINISHED)
        if self.owns(partial) and identity_of(out) == identity_of(partial):
            partial.unlink()  # killed between two names of the same file: the output is whole

    def release(self, *, keep: bool) -> None:
        """Let others have the name; unless it is kept, the marked file goes first."""
        if not keep:
            if os.name == "nt":  # Windows does not remove an open file
                self._file.close()
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        self._file.close()

    def _write(self) -> None:
        """Write the mark over the one that is there: as long, and in one call."""
        os.lseek(self.fileno(), 0, os.SEEK_SET)
        os.write(self.fileno(), _mark(self._kind, self.token, self._known))
        os.fsync(self.fileno())

    def _replace(self) -> None:
        """Put a marked file in the place of one without a mark, in one step and locked."""
        self.token = _new_token()
        self.start = len(_mark(self._kind))
        name = scratch_name(self.path, self.token)
        with _made(name, self._kind, self.token, self._known) as file:
            if os.name == "nt":  # Windows does not rename an open file
                self._file.close()
            name.replace(self.path)
            sync_folder(self.path.parent)
            if os.name == "nt":
                self._file = _opened(self.path, self._kind)
            else:
                os.dup2(file.fileno(), self.fileno(), inheritable=False)  # with its lock


def take_claim(
    path: Path, kind: str, taken: str, *, earlier: Callable[[bytes], bool] = lambda _: False
) -> Claim:
    """Open a marked file for this process alone; make it unless it is there.

    Where the system has no locks (Windows) it is only opened.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    kind : str
        What it is, one word; part of the mark.
    taken : str
        What to say if another process has it.
    earlier : callable
        Whether content without a mark is of an earlier version of this program.

    Returns
    -------
    Claim
        Call its `release` in the end.

    Raises
    ------
    TakenError
        If another process has it.
    InputError
        If it cannot be written, or something else has its name, which is left alone.
    """
    require_folder(path)
    try:
        file = _opened(path, kind) if kind_of(path) else _made(path, kind, _new_token())
    except FileExistsError:  # another process was faster
        raise TakenError(taken) from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another output"
        ) from error
    try:
        _lock(file)
        if not _is(path, file):  # between open and lock, the other process may have removed it
            raise BlockingIOError
        claim = Claim(path, file, kind)
        if not claim.token and not earlier(_head(file)):
            raise _no_mark(path, kind)
    except BlockingIOError:
        file.close()
        raise TakenError(taken) from None
    except BaseException:
        file.close()
        raise
    return claim


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds; links are not followed."""
    if kind_of(path) == "folder":
        shutil.rmtree(path)
    elif kind_of(path) is not None:
        path.unlink()


def in_the_way(path: Path) -> InputError:
    """Return the error that names what is in the way of a run and not its own."""
    return InputError(
        f"{path}: a {kind_of(path) or 'file'} that no interrupted run is known to have made is in "
        "the way and stays as it is; move it elsewhere, or choose another output name"
    )


def marked(path: Path, kind: str) -> bool:
    """Whether a file has the mark of a kind; only a regular file is looked into."""
    if kind_of(path) != "file":
        return False
    with path.open("rb") as file:
        return bool(_parsed(file.read(len(_mark(kind))), kind)[0])


def without_mark(data: bytes) -> bytes:
    """Return what stands behind a mark, if there is one."""
    found = _PATTERN.match(data)
    return data if found is None else data[found.end() :]


def journal_path(out: Path, part: str = "") -> Path:
    """Return where the marked file of an output lies, or that of a part of it."""
    return out.with_name(out.name + JOURNAL + (f".{part}" if part else ""))


def claim_output(out: Path, part: str = "", name: object = None) -> Claim:
    """Take an output for this process alone, with what an interrupted run left beside it.

    Parameters
    ----------
    out : Path
    part : str
        Such as ``2-of-3``: take that part of it, and leave alone what all parts share.
    name : object
        What messages call the output, where that is not its path.

    Raises
    ------
    TakenError
        If another process writes it.
    InputError
        If something else is called as its journal.
    """
    what = f"part {part} of it" if part else "it"
    called = out if name is None else name
    taken = (
        f"{called}: another process is writing {what}; wait for it, or choose another output name"
    )
    claim = take_claim(
        journal_path(out, part), "journal", taken, earlier=lambda head: head.startswith(_EARLIER)
    )
    if part:
        return claim
    try:
        claim.sweep(out)
    except BaseException:
        claim.release(keep=True)
        raise
    return claim


def _new_token() -> str:
    return secrets.token_hex(_TOKEN // 2)


def _mark(kind: str, token: str = "0" * _TOKEN, known: str = "") -> bytes:
    return _MARK.format(kind, token, known).encode()


def _parsed(head: bytes, kind: str) -> tuple[str, str]:
    """Return token and identity of a mark; "" if it is none.

    A mark that was cut while it was written over names an identity that nothing has.
    """
    found = _PATTERN.match(head)
    if found is None or found[1].decode() != kind:
        return "", ""
    return found[2].decode(), found[3].decode("ascii", "replace").strip()


def _head(file: FileIO) -> bytes:
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return os.read(file.fileno(), 2**16)


def _opened(path: Path, kind: str) -> FileIO:
    """Open what is there, if it is a regular file; nothing is followed or waited for."""
    if kind_of(path) != "file":
        raise _no_mark(path, kind)
    return FileIO(os.open(path, os.O_RDWR | NO_LINKS | BINARY), "r+")


def _made(path: Path, kind: str, token: str, known: str = "") -> FileIO:
    """Make the file so that it is never seen without its mark, or without the lock."""
    name, file = scratch_name(path, token), unnamed_file(path.parent)
    unnamed = file is not None
    if file is None:
        file = FileIO(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o666), "r+")
    try:
        _lock(file)
        os.write(file.fileno(), _mark(kind, token, known))
        os.fsync(file.fileno())
        if unnamed:
            give_name(file, path)
        else:
            if os.name == "nt":  # Windows does not rename an open file
                file.close()
            name_without_replacing(name, path)
        sync_folder(path.parent)
    except BaseException:
        file.close()
        if not unnamed:
            name.unlink(missing_ok=True)
        raise
    return file if os.name != "nt" else _opened(path, kind)


def _lock(file: FileIO) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is(path: Path, file: FileIO) -> bool:
    try:
        return path.lstat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _no_mark(path: Path, kind: str) -> InputError:
    what = {"journal": "journal of an interrupted run"}.get(kind, f"lock of a {kind}")
    return InputError(
        f"{path}: is no {what} and stays as it is; move it elsewhere, or choose another output name"
    )
