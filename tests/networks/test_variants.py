"""Networks with one choice changed, against literal re-writings; and the settings that choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from variant_helpers import settings, shaken, stripes

from paper_unet import TrainConfig, UNet, load_model, predict_image, train
from paper_unet.augment import Augmentation, sample, source_coordinates
from paper_unet.errors import InputError
from paper_unet.inference.layers import Layers
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import InferenceSettings
from paper_unet.inference.streaming import Streaming
from paper_unet.networks.one_choice import BatchNormUNet, SamePaddingUNet
from paper_unet.networks.table import make_network
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.networks.weights_file import save_model
from paper_unet.training.initial_weights import absorb_shift, new_network, start_network
from paper_unet.training.step import new_optimizer
from paper_unet.training.tiles import TileSampler

WIDTH = 3


def literal(weights: dict[str, Tensor], image: Tensor, padding: int, norm: bool) -> Tensor:
    """The U written out from its state dict, in evaluation mode."""

    def double(name: str, x: Tensor) -> Tensor:
        for conv, bn in (("0", "1"), ("3", "4")) if norm else (("0", ""), ("2", "")):
            key = f"{name}.{conv}"
            x = F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=padding)
            if norm:
                mean, var, scale, shift = (
                    weights[f"{name}.{bn}.{what}"][:, None, None]
                    for what in ("running_mean", "running_var", "weight", "bias")
                )
                x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
            x = x.clamp(min=0)
        return x

    maps, x = [], image
    for level in range(5):
        x = double(f"down{level}", x if level == 0 else F.max_pool2d(x, 2))
        maps.append(x)
    for level in (3, 2, 1, 0):
        key = f"upconv{level}.0"
        x = F.conv_transpose2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], stride=2)
        cut = (maps[level].shape[-1] - x.shape[-1]) // 2
        end = maps[level].shape[-1] - cut
        x = double(f"up{level}", torch.cat([x, maps[level][..., cut:end, cut:end]], 1))
    return F.conv2d(x, weights["head.weight"], weights["head.bias"])


@pytest.mark.parametrize("side", [16, 48, 64])
def test_same_padding(side: int) -> None:
    model = shaken(SamePaddingUNet(1, 2, WIDTH), seed=1)
    image = torch.rand(1, 1, side, side)
    with torch.no_grad():
        found = model(image)
        expected = literal(model.state_dict(), image, padding=1, norm=False)
    assert found.shape == (1, 2, side, side)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side", [0, 8, 17, 572])
def test_sides_that_do_not_fit_same_padding(side: int) -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        SamePaddingUNet.output_side(side)


def test_batch_norm_and_the_plain_network_that_computes_the_same() -> None:
    model = shaken(BatchNormUNet(1, 2, WIDTH), seed=1)
    image = torch.rand(1, 1, 204, 188)
    plain = model.for_prediction()
    assert type(plain) is UNet and plain.config == model.config  # type: ignore[attr-defined]
    image = torch.rand(1, 1, 204, 204)
    with torch.no_grad():
        found = model(image)
        torch.testing.assert_close(
            found, literal(model.state_dict(), image, padding=0, norm=True), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(plain.eval()(image), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "more"), [(SamePaddingUNet, 0), (BatchNormUNet, 2)])
def test_numbers_of_parameters(kind: type[UNet], more: int) -> None:
    """Batch normalisation adds scale and shift for each channel of the 18 convolutions."""
    count = sum(p.numel() for p in kind(1, 2, 64).parameters())
    channels = 2 * (64 + 128 + 256 + 512 + 1024 + 512 + 256 + 128 + 64)
    assert count == 31_030_658 + more * channels


def test_weights_start_as_the_papers() -> None:
    """The one change is the only one: with the same seed the convolutions are the same."""
    models = {}
    for name in ("paper", "same_padding", "paper_batch_norm"):
        torch.manual_seed(5)
        models[name] = make_network(name, 1, 2, WIDTH, 0.5).state_dict()
    paper = models["paper"]
    assert all(torch.equal(models["same_padding"][key], value) for key, value in paper.items())
    convolutions = [v for v in models["paper_batch_norm"].values() if v.ndim == 4]
    for found, expected in zip(
        convolutions, (v for v in paper.values() if v.ndim == 4), strict=True
    ):
        assert torch.equal(found, expected)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(
        InputError, match="no network is called 'resnet'; accepted are paper, release"
    ):
        make_network("resnet", 1, 2, 4, 0.5)
    with pytest.raises(InputError, match="network is 'resnet'"):
        TrainConfig(network="resnet")  # type: ignore[arg-type]


def test_a_file_of_weights_says_which_network_it_holds(tmp_path: Path) -> None:
    model = shaken(SamePaddingUNet(1, 2, WIDTH), seed=1)
    save_model(tmp_path / "w.safetensors", model)
    again = load_model(tmp_path / "w.safetensors")
    assert isinstance(again, SamePaddingUNet)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))


def test_a_padded_network_does_not_stream() -> None:
    with pytest.raises(InputError, match="same_padding"):
        Layers(SamePaddingUNet(1, 2, WIDTH))


def test_a_folded_network_streams() -> None:
    assert isinstance(engine_for(BatchNormUNet(1, 2, 2).eval(), InferenceSettings()), Streaming)


@pytest.mark.parametrize("name", ["paper", "paper_batch_norm", "same_padding", "popular", "keras"])
def test_prediction_leaves_every_part_in_its_mode(name: str) -> None:
    model = make_network(name, 1, None, WIDTH, 0.5).train()
    image = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    predict_image(model, image)
    assert all(module.training for module in model.modules())
    model.eval()
    model.down1.train()  # type: ignore[operator, union-attr]
    predict_image(model, image)
    training = {n.split(".")[0] for n, module in model.named_modules() if module.training}
    assert training == {"down1"}


def test_a_folded_network_keeps_what_is_stored_beside_the_weights() -> None:
    model = BatchNormUNet(1, 2, WIDTH)
    model.grey_ranges, model.record, model.centre = {"uint16": (1.0, 9.0)}, {"a": 1}, 0.25
    plain = model.for_prediction()
    assert (plain.grey_ranges, plain.record, plain.centre) == ({"uint16": (1, 9)}, {"a": 1}, 0.25)


def test_training_with_batch_norm_leaves_a_plain_network(tmp_path: Path) -> None:
    model = train(settings(tmp_path, network="paper_batch_norm"), stripes(), progress=False)
    assert model.variant == "paper"
    image = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    again = predict_image(load_model(tmp_path / "weights.safetensors"), image)
    assert np.array_equal(again, predict_image(model, image))


def test_batch_norm_trains_in_training_mode_and_is_settled_in_the_end(tmp_path: Path) -> None:
    """The checkpoint has the running statistics of every step, the weights those of 64 tiles."""
    config = settings(tmp_path, network="paper_batch_norm")
    data = stripes()
    plain = train(config, data, progress=False)
    kept, _ = read_tensors(tmp_path / "checkpoint.safetensors")
    assert int(kept["down0.1.num_batches_tracked"]) == config.steps
    model = new_network(config)
    assert isinstance(model, BatchNormUNet)
    model.load_state_dict({name: kept[name] for name in model.state_dict()})
    device = torch.device("cpu")
    output = model.output_side(config.tile)
    sampler = TileSampler(data, config.tile, config.augmentation, config.seed, device, output)
    unseen = range(config.steps, config.steps + 64)
    before = model.for_prediction()
    model.settle(sampler[k].image - config.centre for k in unseen)
    settled = model.for_prediction()
    for network in (before, settled):
        absorb_shift(network, config.centre)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, settled.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before.up0[0].bias, settled.up0[0].bias, rtol=1e-3, atol=1e-4)


def test_initial_weights_of_pytorch() -> None:
    """The default bound of a convolution is 1 / sqrt(fan_in), and biases are not zero."""
    model = new_network(TrainConfig(init="pytorch", width=8))
    for layer in (model.down3[2], model.up1[0]):
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        bound = (layer.in_channels * 9) ** -0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() > 0


def test_adam_is_adam() -> None:
    config = TrainConfig(optimizer="adam", lr=3e-4, width=2, weight_decay=0.1)
    optimizer = new_optimizer(new_network(config), config)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["lr"] == 3e-4 and optimizer.defaults["weight_decay"] == 0.1
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_zeros_beyond_the_border() -> None:
    maps = torch.ones(1, 20, 20)
    look = Augmentation((0.0, 10.0), 0.0, False, np.zeros((2, 3, 3)))
    where = source_coordinates(look, 16)
    inside = ((where >= 0) & (where <= 19)).all(0)
    assert 0 < inside.sum() < inside.numel()
    assert torch.equal(
        sample(maps, where, "nearest", "zero")[0], torch.where(where[0] > -0.5, 1.0, 0.0)
    )
    assert torch.equal(sample(maps, where, "nearest")[0], torch.ones(16, 16))


def test_what_lies_beyond_the_border_is_not_learnt_from_when_it_is_zero() -> None:
    data = stripes()
    for beyond, least in (("mirror", 0.99), ("zero", 0.0)):
        config = TrainConfig(extrapolation=beyond, tile=252, width=2)  # type: ignore[arg-type]
        tiles = TileSampler(data, 252, config.augmentation, 0, torch.device("cpu"))
        shares = [float((tiles[n].weights > 0).float().mean()) for n in range(5)]
        assert min(shares) >= least
        if beyond == "zero":
            assert max(shares) < 1 and any(float(tiles[n].image.min()) < 0.11 for n in range(5))


def test_a_run_that_starts_from_weights(tmp_path: Path) -> None:
    first = train(settings(tmp_path / "a"), stripes(), progress=False)
    kept = tmp_path / "a" / "weights.safetensors"
    config = settings(tmp_path / "b", start=str(kept), lr=1e-20, steps=1)
    second = train(config, stripes(), progress=False)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    fresh = new_network(config)
    assert not torch.equal(start_network(config).head.weight, fresh.head.weight)


def test_weights_of_another_network_cannot_be_started_from(tmp_path: Path) -> None:
    train(settings(tmp_path / "a"), stripes(), progress=False)
    kept = str(tmp_path / "a" / "weights.safetensors")
    for changes in ({"width": 3}, {"network": "release"}, {"network": "same_padding", "tile": 192}):
        config = settings(tmp_path / "b", start=kept, **changes)
        with pytest.raises(InputError, match="give the settings of the weights"):
            train(config, stripes(), progress=False)
    with pytest.raises(InputError, match="no such file"):
        train(settings(tmp_path / "b", start="none.safetensors"), stripes(), progress=False)
    assert not (tmp_path / "b" / "weights.safetensors").exists()


def test_settled_statistics_are_those_of_the_tiles_without_drop_out() -> None:
    model = shaken(BatchNormUNet(1, 2, WIDTH, dropout=0.9), seed=1).train()
    images = [torch.rand(1, 1, 204, 204) for _ in range(3)]
    model.settle(images)
    assert model.dropout.p == 0.9
    first = model.down0[0]
    with torch.no_grad():
        means = torch.stack([first(image).mean((0, 2, 3)) for image in images])
        variances = torch.stack([first(image).var((0, 2, 3)) for image in images])
    torch.testing.assert_close(model.down0[1].running_mean, means.mean(0))
    torch.testing.assert_close(model.down0[1].running_var, variances.mean(0))
    later = [model.up0[1].running_var.clone(), model.up0[1].running_mean.clone()]
    model.settle(images)  # drop-out would draw anew and give other values
    assert torch.equal(model.up0[1].running_var, later[0])
    assert torch.equal(model.up0[1].running_mean, later[1])


def test_a_settled_network_gives_what_it_gave_while_training() -> None:
    """Of one tile, evaluation and training without drop-out normalise by the same numbers."""
    model = shaken(BatchNormUNet(1, 2, WIDTH, dropout=0.0), seed=1)
    image = torch.rand(1, 1, 572, 572)
    with torch.no_grad():
        wanted = model.train()(image)
        before = (model.eval()(image) - wanted).abs().max()
        model.settle([image])
        after = (model.eval()(image) - wanted).abs().max()
    assert after < 0.05 < 0.3 < before  # training divides by n, the running variance by n - 1
