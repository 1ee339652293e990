"""The well-known variants against literal, independent re-writings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from variant_helpers import KNOWN, NAMES, PADDED, SIDE, live
from variant_literal import LITERAL, twin

from paper_unet import TrainConfig, load_model
from paper_unet.errors import InputError
from paper_unet.inference.cost import cost
from paper_unet.model import UNet
from paper_unet.networks.base import initialise
from paper_unet.networks.keras import KerasUNet
from paper_unet.networks.one_choice import BatchNormUNet
from paper_unet.networks.table import make_network
from paper_unet.networks.valid_batchnorm import ValidBatchNormUNet
from paper_unet.networks.weights_file import save_model, weights_digest
from paper_unet.training.initial_weights import new_network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "classes"), [(1, None), (3, 4)])
def test_scores_are_those_of_the_literal_network(
    name: str, channels: int, classes: int | None
) -> None:
    model = live(name, channels=channels, classes=classes)
    side = SIDE[name]
    image = torch.rand(2, channels, side, side + (16 if name != "three_level" else 8))
    with torch.no_grad():
        found, expected = model(image), twin(model)(image)
    assert found.shape[2] == model.output_side(side) and found.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_in_training_the_statistics_are_those_of_the_batch(name: str) -> None:
    model = live(name)
    other, image = twin(model).train(), torch.rand(2, 1, SIDE[name], SIDE[name])
    torch.testing.assert_close(model.train()(image), other(image), rtol=1e-3, atol=1e-4)
    for (key, value), theirs in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, theirs, rtol=1e-4, atol=1e-5, msg=key)


COUNTS = {  # 1 channel in, scores as the author had; 3 channels and 5 scores
    "annotated": (31_030_593, 31_030_593 + 2 * 576 + 4 * 65),
    "popular": (31_036_546, 31_036_546 + 2 * 576 + 3 * 65),
    "popular_bilinear": (17_261_890, 17_261_890 + 2 * 576 + 3 * 65),
    "three_level": (8_563_078, 8_563_078 + 2 * 576 + 3 * (577 + 2)),
    "keras": (31_036_481, 31_036_481 + 2 * 576 + 4 * 65),
    "valid_batchnorm": (31_042_369, 31_042_369 + 2 * 576 + 4 * 65),
}
SIZES = {**dict.fromkeys(PADDED, (560, 560)), "three_level": (572, 484)}
SIZES["valid_batchnorm"] = (572, 388)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_parameters_and_shapes_at_full_width(name: str) -> None:
    for (channels, classes), expected in zip([(1, None), (3, 5)], COUNTS[name], strict=True):
        with torch.device("meta"):
            model = make_network(name, channels, classes, 64, 0.5)
            other = LITERAL[name](channels, model.config.out_channels, 64)
            scores = model.eval()(torch.empty(1, channels, *[SIZES[name][0]] * 2))
        counts = [sum(p.numel() for p in network.parameters()) for network in (model, other)]
        assert counts == [expected, expected]
        assert scores.shape == (1, classes or KNOWN[name].outputs, *[SIZES[name][1]] * 2)
        assert model.output_side(SIZES[name][0]) == SIZES[name][1]


def test_what_is_like_the_papers() -> None:
    """With one score fewer, and without the zeros, the annotated network has its numbers."""
    paper = sum(p.numel() for p in UNet(1, 1).parameters())
    assert COUNTS["annotated"][0] == paper
    assert COUNTS["valid_batchnorm"][0] == sum(
        p.numel() for p in BatchNormUNet(1, 1, 64).parameters()
    )


@pytest.mark.parametrize("name", NAMES)
def test_files_of_weights_load_strictly(name: str, tmp_path: Path) -> None:
    model = live(name)
    model.centre = 0.25
    save_model(tmp_path / "w.safetensors", model)
    again = load_model(tmp_path / "w.safetensors")
    assert type(again) is type(model) and again.config == model.config and again.centre == 0.25
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value) and again.state_dict()[key].dtype == (
            value.dtype
        )
    again.centre = 0.5
    assert weights_digest(again) != weights_digest(model)
    fresh = make_network(name, 1, None, 3, 0.5)
    assert fresh.load_state_dict(model.state_dict(), strict=True).missing_keys == []


def test_initial_weights() -> None:
    torch.manual_seed(0)
    for name in NAMES:
        layer = make_network(name, 1, None, 8, 0.5).down2[0]
        assert isinstance(layer, nn.Conv2d)
        fan_in, fan_out = layer.in_channels * 9, layer.out_channels * 9
        bound = (6 / (fan_in + fan_out)) ** 0.5 if name == "keras" else fan_in**-0.5
        assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
    keras = make_network("keras", 1, None, 8, 0.5)
    biases = [m.bias for m in keras.modules() if isinstance(m, nn.Conv2d)]
    assert all(bias is not None and not bias.any() for bias in biases)
    drawn = new_network(TrainConfig(network="annotated", width=16, init="gaussian"))
    assert abs(float(drawn.down3[2].weight.detach().std()) / (2 / (128 * 9)) ** 0.5 - 1) < 0.02


@pytest.mark.parametrize(("kind", "bottom"), [(KerasUNet, True), (ValidBatchNormUNet, False)])
def test_where_drop_out_is(kind: type[UNet], bottom: bool) -> None:
    model, seen = kind(1, 1, 4, dropout=0.5), {}
    initialise(model, "gaussian")
    for name in ("up3", "upconv3", "up2"):
        layer = model.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
    torch.manual_seed(0)
    with torch.no_grad():
        model.train()(torch.rand(1, 1, SIDE[kind.variant], SIDE[kind.variant]))
    half = seen["up3"].shape[1] // 2
    share = {
        "skip of level 3": float((seen["up3"][:, :half] == 0).float().mean()),
        "skip of level 2": float((seen["up2"][:, : seen["up2"].shape[1] // 2] == 0).float().mean()),
        "bottom": float((seen["upconv3"] == 0).float().mean()),
    }  # a ReLU behind a normalisation makes half of the values 0, drop-out half of the rest
    assert share["skip of level 3"] > 0.65 and share["skip of level 2"] < 0.6
    assert (share["bottom"] > 0.65) is bottom


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"keras", "valid_batchnorm"}))
def test_no_drop_out_elsewhere(name: str) -> None:
    assert not any(isinstance(m, nn.Dropout) for m in make_network(name, 1, None, 2, 0.5).modules())


@pytest.mark.parametrize(("rows", "columns"), [(67, 90), (16, 31)])
def test_the_popular_network_pads_what_the_pools_drop(rows: int, columns: int) -> None:
    for name in ("popular", "popular_bilinear"):
        model, image = live(name), torch.rand(1, 1, rows, columns)
        with torch.no_grad():
            found = model(image)
            torch.testing.assert_close(found, twin(model)(image), rtol=1e-4, atol=1e-5)
        assert found.shape[2:] == (rows, columns)


@pytest.mark.parametrize("name", ["popular", "popular_bilinear", "keras"])
def test_one_pixel_at_the_bottom_is_too_few_to_normalise(name: str) -> None:
    model = live(name)
    with torch.no_grad():
        assert model(torch.rand(1, 1, 16, 16)).shape[2:] == (16, 16)
        model.train()
        assert model(torch.rand(1, 1, 16, 32)).shape[2:] == (16, 32)
        assert model(torch.rand(2, 1, 16, 16)).shape[2:] == (16, 16)
        with pytest.raises(InputError, match="too few for batch normalisation"):
            model(torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize("name", [*NAMES, "same_padding", "paper"])
def test_arithmetic_from_the_shapes(name: str) -> None:
    """Against a count by hand for the first layer, and in proportion to the width squared."""
    narrow, wide = (make_network(name, 1, None, w, 0.0) for w in (8, 16))
    side = 560 if narrow.context.padded else 572
    ratio = cost(wide, side).multiply_accumulates / cost(narrow, side).multiply_accumulates
    assert 3.8 < ratio < 4
    assert cost(narrow, side).output == narrow.output_side(side)
    if name == "paper":
        from paper_unet.inference.streaming import multiply_accumulates

        assert cost(narrow, side).multiply_accumulates == multiply_accumulates(
            narrow.config, 388, 388
        )
