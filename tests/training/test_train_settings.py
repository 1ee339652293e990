"""Devices and settings."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_helpers import CPU, small, write_stacks

from paper_unet import TrainConfig, train
from paper_unet.errors import InputError
from paper_unet.system.device import pick_device


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    count = torch.cuda.device_count()
    with pytest.raises(InputError, match=f"'cuda:{count}'.*sees {count} CUDA devices"):
        pick_device(f"cuda:{count}")
    for name in ("gpu", "", "cuda:x", "cpu cuda"):
        with pytest.raises(InputError, match="it must be auto, cpu, cuda or cuda:N"):
            pick_device(name)


def test_devices_that_are_no_place_to_train_are_refused() -> None:
    with pytest.raises(InputError, match="it must be auto, cpu, cuda or cuda:N"):
        pick_device("meta")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 512}, "use 508 or 524"),
        ({"width": 0}, "width is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"decay": 1.1}, "decay is 1.1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"balance": -0.5}, "balance is -0.5"),
        ({"balance": 1.5}, "balance is 1.5"),
        ({"gap": 0.5}, "gap is 0.5; it must be finite and at least 1"),
        ({"lr": 0.0}, "lr is 0.0; it must be finite and above 0"),
        ({"lr": math.inf}, "lr is inf"),
        ({"value_range": (1.0,)}, "value_range is .* a pair of numbers"),
        ({"value_range": 5.0}, "value_range is 5.0; it must be a pair of numbers"),
        ({"value_range": (0, "255")}, "value_range is .* a pair of numbers"),
        ({"value_range": np.zeros((2, 2))}, "value_range is .* a pair of numbers"),
        ({"precision": np.uint8}, "precision is .*uint8.*; it must be a text"),
        ({"images": np.zeros((2, 5, 5))}, "images is array.*; it must be a text"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"width": True}, "width is True; it must be a whole number"),
        ({"lr": math.nan}, "lr is nan"),
        ({"w0": -1.0}, "w0 is -1.0"),
        ({"centre": math.nan}, "centre is nan"),
        ({"warmup": -1}, "warmup is -1"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"precision": "half"}, "precision is 'half'.*float32, tf32, bfloat16"),
        ({"label_kind": "cells"}, "label_kind is 'cells'.*membrane, instance"),
    ],
)
def test_settings_that_make_no_run_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"grid": 1}, {"elastic": -1.0}, {"seed": -1}, {"weight_decay": -1.0}, {"sigma": 0.0}],
)
def test_settings_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    images, labels = write_stacks(tmp_path)
    (name, value), *_ = changes.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        train(small(tmp_path / "run", images=images, labels=labels, **changes), progress=False)
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_those_of_the_paper() -> None:
    config = TrainConfig()
    assert (config.momentum, config.tile, config.width) == (0.99, 572, 64)
    assert (config.w0, config.sigma, config.balance, config.gap) == (10, 5, 1, 1)
    assert (config.grid, config.elastic) == (3, 10)
    assert (config.label_kind, config.network) == ("membrane", "paper")
    assert config.augmentation.rotate
    assert config.augmentation.elastic == 10


@pytest.mark.parametrize("name", ["mps", "mps:0"])
def test_a_device_that_could_not_be_tried_says_why_not(name: str) -> None:
    with pytest.raises(InputError, match=r"no result here was ever compared.*use auto or cpu"):
        pick_device(name)
