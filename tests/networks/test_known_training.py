"""The training of the well-known variants, and its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from variant_helpers import (
    KNOWN,
    NAMES,
    SIDE,
    live,
    losses,
    noise,
    once,
    settings,
    stop_after,
    stripes,
)

from paper_unet import TrainConfig, load_model, predict_image, train
from paper_unet.errors import InputError
from paper_unet.loss import weighted_binary_cross_entropy
from paper_unet.networks.one_choice import SamePaddingUNet
from paper_unet.system.stop import Stop, Stopped
from paper_unet.training.initial_weights import absorb_shift, new_network, start_network
from paper_unet.training.tiles import TileSampler


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_training(name: str, channels: int, tmp_path: Path) -> None:
    config, data = settings(tmp_path, name), stripes(channels)
    model = train(config, data, progress=False)
    assert model.variant == name and model.centre == (0.5 if model.context.padded else 0)
    assert not (model.sigmoid and model.config.out_channels != 1)
    again = load_model(tmp_path / "weights.safetensors")
    image = noise(120, 130, channels if channels > 1 else 0)
    assert np.array_equal(predict_image(again, image), predict_image(model, image))
    fresh = new_network(config, channels).train()
    tiles = TileSampler(
        data, config.tile, config.augmentation, 0, torch.device("cpu"),
        fresh.output_side(config.tile),
    )  # fmt: skip
    tile = tiles[0]
    if not any(isinstance(m, nn.Dropout) for m in fresh.modules()):
        scores = fresh(tile.image - 0.5).double()
        counted = tile.weights > 0  # every pixel alike: its author had no weights
        if model.config.out_channels == 1:
            p = torch.sigmoid(scores[:, 0])
            each = -torch.where(tile.labels == 1, p.log(), (1 - p).log())
        else:
            each = F.cross_entropy(scores, tile.labels, reduction="none")
        assert losses(tmp_path)[0] == pytest.approx(float(each[counted].mean().detach()), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss(name: str, tmp_path: Path) -> None:
    config = settings(
        tmp_path, name, steps=30, optimizer="adam", lr=1e-2, width=3, dropout=0.0, log_every=5
    )
    train(config, stripes(), progress=False)
    found = losses(tmp_path)
    assert found[-1] < 0.85 * found[0]


def test_binary_cross_entropy_is_the_literal_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 1, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 5, 7), generator=generator)  # 2 counts nothing
    weights = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    total, norm = 0.0, 0.0
    for z, y, x in np.ndindex(2, 5, 7):
        p, label, w = (
            1 / (1 + np.exp(-float(logits[z, 0, y, x]))),
            int(labels[z, y, x]),
            float(weights[z, y, x]),
        )
        if label < 2:
            total, norm = total - w * np.log(p if label else 1 - p), norm + w
    found = weighted_binary_cross_entropy(logits, labels, weights, normalise=False)
    assert float(found) == pytest.approx(total, rel=1e-12)
    found = weighted_binary_cross_entropy(logits, labels, weights)
    assert float(found) == pytest.approx(total / norm, rel=1e-12)
    assert float(weighted_binary_cross_entropy(logits, labels, 0 * weights)) == 0


def test_weights_are_on_or_off_as_the_author_had_them_unless_told(tmp_path: Path) -> None:
    assert TrainConfig().weighted and TrainConfig(network="same_padding").weighted
    assert not TrainConfig(network="keras").weighted
    assert TrainConfig(network="keras", weighting="map").weighted
    assert not TrainConfig(weighting="none").weighted
    first = {}
    for weighting in ("map", "none"):
        out = tmp_path / weighting
        train(settings(out, "annotated", weighting=weighting, steps=1), stripes(), progress=False)
        first[weighting] = losses(out)[0]
    assert abs(first["map"] - first["none"]) > 1e-4
    data = stripes().unweighted()
    assert set(np.unique(data.weights)) == {1.0}


def test_defaults_fit_the_network() -> None:
    assert (TrainConfig().tile, TrainConfig().init) == (572, "gaussian")
    for name in NAMES:
        config = TrainConfig(network=name)  # type: ignore[arg-type]
        assert config.tile == (560 if KNOWN[name].context.padded else 572)
        assert config.init == KNOWN[name].initial
        assert KNOWN[name].context.padded in (True, False)
    assert SamePaddingUNet.context.padded
    with pytest.raises(InputError, match="classes is 1; the network paper needs at least 2"):
        TrainConfig(classes=1)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_one_logit_and_many_classes(classes: int, tmp_path: Path) -> None:
    config = settings(tmp_path, "popular", classes=classes)
    model = train(config, stripes(), progress=False)
    assert model.config.out_channels == classes
    found = predict_image(model, noise(40, 40))
    np.testing.assert_allclose(found, once(model, np.pad(noise(40, 40), (0, 8), mode="reflect"))
                               [:40, :40], atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", ["three_level", "valid_batchnorm"])
def test_without_padding_the_centre_goes_into_the_biases(name: str) -> None:
    model, image = live(name), torch.rand(1, 1, SIDE[name], SIDE[name])
    with torch.no_grad():
        expected = model(image - 0.5)
        absorb_shift(model, 0.5)
        torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-4)


def test_going_on_from_weights_with_padding(tmp_path: Path) -> None:
    train(settings(tmp_path / "a", "keras"), stripes(), progress=False)
    kept = str(tmp_path / "a" / "weights.safetensors")
    model = start_network(settings(tmp_path / "b", "keras", start=kept))
    for key, value in load_model(kept).state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    with pytest.raises(InputError, match=r"was trained with centre = 0.5, now 0.25"):
        start_network(settings(tmp_path / "b", "keras", start=kept, centre=0.25))


@pytest.mark.exact
def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"optimizer": "rmsprop", "momentum": 0.9, "lr": 1e-4, "steps": 6}
    whole = train(settings(tmp_path / "a", "keras", **changes), stripes(), progress=False)
    config = settings(tmp_path / "b", "keras", **changes)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Stop, "__call__", stop_after(3))
        train(config, stripes(), progress=False)
    resumed = train(config, stripes(), resume=True, progress=False)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
