"""A network that gives the same scores everywhere is stopped, and one that learns slowly is not."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from train_helpers import run, small

import paper_unet.training.collapse as collapse_module
import paper_unet.training.loop as loop_module
from paper_unet.errors import DivergedError
from paper_unet.networks.base import Network
from paper_unet.training.collapse import STEPS, Collapse
from paper_unet.training.config import TrainConfig
from paper_unet.training.log import LOG

CONFIG = TrainConfig(width=2, tile=188, warmup=50, steps=5000)
DEAD = [0.69, 0.69, 0.0]
"""Loss, that of a constant map, and the spread of the scores."""


def watched(rows: list[list[float]], config: TrainConfig = CONFIG, at_once: int = 20) -> int:
    """How many steps pass before the run is stopped."""
    collapse = Collapse(config)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        collapse.look_at(part, start + len(part))
    return len(rows)


def test_a_dead_network_is_stopped_after_the_warm_up() -> None:
    advice = "a smaller rate, a longer warm-up or a larger tile"
    with pytest.raises(DivergedError, match=f"collapsed: at step 460 .*; train anew with {advice}"):
        watched([DEAD] * 1000)
    assert watched([DEAD] * (50 + STEPS - 1), at_once=1) == 50 + STEPS - 1


@pytest.mark.parametrize(
    "alive",
    [
        [0.69, 0.69, 0.2],  # the scores differ from pixel to pixel
        [0.60, 0.69, 0.0],  # better than a constant
    ],
)
def test_a_sign_of_life_is_enough(alive: list[float]) -> None:
    rows = ([DEAD] * (3 * STEPS // 4) + [alive] * (STEPS // 4)) * 6
    watched(rows)


def test_a_run_that_collapsed_says_what_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the scores of a real network whose units are all dead."""
    monkeypatch.setattr(collapse_module, "STEPS", 6)
    start_of_old = loop_module.start_network

    def dead(config: TrainConfig, channels: int) -> Network:
        model = start_of_old(config, channels)
        for layer in model.up0:  # type: ignore[union-attr]
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, -1.0)  # type: ignore[arg-type]
        return model

    run(small(tmp_path / "alive", steps=13))
    monkeypatch.setattr(loop_module, "start_network", dead)
    config = small(tmp_path / "dead", steps=13, warmup=1, lr=1e-6)
    with pytest.raises(DivergedError, match=r"collapsed.*scores have been the same everywhere"):
        run(config)
    lines = [json.loads(line) for line in (tmp_path / "dead" / LOG).read_text().splitlines()]
    assert lines
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in lines)
