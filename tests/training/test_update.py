"""The update and the schedule written out."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from train_helpers import CPU, easy_data, run, small

from paper_unet import TrainConfig, train
from paper_unet.training.config import learning_rate
from paper_unet.training.initial_weights import absorb_shift, new_network
from paper_unet.training.tiles import TileSampler


def test_the_schedule() -> None:
    """1000 steps: 100 up to 0.01, then level, the last 400 a cosine."""
    config = TrainConfig(steps=1000, lr=0.01, warmup=100, decay=0.4)
    for step in range(1000):
        if step < 100:
            expected = 0.01 * (step + 1) / 100
        elif step <= 600:
            expected = 0.01
        else:
            expected = 0.01 * (1 + math.cos(math.pi * (step - 600) / 400)) / 2
        assert learning_rate(step, config) == pytest.approx(expected, rel=1e-12)
    assert 0 < learning_rate(999, config) < 1e-6
    assert learning_rate(1000, config) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("changes", "rate", "warmup"),
    [
        ({}, 3e-3, 1000),
        ({"steps": 2000}, 3e-3, 1000),
        ({"label_kind": "instance"}, 1e-3, 1000),
        ({"label_kind": "class", "classes": 3}, 1e-3, 1000),
        ({"label_kind": "instance", "lr": 3e-3}, 3e-3, 1000),
        ({"steps": 1999}, 3e-3, 999),
        ({"steps": 1}, 3e-3, 0),
        ({"optimizer": "adam"}, 1e-3, 1000),
        ({"optimizer": "rmsprop"}, 1e-3, 1000),
        ({"lr": 0.5, "warmup": 0}, 0.5, 0),
    ],
)
def test_the_rate_and_the_warmup_that_nobody_gave(
    changes: dict[str, Any], rate: float, warmup: int
) -> None:
    config = TrainConfig(**changes)
    assert (config.lr, config.rate, config.warmup, config.warm_up) == (rate, rate, warmup, warmup)


def test_schedules_without_warmup_or_decay() -> None:
    level = TrainConfig(steps=50, lr=0.1, warmup=0, decay=0)
    assert {learning_rate(step, level) for step in range(50)} == {0.1}
    falling = TrainConfig(steps=50, lr=0.1, warmup=0, decay=1)
    rates = [learning_rate(step, falling) for step in range(50)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[25] == pytest.approx(0.05)


def absorbed(bias: Tensor, weight: Tensor, centre: float) -> Tensor:
    return bias - centre * weight.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_update_is_gradient_descent_with_momentum(tmp_path: Path, normalise: bool) -> None:
    """v <- 0.99 v + gradient, w <- w - rate v; on the n-th tile, grey values around 0."""
    config = small(
        tmp_path, steps=6, dropout=0.0, normalise=normalise, lr=1e-2 if normalise else 1e-4
    )
    data = easy_data()
    trained = train(config, data, progress=False)

    model = new_network(config)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    tiles = TileSampler(data, config.tile, config.augmentation, config.seed, CPU)
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for step in range(config.steps):
        tile = tiles[step]
        log_p = functional.log_softmax(model(tile.image - 0.5), dim=1)
        energy = (tile.weights * functional.nll_loss(log_p, tile.labels, reduction="none")).sum()
        if normalise:
            energy = energy / tile.weights.sum()
        gradients = torch.autograd.grad(energy, list(model.parameters()))
        with torch.no_grad():
            for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
                velocity[name] = 0.99 * velocity[name] + gradient
                p -= learning_rate(step, config) * velocity[name]
    expected = model.state_dict()
    for name, value in expected.items():
        moved = (value - start[name]).abs().max()
        if name == "down0.0.bias":
            value = absorbed(value, expected["down0.0.weight"], 0.5)
        difference = (trained.state_dict()[name] - value).abs().max()
        assert difference <= 1e-3 * moved + 1e-7
        assert moved > 1e-5


def test_weight_decay_reaches_the_optimiser(tmp_path: Path) -> None:
    plain, decayed = run(small(tmp_path / "a")), run(small(tmp_path / "b", weight_decay=5.0))
    size = [sum(p.square().sum() for p in model.parameters()) for model in (plain, decayed)]
    assert size[1] < size[0]


@torch.inference_mode()
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shift_moves_into_the_first_biases(channels: int) -> None:
    model = new_network(TrainConfig(width=3, seed=4), channels).eval()
    image = torch.rand(1, channels, 204, 204)
    expected = model(image - 0.5)
    assert not torch.allclose(model(image), expected, atol=1e-2)
    absorb_shift(model, 0.5)
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)


def test_the_network_of_a_configuration() -> None:
    paper = new_network(TrainConfig(width=4))
    release = new_network(TrainConfig(width=4, network="release"))
    assert (paper.config.up_relu, paper.config.last_up_width) == (False, None)
    assert (release.config.up_relu, release.config.last_up_width) == (True, 8)
    assert new_network(TrainConfig(width=4, dropout=0.2)).config.dropout == 0.2
    again, other = (new_network(TrainConfig(width=4, seed=seed)) for seed in (0, 1))
    assert torch.equal(again.head.weight, paper.head.weight)
    assert not torch.equal(other.head.weight, paper.head.weight)
