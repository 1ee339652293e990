"""Training as in sec. 3: stochastic gradient descent, momentum 0.99, one large tile a step.

One flat loop. Everything random in step n follows from (seed, n), so a run that was killed and
resumed is, on the same CPU with the same number of threads, the run that was not, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paper_unet.errors import DivergedError
from paper_unet.images import PercentileRange
from paper_unet.networks.base import Network
from paper_unet.networks.fused import fused
from paper_unet.networks.weights_file import save_model
from paper_unet.system.device import pick_device
from paper_unet.system.files import make_folder
from paper_unet.system.progress import progress_bar
from paper_unet.system.stop import Stopped, stopping
from paper_unet.training.board import Board, event_writer
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS, comparable, restore, save_checkpoint
from paper_unet.training.collapse import Collapse
from paper_unet.training.config import TrainConfig, learning_rate
from paper_unet.training.data import TrainingSet
from paper_unet.training.held_out import HeldOut
from paper_unet.training.initial_weights import absorb_shift, start_network, start_terms
from paper_unet.training.log import append_log
from paper_unet.training.reading import grey_dtype, read_training_set, sampled_range
from paper_unet.training.run_folder import (
    locked,
    prepare_folder,
    refuse_own_input,
    refuse_to_overwrite,
    start_digest,
)
from paper_unet.training.step import Trainer, laid_out, new_optimizer, reproducible
from paper_unet.training.tiles import TileSampler

STATISTICS_TILES = 64
"""Tiles whose mean and variance a trained network with batch normalisation keeps."""


def train(
    config: TrainConfig,
    data: TrainingSet | None = None,
    *,
    held_out: TrainingSet | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    sampled: PercentileRange | None = None,
) -> Network:
    """Train a network and leave it in ``config.out``.

    Parameters
    ----------
    config : TrainConfig
    data : TrainingSet, optional
        Used in place of the files that the configuration names. ``config.value_range``, if given,
        must then be the range by which uint8 grey values were scaled.
    held_out : TrainingSet, optional
        Sections to compute the loss of, every ``config.validate_every`` steps; nothing is learnt
        from them.
    resume : bool
        Go on from the folder's checkpoint, if there is one; its configuration must be the same.
    overwrite : bool
        Begin anew in a folder that holds a run.
    progress : bool
        Show a progress bar.
    tensorboard : bool
        Write events for TensorBoard into the folder ``tensorboard`` of ``config.out``, too: loss,
        learning rate, and of the held-out sections their loss and what is wrong on the first one.
    sampled : PercentileRange, optional
        The range of ``config.percentiles``, if it is known already; default: it is read once.

    Returns
    -------
    Network
        In evaluation mode, on the training device. The folder holds ``weights.safetensors`` (what
        `load_model` and ``paper-unet predict`` take), ``checkpoint.safetensors`` (to resume),
        ``config.json`` and ``log.jsonl`` (step, mean loss, learning rate, seconds,
        and the loss of the held-out sections where it was computed).

    Raises
    ------
    InputError
        If the data or the folder cannot be used, or TensorBoard is to be written and not installed.
    DivergedError
        At the first loss that is not finite.
    Stopped
        If SIGINT or SIGTERM came; the checkpoint is of the last step, and ``resume`` goes on.
    """
    if tensorboard:
        event_writer()  # before anything of the folder is changed
    out = Path(config.out)
    device = pick_device(config.device)
    config = config.on(device)
    seen = refuse_to_overwrite(out, resume, overwrite)
    refuse_own_input(config)
    sampled = sampled or sampled_range(config)
    data = data or read_training_set(config, sampled)
    data = data if config.weighted else data.unweighted()
    model = start_network(config, data.images.shape[1]).to(device)
    if config.value_range and (dtype := grey_dtype(config)):
        model.grey_ranges[dtype] = config.value_range
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    output = model.output_side(config.input_side)
    sampler = TileSampler(data, config.input_side, config.augmentation, config.seed, device, output)
    unseen = None
    if held_out is not None and config.validate_every:
        unseen = HeldOut(held_out, config, model.output_side, device)
    made_from = {"data": data.fingerprint(), "start": start_digest(config)}
    make_folder(out)
    with locked(out) as claim:
        refuse_to_overwrite(out, resume, overwrite, seen)  # what another process did meanwhile
        run = _Run(model, sampler, unseen, config, made_from, claim.token)
        _optimise(run, resume=resume, progress=progress, tensorboard=tensorboard)
        _settle(model, sampler, config)
        model = model.for_prediction()
        absorb_shift(model, config.centre)
        model.record = {
            "config": comparable(config),
            "steps": config.steps,
            "sections": len(data.images),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            **({"scaling": sampled.record()} if sampled else {}),
        }
        dtype = grey_dtype(config) if config.images else None
        if dtype and {dtype, *model.grey_ranges} != {"uint8"}:  # which goes without saying
            model.record["grey_type"] = dtype
        if config.start:
            model.record["start_sha256"] = made_from["start"]
            if terms := start_terms(config):
                model.record["terms"] = terms
        save_model(out / WEIGHTS, model, token=claim.token)
    return model.eval()


class _Run(NamedTuple):
    """What is trained, on what, from where; ``token`` is that of the folder's lock."""

    model: Network
    sampler: TileSampler
    unseen: HeldOut | None
    config: TrainConfig
    made_from: Mapping[str, str]
    token: str


