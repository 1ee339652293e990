"""A segmentation from file to file: begun, recorded, resumed, finished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paper_unet.errors import InputError
from paper_unet.images import (
    Output,
    Stack,
    create_output,
    file_of,
    labels_kept,
    make_labels,
    parse_slices,
)
from paper_unet.large.journal import Journal, open_journal
from paper_unet.large.memory import bytes_of, megabytes
from paper_unet.large.partial import do_stages, goes_on
from paper_unet.large.report import Report
from paper_unet.large.verify import take_back_damaged
from paper_unet.segmentation import work
from paper_unet.segmentation.config import SegmentConfig
from paper_unet.segmentation.executor import Executor, LocalExecutor
from paper_unet.segmentation.job import Job
from paper_unet.segmentation.plan import begin, check_memory, make_job, open_source
from paper_unet.segmentation.scratch import drop_all
from paper_unet.segmentation.stages import Stages, Writing
from paper_unet.system.files import refuse_same_file
from paper_unet.system.memory import SHARE
from paper_unet.system.stop import stopping


@dataclass(frozen=True)
class Segmented:
    """A finished segmentation.

    Attributes
    ----------
    path : Path
    cells : int or None
        How many there are; None where an interrupted run had written all of them.
    dtype : str
        Of their numbers.
    """

    path: Path
    cells: int | None
    dtype: str


def segment_file(
    config: SegmentConfig,
    *,
    overwrite: bool = False,
    verify: bool = False,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Segmented:
    """Give every cell of a volume of probabilities a number, from file to file.

    Blocks are worked on one by one and recorded when they are on disk; a run that was stopped, by
    whatever, goes on when it is called again, and leaves the same bytes. Numbers go from 1 without
    a gap, in the order in which cells begin in the volume; 0 is background.

    Parameters
    ----------
    config : SegmentConfig
        Every setting.
    overwrite : bool
        Whether an existing output may be replaced; it stays until the new one is complete. Also
        drops what an interrupted run with other settings left, or what is damaged of it.
    verify : bool
        Whether to read all that an interrupted run finished, and not only a share of it, and
        compare it with what was written. What is damaged is computed again.
    executor : Executor, optional
        Default: this process. `paper_unet.large.cluster.Dask` works on a cluster.
    report : Report, optional
        Takes lines of text; may show progress.

    Returns
    -------
    Segmented

    Raises
    ------
    InputError
        If the source cannot be used, the output exists, an interrupted run had other settings or
        what it left is damaged, or the memory or the disk does not suffice. One line.
    Stopped
        If SIGINT or SIGTERM came; the same call goes on.
    """
    executor, report = executor or LocalExecutor(), report or Report()
    refuse_same_file(file_of(config.source), file_of(config.out))
    with stopping() as stop, open_source(config) as stack, labels_kept(config.out):
        for file in stack.files:
            refuse_same_file(file, file_of(config.out))
        output = _output(config, stack, "uint32", overwrite)
        output.refuse_input(stack)
        job = make_job(config, stack, output)
        base, allowed = executor.allowed("cpu")
        base += stack.cache_bytes
        allowed = round(SHARE * allowed) if config.memory is None else bytes_of(config.memory)
        stack.check_memory(allowed)
        needed = check_memory(config, job, base, allowed)
        with open_journal(output.path, overwrite=overwrite) as journal:
            output.take(journal.claim, left=journal.left)
            job, anew = begin(config, stack, output, job, journal, overwrite)
            if anew:
                drop_all(output.path)
            _announce(report, stack, job, journal, needed, allowed)
            stages = Stages(
                job, output.path, config.min_size, executor, report, stop, verify=verify,
                memory=allowed - base,
            )  # fmt: skip
            with _nothing_for_nothing(output, journal, stages), stages:
                writing, output = _begun(config, stack, journal, stages, output, overwrite)
                if goes_on(output, journal, overwrite):
                    take_back_damaged(
                        journal, output, job.blocks, every=verify, say=report.say, stop=stop,
                        progress=report.progress,
                    )  # fmt: skip
                if len(journal.done) < len(job.blocks):
                    writing = writing or stages.writing()
                    stages.fill(output, journal, writing, "cells")
                do_stages(output, executor.tasks, stop)
                _refuse_changed_input(config, journal)
                stages.drop()
                output.finish()
            journal.remove()
    return Segmented(output.path, None if writing is None else writing.cells, output.dtype.name)


def _begun(
    config: SegmentConfig, stack: Stack, journal: Journal, stages: Stages, output: Output,
    overwrite: bool,
) -> tuple[Writing | None, Output]:  # fmt: skip
    """Do what comes before the output is written, unless it is; return it in its own type."""
    writing = None
    dtype = (journal.header or {}).get("dtype", output.dtype.name)
    if len(journal.done) < len(stages.job.blocks):
        writing = stages.writing()
        dtype = writing.dtype.name
        if not journal.done:
            journal.amend({"dtype": dtype})
    if dtype == output.dtype.name:
        return writing, output
    wide = _output(config, stack, dtype, overwrite)
    wide.take(journal.claim, left=journal.left)
    return writing, wide


@contextmanager
def _nothing_for_nothing(output: Output, journal: Journal, stages: Stages) -> Iterator[None]:
    """Leave nothing behind if the run ends before its first block."""
    try:
        yield
    except BaseException:
        output.close()
        if not (journal.done or stages.begun):
            output.discard()
            journal.restart()
        raise
    finally:
        work.close()


def _output(config: SegmentConfig, stack: Stack, dtype: str, overwrite: bool) -> Output:
    chosen = parse_slices(config.slices, len(stack))
    shape = (len(chosen), *stack.shape[1:])
    return create_output(
        config.out,
        shape,
        dtype,
        pixel_size=make_labels(config.out, config.ome_zarr, shape, stack.pixel_size),
        overwrite=overwrite,
        ome_zarr=config.ome_zarr,
        labels=True,
        shard=config.shard,
    )


def _announce(
    report: Report, stack: Stack, job: Job, journal: Journal, needed: int, allowed: int
) -> None:
    for note in stack.notes:
        report.say(note)
    size, block = (" x ".join(map(str, sides)) for sides in (job.blocks.shape, job.blocks.block))
    report.say(
        f"{size} voxels in {len(job.blocks)} block(s) of {block}; {job.method} in {job.dims}-D, "
        f"threshold {job.threshold:g}"
    )
    if job.by_distance and job.dims == 3 and len(stack) > 1 and None in stack.pixel_size:
        report.say(
            f"{job.source}: does not say how deep a section is; for the seeds it is as deep as a "
            "pixel is wide"
        )
    report.say(f"memory: about {megabytes(needed)} of {megabytes(allowed)} allowed")
    if journal.done:
        report.say(f"going on: {len(journal.done)} of {len(job.blocks)} blocks are there already")


def _refuse_changed_input(config: SegmentConfig, journal: Journal) -> None:
    """Compare the source with what it was at the start, before the output takes its name."""
    with open_source(config) as stack:
        now = json.loads(json.dumps(stack.identity()))
    if journal.header is None or now != journal.header["input"]:
        raise InputError(
            f"{config.source}: changed while it was being segmented; keep it as it is and start "
            "anew with `overwrite`"
        )
