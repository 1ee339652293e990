"""What a prediction is expected to take, said before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from paper_unet.inference.layers import PRECISIONS, can_fuse
from paper_unet.large.journal import Journal
from paper_unet.large.memory import megabytes
from paper_unet.large.prepare import Job
from paper_unet.large.worker import Prediction
from paper_unet.system.device import using_threads

OVERHEAD = 14
"""Channels of the first level at which half of the time goes into moving data: the network reaches
width / (width + 14) of the rate of a matrix product. Fitted to benchmarks/inference.py."""

WORTH = 1.2
"""How much faster a precision has to be to be spoken of."""


def announce(say: Callable[[str], None], job: Job, journal: Journal) -> None:
    """Say what is going to happen, and how much memory and time it is expected to take."""
    prediction = job.prediction
    grid, plan = prediction.grid, prediction.grid.plan
    size = f"{grid.sections} x {grid.height} x {grid.width} pixels"
    how = job.engine.describe(grid.strips, plan)
    say(f"{size}; {how}; {prediction.device}, {prediction.threads} thread(s)")
    say(f"memory: about {megabytes(job.needed)} of {megabytes(job.allowed)} allowed")
    wanted = len(job.pieces)
    share = (wanted - len(journal.done)) / len(grid)
    if prediction.device == "cpu" or torch.cuda.is_available():
        rate = matrix_rate(prediction)
        seconds = share * _operations(job) / rate / job.workers
        faster = _with_bfloat16(prediction, rate)
        say(f"time: about {_duration(seconds)}, if the machine is ours alone{faster}")
    if journal.done:
        say(f"going on: {len(journal.done)} of {wanted} pieces are there already")


def _with_bfloat16(prediction: Prediction, rate: float) -> str:
    """Say what another precision would save on a CPU, where that has the arithmetic."""
    narrow = replace(prediction, precision="bfloat16")
    if prediction.device != "cpu" or prediction.precision != "float32":
        return ""
    if not can_fuse(PRECISIONS[narrow.precision]):
        return ""
    times = matrix_rate(narrow) / rate
    if times < WORTH:
        return ""
    return f"; in precision bfloat16 {times:.1f} times as fast, and last digits differ"


def _operations(job: Job) -> float:
    """Return the arithmetic of a prediction, as a matrix product takes as long."""
    grid, average = job.prediction.grid, job.prediction.settings.average
    versions = {"none": 1.0, "flips": 4.0, "rotations": 7.0}[average]
    if average == "rotations":  # on a square canvas that holds the section turned by any angle
        versions *= (grid.height**2 + grid.width**2) / (grid.height * grid.width)
    work = grid.sections * versions * job.engine.work(grid.plan, (grid.height, grid.width))
    width = job.engine.network.config.width
    return 2 * work / (width / (width + OVERHEAD))


def matrix_rate(prediction: Prediction) -> float:
    """Measure the rate of a matrix product, operations per second; takes a fraction of a second."""
    side = 1024 if prediction.device == "cpu" else 8192
    dtype = PRECISIONS[prediction.precision]
    with using_threads(prediction.threads):
        factor = torch.ones(side, side, device=prediction.device, dtype=dtype)
        best = min(_timed(factor) for _ in range(4))
    return float(2 * side**3 / best)


def _timed(factor: torch.Tensor) -> float:
    start = time.perf_counter()
    product = factor @ factor
    product[0, 0].item()  # waits for a GPU
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
