"""What of a long run is done: a file beside the output that survives kill -9 and power loss.

``OUT.journal`` has a JSON object in each line: first the mark by which it is known as ours (see
`paper_unet.system.claim`); then the header, all that has to agree for a run to be the same run;
then ``{"frame": [bytes, CRC-32]}``, of what lies beside the pixels; then
``{"done": k, "stored": [bytes, CRC-32]}`` for each piece that is on disk, with the checksum of its
bytes there; ``{"again": [k, ...]}`` takes pieces back, and ``{"amended": {...}}`` changes fields of
the header. Each line behind the mark has a checksum
itself. A last line that a crash cut is ignored, so its piece is done again; anything else that is
not as it was written is refused. Journals of earlier versions have no mark and no checksums.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images import Stored
from paper_unet.large.lines import read_lines, sealed_line
from paper_unet.system.claim import Claim, claim_output, journal_path, without_mark
from paper_unet.system.files import naming_full_disk

LONGEST_SHOWN = 200
"""Characters of a value in a message."""


class Journal:
    """The record of a run; made by `open_journal`.

    Attributes
    ----------
    path : Path
        ``OUT.journal``.
    header : dict or None
        What this run, or the one that was interrupted, began with; None if neither has begun.
    sealed : bool
        Whether the header has a checksum; those of earlier versions have none.
    frame : Stored or None
        What `Output.frame` was when the output was prepared.
    done : set of int
        The pieces that are recorded.
    stored : dict
        What `Output.stored` is of a piece; None where it is not known.
    left : bool
        Whether there is a run to go on with, or was one whose damaged journal was dropped.
    claim : Claim
        The lock, and what of the files beside the output is the run's own.
    """

    def __init__(self, out: Path, claim: Claim, *, overwrite: bool = False) -> None:
        self.out, self.claim = out, claim
        self.path = claim.path
        self.header: dict[str, Any] | None = None
        self.sealed, self.left = True, False
        self.frame: Stored | None = None
        self.done: set[int] = set()
        self.stored: dict[int, Stored | None] = {}
        self._descriptor, self._crc = claim.fileno(), 0
        self._read(overwrite)

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
        else:
            self.compare(header)

    def compare(self, header: dict[str, Any], aside: Collection[str] = ()) -> None:
        """Raise InputError if the interrupted run had another header, but for fields ``aside``."""
        left = {name: value for name, value in (self.header or {}).items() if name not in aside}
        difference = _first_difference(left, header)
        if difference is not None:
            name, then, now = difference
            raise InputError(
                f"{self.out}: an interrupted run of it had {name} = {then}, this one has {now}; "
                "give the same to go on, `overwrite` to start anew, or another output name"
            )

    def amend(self, fields: dict[str, Any]) -> None:
        """Change fields of the header of an interrupted run, and keep its pieces."""
        if fields:
            self._note({"amended": fields})

    def restart(self) -> None:
        """Forget what is there."""
        self.claim.reset()
        self._descriptor = self.claim.fileno()
        self.header = self.frame = None
        self.sealed, self._crc = True, 0
        self.done.clear()
        self.stored.clear()

    def record(self, piece: int, stored: Stored | None = None) -> None:
        """Note that a piece is done; on disk when this returns.

        Parameters
        ----------
        piece : int
        stored : Stored, optional
            Its bytes on disk.

        Raises
        ------
        InputError
            If the disk is full.
        """
        if self.header is None:
            raise ValueError(f"{self.path}: begin comes before record")
        if piece not in self.done:
            entry = {} if stored is None else {"stored": list(stored)}
            self._note({"done": int(piece), **entry})

    def record_frame(self, frame: Stored | None) -> None:
        """Note what lies beside the pixels of the output, now that it is prepared."""
        if frame is not None and frame != self.frame:
            self._note({"frame": list(frame)})

    def take_back(self, pieces: Iterable[int]) -> None:
        """Note that pieces have to be done again after all."""
        self._note({"again": sorted(pieces)})

    def damaged(self, what: str) -> InputError:
        """Return the error of a journal that cannot be gone on with, and why."""
        return InputError(
            f"{self.path}: {what}, so it is not as this program wrote it; put back what it was, "
            "start anew with `overwrite`, or choose another output name"
        )

    def remove(self) -> None:
        """Drop the journal of a run that is finished; the file goes when the lock does."""
        self.restart()

    def _note(self, entry: dict[str, Any]) -> None:
        self._append(entry)
        self._take(entry)

    def _append(self, entry: dict[str, Any]) -> None:
        line, crc = sealed_line(entry, self._crc)
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
        self._crc = crc

    def _read(self, overwrite: bool) -> None:
        """Take over the lines that are whole; cut off what a crash left of the last one."""
        data = _contents(self._descriptor, self.claim.start)
        lines = read_lines(data)
        try:
            if lines.bad is not None:
                raise self.damaged(f"line {lines.bad} is damaged")
            if self.claim.token and not lines.sealed:
                raise self.damaged("line 1 has no checksum")
            for number, entry in enumerate(lines.entries):
                if not (self._take(entry) if number else self._take_header(entry)):
                    raise self.damaged(f"line {number + 1} is of no use there")
        except InputError:
            if not overwrite:
                raise
            self.restart()
            self.left = True
            return
        self.left = self.header is not None
        self.sealed, self._crc = lines.sealed, lines.crc
        if lines.length < len(data):
            self._cut(lines.length)

    def _take_header(self, entry: dict[str, Any]) -> bool:
        if {"done", "frame", "again", "amended"} & entry.keys():
            return False
        self.header = entry
        return True

    def _take(self, entry: dict[str, Any]) -> bool:
        """Take over what a line says; return whether it says something."""
        if "done" in entry:
            return self._take_piece(entry["done"], entry.get("stored"))
        if "frame" in entry:
            self.frame = _stored(entry["frame"])
            return self.frame is not None
        if isinstance(fields := entry.get("amended"), dict):
            self.header = {**(self.header or {}), **fields}
            return True
        again = entry.get("again")
        if not isinstance(again, list) or not _are_counts(again):
            return False
        self.done.difference_update(again)
        return True

    def _take_piece(self, piece: Any, values: Any) -> bool:
        stored = _stored(values)
        if not _are_counts([piece]) or (values is not None and stored is None):
            return False
        self.done.add(piece)
        self.stored[piece] = stored
        return True

    def _cut(self, length: int) -> None:
        os.ftruncate(self._descriptor, self.claim.start + length)
        os.fsync(self._descriptor)


@contextmanager
def open_journal(out: str | Path, *, overwrite: bool = False) -> Iterator[Journal]:
    """Open the journal of an output, for this process alone.

    Parameters
    ----------
    out : str or Path
        The output's final name; the journal is ``<name>.journal`` beside it.
    overwrite : bool
        Whether one that is damaged is dropped.

    Yields
    ------
    Journal
        Empty, or what an interrupted run left. When the ``with`` statement ends without anything
        recorded, no file remains.

    Raises
    ------
    InputError
        If another process has it, the folder cannot be written, something else has its name, or it
        is damaged.
    """
    out = Path(out)
    claim = claim_output(out)
    keep = True
    try:
        journal = Journal(out, claim, overwrite=overwrite)
        try:
            yield journal
        finally:
            keep = journal.header is not None
    finally:
        claim.release(keep=keep)


def current_run(out: Path) -> str | None:
    """Return the ``run`` of the header of an output's journal; None if there is no run.

    What computes for a run looks here before it writes: a run that was killed and started anew
    with other settings may have left workers behind.
    """
    try:
        with journal_path(out).open("rb") as file:
            header = json.loads(without_mark(file.read(2**20)).partition(b"\n")[0])
    except (OSError, ValueError, RecursionError):
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
    text = "nothing" if value is _NOTHING else json.dumps(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _contents(descriptor: int, start: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 2**20):
        parts.append(part)
    return b"".join(parts)


def _stored(values: Any) -> Stored | None:
    """Return what a list of two numbers says; None if it is another thing."""
    if not isinstance(values, list) or len(values) != 2 or not _are_counts(values):
        return None
    return Stored(*values)


def _are_counts(values: list[Any]) -> bool:
    """Whether all are whole numbers, none below 0."""
    return all(type(value) is int and value >= 0 for value in values)
