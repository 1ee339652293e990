"""Batch normalisation that keeps its statistics at the end of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from train_helpers import easy_data, files_of, interrupted, log_of, result, run, small, without_time

from paper_unet.errors import InputError
from paper_unet.networks.base import normalisations
from paper_unet.networks.one_choice import BatchNormUNet
from paper_unet.networks.weights_file import read_tensors
from paper_unet.training import loop
from paper_unet.training.config import TrainConfig
from paper_unet.training.initial_weights import absorb_shift, new_network

NORMED: dict[str, Any] = {"network": "paper_batch_norm", "tile": 220}


def test_a_frozen_network_trains_but_for_its_statistics() -> None:
    model = BatchNormUNet(1, 2, 2)
    model.freeze()
    assert not model.training or model.train() is model
    for again in (model.train(), model.eval().train()):  # as a look at held-out sections does
        assert again.dropout.training
        assert not any(layer.training for layer in normalisations(again))
        assert all(layer.weight.requires_grad for layer in normalisations(again))


@pytest.mark.parametrize(("steps", "share", "first"), [(13, 0.4, 8), (10, 1.0, 0), (7, 0.0, 7)])
def test_the_first_step_with_it(steps: int, share: float, first: int) -> None:
    assert TrainConfig(steps=steps, freeze=share).frozen_from == first


def test_what_is_trained_last_is_what_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statistics of prediction are those that the last steps were taken with."""
    seen: list[tuple[bool, torch.Tensor]] = []
    step_of_old = loop.train_step

    def noted(trainer: Any, step: int) -> torch.Tensor:
        layer = normalisations(trainer.model)[3]
        seen.append((layer.training, layer.running_mean.clone()))  # type: ignore[union-attr]
        return step_of_old(trainer, step)

    monkeypatch.setattr(loop, "train_step", noted)
    config = small(tmp_path, **NORMED, freeze=0.4)
    plain = run(config)
    assert [by_tile for by_tile, _ in seen] == 8 * [True] + 5 * [False]
    assert all(torch.equal(mean, seen[8][1]) for _, mean in seen[9:])
    assert not torch.equal(seen[7][1], seen[8][1])
    kept, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    model = new_network(config)
    assert isinstance(model, BatchNormUNet)
    model.load_state_dict({name: kept[name] for name in model.state_dict()})
    wanted = model.for_prediction()
    absorb_shift(wanted, config.centre)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, wanted.state_dict()[name])


@pytest.mark.parametrize("steps", [3, 7, 8, 9, 11])
def test_a_resumed_run_is_the_run(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before, at and after the step from which the statistics stay (8)."""
    every = {**NORMED, "freeze": 0.4, "checkpoint_every": 1}
    run(small(tmp_path / "whole", **every))
    config = small(tmp_path / "cut", **every)
    with monkeypatch.context() as patch:
        interrupted(config, steps, patch)
    run(config, resume=True)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
    assert without_time(log_of(tmp_path / "cut")) == without_time(log_of(tmp_path / "whole"))


def test_looking_at_held_out_sections_does_not_thaw(tmp_path: Path) -> None:
    run(small(tmp_path / "blind", **NORMED, freeze=0.5))
    looking = small(tmp_path / "looking", **NORMED, freeze=0.5, validate_every=2)
    run(looking, held_out=easy_data())
    weights = "weights.safetensors"
    assert files_of(tmp_path / "looking")[weights] == files_of(tmp_path / "blind")[weights]


def test_networks_without_normalisation_refuse(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the network paper has no batch"):
        run(small(tmp_path / "run", freeze=0.4))
    assert not (tmp_path / "run").exists()
