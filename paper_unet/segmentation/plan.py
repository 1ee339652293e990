"""Before a segmentation: what has to agree with an interrupted run, and what the blocks take."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images import (
    Output,
    Stack,
    absolute,
    create_output,
    open_probabilities,
    parse_slices,
)
from paper_unet.large.journal import Journal
from paper_unet.large.memory import bytes_of, megabytes
from paper_unet.large.verify import check_pieces
from paper_unet.segmentation.blocks import Blocks, Triple
from paper_unet.segmentation.config import SegmentConfig, block_of, threshold_of
from paper_unet.segmentation.foreground import scale_of_probabilities
from paper_unet.segmentation.job import Job
from paper_unet.segmentation.scratch import SEEDS, beside
from paper_unet.system.memory import Budget

OF_WATERSHED = ("seeds", "seed_distance", "seed_threshold", "context", "block")
"""Settings that change nothing of what components are."""


def open_source(config: SegmentConfig) -> Stack:
    """Open the probabilities."""
    return open_probabilities(
        config.source, axes=config.axes, series=config.series, missing=config.missing,
        channel=config.channel, time=config.time,
        budget=None if config.memory is None else Budget(bytes_of(config.memory)),
    )  # fmt: skip


def make_job(config: SegmentConfig, stack: Stack, output: Output) -> Job:
    """Resolve the settings for a source; nothing is written.

    Raises
    ------
    InputError
        If blocks do not fit the output, or the values or the threshold mean nothing; if the source
        says that it holds labels, and nobody says what these mean.
    """
    if stack.says_labels and config.value_range is None:
        raise InputError(
            f"{config.source}: says that it holds numbers of cells or classes, and accepted are "
            "probabilities: predict without `argmax`, or say which values mean 0 and 1 with "
            "`value_range` 0 1"
        )
    chosen = parse_slices(config.slices, len(stack))
    scale = scale_of_probabilities(
        stack.dtype, config.value_range or stack.own_range, config.source
    )
    return Job(
        source=absolute(config.source),
        labels=stack.labels,
        axes=config.axes,
        series=config.series,
        channel=config.channel,
        time=config.time,
        missing=config.missing,
        memory=None if config.memory is None else bytes_of(config.memory),
        first=chosen.start,
        scale=scale,
        threshold=threshold_of(config.threshold),
        blocks=Blocks(output.shape, _block(config, output)),
        method=config.method,
        dims=config.dims,
        connectivity=config.connectivity,
        seeds=config.seeds,
        seed_distance=config.seed_distance,
        seed_threshold=config.seed_threshold,
        context=config.context,
        sampling=_sampling(stack),
        run="",
    )


def begin(
    config: SegmentConfig, stack: Stack, output: Output, job: Job, journal: Journal, overwrite: bool
) -> tuple[Job, bool]:
    """Compare with what an interrupted run left, or begin a new one; return the job of its name.

    Returns
    -------
    job : Job
    anew : bool
        Whether nothing is gone on with.

    Raises
    ------
    InputError
        If an interrupted run had other settings, and nobody said ``overwrite``.
    """
    facts, run = _facts(config, stack, output, job), uuid.uuid4().hex
    if journal.header is not None:
        try:
            journal.compare(facts, aside={"run", "dtype"})
            run = _run_of(journal, job.blocks)
        except InputError:
            if not overwrite:
                raise
            journal.restart()
    anew = journal.header is None
    if journal.done and not output.partial.exists():  # its blocks are written again
        journal.restart()
    if journal.header is None:
        journal.begin({**facts, "run": run})
    return replace(job, run=run), anew


def _run_of(journal: Journal, blocks: Blocks) -> str:
    """Return the name of the run that a journal is of, once it is known to fit."""
    header = journal.header or {}
    run, dtype = header.get("run"), header.get("dtype", "uint32")
    if not isinstance(run, str) or len(run) != 32:
        raise journal.damaged("its run has no name")
    if dtype not in ("uint32", "uint64"):
        raise journal.damaged("its type of numbers is none")
    check_pieces(journal, blocks)
    return run


def check_memory(config: SegmentConfig, job: Job, base: int, allowed: int) -> int:
    """Return the bytes that a process is expected to take; refuse more than it may."""
    needed = base + job.needed()
    if needed > allowed:
        raise InputError(
            f"{config.source}: blocks of {'x'.join(map(str, job.blocks.block))} take "
            f"{megabytes(needed)} of memory, {megabytes(allowed)} are allowed; give a smaller "
            "`block`" + (", less `context`," if job.method == "watershed" else "") + " or more "
            "`memory`"
        )
    return needed


def _block(config: SegmentConfig, output: Output) -> Triple:
    """Return the size of a block, which fits the chunks of what is written."""
    given = block_of(config.block)
    steps = [output.alignment]
    if config.method == "watershed":
        path = beside(output.path, SEEDS)
        steps.append(create_output(path, output.shape, "uint32", labels=True).alignment)
    rows, columns = (math.lcm(*step) for step in zip(*steps, strict=True))
    z, y, x = (min(side, size) for side, size in zip(given, output.shape, strict=True))
    for side, size, step in ((y, output.shape[1], rows), (x, output.shape[2], columns)):
        if side % step and side < size:
            raise InputError(
                f"block is {config.block!r}; its rows and columns are to be multiples of {rows} "
                f"and {columns}, the chunks that are written: give such as {z}x{rows}x{columns}"
            )
    return z, y, x


def _sampling(stack: Stack) -> tuple[float, float, float]:
    """Return the sides of a voxel in those along x; 1 where the file does not say."""
    z, y, x = stack.pixel_size
    if y is None or x is None:
        return 1.0, 1.0, 1.0
    return 1.0 if z is None else z / x, y / x, 1.0


def _facts(config: SegmentConfig, stack: Stack, output: Output, job: Job) -> dict[str, Any]:
    """Return what has to agree for two runs to give the same bytes."""
    of_input = {"source", "slices", "axes", "series", "channel", "time", "value_range"}
    aside = {"out", "memory", "threshold", "shard", *of_input}
    settings = {name: value for name, value in asdict(config).items() if name not in aside}
    if job.method == "components":  # any blocks give the same cells, but pieces are blocks
        settings = {name: settings[name] for name in settings if name not in OF_WATERSHED[:-1]}
    facts = {
        "version": 1,
        "input": stack.identity(),
        "slices": [job.first, job.first + output.shape[0]],
        "cells": settings,
        "threshold": job.threshold,
        "range": job.scale.value_range,
        "blocks": job.blocks.block,
        "sampling": job.sampling,
        "format": output.format,
        "pixel_size": stack.pixel_size,
        "scipy": version("scipy"),
        "scikit-image": version("scikit-image"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
