"""The checkpoint of a run: weights, the optimiser's memory and the step, verified when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.networks.base import Network
from paper_unet.networks.tensor_file import read_tensors, write_tensors
from paper_unet.networks.weights_file import describe, load_weights
from paper_unet.settings import options
from paper_unet.system.files import sync_file
from paper_unet.training.config import TrainConfig, learning_rate
from paper_unet.training.log import LOG, check_log, log_digest, log_until

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
MEMORY = "optimizer/"
REMEDY = "put back what it was, begin anew with `overwrite`, or use another folder"


def comparable(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that have to agree for a run to be the same run.

    Not where it lies and how it reports; nor the names of the files, since the data themselves
    are compared.
    """
    aside = (
        "out",
        "log_every",
        "checkpoint_every",
        "validate_every",
        "images",
        "labels",
        "missing",
        "axes",
        "series",
        "channel",
        "time",
    )
    kept = {key: value for key, value in asdict(config).items() if key not in aside}
    settings: dict[str, Any] = json.loads(json.dumps(kept))
    return settings


def as_of_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `comparable` wrote as it would be written now.

    A setting that came later had its default before; some values have other names now.
    """
    known = {option.name for option in options(TrainConfig)}
    config = TrainConfig(**{name: value for name, value in stored.items() if name in known})
    return {**stored, **comparable(config)}


def save_checkpoint(
    out: Path,
    step: int,
    config: TrainConfig,
    made_from: Mapping[str, str],
    model: Network,
    optimizer: torch.optim.Optimizer,
    token: str = "",
) -> None:
    """Write the weights, the optimiser's memory and the step, atomically; see `write_atomic`."""
    tensors = dict(model.state_dict())
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"{MEMORY}{index}/{key}"] = value
    about = {**describe(model), "config": comparable(config), **made_from, "step": step}
    if (out / LOG).is_file():
        sync_file(out / LOG)  # or a power loss takes lines that the checkpoint knows
    about["log"] = log_digest(log_until(out, step))
    write_tensors(out / CHECKPOINT, tensors, about, token=token)


def restore(
    out: Path,
    config: TrainConfig,
    made_from: Mapping[str, str],
    model: Network,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Load the checkpoint of a folder, if there is one, and return its step.

    ``made_from`` tells what the run is made from by content, which must be as the checkpoint has
    it: ``data`` is the fingerprint of the training set, ``start`` the `start_digest`.

    Raises
    ------
    InputError
        If the checkpoint or the log before it is not as it was written, does not fit the network,
        or was made with other settings.
    """
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    try:
        tensors, about = read_tensors(path)
    except InputError as error:
        raise InputError(f"{error}, or begin anew with `overwrite`") from error
    then = _settings_then(path, about)
    step, planned = about.get("step"), then["steps"]
    if type(step) is not int or not 0 < step <= planned:
        raise InputError(f"{path}: is of step {step!r} of {planned}; {REMEDY}")
    _refuse_other_settings(path, then | {k: about.get(k, "") for k in made_from}, config, made_from)
    _refuse_other_steps(path, planned, config, step)
    check_log(out, step, about.get("log"))
    _refuse_not_finite(path, tensors)
    state = _memory(path, tensors, optimizer)
    load_weights(model, {k: v for k, v in tensors.items() if "/" not in k}, path)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step


def _settings_then(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a checkpoint was made with, if they can be such."""
    try:
        return as_of_today(about.get("config", {}))
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: was trained with settings that cannot be ({error}); {REMEDY}"
        ) from error


def _refuse_other_settings(
    path: Path, then: Mapping[str, Any], config: TrainConfig, made_from: Mapping[str, str]
) -> None:
    """Refuse other settings or data, but for the number of steps."""
    now = {**comparable(config), **made_from}
    if "auto" in (now["device"], then.get("device")):  # then what it was is not known
        then = {**then, "device": now["device"]}
    differing = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
    if key := next((k for k in differing if k != "steps"), None):
        raise InputError(
            f"{path}: was trained with {key} = {then.get(key)!r}, now {now.get(key)!r}; give the "
            "same settings and data to resume, or another folder"
        )


def _refuse_other_steps(path: Path, planned: int, config: TrainConfig, step: int) -> None:
    """Refuse another number of steps once the learning rate follows from it: at the decay.

    Before, a run with that number from the start would have come to the same checkpoint.
    """
    before = replace(config, steps=planned)
    same = all(learning_rate(k, before) == learning_rate(k, config) for k in range(step))
    if step > config.steps or not same:
        raise InputError(
            f"{path}: is of step {step} of {planned}, and its learning rate was lowered towards "
            f"the end of these; {config.steps} steps would be another run: train on from its "
            f"weights, with `start` {path.with_name(WEIGHTS)} and another folder, or resume with "
            "the same `steps`"
        )


def _refuse_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InputError(f"{path}: {name} has values that are NaN or infinite; {REMEDY}")


def _memory(
    path: Path, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Return what the optimiser remembers of each parameter: values like it, or single ones."""
    shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if "/" not in name:
            continue
        index, _, key = name.removeprefix(MEMORY).partition("/")
        number = int(index) if index.isdecimal() and len(index) < 10 else len(shapes)
        known = name.startswith(MEMORY) and number < len(shapes) and key and "/" not in key
        if not known or tuple(value.shape) not in ((), shapes[number]):
            raise InputError(f"{path}: {name} is not of this optimiser; {REMEDY}")
        state.setdefault(number, {})[key] = value
    if len({frozenset(memory) for memory in state.values()}) > 1:
        raise InputError(f"{path}: remembers less of some parameters than of others; {REMEDY}")
    return state
