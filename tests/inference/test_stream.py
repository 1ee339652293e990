"""Row streaming: one pass over the whole mirrored section, whatever the bands and strips."""

import copy
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from predict_helpers import Image, noise, random_network
from rounding_helpers import exact_network, within_rounding
from torch import Tensor

from paper_unet import UNet, input_size, load_model
from paper_unet.errors import InputError
from paper_unet.geometry import HALO, skip_crop
from paper_unet.inference.averaging import image_scores, region_scores
from paper_unet.inference.layers import Convolution, Layers, can_fuse, evaluating, keep_freed_memory
from paper_unet.inference.pipeline import Pipeline, bands, one_pass, rows_out, stream_rows
from paper_unet.inference.predict import engine_for
from paper_unet.inference.section import whole
from paper_unet.inference.settings import InferenceSettings
from paper_unet.inference.streaming import Streaming

BANDS = st.sampled_from([16, 32, 48, 64, 112, 1024])
SIDES = st.one_of(st.integers(1, 30), st.integers(1, 300))


def mirrored(image: Image) -> Tensor:
    """The image and its context, mirrored by numpy, of a size that the network takes."""
    rows, columns = image.shape[1:]
    height, width = input_size(rows), input_size(columns)
    margins = [(0, 0), (HALO, height - rows - HALO), (HALO, width - columns - HALO)]
    return torch.from_numpy(np.pad(image, margins, mode="reflect"))


def reference(model: UNet, image: Image, dtype: torch.dtype = torch.float32) -> Tensor:
    """One call of the network, as PyTorch has it, over everything."""
    with evaluating(model):
        scores = copy.deepcopy(model).to(dtype)(mirrored(image)[None].to(dtype))
    return scores[0, :, : image.shape[1], : image.shape[2]]


def spread(scores: Tensor) -> float:
    return float(scores.max() - scores.min())


def streamed(model: UNet, image: Image, band: int) -> Tensor:
    with evaluating(model):
        return image_scores(engine_for(model, InferenceSettings(), band=band), image)


NETWORKS = {
    "narrow": random_network(4),
    "wider": random_network(8),
    "colour": random_network(3, in_channels=3, out_channels=5),
    "released": random_network(4, up_relu=True, last_up_width=8),
}


@cache
def usual_spread(name: str) -> float:
    model = NETWORKS[name]
    return spread(reference(model, noise(0, model.config.in_channels, 100, 100)))


