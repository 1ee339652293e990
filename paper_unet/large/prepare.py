"""Before a prediction: what has to agree with an interrupted run, and how sections are cut."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from paper_unet.errors import InputError
from paper_unet.images import Output, Stack, absolute, open_stack, parse_slices, to_unit_range
from paper_unet.inference.predict import check_class, engine_for, wanted_classes
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.inference.streaming import Streaming
from paper_unet.inference.tiled import Tiled
from paper_unet.large.config import PredictConfig
from paper_unet.large.executor import Executor
from paper_unet.large.journal import Journal
from paper_unet.large.left import Left, left_in
from paper_unet.large.memory import bytes_of, megabytes
from paper_unet.large.pieces import Grid
from paper_unet.large.plan import choose_plan, waiting_bytes
from paper_unet.large.worker import Prediction
from paper_unet.networks.base import Network
from paper_unet.networks.known_weights import elsewhere
from paper_unet.networks.weights_file import load_model, read_config, weights_digest
from paper_unet.settings import part
from paper_unet.system.memory import SHARE, Budget

OF_A_RUN = {"plan", "threads", "run"}
"""Fields of a header that a run which goes on takes over, unless they are given."""

PIECE = 200
"""Bytes that the record of a piece takes, at least."""


@dataclass(frozen=True)
class Job:
    """A prediction that is ready to begin, and what it is expected to take.

    Attributes
    ----------
    prediction : Prediction
    engine : Streaming or Tiled
        Computes the scores; here it says what that takes.
    needed, allowed : int
        Estimated peak of the memory of a process, and what it may take, bytes.
    workers : int
        How many processes compute.
    pieces : range
        Which are to be computed: all, or those of a part.
    """

    prediction: Prediction
    engine: Streaming | Tiled
    needed: int
    allowed: int
    workers: int
    pieces: range


@dataclass(frozen=True)
class Settled:
    """All that is known of a prediction before it is known what an interrupted run left of it.

    Attributes
    ----------
    config : PredictConfig
    output : Output
    device : str
    engine : Streaming or Tiled
    base, allowed : int
        What a process takes before it begins, and what it may take, bytes.
    value_range : tuple of two floats or None
    facts : dict
        What has to agree for two runs to give the same bytes, but for threads and plan.
    executor : Executor
    """

    config: PredictConfig
    output: Output
    device: str
    engine: Streaming | Tiled
    base: int
    allowed: int
    value_range: tuple[float, float] | None
    facts: dict[str, Any]
    executor: Executor

    def needed(self, plan: Plan) -> int:
        """Return the bytes that a process takes at its peak."""
        shape, values = self.output.shape[1:], max(1, len(self.output.channels))
        waiting = waiting_bytes(plan, shape, values, self.output.waiting)
        return self.base + self.engine.peak_bytes(plan, shape, values) + waiting

    def wanted(self) -> dict[str, Any]:
        """Return the facts, of the output as it is now, and the threads if they are given."""
        given = {} if self.config.threads is None else {"threads": self.config.threads}
        return {**self.facts, "format": self.output.format, **given}

    def take_shards(self, header: dict[str, Any]) -> None:
        """Have the shards that what is laid out has, unless they were asked for."""
        match header.get("format"):
            case [name, version, *shard] if [name, version] == self.output.format[:2]:
                if self.config.shard is None and self.output.shards:
                    self.output.use_shards(shard[0] if shard else 0)

    def begun(self) -> Left:
        """Return what a run begins with that goes on from nothing.

        Raises
        ------
        InputError
            If the memory does not suffice.
        """
        try:
            plan = self._plan()
        except InputError:  # for shards that nobody asked for memory may be too little
            if self.config.shard is not None or not self.output.shard:
                raise
            self.output.use_shards(0)
            plan = self._plan()
        return Left(plan, self.config.threads or self.executor.threads(), uuid.uuid4().hex)

    def _plan(self) -> Plan:
        return choose_plan(
            self.engine, self.output.shape[1:], self.allowed, alignment=self.output.alignment,
            base=self.base, values=max(1, len(self.output.channels)), waiting=self.output.waiting,
        )  # fmt: skip

    def header(self, left: Left) -> dict[str, Any]:
        """Return what a journal begins with."""
        return {**self._complete(left), "plan": asdict(left.plan)}

    def job(self, left: Left) -> Job:
        """Return what is to be computed; all pieces.

        Raises
        ------
        InputError
            If the memory does not suffice.
        """
        grid = Grid(*self.output.shape, left.plan)
        source, allowed = self.config.source, self.allowed
        Budget(allowed).allow(PIECE * len(grid), source, f"is predicted in {len(grid)} pieces")
        if (most := self.needed(left.plan)) > allowed:
            raise InputError(
                f"{self.config.out}: what is there of it was planned for {megabytes(most)} of "
                f"memory, {megabytes(allowed)} are allowed; allow more with `memory`, or start "
                "anew with `overwrite`"
            )
        prediction = _prediction(
            self.config, self.output, grid, self.device, self._complete(left), self.value_range
        )
        workers = self.executor.workers()
        return Job(prediction, self.engine, most, allowed, workers, range(len(grid)))

    def _complete(self, left: Left) -> dict[str, Any]:
        threads = self.config.threads or left.threads
        return {**self.wanted(), "threads": threads, "run": left.run}


def open_input(config: PredictConfig) -> Stack:
    """Open the input, in grey or in as many channels as the network takes."""
    return open_stack(
        config.source,
        axes=config.axes,
        series=config.series,
        channels=read_config(config.weights).in_channels,
        channel=config.channel,
        time=config.time,
        missing=config.missing,
        budget=None if config.memory is None else Budget(bytes_of(config.memory)),
    )


def settle(config: PredictConfig, stack: Stack, output: Output, executor: Executor) -> Settled:
    """Find out all that does not depend on what an interrupted run left.

    Raises
    ------
    InputError
        If the network or the memory does not fit, or the grey values need a range.
    """
    device = executor.device(config.device)
    base, allowed = executor.allowed(device)
    base += stack.cache_bytes if device == "cpu" else 0
    allowed = round(SHARE * allowed) if config.memory is None else bytes_of(config.memory)
    if device == "cpu":
        stack.check_memory(allowed)  # before anything of it is decoded
    model = load_model(config.weights)
    value_range = _checked_range(config, stack, output, model)
    facts = facts_of(config, stack, output, device, weights_digest(model))
    engine = engine_for(
        model, part(config, InferenceSettings), config.precision, device=torch.device(device)
    )
    if device == "cpu":  # other networks than the paper's import more of PyTorch to be measured
        engine.work(Plan(16, 16, 16), output.shape[1:])
        base = max(base, executor.allowed(device)[0] + stack.cache_bytes)
    executor.take(model)
    return Settled(config, output, device, engine, base, allowed, value_range, facts, executor)


def prepare(settled: Settled, journal: Journal, overwrite: bool) -> Job:
    """Compare with what an interrupted run left, take its plan or make one, and record it.

    Raises
    ------
    InputError
        If the memory does not suffice, or an interrupted run had other settings and nobody said
        ``overwrite``.
    """
    left = _left(journal, settled.wanted(), settled.output, overwrite)
    if left is not None and overwrite and settled.needed(left.plan) > settled.allowed:
        journal.restart()
        left = None
    if left is None:
        left = settled.begun()
    job = settled.job(left)
    journal.begin(settled.header(left))
    return job


def _left(journal: Journal, wanted: dict[str, Any], output: Output, overwrite: bool) -> Left | None:
    """Return what goes on from an interrupted run; None if there is nothing, or it is dropped."""
    # without pixels: killed after the last step, or before the first, or they were removed
    unmarked = not (journal.done or journal.claim.token)  # nothing to lose, and a mark to gain
    if unmarked or not output.partial.exists():
        journal.restart()
    if journal.header is None:
        return None
    added = added_to(journal.header, wanted)
    try:
        same = {name: value for name, value in wanted.items() if name not in added}
        journal.compare(same, aside=(OF_A_RUN - wanted.keys()) | added.keys())
        if journal.header.get("pixel_size") == [None] * 3:
            output.pixel_size = None, None, None  # as it began, whatever is found by now
        left = left_in(journal, output)
    except InputError:
        if not overwrite:
            raise
        journal.restart()
        return None
    journal.amend(added)
    return left


def added_to(header: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what an interrupted run may go on with: a value for pixels that are not finite.

    Without one, all that it finished had none of these, so the bytes are the same with any.
    """
    without = "fill" in header and header["fill"] is None
    return {"fill": wanted["fill"]} if without and wanted["fill"] is not None else {}


