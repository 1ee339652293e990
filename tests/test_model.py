"""The network against the tables of the paper and a second, literal writing of its forward pass."""

import math
import re
from collections.abc import Iterator

import pytest
import torch
from rounding_helpers import exact_network, within_rounding
from torch import Tensor, nn
from torch.nn import functional

from paper_unet import UNet
from paper_unet.errors import InputError
from paper_unet.model import copy_and_crop
from paper_unet.networks.base import NetworkConfig


@pytest.fixture(autouse=True)
def _caller_keeps_its_random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def full_width() -> UNet:
    torch.manual_seed(0)
    return UNet(1, 2)


@pytest.fixture(scope="module")
def full_width_release() -> UNet:
    torch.manual_seed(0)
    return UNet.release()


def convolutions(model: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def number_of_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def with_random_biases(model: UNet) -> UNet:
    """Zero biases would hide one that is left out."""
    for layer in convolutions(model):
        assert layer.bias is not None
        nn.init.normal_(layer.bias, std=0.3)
    return model


# --- sizes of Fig. 1 ---------------------------------------------------------------------------

# spec A1: what each step of the 572 example puts out, (channels, side)
CONTRACTING = [
    (64, 570), (64, 568),
    (128, 282), (128, 280),
    (256, 138), (256, 136),
    (512, 66), (512, 64),
    (1024, 30), (1024, 28),
]  # fmt: skip
POOLED = [(64, 284), (128, 140), (256, 68), (512, 32)]
UP_CONVOLVED = [(512, 56), (256, 104), (128, 200), (64, 392)]
CONCATENATED = [(1024, 56), (512, 104), (256, 200), (128, 392)]
EXPANDING = [
    (512, 54), (512, 52),
    (256, 102), (256, 100),
    (128, 198), (128, 196),
    (64, 390), (64, 388),
]  # fmt: skip
SCORES = (2, 388)


def traced_sizes(model: UNet, side: int) -> dict[str, list[tuple[int, ...]]]:
    """(channels, side) of every feature map, in the order of the computation, per kind of step."""
    sizes: dict[str, list[tuple[int, ...]]] = {"3x3": [], "1x1": [], "up": [], "pool": [], "in": []}

    def note(kind: str, output: Tensor) -> None:
        assert output.shape[2] == output.shape[3]
        sizes[kind].append(tuple(output.shape[1:3]))

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            kind = "3x3" if layer.kernel_size == (3, 3) else "1x1"
            layer.register_forward_hook(lambda _m, args, _out: note("in", args[0]))
        elif isinstance(layer, nn.ConvTranspose2d):
            kind = "up"
        elif isinstance(layer, nn.MaxPool2d):
            kind = "pool"
        else:
            continue
        layer.register_forward_hook(lambda _m, _args, out, kind=kind: note(kind, out))
    model(torch.empty(1, 1, side, side, device="meta"))
    return sizes


def test_every_feature_map_of_fig_1() -> None:
    with torch.device("meta"):
        model = UNet(1, 2)
    sizes = traced_sizes(model, 572)
    assert sizes["3x3"] == CONTRACTING + EXPANDING
    assert sizes["pool"] == POOLED
    assert sizes["up"] == UP_CONVOLVED
    assert sizes["1x1"] == [SCORES]
    # what the first convolution of each expanding step takes in: up-sampled and copied maps
    assert sizes["in"][10:18:2] == CONCATENATED


def test_the_release_differs_in_one_width() -> None:
    with torch.device("meta"):
        model = UNet.release()
    sizes = traced_sizes(model, 572)
    assert sizes["3x3"] == CONTRACTING + EXPANDING
    assert sizes["up"] == [*UP_CONVOLVED[:3], (128, 392)]
    assert sizes["in"][10:18:2] == [*CONCATENATED[:3], (192, 392)]


def test_number_of_parameters(full_width: UNet, full_width_release: UNet) -> None:
    assert number_of_parameters(full_width) == 31_030_658
    assert number_of_parameters(full_width_release) == 31_100_354
    with torch.device("meta"):
        assert number_of_parameters(UNet(3, 2)) == 31_031_810


def test_23_convolutional_layers_and_no_normalisation() -> None:
    with torch.device("meta"):
        model = UNet()
    layers = convolutions(model)
    kernels = [layer.kernel_size for layer in layers]
    assert kernels.count((3, 3)) == 18
    assert kernels.count((2, 2)) == 4
    assert kernels.count((1, 1)) == 1
    assert len(kernels) == 23
    for layer in layers:
        up = isinstance(layer, nn.ConvTranspose2d)
        assert layer.stride == ((2, 2) if up else (1, 1))
        assert layer.padding == layer.output_padding == (0, 0)
        assert layer.dilation == (1, 1)
        assert layer.groups == 1
        assert layer.bias is not None
    kinds = {type(module) for module in model.modules()}
    assert kinds == {
        UNet, nn.Sequential, nn.Conv2d, nn.ConvTranspose2d, nn.ReLU, nn.MaxPool2d, nn.Dropout,
    }  # fmt: skip
    assert not list(model.buffers())


# --- initialisation ----------------------------------------------------------------------------

# spec B1: standard deviations for the released net, in the order of the layers
RELEASE_STD = [
    0.47140, 0.05893, 0.05893, 0.04167, 0.04167, 0.02946, 0.02946, 0.02083, 0.02083, 0.01473,
    0.03125, 0.01473, 0.02083, 0.04419, 0.02083, 0.02946, 0.06250, 0.02946, 0.04167,
    0.06250, 0.03402, 0.05893, 0.17678,
]  # fmt: skip
RELEASE_FAN_IN = [
    9, 576, 576, 1152, 1152, 2304, 2304, 4608, 4608, 9216,
    2048, 9216, 4608, 1024, 4608, 2304, 512, 2304, 1152,
    512, 1728, 576, 64,
]  # fmt: skip


def paper_fan_in() -> list[int]:
    """The paper's last up-convolution has 64 channels: 4 * 64 nodes, then 64 + 64 maps of 9."""
    return [*RELEASE_FAN_IN[:19], 256, 1152, *RELEASE_FAN_IN[21:]]


def test_the_two_columns_of_the_table_agree() -> None:
    for fan_in, std in zip(RELEASE_FAN_IN, RELEASE_STD, strict=True):
        assert math.sqrt(2 / fan_in) == pytest.approx(std, abs=5.1e-6)


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_initial_weights_are_gaussian_of_the_stated_width(
    variant: str, full_width: UNet, full_width_release: UNet
) -> None:
    model = full_width if variant == "paper" else full_width_release
    fan_in = paper_fan_in() if variant == "paper" else RELEASE_FAN_IN
    for layer, nodes in zip(in_order(model), fan_in, strict=True):
        weight = layer.weight.detach().double()
        n, std = weight.numel(), math.sqrt(2 / nodes)
        # five standard errors of the sample's standard deviation, mean and kurtosis
        assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * std / math.sqrt(n)
        if n > 1000:  # a uniform distribution would have 1.8
            kurtosis = ((weight - weight.mean()) ** 4).mean() / weight.var() ** 2
            assert kurtosis.item() == pytest.approx(3, abs=5 * math.sqrt(24 / n))
        assert layer.bias is not None
        assert not layer.bias.any()


def in_order(model: UNet) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    """The layers in the order of the computation, whatever the order of definition."""
    names = ["down0", "down1", "down2", "down3", "down4"]
    for level in (3, 2, 1, 0):
        names += [f"upconv{level}", f"up{level}"]
    return [layer for name in [*names, "head"] for layer in convolutions(getattr(model, name))]


def test_the_order_of_the_layers_is_that_of_the_computation() -> None:
    with torch.device("meta"):
        model = UNet()
    seen: list[nn.Module] = []
    for layer in convolutions(model):
        layer.register_forward_hook(lambda module, _args, _out: seen.append(module))
    model(torch.empty(1, 1, 188, 188, device="meta"))
    assert [id(layer) for layer in seen] == [id(layer) for layer in in_order(model)]


# --- the forward pass, written a second time ---------------------------------------------------


def literal_forward(
    x: Tensor,
    p: dict[str, Tensor],
    *,
    up_relu: bool = False,
    dropout: float = 0.0,
    drop_skip: bool = True,
) -> Tensor:
    """Sec. 2 from the text, with functions only."""

    def conv(x: Tensor, name: str) -> Tensor:
        return functional.relu(functional.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"]))

    skips = []
    for level in range(5):
        x = conv(conv(x, f"down{level}.0"), f"down{level}.2")
        dropped = functional.dropout(x, dropout) if level >= 3 and dropout else x
        if level < 4:
            skips.append(dropped if drop_skip else x)
            x = functional.max_pool2d(dropped, 2)
        else:
            x = dropped
    for level in (3, 2, 1, 0):
        x = functional.conv_transpose2d(
            x, p[f"upconv{level}.0.weight"], p[f"upconv{level}.0.bias"], stride=2
        )
        if up_relu:
            x = functional.relu(x)
        margin = (4, 16, 40, 88)[3 - level]  # spec A1: pixels cropped per side
        skip = skips[level][:, :, margin:-margin, margin:-margin]
        x = conv(conv(torch.cat([x, skip], 1), f"up{level}.0"), f"up{level}.2")
    return functional.conv2d(x, p["head.weight"], p["head.bias"])


SMALL = {"width": 3, "out_channels": 3, "in_channels": 2}


@pytest.mark.parametrize("shape", [(1, 2, 188, 188), (2, 2, 204, 236), (1, 2, 572, 188)])
@torch.inference_mode()
def test_the_network_is_the_literal_one(shape: tuple[int, ...]) -> None:
    model = with_random_biases(UNet(**SMALL)).eval()
    image = torch.rand(shape)
    scores = model(image)
    assert scores.shape == (shape[0], 3, shape[2] - 184, shape[3] - 184)
    assert torch.equal(scores, literal_forward(image, model.state_dict()))


@torch.inference_mode()
def test_relu_after_the_up_convolutions_in_the_release_only() -> None:
    image = torch.rand(1, 1, 188, 204)
    for build, relu in ((UNet, False), (UNet.release, True)):
        model = with_random_biases(build(width=4)).eval()
        parameters = model.state_dict()
        assert torch.equal(model(image), literal_forward(image, parameters, up_relu=relu))
        assert not torch.equal(model(image), literal_forward(image, parameters, up_relu=not relu))


@torch.inference_mode()
def test_dropout_lies_before_the_last_pool_and_its_skip_and_after_the_bottom() -> None:
    model = with_random_biases(UNet(width=4)).train()
    image = torch.rand(1, 1, 188, 188)

    def seeded(forward: object, *args: object, **options: object) -> Tensor:
        torch.manual_seed(3)
        return forward(*args, **options)  # type: ignore[operator,no-any-return]

    parameters = model.state_dict()
    scores = seeded(model, image)
    assert torch.equal(scores, seeded(literal_forward, image, parameters, dropout=0.5))
    # the same seed, so only the place differs: a skip that is not dropped is another network
    kept = seeded(literal_forward, image, parameters, dropout=0.5, drop_skip=False)
    assert not torch.equal(scores, kept)
    assert not torch.equal(scores, literal_forward(image, parameters))


@torch.inference_mode()
def test_dropout_acts_in_training_only_and_at_its_rate() -> None:
    model = UNet(width=8).train()
    rates = []
    model.dropout.register_forward_hook(
        lambda _m, args, out: rates.append(
            ((out == 0) & (args[0] > 0)).sum().item() / (args[0] > 0).sum().item()
        )
    )
    image = torch.rand(1, 1, 284, 284)
    first, second = model(image), model(image)
    assert not torch.equal(first, second)
    assert len(rates) == 4
    assert rates == pytest.approx([0.5] * 4, abs=0.05)
    model.eval()
    assert torch.equal(model(image), model(image))
    assert rates[4:] == [0.0] * 4
    without = UNet(width=8, dropout=0.0).train()
    assert torch.equal(without(image), without(image))


def test_crop_is_centred_and_behind_the_up_sampled_map() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    skip = torch.stack([y, x])[None].float()
    up = torch.full((1, 3, 56, 60), -1.0)
    joined = copy_and_crop(skip, up)
    assert joined.shape == (1, 5, 56, 60)
    assert torch.equal(joined[:, :3], up)
    assert torch.equal(joined[0, 3], y[4:60, 10:70].float())
    assert torch.equal(joined[0, 4], x[4:60, 10:70].float())


@pytest.mark.exact
@torch.inference_mode()
def test_moving_the_image_by_16_pixels_moves_the_scores() -> None:
    """Nothing else does (spec A2); the weights are such that no kernel rounds."""
    model = exact_network(UNet(width=2).double().eval(), terms=3, largest=255)
    image = torch.randint(0, 256, (1, 1, 300, 300)).double()
    scores = model(image)  # 116 pixels
    for step in range(1, 17):
        moved = model(image[:, :, step : step + 204, :204])  # 20 pixels
        same = torch.equal(moved, scores[:, :, step : step + 20, :20])
        assert same == (step == 16)


@pytest.mark.exact
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@torch.inference_mode()
def test_what_moves_with_the_image_moves_but_for_rounding(dtype: torch.dtype) -> None:
    """With random weights; kernels may round otherwise for another size."""
    model = UNet(width=2).to(dtype).eval()
    image = torch.rand(1, 1, 300, 300, dtype=dtype)
    scores = model(image)
    for step in (15, 16):
        window = image[:, :, step : step + 204, :204]
        expected = scores[:, :, step : step + 20, :20]
        assert within_rounding(model, window, model(window), expected) == (step == 16)


def test_every_parameter_takes_part() -> None:
    model = UNet(width=2)
    model(torch.rand(1, 1, 204, 204)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


# --- errors and values -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "nearest"),
    [(512, "508 or 524"), (600, "588 or 604"), (187, "188"), (571, "556 or 572")],
)
@pytest.mark.parametrize("axis", [2, 3])
def test_an_illegal_side_is_refused_with_the_nearest_legal_ones(
    side: int, nearest: str, axis: int
) -> None:
    shape = [1, 1, 204, 204]
    shape[axis] = side
    with pytest.raises(InputError, match=f"{side} pixels .*use {nearest},"):
        UNet(width=1)(torch.zeros(shape))


@pytest.mark.parametrize(
    "shape", [(1, 3, 204, 204), (1, 204, 204), (204, 204), (1, 1, 1, 204, 204)]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"{shape}; it takes (N, 1, H, W)")):
        UNet(width=1)(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"in_channels": 0},
        {"out_channels": 0},
        {"width": -1},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"last_up_width": 0},
    ],
)
def test_settings_that_make_no_network_are_refused(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{name} is {value}; it must be"):
        UNet(**wrong)  # type: ignore[arg-type]


def test_a_configuration_makes_its_network_again() -> None:
    model = UNet(3, 5, 4, dropout=0.25, up_relu=True, last_up_width=7)
    assert model.config == NetworkConfig(3, 5, 4, 0.25, True, 7)
    again = UNet.from_config(model.config)
    assert again.config == model.config
    shapes = [(name, value.shape) for name, value in model.state_dict().items()]
    assert [(name, value.shape) for name, value in again.state_dict().items()] == shapes
    assert UNet().config == NetworkConfig(1, 2, 64, 0.5, False, None)
    assert UNet.release().config == NetworkConfig(1, 2, 64, 0.5, True, 128)
