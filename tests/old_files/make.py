"""Write the files of this folder by the code of commit 626e0e6, from which they must go on working.

    git worktree add ../old 626e0e6
    PYTHONPATH="$PWD/../old" python tests/old_files/make.py

It was run once. It needs the modules of that commit, so later code cannot run it, and need not:
the tests are that later code reads what is here.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from old_files_helpers import (
    FILES,
    KILLED,
    NETWORKS,
    PREDICTIONS,
    STOPPED,
    TRAININGS,
    UINT16_RANGE,
    WEIGHTS,
    commands,
    deep_image,
    image,
    prediction_command,
    public_names,
    sections,
    training_command,
    write_tissue,
)
from paper_unet.checkpoint import save_model
from paper_unet.variants import new_variant
from torch import nn

import paper_unet
from paper_unet import UNet, load_model, predict_image
from paper_unet.cli import build_parser, main

MODIFIED = 1_600_000_000  # of the inputs, whole seconds: every file system can store it


def make() -> None:
    """Write everything anew."""
    shutil.rmtree(FILES, ignore_errors=True)
    for folder in (WEIGHTS, PREDICTIONS, TRAININGS):
        folder.mkdir(parents=True)
    _write_json("commands", commands(build_parser()))
    _write_json("public", public_names(paper_unet))
    make_weights()
    for name in KILLED:
        kill_prediction(name)
    for name in STOPPED:
        stop_training(name)


def _write_json(name: str, content: object) -> None:
    (FILES / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


# weights


def make_weights() -> None:
    """Write a network of every kind, what is known about it, and what it predicts."""
    networks = dict(_networks())
    about, found = {}, {}
    for name, model in networks.items():
        save_model(WEIGHTS / f"{name}.safetensors", model)
        about[name] = {
            "variant": model.variant,
            "config": asdict(model.config),
            "centre": model.centre,
            "grey_ranges": model.grey_ranges,
            "record": model.record,
        }
        found[name] = predict_image(model, image())
        if "uint16" in model.grey_ranges:
            found[f"{name}.uint16"] = predict_image(model, deep_image())
    _write_json("weights", about)
    np.savez_compressed(FILES / "probabilities.npz", **found)


def _networks() -> Iterator[tuple[str, UNet]]:
    for place, name in enumerate(NETWORKS):
        model = _living(name)
        model.centre = 0.4 if model.padded else 0.0
        model.grey_ranges = {"uint8": (0.0, 255.0) if place % 2 else (12.0, 240.0)}
        if place % 3 == 0:
            model.grey_ranges["uint16"] = UINT16_RANGE
        model.record = {
            "config": {"network": name, "width": 1, "value_range": None},
            "steps": 100 * place,
            "held_out": {"sections": "24:30", "pixel_error": 0.0625, "thresholds": {"v_rand": 0.5}},
            "note": "drawn at random, µ-scale",
        }
        yield name, model
        if name == "batch_norm":
            yield f"{name}_folded", model.folded()  # type: ignore[operator]


def _living(name: str) -> UNet:
    """Draw a network of width 1 until every number of it counts."""
    for seed in itertools.count():
        torch.manual_seed(seed)
        model = new_variant(name, 1, None, 1, 0.5).eval()
        model.centre = 0.4 if model.padded else 0.0
        with torch.no_grad():
            for layer in model.modules():
                _draw(layer)
            if _spread(model) and _every_tensor_counts(model):
                return model
    raise AssertionError


def _draw(layer: nn.Module) -> None:
    """Draw weights that keep a signal alive, and statistics of batch normalisation."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nodes = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.in_channels
        layer.weight.uniform_(-0.5, 1).mul_(4 / nodes)
        if layer.bias is not None:
            layer.bias.uniform_(-0.1, 0.2)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.weight.uniform_(0.5, 1.5)
        layer.bias.uniform_(-0.1, 0.5)
        layer.running_mean.uniform_(-0.2, 0.6)
        layer.running_var.uniform_(0.3, 2)
        layer.num_batches_tracked.fill_(17)


