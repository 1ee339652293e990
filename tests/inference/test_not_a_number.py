"""What is no number never becomes a plausible pixel, wherever in the network it arises."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paper_unet import UNet, load_model
from paper_unet.errors import InputError
from paper_unet.inference.bounds import cannot_overflow, largest_sums
from paper_unet.inference.layers import Layers, can_fuse
from paper_unet.inference.predict import predict_image
from paper_unet.networks.base import Network
from paper_unet.networks.table import NETWORKS, make_network
from paper_unet.networks.weights_file import save_model

IMAGE = np.random.default_rng(0).random((40, 50), np.float32)
LAYERS = [name for name, layer in UNet(width=1).named_modules() if hasattr(layer, "weight")]


def small(**more: object) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return UNet(width=2, **more).eval()  # type: ignore[arg-type]


def layers_of(model: Network) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return (layer for layer in model.modules() if isinstance(layer, kinds))


@pytest.mark.parametrize("layer", LAYERS)
def test_in_memory_no_layer_hides_it(layer: str) -> None:
    """A network in memory has no file that could be refused."""
    model = small()
    with torch.no_grad():
        model.get_submodule(layer).weight.view(-1)[0] = float("nan")  # type: ignore[operator, union-attr]
    for engine in ("stream", "tiles"):
        with pytest.raises(InputError, match="scores are not finite"):
            predict_image(model, IMAGE, engine=engine)  # type: ignore[arg-type]


def test_infinity_less_infinity_inside_one_sum() -> None:
    """Finite weights of which one sum overflows to both sides: fused, its ReLU would give 0."""
    model = small()
    with torch.no_grad():
        for layer in layers_of(model):
            layer.weight.fill_(0.5)
        model.down0[0].weight.fill_(1e30)
        model.down0[2].weight[:, 0], model.down0[2].weight[:, 1] = 3e38, -3e38  # type: ignore
    assert not cannot_overflow(model, torch.float32)
    with pytest.raises(InputError, match="scores are not finite"):
        predict_image(model, IMAGE)


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolution")
def test_ordinary_networks_keep_the_fused_relu() -> None:
    for model in (load_model(), UNet(width=16), UNet.release(width=8)):
        assert cannot_overflow(model, torch.float32)
        assert cannot_overflow(model, torch.bfloat16)
        assert not cannot_overflow(model, torch.float16)
        assert {c.relu for pair in Layers(model).down for c in pair} == {"relu"}


@pytest.mark.exact
def test_without_the_fused_relu_the_pixels_are_the_same() -> None:
    model = small()
    fused = predict_image(model, IMAGE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("paper_unet.inference.layers.cannot_overflow", lambda *_: False)
        np.testing.assert_array_equal(predict_image(model, IMAGE), fused)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_bound_holds(name: str) -> None:
    """Against the network itself, on images that drive it as far as they can."""
    model = make_network(name, 1, None, 2, 0.5)
    if not model.streams:
        pytest.skip("its rows do not stream")
    seen: list[float] = []
    for layer in layers_of(model):
        layer.register_forward_hook(lambda _l, _i, out: seen.append(float(out.abs().max())))
    model.eval()
    with torch.no_grad():
        for value in (1.0, -1.0, 2.0, -2.0):
            model(torch.full((1, 1, 188, 188), value))
    tops = largest_sums(model)
    assert len(tops) == len(seen) // 4
    assert max(seen) > 0 and all(top >= found for top, found in zip(tops * 4, seen, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_no_network_is_read_with_one(name: str, bad: float, tmp_path: Path) -> None:
    model = make_network(name, 1, None, 1, 0.5)
    names = [key for key, value in model.state_dict().items() if value.is_floating_point()]
    for key in names[:: max(len(names) // 6, 1)]:
        value = model.state_dict()[key]
        before = value.clone()
        value.view(-1)[-1] = bad
        save_model(tmp_path / "w.safetensors", model)
        with pytest.raises(InputError, match=f"1 of {value.numel()} values of {key} are NaN"):
            load_model(tmp_path / "w.safetensors")
        value.copy_(before)
    save_model(tmp_path / "w.safetensors", model)
    again = load_model(tmp_path / "w.safetensors")
    assert not any(value.is_meta for value in [*again.parameters(), *again.buffers()])
