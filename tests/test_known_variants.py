"""The well-known variants against literal, independent re-writings; their training and tiles."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from paper_unet import TrainConfig, load_model, predict_image, predict_stack, train
from paper_unet.checkpoint import save_model, weights_digest
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.run import Report
from paper_unet.loss import weighted_binary_cross_entropy
from paper_unet.model import UNet
from paper_unet.passes import cost, prepared
from paper_unet.samples import TileSampler, TrainingSet, training_set
from paper_unet.seams import seams
from paper_unet.start import absorb_shift, new_network, start_network
from paper_unet.stop import Stop, Stopped
from paper_unet.variants import (
    KNOWN,
    BatchNormUNet,
    KerasUNet,
    SamePaddingUNet,
    ValidBatchNormUNet,
    context_of,
    initialise,
    new_variant,
)

NAMES = list(KNOWN)
PADDED = ["annotated", "batchnorm", "batchnorm_bilinear", "keras"]
SIDE = {**dict.fromkeys(PADDED, 64), "three_level": 100, "valid_batchnorm": 204}


# --- literal re-writings ------------------------------------------------------------------------


class Literal(nn.Module):
    """Layers in a list, taken one after the other; nothing of the package is used."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        self.at = iter(self.layers)
        return self.walk(x)

    def next(self, x: Tensor) -> Tensor:
        y: Tensor = next(self.at)(x)
        return y

    def walk(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Annotated(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        c = lambda a, b: nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
        u = lambda a, b: nn.ConvTranspose2d(a, b, 2, stride=2)  # noqa: E731
        super().__init__([
            c(i, w), c(w, w), c(w, 2 * w), c(2 * w, 2 * w), c(2 * w, 4 * w), c(4 * w, 4 * w),
            c(4 * w, 8 * w), c(8 * w, 8 * w), c(8 * w, 16 * w), c(16 * w, 16 * w),
            u(16 * w, 8 * w), c(16 * w, 8 * w), c(8 * w, 8 * w),
            u(8 * w, 4 * w), c(8 * w, 4 * w), c(4 * w, 4 * w),
            u(4 * w, 2 * w), c(4 * w, 2 * w), c(2 * w, 2 * w),
            u(2 * w, w), c(2 * w, w), c(w, w), nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def walk(self, x: Tensor) -> Tensor:
        kept = []
        for level in range(5):
            x = self.next(x).clamp(min=0)
            x = self.next(x).clamp(min=0)
            if level < 4:
                kept.append(x)
                x = F.max_pool2d(x, 2)
        for skip in reversed(kept):
            x = torch.cat([self.next(x), skip], 1)  # the crop does nothing on multiples of 16
            x = self.next(x).clamp(min=0)
            x = self.next(x).clamp(min=0)
        return self.next(x)


class Popular(Literal):
    def __init__(self, i: int, o: int, w: int, bilinear: bool) -> None:
        f = 2 if bilinear else 1

        def double(a: int, b: int, m: int | None = None) -> list[nn.Module]:
            m = m or b
            return [
                nn.Conv2d(a, m, 3, padding=1, bias=False), nn.BatchNorm2d(m),
                nn.Conv2d(m, b, 3, padding=1, bias=False), nn.BatchNorm2d(b),
            ]  # fmt: skip

        def up(a: int, b: int) -> list[nn.Module]:
            if bilinear:
                return double(a, b, a // 2)
            return [nn.ConvTranspose2d(a, a // 2, 2, stride=2), *double(a, b)]

        self_layers = [
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w // f), *up(16 * w, 8 * w // f), *up(8 * w, 4 * w // f),
            *up(4 * w, 2 * w // f), *up(2 * w, w), nn.Conv2d(w, o, 1),
        ]  # fmt: skip
        super().__init__(self_layers)
        self.bilinear = bilinear

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(self.next(x)).clamp(min=0)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            skip = kept.pop()
            if self.bilinear:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = self.next(x)
            dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = self.double(torch.cat([skip, x], 1))
        return self.next(x)


class ThreeLevel(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3), nn.BatchNorm2d(b)]

        def up(a: int) -> nn.Module:
            return nn.ConvTranspose2d(a, a // 2, 3, stride=2, padding=1, output_padding=1)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            up(8 * w), *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w),
            up(2 * w), *double(2 * w, w), nn.Conv2d(w, o, 3, padding=1), nn.BatchNorm2d(o),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(x).clamp(min=0)
            x = self.next(x)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = []
        for _ in range(3):
            kept.append(self.double(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.double(x)
        while kept:
            x, skip = self.next(x), kept.pop()
            cut = (skip.shape[2] - x.shape[2]) // 2
            x = self.double(torch.cat([x, F.pad(skip, [-cut] * 4)], 1))
        return self.next(self.next(x).clamp(min=0))


class Keras(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            norm = nn.BatchNorm2d(b, eps=0.001, momentum=0.01)
            return [nn.Conv2d(a, b, 3, padding="same"), nn.Conv2d(b, b, 3, padding="same"), norm]

        def up(a: int) -> nn.Module:
            return nn.Conv2d(a, a // 2, 2)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w), up(16 * w), *double(16 * w, 8 * w), up(8 * w),
            *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w), up(2 * w), *double(2 * w, w),
            nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        x = self.next(x).clamp(min=0)
        return self.next(self.next(x)).clamp(min=0)

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = self.next(F.pad(x, [0, 1, 0, 1])).clamp(min=0)
            x = self.double(torch.cat([kept.pop(), x], 1))
        return self.next(x)


class ValidBatchNorm(Literal):
    def __init__(self, i: int, o: int, w: int) -> None:
        def double(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3), nn.BatchNorm2d(b)]

        def up(a: int) -> nn.Module:
            return nn.ConvTranspose2d(a, a // 2, 2, stride=2)

        super().__init__([
            *double(i, w), *double(w, 2 * w), *double(2 * w, 4 * w), *double(4 * w, 8 * w),
            *double(8 * w, 16 * w), up(16 * w), *double(16 * w, 8 * w), up(8 * w),
            *double(8 * w, 4 * w), up(4 * w), *double(4 * w, 2 * w), up(2 * w), *double(2 * w, w),
            nn.Conv2d(w, o, 1),
        ])  # fmt: skip

    def double(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.next(self.next(x)).clamp(min=0)
        return x

    def walk(self, x: Tensor) -> Tensor:
        kept = [self.double(x)]
        for _ in range(4):
            kept.append(self.double(F.max_pool2d(kept[-1], 2)))
        x = kept.pop()
        while kept:
            x, skip = self.next(x), kept.pop()
            top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
            crop = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            x = self.double(torch.cat([crop, x], 1))
        return self.next(x)


LITERAL: dict[str, Callable[[int, int, int], Literal]] = {
    "annotated": Annotated,
    "batchnorm": lambda i, o, w: Popular(i, o, w, bilinear=False),
    "batchnorm_bilinear": lambda i, o, w: Popular(i, o, w, bilinear=True),
    "three_level": ThreeLevel,
    "keras": Keras,
    "valid_batchnorm": ValidBatchNorm,
}


def live(name: str, width: int = 3, channels: int = 1, classes: int | None = None) -> UNet:
    """A network in which every parameter and statistic counts."""
    torch.manual_seed(1)
    model = new_variant(name, channels, classes, width, 0.0)
    initialise(model, "gaussian")
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if "running_var" in key:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def twin(model: UNet) -> Literal:
    """The literal network with the weights of ours, matched in order and loaded strictly."""
    config = model.config
    other = LITERAL[model.variant](config.in_channels, config.out_channels, config.width)
    theirs, ours = other.state_dict(), model.state_dict()
    assert [v.shape for v in theirs.values()] == [v.shape for v in ours.values()]
    other.load_state_dict(dict(zip(theirs, ours.values(), strict=True)), strict=True)
    return other.eval()


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
    "batchnorm": (31_036_546, 31_036_546 + 2 * 576 + 3 * 65),
    "batchnorm_bilinear": (17_261_890, 17_261_890 + 2 * 576 + 3 * 65),
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
            model = new_variant(name, channels, classes, 64, 0.5)
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
    fresh = new_variant(name, 1, None, 3, 0.5)
    assert fresh.load_state_dict(model.state_dict(), strict=True).missing_keys == []


def test_initial_weights() -> None:
    torch.manual_seed(0)
    for name in NAMES:
        layer = new_variant(name, 1, None, 8, 0.5).down2[0]
        assert isinstance(layer, nn.Conv2d)
        fan_in, fan_out = layer.in_channels * 9, layer.out_channels * 9
        bound = (6 / (fan_in + fan_out)) ** 0.5 if name == "keras" else fan_in**-0.5
        assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
    keras = new_variant("keras", 1, None, 8, 0.5)
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
    assert not any(isinstance(m, nn.Dropout) for m in new_variant(name, 1, None, 2, 0.5).modules())


@pytest.mark.parametrize(("rows", "columns"), [(67, 90), (16, 31)])
def test_the_popular_network_pads_what_the_pools_drop(rows: int, columns: int) -> None:
    for name in ("batchnorm", "batchnorm_bilinear"):
        model, image = live(name), torch.rand(1, 1, rows, columns)
        with torch.no_grad():
            found = model(image)
            torch.testing.assert_close(found, twin(model)(image), rtol=1e-4, atol=1e-5)
        assert found.shape[2:] == (rows, columns)


@pytest.mark.parametrize("name", ["batchnorm", "batchnorm_bilinear", "keras"])
def test_one_pixel_at_the_bottom_is_too_few_to_normalise(name: str) -> None:
    model = live(name)
    with torch.no_grad():
        assert model(torch.rand(1, 1, 16, 16)).shape[2:] == (16, 16)
        model.train()
        assert model(torch.rand(1, 1, 16, 32)).shape[2:] == (16, 32)
        assert model(torch.rand(2, 1, 16, 16)).shape[2:] == (16, 16)
        with pytest.raises(InputError, match="too few for batch normalisation"):
            model(torch.rand(1, 1, 16, 16))


# --- tiles --------------------------------------------------------------------------------------


def noise(rows: int, columns: int, channels: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    shape = (channels, rows, columns) if channels else (rows, columns)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def once(model: UNet, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One pass by hand: mirrored by numpy where the network has no padding."""
    context = context_of(model)
    rows, columns = image.shape
    before = 0 if context.padded else context.before
    most = [
        side + (0 if context.padded else context.before + context.after) for side in image.shape
    ]
    legal = [side + (context.base - side) % context.lattice for side in most]
    pads = [(before, n - side - before) for n, side in zip(legal, image.shape, strict=True)]
    grey = np.pad(image, pads, mode="reflect").astype(np.float32) / np.float32(255)
    with torch.no_grad():
        scores = model(torch.from_numpy(grey)[None, None] - model.centre)[0].double()
    skip = before - context.lost
    scores = scores[:, skip : skip + rows, skip : skip + columns]
    p = torch.sigmoid(scores) if len(scores) == 1 else torch.softmax(scores, 0)
    found: NDArray[np.float64] = p[-1].numpy()
    return found


ALL_TILED = [*NAMES, "same_padding"]


@pytest.mark.parametrize("name", ALL_TILED)
@pytest.mark.parametrize("shape", [(300, 333), (130, 70)])
def test_tiles_are_one_pass_but_for_aligned_corners(name: str, shape: tuple[int, int]) -> None:
    model, image = live(name), noise(*shape)
    model.centre = 0.375 if model.padded else 0.0
    found, expected = predict_image(model, image, tile=316), once(model, image)
    assert expected.std() > 1e-3
    difference = float(np.abs(found - expected).max())
    if name == "batchnorm_bilinear" and shape == (300, 333):
        assert difference > 1e-4  # its sampling grid depends on the size of the tile
    else:
        assert difference < 1e-4


@pytest.mark.parametrize("name", sorted({*PADDED, "same_padding"} - {"batchnorm_bilinear"}))
def test_the_halo_is_as_far_as_a_pixel_sees(name: str) -> None:
    """Beyond it nothing moves a pixel, in any phase of the lattice; a step nearer something may."""
    model = live(name)
    halo, reached = context_of(model).before, 0
    with torch.no_grad():
        for _ in range(3):  # a ReLU may hide a path from one image
            image = torch.rand(1, 1, 48, 2 * halo + 64)
            changed = image.clone()
            changed[..., -16:] = torch.rand(1, 1, 48, 16)
            moved = (model(image) - model(changed)).abs().amax((0, 1, 2)) > 1e-7
            reached = max(reached, image.shape[3] - 16 - int(moved.nonzero().min()))
    assert halo - 32 < reached <= halo


@pytest.mark.parametrize("name", PADDED)
def test_a_smaller_halo_leaves_seams_that_are_measured(name: str) -> None:
    model, image = live(name), noise(300, 333)
    full, none = seams(model, image, tile=316), seams(model, image, tile=316, halo=0)
    expected, found = once(model, image), predict_image(model, image, tile=316, halo=0)
    difference = found - expected
    assert none.largest == pytest.approx(np.abs(difference).max(), rel=1e-3)
    assert none.rms == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-3)
    near = difference[:, 168:184] if none.tiles == 2 else difference
    assert none.at_seams == pytest.approx(np.sqrt((near**2).mean()), rel=1e-3)
    assert (none.halo, none.tile, none.tiles) == (0, 304, 2)
    assert none.at_seams > none.rms > 1e-5 and none.rms > 3 * full.rms
    one = seams(model, image, tile=572)
    assert one.tiles == 1 and one.largest == one.at_seams == 0


def test_the_paddings_of_the_three_level_network_reach_1_and_8_pixels() -> None:
    """The dropped margin is exactly what a larger input changes."""
    model, image = live("three_level"), torch.rand(1, 1, 164, 164)
    with torch.no_grad():
        small, large = model(image[:, :, 16:148, 16:148]), model(image)
    inner = large[:, :, 16 : 16 + small.shape[2], 16 : 16 + small.shape[3]]
    moved = (small - inner).abs().amax((0, 1)) > 1e-5
    side = small.shape[2]
    for margin in (moved[:, 1 : side - 8].any(dim=1), moved[1 : side - 8].any(dim=0)):
        assert margin.nonzero()[:, 0].tolist() == [0, *range(side - 8, side)]
    assert not moved[1 : side - 8, 1 : side - 8].any()


def test_512_is_no_legal_side_and_the_result_depends_on_it() -> None:
    """The pool floors 121 to 60: scores of the same pixels are others than in legal tiles."""
    model = live("valid_batchnorm")
    image = torch.rand(1, 1, 572, 572)
    with torch.no_grad():
        at_572, at_508 = model(image), model(image[:, :, 16:524, 16:524])
        at_512 = model(image[:, :, 16:528, 16:528])
    assert at_512.shape[2:] == at_508.shape[2:] == (324, 324)
    same = at_572[:, :, 16:340, 16:340]
    torch.testing.assert_close(at_508, same, rtol=1e-4, atol=1e-4)
    spread = float(same.std())
    off = [(at_512 - at_572[:, :, 16 + k : 340 + k, 16 + k : 340 + k]).pow(2).mean().sqrt()
           for k in range(5)]  # fmt: skip
    assert min(float(value) for value in off) > 0.3 * spread
    with pytest.raises(InputError, match=r"512 pixels do not fit .* use 508 or 524"):
        TrainConfig(network="valid_batchnorm", tile=512)


@pytest.mark.parametrize("average", ["flips", "rotations"])
def test_averages(average: str) -> None:
    model, image = live("keras"), noise(40, 33)
    found = predict_image(model, image, average=average)  # type: ignore[arg-type]
    if average == "flips":
        logits = []
        for y, x in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            p = once(model, np.ascontiguousarray(image[::y, ::x]))[::y, ::x]
            logits.append(np.log(p / (1 - p)))
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.mean(logits, 0))), atol=1e-5)
    assert np.abs(found - once(model, image)).max() > 1e-4


def test_colour_images() -> None:
    model, image = live("annotated", channels=3), noise(50, 70, 3)
    found = predict_image(model, image)
    padded = np.pad(image, [(0, 0), (0, 14), (0, 10)], mode="reflect") / np.float32(255)
    with torch.no_grad():
        expected = torch.sigmoid(model(torch.from_numpy(padded)[None]))[0, 0, :50, :70].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    stack = np.stack([image, image[:, ::-1]])
    assert np.array_equal(predict_stack(model, stack)[0], found)  # type: ignore[index]
    with pytest.raises(InputError, match=r"\(Z, 3, Y, X\) is needed"):
        predict_stack(model, stack[:, 0])


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("annotated", {"halo": 8}, "a multiple of 16"),
        ("annotated", {"tile": 204}, "too small .* use 240 or more, or a smaller halo"),
        ("annotated", {"tiling": "abutting", "engine": "tiles"}, "halo of 0"),
        ("valid_batchnorm", {"tiling": "abutting", "engine": "tiles"}, "leave the tiling out"),
        ("valid_batchnorm", {"halo": 16}, "only networks with zero padding"),
        ("paper", {"halo": 16}, "no padding"),
    ],
)
def test_procedures_that_do_not_suit(name: str, asked: dict[str, Any], message: str) -> None:
    model = live(name) if name in KNOWN else UNet(width=2)
    with pytest.raises(InputError, match=message):
        predict_image(model, noise(300, 300), **asked)


@pytest.mark.parametrize("name", [*NAMES, "same_padding", "paper"])
def test_arithmetic_from_the_shapes(name: str) -> None:
    """Against a count by hand for the first layer, and in proportion to the width squared."""
    narrow, wide = (new_variant(name, 1, None, w, 0.0) for w in (8, 16))
    side = 560 if narrow.padded else 572
    ratio = cost(wide, side).multiply_accumulates / cost(narrow, side).multiply_accumulates
    assert 3.8 < ratio < 4
    assert cost(narrow, side).output == narrow.output_side(side)
    if name == "paper":
        from paper_unet.plan import multiply_accumulates

        assert cost(narrow, side).multiply_accumulates == multiply_accumulates(
            narrow.config, 388, 388
        )


# --- training -----------------------------------------------------------------------------------


def settings(out: Path, name: str, **changes: Any) -> TrainConfig:
    """A run of a second."""
    values: dict[str, Any] = {
        "network": name, "width": 2, "tile": SIDE[name], "steps": 4, "warmup": 2, "device": "cpu",
        "checkpoint_every": 2, "log_every": 1,
    }  # fmt: skip
    return TrainConfig(out=str(out), **values | changes)


def stripes(channels: int = 1) -> TrainingSet:
    """Two sections of bright and dark columns."""
    cells = np.zeros((2, 90, 90), np.int32)
    for k in range(6):
        cells[:, :, 15 * k : 15 * k + 11] = k + 1
    noise = np.random.default_rng(0).normal(0, 0.05, (2, channels, 90, 90))
    images = np.clip(0.3 + 0.4 * (cells[:, None] > 0) + noise, 0, 1).astype(np.float32)
    return training_set(images, cells)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_training(name: str, channels: int, tmp_path: Path) -> None:
    config, data = settings(tmp_path, name), stripes(channels)
    model = train(config, data, progress=False)
    assert model.variant == name and model.centre == (0.5 if model.padded else 0)
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
        assert config.tile == (560 if KNOWN[name].padded else 572)
        assert config.init == KNOWN[name].initial
        assert KNOWN[name].padded is KNOWN[name].context.padded
    assert SamePaddingUNet.context.padded
    with pytest.raises(InputError, match="classes is 1; the network paper needs at least 2"):
        TrainConfig(classes=1)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_one_logit_and_many_classes(classes: int, tmp_path: Path) -> None:
    config = settings(tmp_path, "batchnorm", classes=classes)
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


def test_a_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"optimizer": "rmsprop", "momentum": 0.9, "lr": 1e-4, "steps": 6}
    whole = train(settings(tmp_path / "a", "keras", **changes), stripes(), progress=False)
    config = settings(tmp_path / "b", "keras", **changes)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Stop, "__call__", _after(3))
        train(config, stripes(), progress=False)
    resumed = train(config, stripes(), resume=True, progress=False)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def _after(calls: int) -> Callable[[Any], bool]:
    left = [calls]

    def stop(self: Any) -> bool:
        left[0] -= 1
        self.signal = signal.SIGTERM if left[0] < 0 else 0
        return left[0] < 0

    return stop


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    sections = np.random.default_rng(2).integers(0, 256, (2, 430, 200)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", sections)
    return tmp_path / "in.tif"


@pytest.mark.parametrize("name", [*NAMES, "same_padding"])
def test_a_file_gets_what_memory_gets(name: str, stack: Path, tmp_path: Path) -> None:
    model = live(name)
    model.centre = 0.5 if model.padded else 0.0
    save_model(tmp_path / "w.safetensors", model)
    said: list[str] = []
    config = PredictConfig(
        source=str(stack), out=str(tmp_path / "out.tif"), weights=str(tmp_path / "w.safetensors"),
        tile=412, device="cpu", memory="3GB",
    )  # fmt: skip
    predict_file(config, report=Report(said.append))
    assert "does not stream" in said[0]
    expected = predict_stack(
        load_model(tmp_path / "w.safetensors"), tifffile.imread(stack), tile=412
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), expected)


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_an_interrupted_file_gets_the_same_bytes(
    suffix: str, stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "w.safetensors", live("batchnorm_bilinear"))
    files = {}
    for run in ("whole", "cut"):
        config = PredictConfig(
            source=str(stack), out=str(tmp_path / (run + suffix)), tile=380, halo=32,
            weights=str(tmp_path / "w.safetensors"), device="cpu", memory="3GB",
        )  # fmt: skip
        if run == "cut":
            with monkeypatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(Stop, "__call__", _after(2))
                predict_file(config)
        out = predict_file(config)
        if suffix == ".tif":
            files[run] = {"": out.read_bytes()}
        else:
            files[run] = {
                str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()
            }
    differing = [k for k in files["whole"] if files["whole"][k] != files["cut"].get(k)]
    assert len(files["whole"]) == len(files["cut"])
    assert all(key.endswith("zarr.json") for key in differing)


def test_too_little_memory_for_a_tile(stack: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "w.safetensors", live("annotated", width=16))
    config = PredictConfig(
        source=str(stack), out=str(tmp_path / "out.tif"), weights=str(tmp_path / "w.safetensors"),
        device="cpu", memory="50MB",
    )  # fmt: skip
    with pytest.raises(InputError, match="use a smaller --tile"):
        predict_file(config)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = noise(100, 110)[None].repeat(2, 0)
    tifffile.imwrite(tmp_path / "images.tif", images)
    tifffile.imwrite(tmp_path / "labels.tif", np.where(images > 60, 255, 0).astype(np.uint8))
    out = tmp_path / "run"
    arguments = [
        "train", "--images", tmp_path / "images.tif", "--labels", tmp_path / "labels.tif",
        "--out", out, "--network", "valid_batchnorm", "--width", "2", "--tile", "204",
        "--steps", "2", "--device", "cpu", "--slices", "0",
    ]  # fmt: skip
    assert main([str(a) for a in arguments]) in (None, 0)
    arguments = [
        "predict", tmp_path / "images.tif", "-o", tmp_path / "p.tif", "--weights",
        out / "weights.safetensors", "--device", "cpu", "--tile", "284",
    ]  # fmt: skip
    assert main([str(a) for a in arguments]) in (None, 0)
    assert "does not stream" in capsys.readouterr().err
    model = load_model(out / "weights.safetensors")
    found = tifffile.imread(tmp_path / "p.tif")
    assert np.array_equal(found, np.asarray(predict_stack(model, images, tile=284)))


def test_a_folded_network_streams() -> None:
    from paper_unet.layers import Layers

    assert isinstance(prepared(BatchNormUNet(1, 2, 2).eval()), Layers)