def _spread(model: UNet) -> bool:
    """Make the probabilities of the picture fill their range; say whether that was possible."""
    last: Any = model.behind_head[1] if hasattr(model, "behind_head") else model.head
    found = _log_odds(model)
    if not (np.isfinite(found).all() and found.std() > 0.03):
        return False
    last.weight *= 1.5 / float(found.std())
    found = _log_odds(model)
    last.bias[-1] -= float(found.mean())
    return bool(np.isfinite(found).all())


def _log_odds(model: UNet) -> NDArray[np.float64]:
    p = predict_image(model, image()).astype(np.float64)
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return odds


def _every_tensor_counts(model: UNet) -> bool:
    """Whether a change of any weight or statistic changes a probability by more than 1e-3."""
    before = predict_image(model, image())
    for value in model.state_dict().values():
        if not value.is_floating_point():
            continue
        kept = value.clone()
        value += 0.1 + 0.2 * value.abs()
        change = np.abs(predict_image(model, image()) - before).max()
        value.copy_(kept)
        if not change > 1e-3:
            return False
    return True


# interrupted runs


def kill_prediction(name: str) -> None:
    """Keep what a prediction leaves that is killed after some pieces."""
    source, out, pieces, options = KILLED[name]
    shape = (3, 520, 16) if source == "tall.tif" else (3, 150, 70)
    with _new_folder() as folder:
        if not (PREDICTIONS / source).exists():
            tifffile.imwrite(
                PREDICTIONS / source, sections(shape), photometric="minisblack",
                metadata={"axes": "ZYX"},
            )  # fmt: skip
        shutil.copy(PREDICTIONS / source, folder)
        os.utime(source, (MODIFIED, MODIFIED))
        shutil.copy(WEIGHTS / options[1], folder)
        assert _run_until("piece", "SIGKILL", pieces, prediction_command(name, out)) == -9
        kept = PREDICTIONS / name
        kept.mkdir()
        shutil.copy(f"{out}.journal", kept)
        # *.partial is what git does not keep
        shutil.move(f"{out}.partial", kept / f"{out}.half")


def stop_training(name: str) -> None:
    """Keep what a training leaves that is stopped after some steps, and what it would have."""
    number, steps, _ = STOPPED[name]
    with _new_folder() as folder:
        write_tissue(folder)
        code = _run_until("step", number, steps, training_command(name, name))
        assert code == {"SIGTERM": 143, "SIGKILL": -9}[number]
        shutil.copytree(name, TRAININGS / name)
        assert main(training_command(name, "whole")) == 0
        _refuse_dead(Path("whole"), TRAININGS / name)
        shutil.copy("whole/weights.safetensors", TRAININGS / f"{name}.safetensors")


def _refuse_dead(whole: Path, stopped: Path) -> None:
    """Make sure that the steps after the stop changed the weights, so that they are tested."""
    from paper_unet.checkpoint import read_tensors

    then, now = (read_tensors(run / "checkpoint.safetensors")[0] for run in (stopped, whole))
    moved = [float((now[k].double() - then[k].double()).abs().max()) for k in now if "/" not in k]
    assert min(moved) > 1e-4
    assert load_model(whole / "weights.safetensors").record["steps"] == 8


@contextlib.contextmanager
def _new_folder() -> Iterator[Path]:
    """Work in a folder of its own, so that no path of this machine is kept."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)


def _run_until(what: str, number: str, count: int, arguments: list[str]) -> int:
    """Run a command in a process of its own and return its exit code."""
    given = [sys.executable, __file__, what, number, str(count), *arguments]
    return subprocess.run(given, check=False).returncode


def _signalled(what: str, number: str, count: str, *arguments: str) -> int:
    """Run a command that sends itself a signal when a piece, or a step, is done."""
    owner: Any
    if what == "piece":
        owner, name = importlib.import_module("paper_unet.journal").Journal, "record"
    else:
        owner, name = importlib.import_module("paper_unet.train"), "train_step"
    done, before = itertools.count(1), getattr(owner, name)

    def counted(*given: Any) -> Any:
        result = before(*given)
        if next(done) == int(count):
            os.kill(os.getpid(), signal.Signals[number])
        return result

    setattr(owner, name, counted)
    torch.set_num_threads(1)
    return main(arguments)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(_signalled(*sys.argv[1:]))
    torch.set_num_threads(1)
    make()
