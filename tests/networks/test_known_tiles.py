"""The well-known variants: tiles against one pass, halos, seams, averages, colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from variant_helpers import KNOWN, NAMES, PADDED, live, noise, once

from paper_unet import TrainConfig, predict_image, predict_stack
from paper_unet.errors import InputError
from paper_unet.inference.seams import seams
from paper_unet.model import UNet

ALL_TILED = [*NAMES, "same_padding"]


@pytest.mark.parametrize("name", ALL_TILED)
@pytest.mark.parametrize("shape", [(300, 333), (130, 70)])
def test_tiles_are_one_pass_but_for_aligned_corners(name: str, shape: tuple[int, int]) -> None:
    model, image = live(name), noise(*shape)
    model.centre = 0.375 if model.context.padded else 0.0
    found, expected = predict_image(model, image, tile=316), once(model, image)
    assert expected.std() > 1e-3
    difference = float(np.abs(found - expected).max())
    if name == "popular_bilinear" and shape == (300, 333):
        assert difference > 1e-4  # its sampling grid depends on the size of the tile
    else:
        assert difference < 1e-4


@pytest.mark.parametrize("name", sorted({*PADDED, "same_padding"} - {"popular_bilinear"}))
def test_the_halo_is_as_far_as_a_pixel_sees(name: str) -> None:
    """Beyond it nothing moves a pixel, in any phase of the lattice; a step nearer something may."""
    model = live(name)
    halo, reached = model.context.before, 0
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