def _checked_range(
    config: PredictConfig, stack: Stack, output: Output, model: Network
) -> tuple[float, float] | None:
    """Return the range of grey values; refuse what every section would be refused for."""
    classes = wanted_classes(config.of_class, config.all_classes, config.argmax)
    check_class(model, config.of_class, classes)
    given = given_range(config, output)
    value_range = stack.value_range(given, model.grey_ranges)
    to_unit_range(np.zeros((1, 1), stack.dtype), value_range, name=config.source)
    return value_range


def given_range(config: PredictConfig, output: Output) -> tuple[float, float] | None:
    """Return the range that was asked for, by grey values or percentiles; None if none was."""
    if config.percentiles is None:
        return config.value_range
    low, high = output.about["grey_range"]
    return low, high


def _prediction(
    config: PredictConfig,
    output: Output,
    grid: Grid,
    device: str,
    facts: dict[str, Any],
    value_range: tuple[float, float] | None,
) -> Prediction:
    return Prediction(
        source=absolute(config.source),
        axes=config.axes,
        series=config.series,
        channel=config.channel,
        time=config.time,
        missing=config.missing,
        memory=None if config.memory is None else bytes_of(config.memory),
        first=facts["slices"][0],
        weights=elsewhere(config.weights),
        digest=facts["weights"],
        output=output,
        grid=grid,
        settings=part(config, InferenceSettings),
        precision=config.precision,
        of_class=config.of_class,
        classes=wanted_classes(config.of_class, config.all_classes, config.argmax),
        value_range=value_range,
        fill=config.fill,
        device=device,
        threads=facts["threads"],
        run=facts["run"],
    )


def facts_of(
    config: PredictConfig, stack: Stack, output: Output, device: str, digest: str
) -> dict[str, Any]:
    """Return what has to agree for two runs to give the same bytes; threads and plan come later."""
    chosen = parse_slices(config.slices, len(stack))
    facts = {
        "version": 1,
        "input": stack.identity(),
        "slices": [chosen.start, chosen.stop],
        "weights": digest,
        "procedure": asdict(part(config, InferenceSettings)),
        "precision": config.precision,
        "class": config.of_class,
        "range": given_range(config, output),
        "fill": config.fill,
        "dtype": config.stored,
        "format": output.format,
        "pixel_size": stack.pixel_size,
        "device": device.partition(":")[0],
        "torch": torch.__version__,
    }
    if config.all_classes or config.argmax:
        facts["classes"] = "all" if config.all_classes else "argmax"
    if config.percentiles is not None:
        facts["scaling"] = output.about
    if output.channels:
        facts["channels"] = output.channels
    if config.missing != "fail":  # a run that fails has nothing to go on with
        facts["missing"] = config.missing
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