def _optimise(run: _Run, *, resume: bool, progress: bool, tensorboard: bool) -> None:
    """Take all steps, from the folder's checkpoint if asked and if it is of the same sources."""
    model, sampler, unseen, config, made_from, token = run
    out = Path(config.out)
    optimizer = new_optimizer(model, config)
    step = restore(out, config, made_from, model, optimizer) if resume else 0
    prepare_folder(out, config, step, token)
    started, pending = time.monotonic(), []
    every = config.checkpoint_every or config.steps
    model.train()
    device, collapse = sampler.images.device, Collapse(config)
    with (
        stopping() as stop,
        reproducible(config.precision, device),
        fused(model) if device.type == "cuda" else nullcontext(),
        closing(Trainer(model, optimizer, sampler, config)) as trainer,
        closing(Board(out, step)) if tensorboard else nullcontext() as board,
        progress_bar(total=config.steps, initial=step, unit="step", show=progress) as bar,
    ):
        while step < config.steps:
            pending.append(train_step(trainer, step))
            step += 1
            due = step % config.log_every == 0 or step % every == 0
            look = unseen is not None and step % config.validate_every == 0
            last = step == config.steps
            if not (due or look or last or stop()):
                continue
            found, pending = torch.stack(pending).tolist(), []
            losses = [loss for loss, _, _ in found]
            _stop_if_not_finite(losses, model, step, config)
            collapse.look_at(found, step)
            seen = None
            if unseen and look:
                seen = unseen.loss(model) if last else unseen.loss(model, stop)
            more = {} if seen is None else {"held_out_loss": seen}
            entry = append_log(out, step, losses, config, time.monotonic() - started, **more)
            if board is not None:
                board.add(entry, unseen.section(model) if unseen and more else None)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{np.mean(losses):.4f}")
            if step % every == 0 or last or stop():
                save_checkpoint(out, step, config, made_from, model, optimizer, token)
            if stop() and not last:
                raise Stopped(stop.signal)


def _settle(model: Network, sampler: TileSampler, config: TrainConfig) -> None:
    """Show the finished network tiles that no step has seen; what they are for, it knows."""
    unseen = range(config.steps, config.steps + STATISTICS_TILES)
    with reproducible(config.precision, sampler.images.device):
        model.settle(laid_out(sampler[k].image - config.centre, config) for k in unseen)


def train_step(trainer: Trainer, step: int) -> Tensor:
    """One tile forward, back and down the gradient; see `Trainer`."""
    return trainer(step)


def _stop_if_not_finite(
    losses: list[float], model: Network, step: int, config: TrainConfig
) -> None:
    """Raise `DivergedError` for the first loss, or for weights, that are not finite."""
    bad = next((k for k, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is not None:
        at, what = step - len(losses) + bad + 1, f"the loss became {losses[bad]}"
    elif _are_finite(list(model.parameters())):
        return
    else:
        at, what = step, "the weights became infinite"
    kept = Path(config.out) / CHECKPOINT
    where = f"; {kept} is from before" if kept.exists() else ""
    raise DivergedError(
        f"{what} at step {at} with learning rate {learning_rate(at - 1, config):.3g}{where}: train "
        "anew with a smaller `lr`"
    )


def _are_finite(tensors: list[Tensor]) -> bool:
    """Whether all values are finite; asked of a GPU once, not once for each tensor."""
    return bool(torch.stack(torch._foreach_norm(tensors, math.inf)).isfinite().all())
