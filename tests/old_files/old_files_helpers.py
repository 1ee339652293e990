"""What the files of earlier code were made from: shared by the script that made them and the tests.

Only numpy and the standard library are used, and integers where values must be the same for ever.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

FILES = Path(__file__).parent / "files"
WEIGHTS = FILES / "weights"
PREDICTIONS = FILES / "predictions"
TRAININGS = FILES / "trainings"

BOUND = 5e-5
"""Between probabilities that two processors give for the same float32 weights.

They add the products of a convolution in another order, and with or without fused steps. Seen
between instruction sets (AVX-512, AVX2, none; oneDNN held to SSE4.1): 6e-6, the most in the
networks that multiply small scores to fill the range. A weight that is not where it belongs moves a
probability by more than 1e-3: ``make.py`` made sure of it for every tensor.
"""

NETWORKS = (
    "paper", "release", "same_padding", "batch_norm", "annotated", "batchnorm",
    "batchnorm_bilinear", "three_level", "keras", "valid_batchnorm",
)  # fmt: skip
"""The choices of ``--network``."""

SAVED = (*NETWORKS, "batch_norm_folded")
"""The files of weights: training leaves a network with batch normalisation folded."""

UINT16_RANGE = (200.0, 4000.0)

KILLED = {
    "tiff": (
        "in.tif", "out.tif", 3,
        ["--weights", "paper.safetensors"],
    ),
    "zarr": (
        "tall.tif", "out.zarr", 3,
        ["--weights", "release.safetensors", "--range", "5", "250"],
    ),
    "tiles": (
        "in.tif", "out.tif", 1,
        ["--weights", "keras.safetensors", "--slices", "1:3", "--dtype", "uint16"],
    ),
}  # fmt: skip
"""Predictions that were killed: input, output, after how many pieces, and options."""

STOPPED = {
    "sgd": ("SIGTERM", 5, ["--seed", "6", "--lr", "0.01"]),
    "adam": (
        "SIGKILL", 5,
        ["--seed", "3", "--lr", "0.001", "--network", "batch_norm", "--optimizer", "adam"],
    ),
}  # fmt: skip
"""Trainings that a signal ended: which one, after how many of the 8 steps, and options."""


def image() -> NDArray[np.uint8]:
    """A small picture with structure of several sizes, shape (40, 56)."""
    rng = np.random.default_rng(1)
    blocks = np.kron(rng.integers(0, 190, (5, 7)), np.ones((8, 8), np.int64))
    return (blocks + rng.integers(0, 66, (40, 56))).astype(np.uint8)


def deep_image() -> NDArray[np.uint16]:
    """The picture in 12 bits."""
    return image().astype(np.uint16) * 16


def sections(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A stack like the picture."""
    count, height, width = shape
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 190, (count, -(-height // 8), -(-width // 8)))
    blocks = blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
    return (blocks + rng.integers(0, 66, shape)).astype(np.uint8)


def write_tissue(folder: Path) -> None:
    """Write images.tif and labels.tif to train on: cells between straight membranes."""
    y, x = np.indices((80, 90))
    cells = np.stack([((y + 5 * z) % 16 > 1) & ((x + 3 * z) % 18 > 2) for z in range(2)])
    noise = np.random.default_rng(3).integers(0, 60, cells.shape)
    stacks = {"images": 60 + 80 * cells + noise, "labels": 255 * cells}
    for name, stack in stacks.items():
        tifffile.imwrite(
            folder / f"{name}.tif",
            stack.astype(np.uint8),
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )


def training_command(name: str, out: str) -> list[str]:
    """The command of a training in the folder that holds its data."""
    return [
        "train", "--images", "images.tif", "--labels", "labels.tif", "--out", out,
        "--width", "1", "--tile", "188", "--steps", "8", "--warmup", "3", "--device", "cpu",
        "--log-every", "2", "--checkpoint-every", "3", *STOPPED[name][2],
    ]  # fmt: skip


def prediction_command(name: str, out: str) -> list[str]:
    """The command of a prediction in the folder that holds its input and weights."""
    source, _, _, options = KILLED[name]
    return ["predict", source, "-o", out, *options, "--device", "cpu", "--threads", "1"]


def commands(parser: argparse.ArgumentParser) -> dict[str, list[dict[str, Any]]]:
    """Everything that each command takes, as JSON."""
    (choice,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found = {
        name: [described(action) for action in command._actions]
        for name, command in choice.choices.items()
    }
    plain: dict[str, list[dict[str, Any]]] = json.loads(json.dumps(found, default=os.fspath))
    return plain


def described(action: argparse.Action) -> dict[str, Any]:
    """What a user sees of an option, or of a positional argument, whose names are empty."""
    return {
        "names": list(action.option_strings),
        "choices": None if action.choices is None else list(action.choices),
        "default": action.default,
        "nargs": action.nargs,
        "required": action.required,
        "type": getattr(action.type, "__name__", None),
    }


def public_names(package: ModuleType) -> dict[str, dict[str, str | None]]:
    """The names of the package, each with its parameters and their defaults."""
    return {name: dict(_parameters(getattr(package, name))) for name in package.__all__}


def _parameters(thing: Any) -> Iterator[tuple[str, str | None]]:
    for name, parameter in inspect.signature(thing).parameters.items():
        yield name, None if parameter.default is parameter.empty else repr(parameter.default)
