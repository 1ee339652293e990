"""Losses and weights that are not finite."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from train_helpers import log_of, run, small

import paper_unet.training.step as step_module
from paper_unet.errors import DivergedError
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
from paper_unet.training.config import learning_rate


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    run(small(tmp_path / "good", steps=13))
    config = small(tmp_path / "bad run", steps=13)
    loss_of_old, calls = step_module.energy, 0

    def turns_bad(*args: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return loss_of_old(*args, **options) * (bad if calls == 11 else 1.0)

    monkeypatch.setattr(step_module, "energy", turns_bad)
    with pytest.raises(DivergedError) as stop:
        run(config)
    rate = f"{learning_rate(10, config):.3g}"
    assert f"became {bad} at step 11 with learning rate {rate}" in str(stop.value)
    assert calls <= 12  # the next look at the losses
    tensors, about = read_tensors(tmp_path / "bad run" / CHECKPOINT)
    assert about["step"] == 8
    assert all(value.isfinite().all() for value in tensors.values())
    assert not (tmp_path / "bad run" / WEIGHTS).exists()
    steps = [entry["step"] for entry in log_of(tmp_path / "bad run")]
    assert steps == [3, 4, 6, 8, 9]


@pytest.mark.parametrize("lr", [1e6, 1e20])
def test_a_learning_rate_that_is_much_too_large(tmp_path: Path, lr: float) -> None:
    config = small(tmp_path, lr=lr, warmup=0, checkpoint_every=1, steps=50, width=4, centre=0.0)
    with pytest.raises(DivergedError, match=rf"at step \d+ with .* {re.escape(f'{lr:.3g}')};"):
        run(config)
    assert not (tmp_path / WEIGHTS).exists()
    # "the last good checkpoint": a step may end in infinity though its loss was finite
    if (tmp_path / CHECKPOINT).exists():
        tensors, _ = read_tensors(tmp_path / CHECKPOINT)
        assert all(value.isfinite().all() for value in tensors.values())


def test_weights_that_are_not_finite_are_never_left(tmp_path: Path) -> None:
    """The loss of the only step is finite, the network after it is not."""
    with pytest.raises(DivergedError):
        run(small(tmp_path, steps=1, warmup=0, decay=0, lr=3e38, normalise=False))
    assert not (tmp_path / WEIGHTS).exists()
