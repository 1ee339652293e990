"""A run on disk: configuration, log, and the checkpoint that lets it go on after a crash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paper_unet.errors import InputError, shown
from paper_unet.networks.base import Network
from paper_unet.networks.stored_config import stored_step
from paper_unet.networks.weights_file import describe, load_weights, read_tensors, write_tensors
from paper_unet.settings import options
from paper_unet.system.files import open_alone, sync_folder, write_atomic
from paper_unet.training.config import TrainConfig, learning_rate

CHECKPOINT, WEIGHTS, LOG, CONFIG = (
    "checkpoint.safetensors",
    "weights.safetensors",
    "log.jsonl",
    "config.json",
)


def comparable(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that have to agree for a run to be the same run.

    Not where it lies and how it reports; nor the names of the files, since the data themselves
    are compared.
    """
    aside = ("out", "log_every", "checkpoint_every", "validate_every", "images", "labels")
    kept = {key: value for key, value in asdict(config).items() if key not in aside}
    settings: dict[str, Any] = json.loads(json.dumps(kept))
    return settings


def as_of_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `comparable` wrote as it would be written now.

    A setting that came later had its default before; some values have other names now.
    """
    known = _known_settings()
    config = TrainConfig(**{name: value for name, value in stored.items() if name in known})
    return {**stored, **comparable(config)}


def _known_settings() -> set[str]:
    return {option.name for option in options(TrainConfig)}


def start_digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the weights that training starts from; "" if they are random."""
    if not config.start:
        return ""
    try:
        return hashlib.sha256(Path(config.start).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{config.start}: cannot be read: {error.strerror}") from error


def refuse_to_overwrite(out: Path, resume: bool, overwrite: bool) -> None:
    """Raise `InputError` if the folder holds a run and nobody said what is to become of it."""
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other; give one of them")
    existing = [name for name in (CHECKPOINT, WEIGHTS, CONFIG, LOG) if (out / name).exists()]
    if existing and not (resume or overwrite):
        raise InputError(
            f"{out} already holds a run ({existing[0]}); use --resume, --overwrite or another "
            "folder"
        )
    if resume and WEIGHTS in existing and CHECKPOINT not in existing:
        raise InputError(
            f"{out} holds weights and no {CHECKPOINT} to go on from; use another folder"
        )


def locked(out: Path) -> AbstractContextManager[object]:
    """Keep other processes from training into the same folder, in a ``with`` statement."""
    taken = f"{out}: another process is training there; wait for it or use another folder"
    return open_alone(out / ".lock", taken)


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
    """
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    tensors, about = read_tensors(path)
    step, config_then = _checked(path, about)
    then = as_of_today(config_then)
    then |= {name: about.get(name, "") for name in made_from}
    now = {**comparable(config), **made_from}
    differing = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
    if differing:
        key = differing[0]
        raise InputError(
            f"{path}: was trained with {key} = {then.get(key)!r}, now {now.get(key)!r}; give the "
            "same settings and data to resume, or another folder"
        )
    load_weights(model, {k: v for k, v in tensors.items() if "/" not in k}, path)
    groups = optimizer.state_dict()["param_groups"]
    shapes = [tuple(value.shape) for value in model.parameters()]
    state = _memory_of(tensors, shapes, path)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step


def _checked(path: Path, about: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the step and the settings that a checkpoint is of."""
    config = about.get("config", {})
    try:
        if not isinstance(config, dict):
            raise InputError(f"config is {shown(config)}; it must be an object")
        TrainConfig(**{k: v for k, v in config.items() if k in _known_settings()})
        return stored_step(about), config
    except (InputError, TypeError) as error:
        raise InputError(
            f"{path}: is no checkpoint that this version can go on from ({shown(error, 200)}); "
            "begin anew in another folder"
        ) from error


def _memory_of(
    tensors: Mapping[str, Tensor], shapes: list[tuple[int, ...]], path: Path
) -> dict[int, dict[str, Tensor]]:
    """Return the optimiser's memory of each parameter; each of its shape, or a number, finite."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if "/" not in name:
            continue
        match = re.fullmatch(r"optimizer/(\d{1,6})/(\w+)", name, re.ASCII)
        index = int(match[1]) if match else len(shapes)
        fits = index < len(shapes) and tuple(value.shape) in ((), shapes[index])
        if not match or not fits or not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{path}: {shown(name)} is no memory of this optimiser, or holds NaN or infinity; "
                "begin anew in another folder"
            )
        state.setdefault(index, {})[match[2]] = value
    return state


def save_checkpoint(
    out: Path,
    step: int,
    config: TrainConfig,
    made_from: Mapping[str, str],
    model: Network,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the weights, the optimiser's memory and the step, atomically."""
    tensors = dict(model.state_dict())
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = value
    about = {**describe(model), "config": comparable(config), **made_from, "step": step}
    write_tensors(out / CHECKPOINT, tensors, about)


def prepare_folder(out: Path, config: TrainConfig, step: int) -> None:
    """Write the resolved configuration; drop what a run that goes on from ``step`` makes anew."""
    stale = [WEIGHTS] if step else [WEIGHTS, CHECKPOINT, LOG]
    for name in stale:
        (out / name).unlink(missing_ok=True)
    for partial in out.glob(".*.partial"):  # what a killed run was writing
        partial.unlink()
    sync_folder(out)
    write_atomic(out / CONFIG, (json.dumps(asdict(config), indent=2) + "\n").encode())
    log = out / LOG
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    write_atomic(log, "".join(line for line in lines if _is_before(line, step)).encode())


def _is_before(line: str, step: int) -> bool:
    """Whether a line of the log is whole and not later than the step; a crash may cut one."""
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= step
    except (ValueError, TypeError, KeyError):
        return False


def append_log(
    out: Path, step: int, losses: list[float], config: TrainConfig, seconds: float, **more: float
) -> None:
    """Add one line: step, mean loss since the last line, learning rate, seconds, and more."""
    entry = {
        "step": step,
        "loss": float(np.mean(losses)),
        "lr": learning_rate(step - 1, config),
        "seconds": round(seconds, 3),
        **more,
    }
    with (out / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")
