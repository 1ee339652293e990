"""What of a long run is done: a file beside the output that survives kill -9 and power loss.

``OUT.journal`` has a JSON object in each line: first the mark by which it is known as ours (see
`paper_unet.system.claim`); then the header, all that has to agree for a run to be the same run;
then ``{"frame": [bytes, CRC-32]}``, of what lies beside the pixels; then
``{"done": k, "stored": [bytes, CRC-32]}`` for each piece that is on disk, with the checksum of its
bytes there, and in the journal of a part the chunks of a pyramid that it completed, as
``"derived": [[level, z, row, column, bytes, CRC-32], ...]``; ``{"again": [k, ...]}`` takes pieces
back, and ``{"amended": {...}}`` changes fields of the header. Each line behind the mark has a
checksum itself. What a crash cut off the end is
ignored, so its pieces are done again; anything else that is not as it was written is refused.
Journals of earlier versions have no mark and no checksums.

Lines of pieces are synced together: when half a second has passed since the last sync, or 256 of
them wait, and whenever a run ends, however it does. A kill loses what was recorded within half a
second at most.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images import Chunk, Output, Stored
from paper_unet.large.difference import first_difference
from paper_unet.large.lines import LONGEST, DamagedLineError, SealedLines, first_entry
from paper_unet.large.recorded import Recorded
from paper_unet.system.claim import Claim, claim_output, journal_path, without_mark
from paper_unet.system.files import naming_full_disk

TOGETHER = 100
"""Pieces that a line takes back, at most."""


class Journal:
    """The record of a run; made by `open_journal`.

    Attributes
    ----------
    path : Path
        ``OUT.journal``.
    header : dict or None
        What this run, or the one that was interrupted, began with; None if neither has begun.
    sealed : bool
        Whether the lines have checksums; those of earlier versions have none.
    frame : Stored or None
        What `Output.frame` was when the output was prepared.
    stored : Recorded
        What `Output.stored` is of each piece that is recorded; None where it is not known.
    done : set of int
        The pieces that are recorded: the keys of ``stored``.
    derived : dict of Chunk to Stored
        The chunks of a pyramid that the pieces of a part completed.
    left : bool
        Whether there is a run to go on with, or was one whose damaged journal was dropped.
    claim : Claim
        The lock, and what of the files beside the output is the run's own.
    """

    def __init__(self, out: object, claim: Claim, *, overwrite: bool = False) -> None:
        self.out, self.claim = out, claim
        self.path = claim.path
        self.header: dict[str, Any] | None = None
        self.left = False
        self.frame: Stored | None = None
        self.stored = Recorded()
        self.derived: dict[Chunk, Stored] = {}
        self._lines = SealedLines(claim.fileno(), claim.start)
        self._read(overwrite)

    @property
    def done(self) -> Set[int]:
        """The pieces that are recorded."""
        return self.stored.keys()

    @property
    def sealed(self) -> bool:
        """Whether the lines have checksums."""
        return self._lines.sealed

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
        if self.header is not None:
            self.compare(header)
            return
        try:
            self._lines.append(header)
            self.flush()
        except (InputError, OSError):
            self.restart()
            raise
        self.header = header

    def compare(self, header: dict[str, Any], aside: Collection[str] = ()) -> None:
        """Raise InputError if the interrupted run had another header, but for fields ``aside``."""
        refuse_other(self.out, self.header or {}, header, aside)

    def amend(self, fields: dict[str, Any]) -> None:
        """Change fields of the header of an interrupted run, and keep its pieces."""
        if fields:
            self.header = {**(self.header or {}), **fields}
            self._lines.append({"amended": fields})
            self.flush()

    def restart(self) -> None:
        """Forget what is there."""
        self.claim.reset()
        self._lines = SealedLines(self.claim.fileno(), self.claim.start)
        self.header = self.frame = None
        self.stored.clear()
        self.derived.clear()

    def record(
        self,
        piece: int,
        stored: Stored | None = None,
        derived: Mapping[Chunk, Stored] | None = None,
    ) -> None:
        """Note that a piece is done; on disk after the next `flush`, or on its own some time later.

        Parameters
        ----------
        piece : int
        stored : Stored, optional
            Its bytes on disk.
        derived : mapping of Chunk to Stored, optional
            The chunks of a pyramid that it completed.

        Raises
        ------
        InputError
            If the disk is full.
        """
        if self.header is None:
            raise ValueError(f"{self.path}: begin comes before record")
        if piece not in self.stored:
            entry: dict[str, Any] = {} if stored is None else {"stored": list(stored)}
            if derived:
                self.derived.update(derived)
                entry["derived"] = [[*chunk, *found] for chunk, found in derived.items()]
            self.stored[piece] = stored
            self._append({"done": int(piece), **entry})

    def record_frame(self, frame: Stored | None) -> None:
        """Note what lies beside the pixels of the output, now that it is prepared."""
        if frame is not None and frame != self.frame:
            self.frame = frame
            self._lines.append({"frame": list(frame)})
            self.flush()

    def take_back(self, pieces: Iterable[int]) -> None:
        """Note that pieces have to be done again after all."""
        left = iter(pieces)
        while some := list(islice(left, TOGETHER)):
            self._forget(some)
            self._append({"again": some})
        self.flush()

    def flush(self) -> None:
        """Return when everything that was recorded is on disk.

        Raises
        ------
        InputError
            If the disk is full; what was recorded is kept for the next time.
        """
        remedy = "make room and run the same command again: it goes on where it stopped"
        with naming_full_disk(self.path, self._lines.waiting(), remedy):
            self._lines.flush()

    def damaged(self, what: str) -> InputError:
        """Return the error of a journal that cannot be gone on with, and why."""
        return InputError(
            f"{self.path}: {what}, so it is not as this program wrote it; put back what it was, "
            "start anew with `overwrite`, or choose another output name"
        )

    def remove(self) -> None:
        """Drop the journal of a run that is finished; the file goes when the lock does."""
        self.restart()

    def _append(self, entry: dict[str, Any]) -> None:
        self._lines.append(entry)
        if self._lines.due():
            self.flush()

    def _read(self, overwrite: bool) -> None:
        """Take over the lines that are whole."""
        try:
            self._take_all()
        except InputError:
            if not overwrite:
                raise
            self.restart()
            self.left = True
            return
        self.left = self.header is not None

    def _take_all(self) -> None:
        try:
            for number, entry in enumerate(self._lines.read()):
                if number == 0 and self.claim.token and not self.sealed:
                    raise self.damaged("line 1 has no checksum")
                if not (self._take(entry) if number else self._take_header(entry)):
                    raise self.damaged(f"line {number + 1} is of no use there")
        except DamagedLineError as error:
            raise self.damaged(str(error)) from error

    def _take_header(self, entry: dict[str, Any]) -> bool:
        if {"done", "frame", "again", "amended"} & entry.keys():
            return False
        self.header = entry
        return True

    def _take(self, entry: dict[str, Any]) -> bool:
        """Take over what a line says; return whether it says something."""
        if "done" in entry:
            derived = entry.get("derived", [])
            return self._take_piece(entry["done"], entry.get("stored")) and self._derive(derived)
        if "frame" in entry:
            self.frame = _stored(entry["frame"])
            return self.frame is not None
        if isinstance(fields := entry.get("amended"), dict):
            self.header = {**(self.header or {}), **fields}
            return True
        again = entry.get("again")
        if not isinstance(again, list) or not _are_counts(again):
            return False
        self._forget(again)
        return True

    def _take_piece(self, piece: Any, values: Any) -> bool:
        stored = _stored(values)
        if not _are_counts([piece]) or (values is not None and stored is None):
            return False
        self.stored[piece] = stored
        return True

    def _derive(self, chunks: Any) -> bool:
        for chunk in chunks if isinstance(chunks, list) else [None]:
            if not isinstance(chunk, list) or len(chunk) != 6 or not _are_counts(chunk):
                return False
            self.derived[Chunk(*chunk[:4])] = Stored(*chunk[4:])
        return True

    def _forget(self, pieces: Iterable[int]) -> None:
        for piece in pieces:
            self.stored.pop(piece, None)


def refuse_other(
    out: object,
    then: dict[str, Any],
    now: dict[str, Any],
    aside: Collection[str] = (),
    who: str = "an interrupted run of it",
) -> None:
    """Raise InputError unless two headers agree, but for fields ``aside``; ``who`` had the one."""
    left = {name: value for name, value in then.items() if name not in aside}
    if left.get("pixel_size") == [None] * 3 and "pixel_size" in now:
        left["pixel_size"] = now["pixel_size"]  # an earlier version did not find it
    difference = first_difference(left, now)
    if difference is not None:
        name, had, has = difference
        raise InputError(
            f"{out}: {who} had {name} = {had}, this one has {has}; give the same to go on, "
            "`overwrite` to start anew, or another output name"
        )


@contextmanager
def open_journal(
    out: str | Path, *, overwrite: bool = False, part: str = "", name: object = None
) -> Iterator[Journal]:
    """Open the journal of an output, for this process alone.

    Parameters
    ----------
    out : str or Path
        The output's final name; the journal is ``<name>.journal`` beside it.
    overwrite : bool
        Whether one that is damaged is dropped.
    part : str
        Such as ``2-of-3``: the journal is that of a part, and has this behind its name.
    name : object
        What messages call the output, where that is not its path.

    Yields
    ------
    Journal
        Empty, or what an interrupted run left. When the ``with`` statement ends without anything
        recorded, no file remains.

    Raises
    ------
    TakenError
        If another process has it.
    InputError
        If the folder cannot be written, something else has its name, or it is damaged.
    """
    out = Path(out)
    claim = claim_output(out, part, name)
    keep = True
    try:
        journal = Journal(out if name is None else name, claim, overwrite=overwrite)
        try:
            yield journal
            journal.flush()
        except BaseException:
            with suppress(InputError, OSError):  # the error says enough; its pieces are done again
                journal.flush()
            raise
        finally:
            keep = journal.header is not None
    finally:
        claim.release(keep=keep)


def header_of(out: Path) -> dict[str, Any] | None:
    """Read the header of an output's journal, whoever has it; None if there is no whole one."""
    try:
        with journal_path(out).open("rb") as file:
            return first_entry(without_mark(file.readline(LONGEST)) or file.readline(LONGEST))
    except OSError:
        return None


def current_run(out: Path) -> str | None:
    """Return the ``run`` of the header of an output's journal; None if there is no run.

    What computes for a run looks here before it writes: a run that was killed and started anew
    with other settings may have left workers behind.
    """
    run = (header_of(out) or {}).get("run")
    return run if isinstance(run, str) else None


def is_current(output: Output, run: str) -> bool:
    """Whether what computes for a run may write: no other one has taken its place."""
    return output.guarded or current_run(output.path) == run


def _stored(values: Any) -> Stored | None:
    """Return what a list of two numbers says; None if it is another thing."""
    if not isinstance(values, list) or len(values) != 2 or not _are_counts(values):
        return None
    return Stored(*values) if values[0] < 2**63 and values[1] < 2**32 else None


def _are_counts(values: list[Any]) -> bool:
    """Whether all are whole numbers, none below 0."""
    return all(type(value) is int and value >= 0 for value in values)