@given(
    rows=SIDES, columns=SIDES, band=BANDS, name=st.sampled_from(sorted(NETWORKS)),
    seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@example(rows=1, columns=1, band=16, name="narrow", seed=0)
@example(rows=16, columns=17, band=16, name="colour", seed=0)
def test_streaming_is_one_pass(rows: int, columns: int, band: int, name: str, seed: int) -> None:
    model = NETWORKS[name]
    image = noise(seed, model.config.in_channels, rows, columns)
    found, expected = streamed(model, image, band), reference(model, image)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    scale = usual_spread(name)
    # two ways to round, each some 1e-6 from the exact value with random weights; where nothing is
    # rounded there is no difference at all, see the next test
    assert (found - expected).abs().max() <= 2e-6 * scale


# `exact_network` writes its weights into the one that it is given
EXACT = {
    name: exact_network(copy.deepcopy(model), terms=2, largest=1)
    for name, model in NETWORKS.items()
}


@pytest.mark.exact
@given(
    rows=SIDES, columns=SIDES, band=BANDS, name=st.sampled_from(sorted(EXACT)),
    seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_streaming_is_one_pass_to_the_bit(
    rows: int, columns: int, band: int, name: str, seed: int
) -> None:
    """On every processor, with weights for which nothing is rounded: band by band and at once."""
    model = EXACT[name]
    shape = (model.config.in_channels, rows, columns)
    image = np.random.default_rng(seed).integers(0, 2, shape).astype(np.float32)
    with evaluating(model):
        at_once = one_pass(Layers(model), mirrored(image))[:, :rows, :columns]
    found = streamed(model, image, band)
    assert torch.equal(found, at_once)
    assert torch.equal(found, reference(model, image))


@pytest.mark.exact
@given(rows=SIDES, columns=SIDES, band=BANDS, seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_bands_change_no_more_than_rounding(rows: int, columns: int, band: int, seed: int) -> None:
    """Of random weights: the kernels are the same, but may round otherwise for other shapes."""
    image = noise(seed, 1, rows, columns)
    model = NETWORKS["wider"]
    with evaluating(model):
        at_once = one_pass(Layers(model), mirrored(image))[:, :rows, :columns]
    found = streamed(model, image, band)
    assert within_rounding(model, mirrored(image)[None], found[None], at_once[None])


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
def test_the_error_is_that_of_float32(width: int) -> None:
    """Against float64, streaming is off by no more than a few roundings of the scores."""
    model, image = random_network(width), noise(1, 1, 140, 90)
    exact = reference(model, image, torch.float64)
    worst = float((streamed(model, image, 64) - exact).abs().max()) / spread(exact)
    assert worst < 2.5e-6  # 20 units in the last place; NCHW convolutions have half of that


def test_the_bundled_network_streams_to_a_millionth() -> None:
    model, image = load_model(), noise(2, 1, 150, 220)
    expected = reference(model, image)
    assert (streamed(model, image, 32) - expected).abs().max() <= 1e-6 * spread(expected)


@given(
    rows=st.tuples(st.integers(0, 20), st.integers(1, 200)),
    columns=st.tuples(st.integers(0, 10), st.integers(1, 200)),
    band=BANDS,
)
@settings(max_examples=30, deadline=None)
def test_a_region_is_the_part_of_the_section(
    rows: tuple[int, int], columns: tuple[int, int], band: int
) -> None:
    """Strips and restarts, on the 16-pixel lattice: the same as from the whole section."""
    image = noise(3, 1, 16 * rows[0] + rows[1], 16 * columns[0] + columns[1])
    y, x = (16 * rows[0], image.shape[1]), (16 * columns[0], image.shape[2])
    model = NETWORKS["narrow"]
    everything = streamed(model, image, 64)[:, slice(*y), slice(*x)]
    with evaluating(model):
        engine = engine_for(model, InferenceSettings(), band=band)
        parts = region_scores(engine, whole(image), y, x)
        found = torch.cat(list(parts), dim=1)
    assert found.shape == everything.shape
    assert (found - everything).abs().max() <= 1e-6 * 8
    # and the same bits where nothing is rounded
    model, image = EXACT["narrow"], np.round(image)
    with evaluating(model):
        engine = engine_for(model, InferenceSettings(), band=band)
        parts = region_scores(engine, whole(image), y, x)
        found = torch.cat(list(parts), dim=1)
    assert torch.equal(found, streamed(model, image, 64)[:, slice(*y), slice(*x)])


@pytest.mark.exact
@given(start=st.integers(0, 25), height=st.integers(1, 200), band=st.sampled_from([16, 48, 64]))
@settings(max_examples=30, deadline=None)
def test_where_a_stream_begins_and_ends_does_not_change_the_shapes_it_computes(
    start: int, height: int, band: int
) -> None:
    """So that a resumed run, and a cluster, give the bytes of an uninterrupted one.

    The convolutions are replaced by ones whose values depend on the shape of what they are given.
    """
    image, model = noise(5, 1, 450, 20), NETWORKS["narrow"]
    y = (16 * start, min(16 * start + height, 450))
    with evaluating(model):
        engine = engine_for(model, InferenceSettings(), band=band)
        assert isinstance(engine, Streaming)
        layers = engine.layers
        for convolution in [c for pair in [*layers.down, *layers.up] for c in pair]:
            convolution.__class__ = ShapeDependent
        section = whole(image)
        everything = torch.cat(list(region_scores(engine, section, (0, 450), (0, 20))), dim=1)
        part = torch.cat(list(region_scores(engine, section, y, (0, 20))), dim=1)
    assert torch.equal(part, everything[:, slice(*y)])


class ShapeDependent(Convolution):
    """A convolution that rounds otherwise for every shape."""

    def __call__(self, maps: list[Tensor]) -> Tensor:
        result: Tensor = super().__call__(maps)
        return result * (1 + 1e-3 * (maps[0].shape[2] % 7))


def test_rows_are_asked_for_once_and_in_order() -> None:
    asked = list(bands(130, 48))
    model = NETWORKS["narrow"]
    context = mirrored(noise(0, 1, 130, 40))
    with evaluating(model):
        push = Pipeline(Layers(model), context.shape[2]).push
        images = (context[:, start:stop] for start, stop in asked)
        parts = list(stream_rows(push, images, 130, 40))
    assert sum(part.shape[1] for part in parts) == 130
    assert [start for start, _ in asked] == [0, *(stop for _, stop in asked)][:-1]
    assert asked[-1][1] <= input_size(130)


def test_bands_end_with_the_one_that_completes_the_last_row() -> None:
    model = NETWORKS["narrow"]
    for height in (1, 15, 16, 17, 100, 131):
        for band in (16, 48, 64, 1024):
            asked = list(bands(height, band))
            with evaluating(model):
                pipeline = Pipeline(Layers(model), 204)
                found = [pipeline.push(torch.zeros(1, stop - start, 204)) for start, stop in asked]
            counts = [0 if scores is None else scores.shape[1] for scores in found]
            assert [rows_out(stop) for _, stop in asked] == np.cumsum(counts).tolist()
            assert sum(counts[:-1]) < height <= sum(counts)


def live_rows(pipeline: Pipeline) -> Iterator[int]:
    """How many rows each part of the network holds between two bands."""
    for stage in [*pipeline.down, *pipeline.up]:
        for valid in (stage.first, stage.second):
            yield from (rows.shape[2] for rows in valid.kept)
    for stage in pipeline.up:
        yield sum(rows.shape[2] for rows in stage.waiting)


def test_what_is_held_does_not_grow_with_the_height() -> None:
    model = NETWORKS["narrow"]
    with evaluating(model):
        pipeline = Pipeline(Layers(model), 204)
        held = []
        for _ in range(30):
            pipeline.push(torch.zeros(1, 64, 204))
            held.append(list(live_rows(pipeline)))
    assert held[12] == held[29]
    waiting = held[29][-4:]
    # Fig. 1: level 0 is 92 rows ahead of its up-sampled partner, and so on
    assert waiting == [92, 42, 17, 4]


def test_the_crops_are_those_of_figure_1() -> None:
    sides = [(568, 392), (280, 200), (136, 104), (64, 56)]
    assert [skip_crop(level) for level in range(4)] == [(a - b) // 2 for a, b in sides]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_low_precisions_are_near(precision: str) -> None:
    model, image = load_model(), noise(2, 1, 60, 60)
    exact = reference(model, image)
    with evaluating(model):
        found = image_scores(engine_for(model, InferenceSettings(), precision), image)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    error = (found - exact).abs().max() / spread(exact)
    assert 1e-5 < error < 0.05


def test_without_the_fused_operator_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = random_network(24), noise(2, 1, 60, 60)
    fused = streamed(model, image, 32)
    monkeypatch.setattr("paper_unet.inference.layers.can_fuse", lambda dtype: False)
    plain = streamed(model, image, 32)
    assert Layers(model).down[0][0].fused is False
    assert (fused - plain).abs().max() <= 2e-6 * spread(plain)


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolution")
def test_long_sums_over_channels_are_split() -> None:
    layers = Layers(random_network(32))
    assert [len(layers.up[3][0].groups), len(layers.up[2][0].groups)] == [2, 1]
    assert layers.up[3][0].groups == [slice(0, 256), slice(256, 512)]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision is 'half'; accepted are float32, tf32"):
        Layers(NETWORKS["narrow"], "half")  # type: ignore[arg-type]


def test_a_width_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="input side of 200"):
        Pipeline(Layers(NETWORKS["narrow"]), 200)


def test_freed_memory_is_kept_on_request_only() -> None:
    assert keep_freed_memory() in (True, False)
