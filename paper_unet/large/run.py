"""A prediction from file to file: planned, recorded, resumed, finished."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images import (
    Output,
    Stack,
    create_output,
    file_of,
    labels_kept,
    make_labels,
    parse_slices,
    percentile_range,
    place_of,
)
from paper_unet.inference.predict import wanted_classes
from paper_unet.large.config import PredictConfig
from paper_unet.large.estimate import announce
from paper_unet.large.executor import Executor, LocalExecutor
from paper_unet.large.greys import say_greys, warn_of_greys, warn_of_scaling
from paper_unet.large.journal import Journal, open_journal
from paper_unet.large.layout import drop_parts
from paper_unet.large.memory import bytes_of
from paper_unet.large.partial import do_stages, goes_on, nothing_for_nothing
from paper_unet.large.pieces import Grid
from paper_unet.large.prepare import Job, open_input, prepare, settle
from paper_unet.large.recorded import Recorded
from paper_unet.large.report import Report, nothing
from paper_unet.large.verify import take_back_damaged
from paper_unet.networks.classes import class_names
from paper_unet.networks.known_weights import locate
from paper_unet.networks.weights_file import read_network
from paper_unet.system.address import Address
from paper_unet.system.files import refuse_same_file
from paper_unet.system.progress import progress_bar
from paper_unet.system.stop import Stop, Stopped, stopping


def predict_file(
    config: PredictConfig,
    *,
    overwrite: bool = False,
    verify: bool = False,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Path | Address:
    """Predict a stack from file to file, whatever its size.

    Finished pieces are recorded when they are on disk; a run that was stopped, by whatever, goes on
    when it is called again, and leaves the same bytes. A partial result never has the final name.

    Parameters
    ----------
    config : PredictConfig
        Every setting.
    overwrite : bool
        Whether an existing output may be replaced; it stays until the new one is complete, but in
        a bucket it is removed before the first chunk is written. Also drops what an interrupted
        run with other settings left, or what is damaged of it.
    verify : bool
        Whether to read all that an interrupted run finished, and not only a share of it, and
        compare it with what was written. What is damaged is computed again.
    executor : Executor, optional
        Default: this process. `paper_unet.large.cluster.Dask` computes on a cluster.
    report : Report, optional
        Takes the plan as lines of text; may show progress.

    Returns
    -------
    Path or Address
        The output.

    Raises
    ------
    InputError
        If the input cannot be used, the output exists, an interrupted run had other settings or
        what it left is damaged, or the memory or the disk does not suffice. One line.
    Stopped
        If SIGINT or SIGTERM came; the same call goes on.
    """
    executor, report = executor or LocalExecutor(), report or Report()
    refuse_same_file(file_of(config.source), file_of(config.out))
    with (
        stopping() as stop,
        open_input(config) as stack,
        labels_kept(config.out),
    ):
        refuse_inputs(config, stack)
        output = described_output(config, stack, overwrite)
        place = place_of(config.out)
        with open_journal(output.path, overwrite=overwrite, name=place) as journal:
            output.take(journal.claim, left=journal.left)
            if overwrite and "parts" in (journal.header or {}):
                drop_parts(output.path)
            settled = settle(config, stack, output, executor)
            job = prepare(settled, journal, overwrite)
            if report.say is not nothing:
                for note in output.notes:
                    report.say(note)
                announce(report.say, job, journal)
                say_greys(report.say, stack, job.prediction)
                warn_of_scaling(report.say, job.engine.network.record, has_range(config))
            with nothing_for_nothing(output, journal):
                if goes_on(output, journal, overwrite):
                    take_back_damaged(
                        journal, output, job.prediction.grid, every=verify, say=report.say,
                        stop=stop, progress=report.progress,
                    )  # fmt: skip
                compute_pieces(job, journal, executor, report, stop)
                do_stages(output, executor.tasks, stop)
                if config.timings:
                    say_timings(report, executor)
                refuse_changed_input(config, journal.header)
                output.finish()
            journal.remove()
    return place


def refuse_inputs(config: PredictConfig, stack: Stack) -> None:
    """Raise InputError if the output would touch what is read."""
    for file in (*stack.files, locate(config.weights)[0]):
        refuse_same_file(file, file_of(config.out))


def described_output(config: PredictConfig, stack: Stack, overwrite: bool) -> Output:
    """Return the output that a configuration names, unless it is the input; nothing is made yet.

    But the folder for labels of an image, by `make_labels`.
    """
    chosen = parse_slices(config.slices, len(stack))
    wanted_classes(config.of_class, config.all_classes, config.argmax)
    shape, pixel_size = (len(chosen), *stack.shape[1:]), stack.pixel_size
    if config.argmax:
        pixel_size = make_labels(config.out, config.ome_zarr, shape, pixel_size)
    output = create_output(
        config.out,
        shape,
        config.stored,
        pixel_size=pixel_size,
        overwrite=overwrite,
        ome_zarr=config.ome_zarr,
        labels=config.argmax,
        channels=class_names(read_network(config.weights)) if config.all_classes else (),
        shard=config.shard,
    )
    output.refuse_input(stack)
    output.about = _scaling(config, stack)
    return output


def has_range(config: PredictConfig) -> bool:
    """Whether a range of grey values was asked for."""
    return config.value_range is not None or config.percentiles is not None


def _scaling(config: PredictConfig, stack: Stack) -> dict[str, Any]:
    """Return what an output says of grey values that are scaled from content."""
    if config.percentiles is None:
        return {}
    if config.memory is not None:
        stack.check_memory(bytes_of(config.memory))  # before anything of it is decoded
    return percentile_range(stack, config.percentiles, fill=config.fill).record()


def compute_pieces(
    job: Job, journal: Journal, executor: Executor, report: Report, stop: Stop
) -> None:
    """Compute and record the pieces of a job that are not there.

    Raises
    ------
    Stopped
        If a signal came.
    """
    prediction = job.prediction
    grid, output, wanted = prediction.grid, prediction.output, job.pieces
    left = len(wanted) - len(journal.done)
    missing = chain.from_iterable(part.tolist() for part in journal.stored.missing(wanted))
    pixels = sum(int(grid.pixels(p).sum()) for p in Recorded().missing(wanted))
    done = pixels - sum(int(grid.pixels(p).sum()) for p in journal.stored.missing(wanted))
    with progress_bar(
        total=pixels, initial=done, unit="px", unit_scale=True, show=report.progress
    ) as bar:
        runs = grid.runs(missing, executor.longest(left))
        for piece, stored, derived in executor.pieces(prediction, runs, stop):
            in_part = "part" in (journal.header or {})  # whose chunks another process has to know
            kept = {chunk: output.stored_derived(chunk) for chunk in derived if in_part}
            journal.record(piece, stored, kept)
            output.leave_out(derived)
            bar.update(_pixels(grid, piece))
            warn_of_greys(report.say, prediction, executor, piece)
    journal.flush()
    if stop():
        raise Stopped(stop.signal)
    if len(journal.done) != len(wanted):
        raise RuntimeError(f"{len(wanted) - len(journal.done)} pieces were not computed")


def _pixels(grid: Grid, index: int) -> int:
    piece = grid.piece(index)
    return (piece.rows[1] - piece.rows[0]) * (piece.columns[1] - piece.columns[0])


def say_timings(report: Report, executor: Executor) -> None:
    """Say how long each stage took."""
    taken = executor.timings
    alone = "timed where one process computes, and not on a cluster"
    report.say(f"stages: {taken.line() if taken else alone}")


def refuse_changed_input(config: PredictConfig, header: dict[str, Any] | None) -> None:
    """Compare the input with what it was at the start, before the output takes its name."""
    with open_input(config) as stack:
        now = json.loads(json.dumps(stack.identity()))
    if header is None or now != header["input"]:
        raise InputError(
            f"{config.source}: changed while it was being predicted; keep it as it is and start "
            "anew with `overwrite`"
        )
