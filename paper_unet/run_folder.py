"""A run on disk: configuration, log, and the checkpoint that lets it go on after a crash."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paper_unet.checkpoint import describe, load_weights, read_tensors, write_tensors
from paper_unet.config import TrainConfig, learning_rate
from paper_unet.errors import InputError
from paper_unet.images import write_atomic
from paper_unet.model import UNet

CHECKPOINT, WEIGHTS, LOG, CONFIG = (
    "checkpoint.safetensors",
    "weights.safetensors",
    "log.jsonl",
    "config.json",
)


def comparable(config: TrainConfig) -> dict[str, Any]:
    """Return what has to agree for a run to be the same: not where it lies or how it reports."""
    aside = ("out", "log_every", "checkpoint_every")
    return {key: value for key, value in asdict(config).items() if key not in aside}


def refuse_to_overwrite(out: Path, resume: bool, overwrite: bool) -> None:
    """Raise `InputError` if the folder holds a run and nobody said what is to become of it."""
    if (out / CHECKPOINT).exists() and not (resume or overwrite):
        raise InputError(f"{out} already holds a run; use --resume, --overwrite or another folder")


def restore(out: Path, config: TrainConfig, model: UNet, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint of a folder, if there is one, and return its step."""
    path = out / CHECKPOINT
    if not path.exists():
        return 0
    tensors, about = read_tensors(path)
    then = about.get("config", {})
    now = json.loads(json.dumps(comparable(config)))
    differing = [key for key in now.keys() | then.keys() if now.get(key) != then.get(key)]
    if differing:
        key = sorted(differing)[0]
        raise InputError(
            f"{path}: was trained with {key} = {then.get(key)!r}, now {now.get(key)!r}; give the "
            "same settings to resume, or another folder"
        )
    load_weights(model, {k: v for k, v in tensors.items() if "/" not in k}, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(about["step"])


def save_checkpoint(
    out: Path, step: int, config: TrainConfig, model: UNet, optimizer: torch.optim.Optimizer
) -> None:
    """Write the weights, the optimiser's memory and the step, atomically."""
    tensors = dict(model.state_dict())
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer/{index}/{key}"] = value
    about = {**describe(model), "config": comparable(config), "step": step}
    write_tensors(out / CHECKPOINT, tensors, about)


def prepare_folder(out: Path, config: TrainConfig, step: int) -> None:
    """Write the resolved configuration and drop log lines of steps that will be done again."""
    write_atomic(out / CONFIG, (json.dumps(asdict(config), indent=2) + "\n").encode())
    log = out / LOG
    lines = log.read_text().splitlines(keepends=True) if step and log.exists() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    write_atomic(log, "".join(kept).encode())


def append_log(
    out: Path, step: int, losses: list[float], config: TrainConfig, seconds: float
) -> None:
    """Add one line: step, mean loss since the last line, learning rate, seconds."""
    entry = {
        "step": step,
        "loss": float(np.mean(losses)),
        "lr": learning_rate(step - 1, config),
        "seconds": round(seconds, 3),
    }
    with (out / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")
