"""What of a long run is done: a file beside the output that survives kill -9 and power loss.

``OUT.journal`` has a JSON object in each line: first the header, all that has to agree for a run
to be the same run, then ``{"done": k}`` for each piece that is on disk. A line that a crash cut is
ignored, so its piece is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.system.files import naming_full_disk, open_alone, sync_folder


class Journal:
    """The record of a run; made by `open_journal`.

    Attributes
    ----------
    path : Path
        ``OUT.journal``.
    header : dict or None
        What this run, or the one that was interrupted, began with; None if neither has begun.
    done : set of int
        The pieces that are recorded.
    """

    def __init__(self, out: Path, descriptor: int) -> None:
        self.out = out
        self.path = _journal_path(out)
        self.header: dict[str, Any] | None = None
        self.done: set[int] = set()
        self._descriptor = descriptor
        self._read()

    def begin(self, header: dict[str, Any]) -> None:
        """Start a run, or go on with the one that was interrupted.

        Parameters
        ----------
        header : dict
            JSON: what has to agree for two runs to be the same.

        Raises
        ------
        InputError
            If the interrupted run had another header; names the first field that differs.
        """
        header = json.loads(json.dumps(header))
        if self.header is None:
            self._append(header)
            self.header = header
            return
        difference = _first_difference(self.header, header)
        if difference is not None:
            name, then, now = difference
            raise InputError(
                f"{self.out}: an interrupted run of it had {name} = {then}, this one has {now}; "
                "give the same to go on, --overwrite to start anew, or another output name"
            )

    def restart(self) -> None:
        """Forget what is there."""
        self._cut(0)
        self.header = None
        self.done.clear()

    def record(self, piece: int) -> None:
        """Note that a piece is done; on disk when this returns.

        Raises
        ------
        InputError
            If the disk is full.
        """
        if self.header is None:
            raise ValueError(f"{self.path}: begin comes before record")
        if piece not in self.done:
            self._append({"done": int(piece)})
            self.done.add(int(piece))

    def remove(self) -> None:
        """Drop the journal of a run that is finished; the file goes when the lock does."""
        self.restart()

    def _append(self, entry: dict[str, Any]) -> None:
        line = (json.dumps(entry) + "\n").encode()
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        remedy = "make room and run the same command again: it goes on where it stopped"
        with naming_full_disk(self.path, len(line), remedy):
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, end)
                raise

    def _read(self) -> None:
        """Take over the lines that are whole; cut off the rest."""
        data = _contents(self._descriptor)
        entries, whole = _whole_lines(data)
        if entries:
            self.header = entries[0]
            self.done = {entry["done"] for entry in entries[1:]}
        elif data.strip(b"\0") and (not data.startswith(b"{") or b"\n" in data):
            raise InputError(
                f"{self.path}: is no journal of an interrupted run; move it elsewhere, or choose "
                "another output name"
            )
        if whole < len(data):
            self._cut(whole)

    def _cut(self, length: int) -> None:
        os.ftruncate(self._descriptor, length)
        os.fsync(self._descriptor)


@contextmanager
def open_journal(out: str | Path) -> Iterator[Journal]:
    """Open the journal of an output, for this process alone.

    Parameters
    ----------
    out : str or Path
        The output's final name; the journal is ``<name>.journal`` beside it.

    Yields
    ------
    Journal
        Empty, or what an interrupted run left. When the ``with`` statement ends without anything
        recorded, no file remains.

    Raises
    ------
    InputError
        If another process has it, or the folder cannot be written.
    """
    out = Path(out)
    path = _journal_path(out)
    taken = f"{out}: another process is writing it; wait for it, or choose another output name"
    with open_alone(path, taken) as file:
        sync_folder(path.parent)
        journal = Journal(out, file.fileno())
        try:
            yield journal
        finally:
            if journal.header is None:
                if os.name == "nt":  # Windows does not remove an open file
                    file.close()
                path.unlink(missing_ok=True)
                sync_folder(path.parent)


def _journal_path(out: Path) -> Path:
    """Return where the journal of an output lies."""
    return out.with_name(out.name + ".journal")


def current_run(out: Path) -> str | None:
    """Return the ``run`` of the header of an output's journal; None if there is no run.

    What computes for a run looks here before it writes: a run that was killed and started anew
    with other settings may have left workers behind.
    """
    try:
        with _journal_path(out).open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    run = header.get("run") if isinstance(header, dict) else None
    return run if isinstance(run, str) else None


def _first_difference(
    then: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> tuple[str, str, str] | None:
    """Find the first field in which two headers differ.

    Parameters
    ----------
    then, now : dict
        JSON objects.
    prefix : str
        Before the names of the fields.

    Returns
    -------
    tuple of str, or None
        Its name, with dots between those of nested objects, and both values as JSON; the word
        "nothing" stands for a field that is not there.
    """
    for name in [*now, *(name for name in then if name not in now)]:
        left, right = then.get(name, _NOTHING), now.get(name, _NOTHING)
        if isinstance(left, dict) and isinstance(right, dict):
            difference = _first_difference(left, right, f"{prefix}{name}.")
            if difference is not None:
                return difference
        elif left != right:
            return f"{prefix}{name}", _shown(left), _shown(right)
    return None


_NOTHING = object()


def _shown(value: object) -> str:
    return "nothing" if value is _NOTHING else json.dumps(value)


def _contents(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 2**20):
        parts.append(part)
    return b"".join(parts)


def _whole_lines(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the entries up to the first line that is not whole, and where they end."""
    entries: list[dict[str, Any]] = []
    whole = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):  # a power loss may leave zeros in place of a line
            break
        is_piece = isinstance(entry, dict) and type(entry.get("done")) is int
        if not line.endswith(b"\n") or not isinstance(entry, dict) or bool(entries) != is_piece:
            break
        entries.append(entry)
        whole += len(line)
    return entries, whole
