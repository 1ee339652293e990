"""Rows that survive: a finished row is a small file, and the next call goes on with the others.

A row is one network, trained and scored, and is known by the settings that decide its result: not
by the machine, the device or the folders. Its file in ``OUT/rows`` has these settings, the result,
the training's log in short and where it was made. With ``--minutes`` no row is begun that cannot
end in time: a step, and a prediction, are measured before the first row of their kind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from workers import Workers

from paper_unet.cli import script
from paper_unet.inference.predict import predict_image
from paper_unet.networks.base import Network
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.device import pick_device
from paper_unet.system.environment import environment
from paper_unet.system.files import write_atomic
from paper_unet.training.checkpoint import as_of_today, comparable
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import instances_from_membranes, training_set
from paper_unet.training.initial_weights import start_network
from paper_unet.training.log import LOG
from paper_unet.training.run_folder import start_digest
from paper_unet.training.step import Trainer, new_optimizer, reproducible
from paper_unet.training.tiles import TileSampler

FOLDER = "rows"
WHERE = ("device", "channels_last")
"""Settings that change no result but by rounding."""
LOG_LINES = 100
MARGIN = 1.15
"""A row is begun where this many times what it is expected to take is left."""
PROBE_SIDE = 512
PROBE_SECONDS = 3.0
METRICS_SECONDS = 15.0
"""Assumed for the scores of a row until one of its kind has been made on the same machine."""


class Job(Protocol):
    """What a row is made of."""

    @property
    def name(self) -> str:
        """For people; part of the name of the file."""

    @property
    def stages(self) -> Sequence[TrainConfig]:
        """The trainings, one after the other; none where a trained network is scored."""

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the result beside the stages: the data, the scores; as JSON has it."""

    @property
    def pixels(self) -> int:
        """How many pixels are predicted for the scores."""


Made = TypeVar("Made", bound=Job)


def add_options(options: argparse.ArgumentParser) -> None:
    """Add what says how many rows are made."""
    add_jobs(options)
    options.add_argument(
        "--minutes", type=script.minutes, metavar="M",
        help="begin no row that would end later than that; the same command goes on; 0: only say "
        "what is missing",
    )  # fmt: skip


def add_jobs(options: argparse.ArgumentParser) -> None:
    """Add how many rows are made at once."""
    options.add_argument(
        "--jobs", type=script.count, default=1, help="rows at once, a thread each on a CPU"
    )


def settings(job: Job) -> dict[str, Any]:
    """Return what a row is known by."""
    stages = []
    for k, config in enumerate(job.stages):
        start = "the stage before" if k else start_digest(config)
        stages.append(_known(comparable(config), start))
    found: dict[str, Any] = json.loads(json.dumps({"stages": stages, **job.facts}))
    return found


def path_of(out: Path, job: Job) -> Path:
    """Return the file of a row: the one that is there, or that it will have."""
    wanted = settings(job)
    name = re.sub(r"[^\w.-]+", "_", job.name).strip("_")
    for path in sorted((out / FOLDER).glob(f"{name}-*.json")):
        row = read(path)
        if row is not None and row["settings"] == wanted:
            return path
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:10]
    return out / FOLDER / f"{name}-{digest}.json"


