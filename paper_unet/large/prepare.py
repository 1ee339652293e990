"""Before a prediction: what has to agree with an interrupted run, and how sections are cut."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from paper_unet.errors import InputError
from paper_unet.images import Output, Stack, open_stack, parse_slices, to_unit_range
from paper_unet.inference.predict import check_class, engine_for
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.inference.streaming import Streaming
from paper_unet.inference.tiled import Tiled
from paper_unet.large.config import PredictConfig
from paper_unet.large.executor import Executor
from paper_unet.large.journal import Journal
from paper_unet.large.left import Left, left_in
from paper_unet.large.memory import bytes_of, megabytes
from paper_unet.large.pieces import Grid
from paper_unet.large.plan import choose_plan
from paper_unet.large.worker import Prediction
from paper_unet.networks.base import Network
from paper_unet.networks.known_weights import elsewhere
from paper_unet.networks.weights_file import channels_of, load_model, weights_digest
from paper_unet.settings import part
from paper_unet.system.address import absolute
from paper_unet.system.memory import SHARE, Budget

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
    """

    prediction: Prediction
    engine: Streaming | Tiled
    needed: int
    allowed: int
    workers: int


def open_input(config: PredictConfig) -> Stack:
    """Open the input, in grey or in as many channels as the network takes."""
    return open_stack(
        config.source,
        axes=config.axes,
        series=config.series,
        channels=channels_of(config.weights),
        missing=config.missing,
        budget=None if config.memory is None else Budget(bytes_of(config.memory)),
    )


def prepare(
    config: PredictConfig,
    stack: Stack,
    output: Output,
    executor: Executor,
    journal: Journal,
    overwrite: bool,
) -> Job:
    """Compare with what an interrupted run left, take its plan or make one, and record it.

    Raises
    ------
    InputError
        If the network or the memory does not fit, the grey values need a range, or an interrupted
        run had other settings and nobody said ``overwrite``.
    """
    device = executor.device(config.device)
    base, allowed = executor.allowed(device)
    base += stack.cache_bytes if device == "cpu" else 0
    allowed = round(SHARE * allowed) if config.memory is None else bytes_of(config.memory)
    if device == "cpu":
        stack.check_memory(allowed)  # before anything of it is decoded
    model = load_model(config.weights)
    value_range = _checked_range(config, stack, model)
    facts = _facts(config, stack, output, device, weights_digest(model))
    shape = stack.shape[1], stack.shape[2]
    engine = engine_for(
        model, part(config, InferenceSettings), config.precision, device=torch.device(device)
    )

    def needed(plan: Plan) -> int:
        return base + engine.peak_bytes(plan, shape)

    given = {} if config.threads is None else {"threads": config.threads}
    left = _left(journal, {**facts, **given}, output, overwrite)
    if left is not None and overwrite and needed(left.plan) > allowed:
        journal.restart()
        left = None
    if left is None:
        plan = choose_plan(engine, shape, allowed, alignment=output.alignment, base=base)
        left = Left(plan, config.threads or executor.threads(), uuid.uuid4().hex)
    plan = left.plan
    grid = Grid(output.shape[0], *shape, plan)
    Budget(allowed).allow(PIECE * len(grid), config.source, f"is predicted in {len(grid)} pieces")
    facts |= {"threads": config.threads or left.threads, "run": left.run}
    journal.begin({**facts, "plan": asdict(plan)})
    if (most := needed(plan)) > allowed:
        raise InputError(
            f"{config.out}: the interrupted run was planned for {megabytes(most)} of memory, "
            f"{megabytes(allowed)} are allowed; allow more with `memory`, or start anew with "
            "`overwrite`"
        )
    prediction = _prediction(config, output, grid, device, facts, value_range)
    return Job(prediction, engine, most, allowed, executor.workers())


def _left(journal: Journal, wanted: dict[str, Any], output: Output, overwrite: bool) -> Left | None:
    """Return what goes on from an interrupted run; None if there is nothing, or it is dropped."""
    # without pixels: killed after the last step, or before the first, or they were removed
    unmarked = not (journal.done or journal.claim.token)  # nothing to lose, and a mark to gain
    if unmarked or not output.partial.exists():
        journal.restart()
    if journal.header is None:
        return None
    added = _added(journal.header, wanted)
    same = {name: value for name, value in wanted.items() if name not in added}
    try:
        journal.compare(same, aside=({"plan", "threads", "run"} - wanted.keys()) | added.keys())
        left = left_in(journal, output)
    except InputError:
        if not overwrite:
            raise
        journal.restart()
        return None
    journal.amend(added)
    return left


def _added(header: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what an interrupted run may go on with: a value for pixels that are not finite.

    Without one, all that it finished had none of these, so the bytes are the same with any.
    """
    without = "fill" in header and header["fill"] is None
    return {"fill": wanted["fill"]} if without and wanted["fill"] is not None else {}


def _checked_range(
    config: PredictConfig, stack: Stack, model: Network
) -> tuple[float, float] | None:
    """Return the range of grey values; refuse what every section would be refused for."""
    check_class(model, config.of_class)
    value_range = stack.value_range(config.value_range, model.grey_ranges)
    to_unit_range(np.zeros((1, 1), stack.dtype), value_range, name=config.source)
    return value_range


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
        value_range=value_range,
        fill=config.fill,
        device=device,
        threads=facts["threads"],
        run=facts["run"],
    )


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
        "procedure": asdict(part(config, InferenceSettings)),
        "precision": config.precision,
        "class": config.of_class,
        "range": config.value_range,
        "fill": config.fill,
        "dtype": config.dtype,
        "format": [type(output).__name__, config.ome_zarr],
        "pixel_size": stack.pixel_size,
        "device": torch.device(device).type,
        "torch": torch.__version__,
    }
    if config.missing != "fail":  # a run that fails has nothing to go on with
        facts["missing"] = config.missing
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
