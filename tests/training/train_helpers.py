"""What the tests of training share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from paper_unet import TrainConfig, train
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.training import loop as train_module
from paper_unet.training.checkpoint import WEIGHTS
from paper_unet.training.data import TrainingSet, training_set
from paper_unet.training.log import LOG

CPU = torch.device("cpu")


def blobs(sections: int = 2, side: int = 90) -> NDArray[np.bool_]:
    """Cells of about 15 pixels."""
    waves = np.random.default_rng(0).normal(size=(sections, side, side))
    return np.array([ndimage.gaussian_filter(wave, 6) > 0 for wave in waves])


def easy_data(channels: int = 1) -> TrainingSet:
    """Cells are bright, background is dark."""
    cells = blobs()
    images = np.where(cells, 0.7, 0.3) + np.random.default_rng(1).normal(0, 0.05, cells.shape)
    instances = np.stack([ndimage.label(section)[0] for section in cells])
    stacked = np.repeat(images[:, None].astype(np.float32), channels, axis=1)
    return training_set(stacked, instances)


def small(out: Path, **changes: Any) -> TrainConfig:
    """A run of a second."""
    settings: dict[str, Any] = {
        "width": 2, "tile": 188, "steps": 13, "warmup": 5, "lr": 1e-3, "device": "cpu",
        "log_every": 3, "checkpoint_every": 4,
    }  # fmt: skip
    return TrainConfig(out=str(out), **{**settings, **changes})


def run(config: TrainConfig, **options: Any) -> Any:
    return train(config, easy_data(), progress=False, **options)


def bits(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    tensors, about = read_tensors(path)
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, about


REPORTING = ("out", "log_every", "checkpoint_every")


def result(out: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What a run leaves for use, less where it lay and how it reported."""
    tensors, about = bits(out / WEIGHTS)
    for name in REPORTING:
        about["record"]["config"].pop(name, None)
    return tensors, about


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def without_time(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in log]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


class PowerCutError(BaseException):
    """Nothing catches it."""


def interrupted(
    config: TrainConfig, at: int, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    """Run until the step of this number begins."""
    step_of_old = train_module.train_step

    def step_or_cut(trainer: Any, step: int) -> Tensor:
        if step == at:
            raise PowerCutError
        return step_of_old(trainer, step)

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train_step", step_or_cut)
        with pytest.raises(PowerCutError):
            run(config, **options)


def write_stacks(
    folder: Path, dtype: type[np.generic] = np.uint8, **changes: NDArray[Any]
) -> tuple[str, str]:
    cells = blobs(sections=4)
    grey = np.where(cells, 150, 80) + np.arange(90)
    stacks = {"images": grey.astype(dtype), "labels": (255 * cells).astype(np.uint8), **changes}
    paths = []
    for name in ("images", "labels"):
        paths.append(str(folder / f"{name}.tif"))
        tifffile.imwrite(
            paths[-1], stacks[name], photometric="minisblack", metadata={"axes": "ZYX"}
        )
    return paths[0], paths[1]
