"""A prediction in parts: each a process of its own, on any machine, in any order, without a server.

Three kinds of files lie beside the output ``OUT``, on a disk that all machines see::

    OUT.partial            the pixels; every part writes its own pieces
    OUT.journal            what all parts share: settings, plan, how many parts there are
    OUT.journal.2-of-3     what of part 2 is on disk; locked while it runs

The part that comes first makes the first two, see `paper_unet.large.layout`; they stay as they are
until `paper_unet.large.join` makes one output of all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from paper_unet.errors import InputError, shown
from paper_unet.images import Stored, file_of, labels_kept
from paper_unet.large.config import PredictConfig
from paper_unet.large.estimate import announce
from paper_unet.large.executor import Executor, LocalExecutor
from paper_unet.large.greys import say_greys, warn_of_scaling
from paper_unet.large.journal import Journal, open_journal
from paper_unet.large.layout import lay_out, refuse_other_settings
from paper_unet.large.left import left_in
from paper_unet.large.prepare import Job, Settled, added_to, open_input, settle
from paper_unet.large.report import Report, nothing
from paper_unet.large.run import (
    compute_pieces,
    described_output,
    has_range,
    refuse_changed_input,
    refuse_inputs,
    say_timings,
)
from paper_unet.large.verify import check_frame, take_back_damaged
from paper_unet.system.address import address_of
from paper_unet.system.files import refuse_same_file
from paper_unet.system.stop import stopping

MOST = 100_000
"""Parts that there may be; batch systems allow fewer."""


@dataclass(frozen=True)
class Part:
    """One of the parts of a prediction.

    Attributes
    ----------
    number, count : int
        Which one, from 1, and of how many.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``K/N``.

        Raises
        ------
        InputError
            If it is of another form, or K is not one of 1 to N.
        """
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count <= MOST:
            raise InputError(
                f'part is "{shown(text)}"; give K/N, such as 2/3, with K one of 1 to N and N at '
                f"most {MOST}"
            )
        return cls(number, count)

    @property
    def name(self) -> str:
        """Its name in those of files."""
        return f"{self.number}-of-{self.count}"

    def pieces(self, total: int) -> range:
        """Return the pieces that are its own: neighbours, as many as others have but for one."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"


def predict_part(
    config: PredictConfig,
    part: str,
    *,
    overwrite: bool = False,
    verify: bool = False,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Path:
    """Predict one part of a stack; `paper_unet.large.join_parts` makes one output of all parts.

    Parts are computed in any order, at one time or not, on any machine that sees the files. One
    that was stopped, by whatever, goes on when it is called again.

    Parameters
    ----------
    config : PredictConfig
        Every setting; the same for all parts.
    part : str
        ``K/N``: part K, from 1, of N.
    overwrite : bool
        Whether an existing output may be replaced when the parts are joined. Also drops what other
        settings, or another number of parts, left; parts of the same settings go on.
    verify, executor, report
        As in `predict_file`.

    Returns
    -------
    Path
        What is not finished yet: the output with ``.partial`` behind its name.

    Raises
    ------
    InputError
        As `predict_file`; also if the part runs already, or there is another number of parts.
    Stopped
        If SIGINT or SIGTERM came; the same call goes on.
    """
    own = Part.parse(part)
    refuse_bucket(config)
    executor, report = executor or LocalExecutor(), report or Report()
    refuse_same_file(file_of(config.source), file_of(config.out))
    with stopping() as stop, open_input(config) as stack, labels_kept(config.out):
        refuse_inputs(config, stack)
        output = described_output(config, stack, overwrite)
        settled = settle(config, stack, output, executor)
        shared = lay_out(settled, own.count, overwrite=overwrite, stop=stop, say=report.say)
        with open_journal(output.path, overwrite=overwrite, part=own.name) as journal:
            job = _begun(settled, shared, journal, own)
            if report.say is not nothing:
                report.say(f"{own}: {len(job.pieces)} of {len(job.prediction.grid)} pieces")
                announce(report.say, job, journal)
                say_greys(report.say, stack, job.prediction)
                warn_of_scaling(report.say, job.engine.network.record, has_range(config))
            try:
                check_frame(journal, output)
                if journal.done:
                    take_back_damaged(
                        journal, output, job.prediction.grid, every=verify, say=report.say,
                        stop=stop, progress=report.progress,
                    )  # fmt: skip
                compute_pieces(job, journal, executor, report, stop)
                if config.timings:
                    say_timings(report, executor)
                refuse_changed_input(config, journal.header)
            finally:
                output.close()
    return output.partial


def refuse_bucket(config: PredictConfig) -> None:
    """Raise InputError if the output is where no files can lie beside it."""
    if (address := address_of(config.out)) is not None:
        raise InputError(
            f"{address}: parts share files that lie beside their output, and none can lie there; "
            "write to a folder that all machines see, and copy it, or predict it in one run"
        )


def _begun(settled: Settled, shared: dict[str, Any], journal: Journal, own: Part) -> Job:
    """Begin a part, or go on with it."""
    if (journal.header or {}).get("run") != shared["run"]:
        journal.restart()  # of nothing, or of a run that was started anew since
    if journal.header is None:
        journal.begin({**shared, **settled.wanted(), "part": own.number})
    else:
        refuse_other_settings(journal.out, journal.header, settled.wanted(), own.count)
        journal.amend(added_to(journal.header, settled.wanted()))
    take_frame(journal)
    job = settled.job(left_in(journal, settled.output))
    pieces = own.pieces(len(job.pieces))
    if not all(piece in pieces for piece in journal.done):
        raise journal.damaged(f"it has pieces that are not of {own}")
    return replace(job, pieces=pieces)


def take_frame(journal: Journal) -> None:
    """Take over, from the header, what lies beside the pixels; no part writes there."""
    frame = (journal.header or {}).get("laid_out")
    journal.frame = None if frame is None else Stored(*frame)
