"""What the tests of large predictions share."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import nn

from paper_unet import UNet
from paper_unet.images import Output, Task
from paper_unet.large import PredictConfig
from paper_unet.large.executor import LocalExecutor
from paper_unet.large.pieces import Done
from paper_unet.large.worker import Prediction
from paper_unet.networks.weights_file import save_model
from paper_unet.system.stop import Stop

SHAPE = (3, 300, 210)
NAMES = ["out.tif", "out.h5", "out.zarr"]


def small_network(path: Path) -> Path:
    """A narrow network of random weights whose probabilities fill their range."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = UNet(width=2)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.3)
        with torch.no_grad():
            model.head.weight.mul_(8)
    save_model(path, model)
    return path


def sections(path: Path, shape: tuple[int, int, int] = SHAPE) -> Path:
    """A stack of noise."""
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(path, noise, photometric="minisblack", metadata={"axes": "ZYX"})
    return path


def settings(folder: Path, name: str = "out.tif", **given: Any) -> PredictConfig:
    """A prediction in a folder that holds what `small_network` and `sections` made."""
    given = {"weights": str(folder / "net.safetensors"), "threads": 1, **given}
    return PredictConfig(str(folder / "in.tif"), str(folder / name), **given)


def content(path: Path) -> str:
    """The SHA-256 of a file, or of all names and bytes of a folder."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path) if path.is_dir() else ""
        digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


class Fails(Exception):  # noqa: N818
    """Ends a prediction as a crash would."""


class Crashing(LocalExecutor):
    """Computes here, and fails after some pieces or tasks."""

    def __init__(self, pieces: int = 10**9, tasks: int = 10**9) -> None:
        self.left = {"pieces": pieces, "tasks": tasks}
        self.done: list[int] = []

    def pieces(self, prediction: Prediction, runs: Iterable[range], stop: Stop) -> Iterator[Done]:
        for done in super().pieces(prediction, runs, stop):
            self._count("pieces")
            self.done.append(done.piece)
            yield done

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        for _ in super().tasks(output, tasks, stop):
            self._count("tasks")
            yield

    def _count(self, what: str) -> None:
        if not self.left[what]:
            raise Fails
        self.left[what] -= 1


class Counted:
    """What is taken of things that are made when they are asked for.

    Attributes
    ----------
    taken : int
        How many were.
    """

    def __init__(self, things: Iterable[Any]) -> None:
        assert iter(things) is things, "all of them are there already"
        self._things, self.taken = things, 0

    def __iter__(self) -> Iterator[Any]:
        for thing in self._things:
            self.taken += 1
            yield thing


Say = Callable[[str], None]
