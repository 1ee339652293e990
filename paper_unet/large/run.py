"""A prediction from file to file: planned, recorded, resumed, finished."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from paper_unet.checkpoint import load_model, weights_digest
from paper_unet.device import free_memory, pick_device, resident_memory
from paper_unet.errors import InputError
from paper_unet.images import (
    Output,
    Stack,
    Task,
    create_output,
    open_stack,
    parse_slices,
    refuse_same_file,
)
from paper_unet.journal import Journal, open_journal
from paper_unet.large.config import PredictConfig, bytes_of
from paper_unet.large.worker import Prediction, Worker
from paper_unet.layers import PRECISIONS
from paper_unet.model import UNetConfig
from paper_unet.plan import Grid, Plan, choose_plan, megabytes, multiply_accumulates, peak_bytes
from paper_unet.stop import Stop, Stopped, stopping

SHARE = 0.8
"""Of the free memory, what a prediction may take unless told."""

EFFICIENCY = 0.85
"""Of the rate of a matrix product, what the network reaches; see docs/large_stacks.md."""


class Executor(Protocol):
    """Where pieces are computed: in this process, or on a cluster."""

    def pieces(self, prediction: Prediction, runs: Sequence[range], stop: Stop) -> Iterator[int]:
        """Compute the runs; yield the number of each piece that is on disk."""

    def tasks(self, output: Output, tasks: Sequence[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks in any order; yield after each."""

    def longest(self, pieces: int) -> int | None:
        """Return how many of the missing pieces a run may have at most."""

    def device(self, name: str) -> str:
        """Return the device that the name means there."""

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that a process takes before it begins, and may take."""


class Here:
    """Computes in this process."""

    def longest(self, pieces: int) -> int | None:
        """Return None: the longer the better."""
        return None

    def device(self, name: str) -> str:
        """Return the device that the name means here."""
        return str(pick_device(name))

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that this process takes now, and may take."""
        where = torch.device(device)
        base = resident_memory() if where.type == "cpu" else 0
        return base, base + free_memory(where)

    def pieces(self, prediction: Prediction, runs: Sequence[range], stop: Stop) -> Iterator[int]:
        """Compute the runs one after the other."""
        worker = Worker(prediction)
        try:
            for run in runs:
                yield from worker.compute(run, stop)
                if stop():
                    return
        finally:
            worker.close()

    def tasks(self, output: Output, tasks: Sequence[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks one after the other."""
        for task in tasks:
            if stop():
                return
            output.run(task)
            yield


@dataclass
class Report:
    """What a prediction says while it runs."""

    say: Callable[[str], None] = lambda line: None
    progress: bool = False


def predict_file(
    config: PredictConfig,
    *,
    overwrite: bool = False,
    executor: Executor | None = None,
    report: Report | None = None,
) -> Path:
    """Predict a stack from file to file, whatever its size.

    Finished pieces are recorded when they are on disk; a run that was stopped, by whatever, goes on
    when it is called again, and leaves the same bytes. A partial result never has the final name.

    Parameters
    ----------
    config : PredictConfig
        Every setting.
    overwrite : bool
        Whether an existing output may be replaced; it stays until the new one is complete. Also
        drops what an interrupted run with other settings left.
    executor : Executor, optional
        Default: this process. `paper_unet.large.cluster.Dask` computes on a cluster.
    report : Report, optional
        Takes the plan as lines of text; may show progress.

    Returns
    -------
    Path
        The output.

    Raises
    ------
    InputError
        If the input cannot be used, the output exists, an interrupted run had other settings, or
        the memory or the disk does not suffice. One line.
    Stopped
        If SIGINT or SIGTERM came; the same call goes on.
    """
    executor, report = executor or Here(), report or Report()
    refuse_same_file(config.source, config.out)
    with (
        stopping() as stop,
        open_stack(config.source, axes=config.axes, series=config.series) as stack,
    ):
        output = _output(config, stack, overwrite)
        with open_journal(Path(config.out)) as journal:
            job = _prepare(config, stack, output, executor, journal, overwrite)
            _announce(report, job, journal)
            output.prepare(resume=bool(journal.done))
            _work(job.prediction, journal, executor, report, stop)
            _refuse_changed_input(config, journal)
            output.finish()
            journal.remove()
    return Path(config.out)


@dataclass(frozen=True)
class _Job:
    prediction: Prediction
    network: UNetConfig
    needed: int  # estimated peak, bytes
    allowed: int  # bytes


def _output(config: PredictConfig, stack: Stack, overwrite: bool) -> Output:
    chosen = parse_slices(config.slices, len(stack))
    return create_output(
        config.out,
        (len(chosen), *stack.shape[1:]),
        config.dtype,
        pixel_size=stack.pixel_size,
        overwrite=overwrite,
        ome_zarr=config.ome_zarr,
    )


def _prepare(
    config: PredictConfig,
    stack: Stack,
    output: Output,
    executor: Executor,
    journal: Journal,
    overwrite: bool,
) -> _Job:
    """Compare with what an interrupted run left, take its plan or make one, and record it."""
    device = executor.device(config.device)
    base, allowed = executor.allowed(device)
    base += stack.cache_bytes if device == "cpu" else 0
    allowed = round(SHARE * allowed) if config.memory is None else bytes_of(config.memory)
    model = load_model(config.weights)
    if model.config.in_channels != 1:
        raise InputError(
            f"{config.weights}: a network of {model.config.in_channels} channels; files are grey: "
            "use predict_image with arrays"
        )
    facts = _facts(config, stack, output, device, weights_digest(model))
    if journal.header and not output.partial.exists():
        journal.restart()  # killed between the last step and the end, or its partial was removed
    if overwrite and journal.header and _unlike(journal.header, facts, config.threads):
        journal.restart()
    left = journal.header or {}
    facts["threads"] = config.threads or left.get("threads") or torch.get_num_threads()
    shape = stack.shape[1:]
    estimate = model.config, config.precision, config.procedure
    if left:
        journal.begin({**facts, "plan": left.get("plan")})
        plan = Plan(**left["plan"])
    else:
        plan = choose_plan(*estimate, shape, allowed, alignment=output.alignment, base=base)
        journal.begin({**facts, "plan": asdict(plan)})
    needed = peak_bytes(*estimate, plan, shape, base)
    if needed > allowed:
        raise InputError(
            f"{config.out}: the interrupted run was planned for {megabytes(needed)} of memory, "
            f"{megabytes(allowed)} are allowed; allow more with --memory, or start anew with "
            "--overwrite"
        )
    prediction = Prediction(
        source=Path(config.source).absolute(),
        axes=config.axes,
        series=config.series,
        first=facts["slices"][0],
        weights=None if config.weights is None else Path(config.weights).absolute(),
        digest=facts["weights"],
        output=output,
        grid=Grid(output.shape[0], *shape, plan),
        procedure=config.procedure,
        precision=config.precision,
        value_range=config.value_range,
        fill=config.fill,
        device=device,
        threads=facts["threads"],
    )
    return _Job(prediction, model.config, needed, allowed)


def _facts(
    config: PredictConfig, stack: Stack, output: Output, device: str, digest: str
) -> dict[str, Any]:
    """Return what has to agree for two runs to give the same bytes; threads and plan come later."""
    chosen = parse_slices(config.slices, len(stack))
    facts = {
        "version": 1,
        "input": stack.identity(),
        "slices": [chosen.start, chosen.stop],
        "weights": digest,
        "procedure": asdict(config.procedure),
        "precision": config.precision,
        "range": config.value_range,
        "fill": config.fill,
        "dtype": config.dtype,
        "format": [type(output).__name__, config.ome_zarr],
        "pixel_size": stack.pixel_size,
        "device": torch.device(device).type,
        "torch": torch.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _unlike(header: dict[str, Any], facts: dict[str, Any], threads: int | None) -> bool:
    wanted = facts if threads is None else {**facts, "threads": threads}
    return any(header.get(name) != value for name, value in wanted.items())


def _announce(report: Report, job: _Job, journal: Journal) -> None:
    """Say what is going to happen, and how much memory and time it is expected to take."""
    prediction = job.prediction
    grid, plan = prediction.grid, prediction.grid.plan
    size = f"{grid.sections} x {grid.height} x {grid.width} pixels"
    if prediction.procedure.engine == "stream":
        how = f"bands of {plan.band} rows, {grid.strips} strip(s) of up to {plan.strip} columns"
    else:
        how = f"{prediction.procedure.tiling} tiles of up to {prediction.procedure.tile} pixels"
    report.say(f"{size}; {how}; {prediction.device}, {prediction.threads} thread(s)")
    report.say(f"memory: about {megabytes(job.needed)} of {megabytes(job.allowed)} allowed")
    share = 1 - len(journal.done) / len(grid)
    seconds = share * expected_seconds(job.network, prediction)
    report.say(f"time: about {_duration(seconds)}, if the machine is ours alone")
    if journal.done:
        report.say(f"going on: {len(journal.done)} of {len(grid)} pieces are there already")


def expected_seconds(network: UNetConfig, prediction: Prediction) -> float:
    """Return the arithmetic of a prediction over the rate of a matrix product on this machine."""
    grid, procedure = prediction.grid, prediction.procedure
    height, width = grid.height, min(grid.plan.strip, grid.width)
    if procedure.engine == "tiles":
        height, width = (min(side, procedure.tile - 184) for side in (height, width))
    per_pixel = multiply_accumulates(network, height, width) / (height * width)
    versions = {"none": 1.0, "flips": 4.0, "rotations": 7.0}[procedure.average]
    if procedure.average == "rotations":
        versions *= (grid.height**2 + grid.width**2) / (grid.height * grid.width)
    pixels = grid.sections * grid.height * grid.width * versions
    return 2 * per_pixel * pixels / (EFFICIENCY * matrix_rate(prediction))


def matrix_rate(prediction: Prediction) -> float:
    """Measure the rate of a matrix product, operations per second; takes a fraction of a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(prediction.threads)
    side = 1024 if prediction.device == "cpu" else 8192
    dtype = PRECISIONS[prediction.precision]
    try:
        factor = torch.ones(side, side, device=prediction.device, dtype=dtype)
        best = min(_timed(factor) for _ in range(4))
    finally:
        torch.set_num_threads(before)
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


def _work(
    prediction: Prediction, journal: Journal, executor: Executor, report: Report, stop: Stop
) -> None:
    grid, output = prediction.grid, prediction.output
    missing = [index for index in range(len(grid)) if index not in journal.done]
    pixels = grid.sections * grid.height * grid.width
    done = pixels - sum(_pixels(grid, index) for index in missing)
    with tqdm(
        total=pixels, initial=done, unit="px", unit_scale=True, disable=not report.progress
    ) as bar:
        runs = list(grid.runs(missing, executor.longest(len(missing))))
        for index in executor.pieces(prediction, runs, stop):
            journal.record(index)
            bar.update(_pixels(grid, index))
    if stop():
        raise Stopped(stop.signal)
    if len(journal.done) != len(grid):
        raise RuntimeError(f"{len(grid) - len(journal.done)} pieces were not computed")
    for tasks in output.stages():
        for _ in executor.tasks(output, tasks, stop):
            pass
        if stop():
            raise Stopped(stop.signal)


def _pixels(grid: Grid, index: int) -> int:
    piece = grid.piece(index)
    return (piece.rows[1] - piece.rows[0]) * (piece.columns[1] - piece.columns[0])


def _refuse_changed_input(config: PredictConfig, journal: Journal) -> None:
    """Compare the input with what it was at the start, before the output takes its name."""
    with open_stack(config.source, axes=config.axes, series=config.series) as stack:
        now = json.loads(json.dumps(stack.identity()))
    if journal.header is None or now != journal.header["input"]:
        raise InputError(
            f"{config.source}: changed while it was being predicted; keep it as it is and start "
            "anew with --overwrite"
        )
