"""One output of all parts of a prediction; see `paper_unet.large.parts`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.errors import InputError
from paper_unet.images import Chunk, Output, Stored, file_of, local_path
from paper_unet.large.config import PredictConfig
from paper_unet.large.executor import Executor, LocalExecutor
from paper_unet.large.journal import Journal, open_journal
from paper_unet.large.layout import drop_parts, refuse_other_settings, running
from paper_unet.large.left import left_in
from paper_unet.large.partial import do_stages
from paper_unet.large.parts import MOST, Part, refuse_bucket, take_frame
from paper_unet.large.pieces import Grid
from paper_unet.large.prepare import facts_of, open_input
from paper_unet.large.recorded import Recorded
from paper_unet.large.report import Report
from paper_unet.large.run import described_output, refuse_changed_input, refuse_inputs
from paper_unet.large.verify import READ_ALWAYS, SHARE, check_frame, find_damaged, where_in
from paper_unet.networks.weights_file import load_model, weights_digest
from paper_unet.system.claim import TakenError, journal_path
from paper_unet.system.files import refuse_same_file
from paper_unet.system.stop import Stop, stopping

NAMED = 5
"""Parts that a message names."""


def join_parts(
    config: PredictConfig,
    *,
    overwrite: bool = False,
    verify: bool = False,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Path:
    """Make one output of the parts that `predict_part` has left, once all are finished.

    The pixels are compared with what the parts recorded, as when a run goes on; where two parts
    meet all are read. Then what is left is done: levels of a pyramid, and the final name. The bytes
    are those of a single run of the same plan. A join that was stopped is called again.

    Parameters
    ----------
    config : PredictConfig
        The same as of the parts.
    overwrite : bool
        Whether an existing output may be replaced.
    verify : bool
        Whether to read all pixels, and not only a share of them.
    executor, report
        As in `predict_file`.

    Returns
    -------
    Path
        The output.

    Raises
    ------
    InputError
        If parts are missing, unfinished, running, damaged or of other settings: names them.
    Stopped
        If SIGINT or SIGTERM came; the same call goes on.
    """
    executor, report = executor or LocalExecutor(), report or Report()
    refuse_bucket(config)
    refuse_same_file(file_of(config.source), file_of(config.out))
    _refuse_nothing(Path(file_of(config.out)), overwrite)
    with stopping() as stop, open_input(config) as stack:
        refuse_inputs(config, stack)
        output = described_output(config, stack, overwrite)
        with open_journal(output.path) as shared:
            device = config.device.partition(":")[0]  # nothing is computed here
            if device == "auto":
                device = str((shared.header or {}).get("device", "cpu"))
            digest = weights_digest(load_model(config.weights))
            facts = facts_of(config, stack, output, device, digest)
            given = {} if config.threads is None else {"threads": config.threads}
            parts = _Parts(shared, output, {**facts, **given})
            parts.refuse_unfinished()
            output.take(shared.claim, left=True)
            try:
                output.prepare(resume=True)
                check_frame(shared, output)
                parts.refuse_damaged(verify, report, stop)
                output.leave_out(parts.whole_chunks(verify))
                do_stages(output, executor.tasks, stop)
                refuse_changed_input(config, shared.header)
                output.finish()
            finally:
                output.close()
            drop_parts(output.path)
            shared.remove()
    return local_path(config.out)


def _refuse_nothing(out: Path, overwrite: bool) -> None:
    """Raise InputError if no part has begun."""
    if journal_path(out).exists():
        return
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already, and no parts of it are left to be joined")
    raise nothing_begun(out)


def nothing_begun(out: Path) -> InputError:
    """Return the error of an output of which there are no parts."""
    return InputError(f"{out}: no part of it has begun; predict all parts, then join them")


class _Parts:
    """The journals of the parts of an output, which another process may have.

    Parameters
    ----------
    shared : Journal
        Of the output.
    output : Output
    facts : dict
        What has to agree, see `paper_unet.large.prepare.facts_of`.

    Raises
    ------
    InputError
        If the parts are of other settings, or one is running.
    """

    def __init__(self, shared: Journal, output: Output, facts: dict[str, Any]) -> None:
        self.out, self.facts, self.shared = output.path, facts, shared
        self.output = output
        header = shared.header or {}
        count = header.get("parts")
        if not header:
            raise nothing_begun(self.out)
        if count is None:
            raise InputError(
                f"{self.out}: what was begun of it is not in parts; go on with it as it was begun, "
                "or start anew with `overwrite`"
            )
        if not isinstance(count, int) or not 1 <= count <= MOST:
            raise shared.damaged("its number of parts is none")
        self.count = count
        refuse_other_settings(self.out, header, facts, self.count, aside={"torch"})
        take_frame(shared)
        self.grid = Grid(*output.shape, left_in(shared, output).plan)
        self.stored = Recorded()
        self.derived: dict[Chunk, Stored] = {}
        self.unfinished: dict[int, str] = {}
        for number in range(1, self.count + 1):
            self._take(Part(number, self.count))

    def _take(self, part: Part) -> None:
        """Take over what a part has finished."""
        pieces = part.pieces(len(self.grid))
        if not journal_path(self.out, part.name).exists():
            self.unfinished[part.number] = "not begun"
            return
        with self._opened(part) as journal:
            header = journal.header or {}
            if header.get("run") != (self.shared.header or {})["run"]:
                self.unfinished[part.number] = "not begun"
                return
            refuse_other_settings(self.out, header, self.facts, part.count, aside={"torch"})
            if not all(piece in pieces for piece in journal.done):
                raise journal.damaged(f"it has pieces that are not of {part}")
            if len(journal.done) < len(pieces):
                self.unfinished[part.number] = f"{len(journal.done)} of {len(pieces)} pieces"
            self.derived |= journal.derived
            for piece, stored in journal.stored.items():
                self.stored[piece] = stored

    @contextmanager
    def _opened(self, part: Part) -> Iterator[Journal]:
        try:
            with open_journal(self.out, part=part.name) as journal:
                yield journal
        except TakenError:
            raise running(self.out, part.name) from None

    def whole_chunks(self, every: bool) -> list[Chunk]:
        """Return the chunks of the pyramid that parts completed, and that are as they were then.

        All are read where they are few, or if asked; else all sizes are compared, and a share read.
        """
        size = sum(stored.size for stored in self.derived.values())
        share = 1.0 if every or size <= READ_ALWAYS else SHARE
        draw = random.Random()  # noqa: S311  (no secret)
        return [
            chunk
            for chunk, stored in self.derived.items()
            if self._is_whole(chunk, stored, read=draw.random() < share)
        ]

    def _is_whole(self, chunk: Chunk, stored: Stored, *, read: bool) -> bool:
        found = self.output.stored_derived(chunk) if read else None
        same = self.output.size_derived(chunk) == stored.size if found is None else found == stored
        return same and stored.size > 0

    def refuse_unfinished(self) -> None:
        """Raise InputError unless all parts are finished."""
        if not self.unfinished:
            return
        some = [f"{number} ({why})" for number, why in list(self.unfinished.items())[:NAMED]]
        more = ", ..." if len(self.unfinished) > NAMED else ""
        raise InputError(
            f"{self.out}: {len(self.unfinished)} of {self.count} parts are not finished: "
            f"{', '.join(some)}{more}; predict these, then join them"
        )

    def refuse_damaged(self, every: bool, report: Report, stop: Stop) -> None:
        """Raise InputError unless the pixels are as the parts wrote them, as far as is read.

        Pieces that are not are taken back from their part, which computes them again. Where two
        parts meet all are read: two machines may have written to the same block of a disk.
        """
        parts = [Part(number, self.count) for number in range(1, self.count + 1)]
        own = [(part, part.pieces(len(self.grid))) for part in parts]
        ends = {end for _, pieces in own if pieces for end in (pieces[0], pieces[-1])}
        bad = find_damaged(
            self.stored, self.output, self.grid, every=every, surely=ends, say=report.say,
            stop=stop, progress=report.progress,
        )  # fmt: skip
        damaged = []
        for part, pieces in own:
            those = pieces.start + np.flatnonzero(bad[pieces.start : pieces.stop])
            if len(those):
                damaged.append(str(part.number))
                with self._opened(part) as journal:
                    journal.take_back(those.tolist())
        if damaged:
            raise InputError(
                f"{self.out}: {np.count_nonzero(bad)} finished pieces are not on disk as they were "
                f"written, the first is {where_in(self.grid, int(bad.argmax()))}; predict part "
                f"{', '.join(damaged[:NAMED])}{', ...' * (len(damaged) > NAMED)} of {self.count} "
                "again, which computes these alone, then join them"
            )
