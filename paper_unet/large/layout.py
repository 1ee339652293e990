"""The partial output that several parts write: made once, by whichever of them comes first.

Who makes it is decided by making ``OUT.journal`` exclusively, which holds on shared file systems
too, and by its lock. It has its header when all is laid out, and nothing changes it from then on:
the other parts only read it. What a part was killed at that laid it out, the next one makes anew;
since locks may hold on one machine only, not before nothing has changed there for a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images import Output
from paper_unet.large.journal import Journal, header_of, open_journal, refuse_other
from paper_unet.large.prepare import OF_A_RUN, Settled, added_to
from paper_unet.system.claim import Claim, TakenError, claim_output, journal_path, marked
from paper_unet.system.names import JOURNAL, UNFINISHED, journals_of
from paper_unet.system.stop import Stop, Stopped

QUIET = 10.0
"""Seconds without a change after which what is half laid out, and not locked, is made anew."""

PATIENCE = 900.0
"""Seconds for which another process may take; room for large files is slow on some disks."""

LOOK = 0.2
"""Seconds between two looks."""

HELD = 256
"""Parts, at most, that are locked at a time, each an open file; systems allow few."""


def lay_out(
    settled: Settled,
    count: int,
    *,
    overwrite: bool,
    stop: Stop,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return what all parts share, once the partial output is there; make both unless they are.

    Parameters
    ----------
    settled : Settled
    count : int
        How many parts there are.
    overwrite : bool
        Whether what other settings left may be dropped.
    stop : Stop
        Asked while waiting.
    say : callable
        Takes lines of text.

    Returns
    -------
    dict
        The header of ``OUT.journal``.

    Raises
    ------
    InputError
        If an interrupted run had other settings, or another number of parts; if something else
        writes the output, or another part takes too long to lay it out.
    Stopped
        If a signal came.
    """
    out, wait = settled.output.path, _Wait(settled.output, stop, say)
    while True:
        shared = header_of(out)
        if shared is not None:
            settled.take_shards(shared)
            if _fits(settled, shared, count):
                return shared
        if shared is None and journal_path(out).exists():
            wait.until_quiet()
        try:
            return _laid_out(settled, count, overwrite)
        except TakenError:
            if (header := header_of(out)) is not None and "parts" not in header:
                raise  # a run without parts
            wait.a_little()


def _fits(settled: Settled, shared: dict[str, Any], count: int) -> bool:
    """Whether what is laid out is whole and of the same settings."""
    try:
        refuse_other_settings(settled.output.path, shared, settled.wanted(), count)
    except InputError:
        return False
    return settled.output.partial.exists()


def refuse_other_settings(
    out: object,
    header: dict[str, Any],
    wanted: dict[str, Any],
    count: int,
    aside: Collection[str] = (),
) -> None:
    """Raise InputError unless what is laid out, or a part, has the settings that are wanted.

    Parameters
    ----------
    out : object
        What messages call the output.
    header : dict
        Of its journal.
    wanted : dict
        What has to agree.
    count : int
        How many parts there are.
    aside : collection of str
        Fields that need not agree.
    """
    wanted = {**wanted, "parts": count}
    added = added_to(header, wanted)
    same = {name: value for name, value in wanted.items() if name not in {*added, *aside}}
    free = (OF_A_RUN - wanted.keys()) | {"laid_out", "part", *added, *aside}
    refuse_other(out, header, same, aside=free)


def _laid_out(settled: Settled, count: int, overwrite: bool) -> dict[str, Any]:
    """Lay the output out, locked; unless another part has done so meanwhile."""
    output = settled.output
    with open_journal(output.path, overwrite=overwrite) as journal:
        settled.take_shards(journal.header or {})
        if journal.header is not None and not _left(settled, journal, count, overwrite):
            drop_parts(output.path)
            journal.restart()
        if journal.header is not None:
            return journal.header
        output.take(journal.claim, left=journal.left)
        begun = settled.begun()
        output.start()
        frame = output.frame()
        output.close()
        header = settled.header(begun)
        journal.begin(
            {**header, "parts": count, "laid_out": None if frame is None else list(frame)}
        )
        return journal.header or {}


def _left(settled: Settled, journal: Journal, count: int, overwrite: bool) -> bool:
    """Whether what is there can be gone on with; False if it is dropped."""
    if not settled.output.partial.exists():
        return False  # it was removed, or an output was made of it
    try:
        refuse_other_settings(journal.out, journal.header or {}, settled.wanted(), count)
    except InputError:
        if not overwrite:
            raise
        return False
    return True


def drop_parts(out: Path) -> None:
    """Remove the journals of all parts that an output has, whatever their number.

    Raises
    ------
    InputError
        If a part is running; then all are kept, damaged ones too.
    """
    keep, free = True, []

    def let_go(claim: Claim) -> None:
        claim.release(keep=keep)

    with ExitStack() as held:
        for number, name in enumerate(part_names(out)):
            claim = _claimed(out, name)
            if number < HELD:
                held.callback(let_go, claim)
            else:
                claim.release(keep=True)
                free.append(name)
        keep = False
    for name in free:
        _claimed(out, name).release(keep=False)


def _claimed(out: Path, part: str) -> Claim:
    try:
        return claim_output(out, part)
    except TakenError:
        raise running(out, part) from None


def running(out: Path, name: str) -> InputError:
    """Return the error of a part that is being computed."""
    return InputError(f"{out}: part {name} of it is running; wait for it, or end it first")


def part_names(out: Path) -> list[str]:
    """Return the names, such as ``2-of-3``, of the parts of an output that have a journal."""
    parts = (name for name in journals_of(out) if name)
    return sorted(name for name in parts if marked(journal_path(out, name), "journal"))


class _Wait:
    """Waits for another part."""

    def __init__(self, output: Output, stop: Stop, say: Callable[[str], None]) -> None:
        self.output, self.stop, self.say = output, stop, say
        self.since = time.monotonic()
        self.said = False

    def a_little(self) -> None:
        """Wait for the next look."""
        if not self.said:
            self.say(f"{self.output.path}: waiting for another part to lay it out")
            self.said = True
        if time.monotonic() - self.since > PATIENCE:
            raise InputError(
                f"{self.output.path}: another process has been laying it out for "
                f"{PATIENCE / 60:.0f} minutes; if it still runs, wait and run the same again"
            )
        if self.stop():
            raise Stopped(self.stop.signal)
        time.sleep(LOOK)

    def until_quiet(self) -> None:
        """Return when the header is there, or nothing has changed for a while."""
        seen, since = self._seen(), time.monotonic()
        while header_of(self.output.path) is None and time.monotonic() - since < QUIET:
            self.a_little()
            if (now := self._seen()) != seen:
                seen, since = now, time.monotonic()

    def _seen(self) -> list[tuple[str, int, int]]:
        """Return size and time of the journal, and of what is being made beside it."""
        out = self.output.path
        found = []
        with os.scandir(out.parent) as entries:
            for entry in entries:
                beside = entry.name.startswith(f"{out.name}.")
                if beside and entry.name.endswith((JOURNAL, UNFINISHED)):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    found.append((entry.name, status.st_size, status.st_mtime_ns))
        return sorted(found)