def _as_of_today(known: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a row as they would be written now: later ones had their default."""
    stages = []
    for stage in known["stages"]:
        found = as_of_today({name: value for name, value in stage.items() if name != "start"})
        stages.append(_known(found, stage["start"]))
    return {**known, "stages": stages}


def _known(found: dict[str, Any], start: str) -> dict[str, Any]:
    """Leave out where a training ran; its first weights are known by their bytes."""
    kept = {name: value for name, value in found.items() if name not in WHERE}
    return kept | {"start": start}


def read(path: Path) -> dict[str, Any] | None:
    """Return a finished row with where it was made; None if there is none, or not whole."""
    try:
        row = json.loads(path.read_text())
        whole = {"settings", "result", "seconds", "environment"} <= row.keys()
        known = whole and _as_of_today(row["settings"])
    except (FileNotFoundError, ValueError, TypeError, AttributeError, LookupError):
        return None
    return {**row, "settings": known} if known else None


def run_rows(
    run: Callable[[Any], Any], jobs: Iterable[Job], options: argparse.Namespace
) -> list[Any]:
    """Return the results of `run_jobs` alone."""
    return [row for _, row in run_jobs(run, jobs, options)]


def run_jobs(
    run: Callable[[Any], Any], jobs: Iterable[Made], options: argparse.Namespace
) -> list[tuple[Made, Any]]:
    """Return the jobs whose rows are there or can be made in time, with their results, in order.

    Those that are missing are named, one a line, with what they are expected to take. Without any
    time that is all: nothing is returned, so that nothing that is there is written again.
    """
    pairs = [(job, path_of(options.out, job)) for job in jobs]
    todo = [(job, path) for job, path in pairs if _row_of(job, path) is None]
    clock = Clock(options.minutes, options.out, options.device)
    missing = (_one_by_one if options.jobs == 1 else _at_once)(run, todo, clock, options.jobs)
    for job, seconds in missing:
        takes = "" if seconds is None else f", about {seconds:.0f} s"
        print(f"missing: {job.name}{takes}", flush=True)
    if missing:
        print(f"{len(missing)} of {len(pairs)} rows are missing: the same command goes on")
    if options.minutes == 0:
        return []
    found = ((job, _row_of(job, path)) for job, path in pairs)
    return [(job, _with_place(row)) for job, row in found if row is not None]


def _row_of(job: Job, path: Path) -> dict[str, Any] | None:
    row = read(path)
    return row if row is not None and row["settings"] == settings(job) else None


def _with_place(row: dict[str, Any]) -> Any:
    """Return a row's result with the hardware and the date; some jobs have several results."""
    where = row["environment"]
    made = {"made_on": f"{where.get('gpu') or where['cpu']}, {where['date']}"}
    result = row["result"]
    return [each | made for each in result] if isinstance(result, list) else result | made


Todo = Sequence[tuple[Job, Path]]
Missing = list[tuple[Job, float | None]]
"""With the seconds that a row would take, where they are known."""


def _one_by_one(run: Callable[[Any], Any], todo: Todo, clock: Clock, _: int) -> Missing:
    missing = []
    for job, path in todo:
        seconds = clock.expected(job)
        if clock.allows(seconds):
            make(run, job, path)
        else:
            missing.append((job, seconds))
    return missing


def _at_once(run: Callable[[Any], Any], todo: Todo, clock: Clock, at_once: int) -> Missing:
    """Make rows in processes of their own; errors come through when the others have ended."""
    missing: Missing = []
    running: set[Future[None]] = set()
    with Workers(at_once) as workers:
        for job, path in todo:
            while len(running) >= at_once:
                running = workers.one_ended(running)
            seconds = clock.expected(job)
            if clock.allows(seconds):
                running.add(workers.submit(make, run, job, path))
            else:
                missing.append((job, seconds))
        while running:
            running = workers.one_ended(running)
    return missing


def make(run: Callable[[Any], Any], job: Job, path: Path) -> None:
    """Train and score a row, and write its file."""
    started = time.monotonic()
    result = run(job)
    row = {
        "settings": settings(job),
        "result": result,
        "log": [line for config in job.stages for line in short_log(Path(config.out))],
        "seconds": round(time.monotonic() - started, 1),
        "environment": environment(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(row, indent=1) + "\n").encode())


def short_log(run: Path, most: int = LOG_LINES) -> list[dict[str, Any]]:
    """Return the log of a training, with the mean losses of several lines where it has too many."""
    path = run / LOG
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    size = -(-len(lines) // most) or 1
    found = []
    for k in range(0, len(lines), size):
        part = lines[k : k + size]
        losses = float(np.mean([line["loss"] for line in part]))
        found.append({**part[-1], "loss": round(losses, 5)})
    return found


@dataclass
class Clock:
    """What is left of the time, and what a row takes."""

    minutes: float | None
    out: Path
    device: str

    def __post_init__(self) -> None:
        self._end = time.monotonic() + 60 * self.minutes if self.minutes is not None else None

    def allows(self, seconds: float | None) -> bool:
        """Whether a row that takes that long would end in time; it would where there is no end."""
        if self._end is None:
            return True
        return seconds is not None and time.monotonic() + MARGIN * seconds <= self._end

    def expected(self, job: Job) -> float | None:
        """Return the seconds that a row is expected to take, training and scores.

        What rows of the same shape took on the same machine is known; else a step and a
        prediction are measured, while there is time for that; None if it is not known.
        """
        known = self._known(job)
        if known is not None or self._end is None or time.monotonic() >= self._end:
            return known
        seconds = METRICS_SECONDS
        for config in job.stages:
            per_step, per_pixel = measured(_shape(config, self.device))
            seconds += config.steps * per_step + job.pixels * per_pixel
        return seconds

    def _known(self, job: Job) -> float | None:
        wanted, here = shape_of(settings(job)), _machine(environment())
        found = []
        for path in sorted((self.out / FOLDER).glob("*.json")):
            row = read(path)
            if row is None:
                continue
            if shape_of(row["settings"]) == wanted and _machine(row["environment"]) == here:
                found.append(row["seconds"])
        return max(found, default=None)


def shape_of(known: dict[str, Any]) -> Any:
    """Return what of a row's settings decides how long it takes."""
    names = ("network", "width", "tile", "channels", "steps", "precision", "optimizer")
    return [[stage.get(name) for name in names] for stage in known["stages"]]


def _machine(found: dict[str, str]) -> tuple[str | None, str]:
    return found.get("gpu"), "" if found.get("gpu") else found["cpu"].split(",")[0]


def _shape(config: TrainConfig, device: str) -> TrainConfig:
    """Return a configuration with what decides how long a step takes, and nothing else."""
    return TrainConfig(
        network=config.network, width=config.width, tile=config.tile, device=device,
        precision=config.precision, channels_last=config.channels_last,
        optimizer=config.optimizer, warmup=0,
    )  # fmt: skip


@cache
def measured(config: TrainConfig) -> tuple[float, float]:
    """Return the seconds of a step, and of a pixel that is predicted."""
    device = pick_device(config.device)
    config = replace(config, lr=1e-6).on(device)
    made = synthetic_stack(sections=1, side=PROBE_SIDE, seed=0)
    data = training_set(
        made.images.astype(np.float32) / np.float32(255), instances_from_membranes(made.labels)
    )
    model = start_network(config, data.images.shape[1]).to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = model.output_side(config.input_side)
    sampler = TileSampler(data, config.input_side, config.augmentation, 0, device, side)
    model.train()
    with reproducible(config.precision, device):
        trainer = Trainer(model, new_optimizer(model, config), sampler, config)
        step = _seconds_of(trainer)
        trainer.close()
    return step, _prediction(model.for_prediction().eval(), made.images[0])


def _seconds_of(trainer: Trainer) -> float:
    """Return the seconds of a step once it is warm: on a GPU, once its graph is recorded."""
    warm, step = 6 if torch.cuda.is_available() else 1, 0
    for step in range(warm):
        trainer(step).tolist()
    started, taken = time.monotonic(), 0
    while taken < 50 and (not taken or time.monotonic() - started < PROBE_SECONDS):
        trainer(step + 1 + taken).tolist()
        taken += 1
    return (time.monotonic() - started) / taken


def _prediction(model: Network, image: Any) -> float:
    """Return the seconds of a pixel."""
    predict_image(model, image)
    started = time.monotonic()
    predict_image(model, image)
    return (time.monotonic() - started) / float(image.size)
