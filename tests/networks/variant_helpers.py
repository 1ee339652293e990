"""What the tests of the variants share."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet import TrainConfig
from paper_unet.model import UNet
from paper_unet.networks.base import initialise
from paper_unet.networks.table import NETWORKS, make_network, network_class
from paper_unet.networks.well_known import KnownUNet
from paper_unet.training.data import TrainingSet, training_set

KNOWN = {name: kind for name in NETWORKS if issubclass(kind := network_class(name), KnownUNet)}
NAMES = list(KNOWN)
PADDED = ["annotated", "popular", "popular_bilinear", "keras"]
SIDE = {**dict.fromkeys(PADDED, 64), "three_level": 100, "valid_batchnorm": 204}


def shaken(model: UNet, seed: int | None = None) -> UNet:
    """Give every parameter and statistic a value of its own."""
    if seed is not None:
        torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def live(name: str, width: int = 3, channels: int = 1, classes: int | None = None) -> UNet:
    """A network in which every parameter and statistic counts."""
    torch.manual_seed(1)
    model = make_network(name, channels, classes, width, 0.0)
    initialise(model, "gaussian")
    return shaken(model)


def noise(rows: int, columns: int, channels: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    shape = (channels, rows, columns) if channels else (rows, columns)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def once(model: UNet, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One pass by hand: mirrored by numpy where the network has no padding."""
    context = model.context
    rows, columns = image.shape
    before = 0 if context.padded else context.before
    most = [
        side + (0 if context.padded else context.before + context.after) for side in image.shape
    ]
    legal = [side + (context.base - side) % context.lattice for side in most]
    pads = [(before, n - side - before) for n, side in zip(legal, image.shape, strict=True)]
    grey = np.pad(image, pads, mode="reflect").astype(np.float32) / np.float32(255)
    with torch.no_grad():
        scores = model(torch.from_numpy(grey)[None, None] - model.centre)[0].double()
    skip = before - context.lost
    scores = scores[:, skip : skip + rows, skip : skip + columns]
    p = torch.sigmoid(scores) if len(scores) == 1 else torch.softmax(scores, 0)
    found: NDArray[np.float64] = p[-1].numpy()
    return found


def settings(out: Path, name: str = "paper", **changes: Any) -> TrainConfig:
    """A run of a second."""
    values: dict[str, Any] = {
        "network": name, "width": 2, "tile": SIDE.get(name, 188), "steps": 4, "warmup": 2,
        "device": "cpu", "checkpoint_every": 2, "log_every": 1,
    }  # fmt: skip
    return TrainConfig(out=str(out), **values | changes)


def stripes(channels: int = 1) -> TrainingSet:
    """Two sections of bright and dark columns."""
    cells = np.zeros((2, 90, 90), np.int32)
    for k in range(6):
        cells[:, :, 15 * k : 15 * k + 11] = k + 1
    noise = np.random.default_rng(0).normal(0, 0.05, (2, channels, 90, 90))
    images = np.clip(0.3 + 0.4 * (cells[:, None] > 0) + noise, 0, 1).astype(np.float32)
    return training_set(images, cells)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def stop_after(calls: int) -> Callable[[Any], bool]:
    left = [calls]

    def stop(self: Any) -> bool:
        left[0] -= 1
        self.signal = signal.SIGTERM if left[0] < 0 else 0
        return left[0] < 0

    return stop
