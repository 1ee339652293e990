"""The overlap-tile strategy: the mosaic is one pass over the whole mirrored image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from predict_helpers import (
    NARROW,
    Image,
    Window,
    mosaic,
    noise,
    one_pass,
    random_network,
    stitched,
)
from rounding_helpers import exact_network, within_rounding
from torch import Tensor

from paper_unet import input_size, predict_image
from paper_unet.errors import InputError
from paper_unet.geometry import PAPER, Tiling
from paper_unet.inference.layers import Layers, evaluating
from paper_unet.inference.pipeline import one_pass as one_tile

LEGAL = range(188, 700, 16)
TILES = LEGAL[1:]


# --- the mosaic is one pass ---------------------------------------------------------------------

SPREAD = float(np.ptp(one_pass(NARROW, noise(0, 1, 200, 200))))
# PyTorch takes oneDNN's convolution for maps of more than 20,480 values and its own for others
# (ATen, Convolution.cpp), and each has kernels for each kind of processor: a tile and the whole
# image may differ by rounding. With the weights of these networks nothing is rounded.
EXACT = exact_network(random_network(2), terms=2, largest=1)
EXACT_64 = exact_network(
    random_network(1, in_channels=2, out_channels=3).double(), terms=3, largest=255
)
WIDER = random_network(8)
sides = st.one_of(st.integers(1, 30), st.integers(1, 300))


def integers(seed: int, largest: int, *shape: int) -> NDArray[np.integer]:
    return np.random.default_rng(seed).integers(0, largest + 1, shape)


@given(rows=sides, columns=sides, tile=st.sampled_from(TILES), seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_the_mosaic_is_one_pass(rows: int, columns: int, tile: int, seed: int) -> None:
    image = integers(seed, 1, 1, rows, columns).astype(np.float32)
    with evaluating(EXACT):
        found = mosaic(EXACT, image, tile).numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, one_pass(EXACT, image))


@pytest.mark.exact
@given(rows=sides, columns=sides, tile=st.sampled_from(TILES), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_mosaic_is_one_pass_for_more_channels_and_in_float64(
    rows: int, columns: int, tile: int, seed: int
) -> None:
    image = integers(seed, 255, 2, rows, columns).astype(np.float64)
    expected = one_pass(EXACT_64, image).astype(np.float32)  # type: ignore[arg-type]
    with evaluating(EXACT_64):
        found = mosaic(EXACT_64, image, tile).numpy()  # type: ignore[arg-type]
    assert np.array_equal(found, expected)


@st.composite
def sides_for_stride(draw: st.DrawFn, stride: int = 160) -> int:
    """Image sides that exact tiling cuts into one, two or three tiles of just this stride."""
    count = draw(st.integers(1, 3))
    return draw(st.integers((stride - 16) * count + 1, stride * count))


@pytest.mark.slow
@given(rows=sides_for_stride(), columns=sides_for_stride(), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_the_mosaic_is_one_pass_but_for_rounding(rows: int, columns: int, seed: int) -> None:
    """Of random weights, where every map holds more than 20,480 values: from tiles of 348 on."""
    bottom = (348 - 60) // 16  # pixels per axis that the lowest level takes in, from 64 channels
    assert min(64 * bottom**2, 128 * (bottom - 4) ** 2) > 20_480
    image = noise(seed, 1, rows, columns)
    assert {tile.side for side in (rows, columns) for tile in PAPER.tiles(side, 348)} == {348}
    with evaluating(WIDER):
        found = mosaic(WIDER, image, 348)[None]
    margins = [(92, input_size(-(-side // 16) * 16) - side - 92) for side in (rows, columns)]
    everything = torch.from_numpy(np.pad(image, [(0, 0), *margins], mode="reflect"))[None]
    expected = torch.from_numpy(one_pass(WIDER, image))[None]
    assert within_rounding(WIDER, everything, found, expected)


@pytest.mark.slow
@given(rows=sides, columns=sides, tile=st.sampled_from(TILES), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
@example(rows=255, columns=191, tile=204, seed=0)
@example(rows=59, columns=108, tile=204, seed=0)
def test_prepared_layers_give_the_mosaic_of_the_network(
    rows: int, columns: int, tile: int, seed: int
) -> None:
    image = noise(seed, 1, rows, columns)
    expected = one_pass(NARROW, image)
    with evaluating(NARROW):
        layers = Layers(NARROW)
        found = stitched(lambda window: one_tile(layers, window), image, tile).numpy()
    assert np.abs(found - expected).max() <= 2e-6 * SPREAD


def test_tile_sizes_do_not_change_a_prediction() -> None:
    image = (255 * noise(3, 70, 230)).astype(np.uint8)
    first, *others = [
        predict_image(NARROW, image, engine="tiles", tile=tile) for tile in (204, 284, 572)
    ]
    for other in [*others, predict_image(NARROW, image)]:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-6)


def test_the_abutting_tiles_of_the_paper_are_not_one_pass(
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """A stride of 388, 4 modulo 16, moves the pools to another phase from the second tile on."""
    image = noise(1, 1, 24, 800)
    whole = one_pass(NARROW, image)
    with evaluating(NARROW):
        paper = mosaic(NARROW, image, 572, "abutting").numpy()
        exact = mosaic(NARROW, image, 572, "exact").numpy()
    spread = whole.std()
    per_tile = [
        float(np.sqrt(np.mean((paper - whole)[:, :, start : start + 388] ** 2)) / spread)
        for start in (0, 388, 776)
    ]
    # in the report of --junitxml: 0 for the first tile, about 1 for the others
    record_testsuite_property("abutting-388-rms-difference-over-spread", per_tile)
    assert per_tile[0] < 1e-4
    assert min(per_tile[1:]) > 0.1
    assert abs(exact - whole).max() < 1e-4 * spread


def test_tiling_and_tile_reach_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def spy(layers: Layers, window: Tensor) -> Tensor:
        seen.append(tuple(window.shape))
        return one_tile(layers, window)

    monkeypatch.setattr("paper_unet.inference.tiled.one_pass", spy)
    image = noise(0, 10, 400)
    predict_image(NARROW, image, engine="tiles", tiling="abutting", tile=220)
    assert seen == [(1, 220, 220)] * len(PAPER.tiles(400, 220, "abutting"))
    seen.clear()
    predict_image(NARROW, image)
    assert seen == []


def test_abutting_tiles_cannot_be_streamed() -> None:
    with pytest.raises(InputError, match=r"abutting tiles .* engine 'tiles'"):
        predict_image(NARROW, noise(0, 10, 40), tiling="abutting")


# --- every pixel in its place -------------------------------------------------------------------


def positions(rows: int, columns: int) -> Image:
    return np.stack(np.mgrid[:rows, :columns]).astype(np.float32)


image_sides = st.one_of(st.integers(1, 20), st.integers(1, 900))


@given(
    rows=image_sides,
    columns=image_sides,
    tile=st.sampled_from(LEGAL),
    tiling=st.sampled_from(["exact", "abutting"]),
)
@settings(max_examples=80, deadline=None)
def test_the_identity_puts_every_pixel_where_it_belongs(
    rows: int, columns: int, tile: int, tiling: Tiling
) -> None:
    if tile == 188:  # 4 pixels a tile: keep their number down; exact tiling needs 204
        tiling, rows, columns = "abutting", min(rows, 100), min(columns, 100)
    network, image = Window(), positions(rows, columns)
    scores = mosaic(network, image, tile, tiling).numpy()
    assert np.array_equal(scores, image)
    assert all(max(shape[2:]) <= tile for shape in network.inputs)
    assert all(shape[:2] == (1, 2) for shape in network.inputs)


@given(
    rows=image_sides,
    columns=image_sides,
    tile=st.sampled_from(TILES),
    tiling=st.sampled_from(["exact", "abutting"]),
    top=st.integers(0, 184),
    left=st.integers(0, 184),
)
@settings(max_examples=60, deadline=None)
def test_the_context_of_every_pixel_is_the_mirrored_image(
    rows: int, columns: int, tile: int, tiling: Tiling, top: int, left: int
) -> None:
    """A network that looks up to 92 pixels away sees what numpy's mirrored image holds there."""
    image = positions(rows, columns)
    scores = mosaic(Window(top, left), image, tile, tiling).numpy()
    mirrored = np.pad(image, [(0, 0), (92, 92), (92, 92)], mode="reflect")
    assert np.array_equal(scores, mirrored[:, top : top + rows, left : left + columns])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (92, 92), (93, 3), (388, 389), (768, 16)])
def test_sizes_at_the_edges_of_tiles_and_halo(shape: tuple[int, int]) -> None:
    for tiling in ("exact", "abutting"):
        scores = mosaic(Window(), positions(*shape), 572, tiling)  # type: ignore[arg-type]
        assert np.array_equal(scores.numpy(), positions(*shape))
