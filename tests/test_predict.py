"""The overlap-tile strategy: the mosaic is one pass over the whole mirrored image."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from paper_unet import UNet, input_size, output_size, predict_image, predict_stack
from paper_unet.errors import InputError
from paper_unet.geometry import Tiling, tile_spans
from paper_unet.layers import Layers, evaluating
from paper_unet.model import UNetConfig
from paper_unet.regions import rotated_mean, tiled, whole
from paper_unet.stream import one_pass as one_tile

Image = NDArray[np.float32]

LEGAL = range(188, 700, 16)
TILES = LEGAL[1:]


def random_network(width: int, in_channels: int = 1, out_channels: int = 2) -> UNet:
    """Evaluation mode; with biases, so that no pixel is silent."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        model = UNet(in_channels, out_channels, width)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.3)
    return model.eval()


def noise(seed: int, *shape: int) -> Image:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def one_pass(model: nn.Module, image: Image) -> NDArray[np.floating]:
    """The scores of the whole image at once, its context mirrored by numpy."""
    rows, columns = image.shape[1:]
    height, width = (input_size(-(-side // 16) * 16) for side in (rows, columns))
    margins = [(0, 0), (92, height - rows - 92), (92, width - columns - 92)]
    everything = np.pad(image, margins, mode="reflect")
    with evaluating(model):
        scores = model(torch.from_numpy(everything[None]))[0]
    result: NDArray[np.floating] = scores[:, :rows, :columns].numpy()
    return result


def mosaic(model: nn.Module, image: Image, tile: int, tiling: Tiling = "exact") -> Tensor:
    """The scores of a whole image, tile by tile."""
    rows = tiled(
        lambda window: model(window[None])[0], whole(image),
        (0, image.shape[1]), (0, image.shape[2]), tile, tiling,
    )  # fmt: skip
    return torch.cat(list(rows), dim=1)


@contextmanager
def one_kernel_for_all_sizes() -> Iterator[None]:
    """PyTorch's own convolution for every size.

    By default it takes oneDNN's for maps of more than 20,480 values (ATen, Convolution.cpp), whose
    sums are rounded otherwise: a tile and the whole image may then differ in their last bits.
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


# --- the mosaic is one pass ---------------------------------------------------------------------

NARROW = random_network(2)
SPREAD = float(np.ptp(one_pass(NARROW, noise(0, 1, 200, 200))))
NARROW_64 = random_network(1, in_channels=2, out_channels=3).double()
WIDER = random_network(8)

sides = st.one_of(st.integers(1, 30), st.integers(1, 300))


@given(rows=sides, columns=sides, tile=st.sampled_from(TILES), seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_the_mosaic_is_one_pass(rows: int, columns: int, tile: int, seed: int) -> None:
    image = noise(seed, 1, rows, columns)
    with one_kernel_for_all_sizes():
        expected = one_pass(NARROW, image)
        with evaluating(NARROW):
            found = mosaic(NARROW, image, tile).numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@given(rows=sides, columns=sides, tile=st.sampled_from(TILES), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_mosaic_is_one_pass_for_more_channels_and_in_float64(
    rows: int, columns: int, tile: int, seed: int
) -> None:
    image = noise(seed, 2, rows, columns).astype(np.float64)
    expected = one_pass(NARROW_64, image).astype(np.float32)  # type: ignore[arg-type]
    with evaluating(NARROW_64):
        found = mosaic(NARROW_64, image, tile).numpy()  # type: ignore[arg-type]
    assert np.array_equal(found, expected)


@st.composite
def sides_for_stride(draw: st.DrawFn, stride: int = 160) -> int:
    """Image sides that exact tiling cuts into one, two or three tiles of just this stride."""
    count = draw(st.integers(1, 3))
    return draw(st.integers((stride - 16) * count + 1, stride * count))


@pytest.mark.slow
@given(rows=sides_for_stride(), columns=sides_for_stride(), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_the_mosaic_is_one_pass_with_the_default_kernels(
    rows: int, columns: int, seed: int
) -> None:
    """Where every map holds more than 20,480 values: at width 8 from tiles of 348 pixels on."""
    bottom = (348 - 60) // 16  # pixels per axis that the lowest level takes in, from 64 channels
    assert min(64 * bottom**2, 128 * (bottom - 4) ** 2) > 20_480
    image = noise(seed, 1, rows, columns)
    assert tile_spans(rows, 348)[0].input == tile_spans(columns, 348)[0].input == 348
    with evaluating(WIDER):
        found = mosaic(WIDER, image, 348).numpy()
    assert np.array_equal(found, one_pass(WIDER, image))


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
        prepared = tiled(
            lambda window: one_tile(layers, window), whole(image), (0, rows), (0, columns), tile
        )
        found = torch.cat(list(prepared), dim=1).numpy()
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


# --- every pixel in its place -------------------------------------------------------------------


class Window(nn.Module):
    """Returns one part of its input as scores: the middle, or another one of the same size."""

    def __init__(self, top: int = 92, left: int = 92) -> None:
        super().__init__()
        self.top, self.left = top, left
        self.inputs: list[tuple[int, ...]] = []
        self.config = UNetConfig()
        self.grey_ranges: dict[str, tuple[float, float]] = {}

    def forward(self, image: Tensor) -> Tensor:
        self.inputs.append(tuple(image.shape))
        rows, columns = (output_size(int(side)) for side in image.shape[2:])
        return image[:, :, self.top : self.top + rows, self.left : self.left + columns]


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


# --- averages -----------------------------------------------------------------------------------


def probability_of_the_last(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax, literally."""
    e = np.exp(scores.astype(np.float64))
    result: NDArray[np.float64] = e[-1] / e.sum(axis=0)
    return result


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_probability_of_the_last_class(classes: int) -> None:
    model, image = random_network(2, out_channels=classes), noise(0, 40, 25)
    found = predict_image(model, image)
    assert found.dtype == np.float32
    assert found.shape == (40, 25)
    expected = probability_of_the_last(one_pass(model, image[None]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_flips_are_the_mean_of_the_scores_of_four_images() -> None:
    image = noise(4, 50, 33)
    versions: list[tuple[int, int]] = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    scores = [one_pass(NARROW, image[None, ::y, ::x])[:, ::y, ::x] for y, x in versions]
    mean = np.mean(scores, axis=0)
    found = predict_image(NARROW, image, average="flips")
    np.testing.assert_allclose(found, probability_of_the_last(mean), rtol=0, atol=1e-5)
    # the four differ, and a mean of probabilities would be another map
    assert all(abs(mean - version).max() > 0.01 for version in scores)
    of_probabilities = np.mean([probability_of_the_last(s) for s in scores], axis=0)
    assert abs(found - of_probabilities).max() > 1e-4


def smooth_image(rows: int, columns: int) -> Image:
    y, x = np.mgrid[:rows, :columns]
    waves = 0.5 + 0.2 * np.sin(y / 9) + 0.2 * np.cos((x + y) / 11)
    return waves[None].astype(np.float32)


@pytest.mark.parametrize("shape", [(80, 120), (33, 33), (200, 30)])
def test_turned_there_and_back_an_image_is_itself(shape: tuple[int, int]) -> None:
    network, image = Window(), smooth_image(*shape)
    found = rotated_mean(lambda turned: mosaic(network, turned, 572), image).numpy()
    assert len(network.inputs) == 7
    np.testing.assert_allclose(found, image, rtol=0, atol=0.01)
    # pixel by pixel: the image moved by one would be as far off as this
    assert abs(image[:, 1:] - image[:, :-1]).max() > 0.02


class Gradients(nn.Module):
    """Notes in which direction the middle of its input grows."""

    def __init__(self) -> None:
        super().__init__()
        self.angles: list[float] = []

    def forward(self, image: Tensor) -> Tensor:
        middle = image[0, 0, 92:-92, 92:-92][10:30, 10:30]
        y = (middle[1:] - middle[:-1]).mean().item()
        x = (middle[:, 1:] - middle[:, :-1]).mean().item()
        self.angles.append(math.atan2(x, y) % (2 * math.pi))
        return image[:, :, 92:-92, 92:-92] * 0 + len(self.angles)


def test_seven_versions_a_seventh_of_a_turn_apart() -> None:
    network = Gradients()
    ramp = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[:, None], (1, 40, 40)).copy()
    scores = rotated_mean(lambda turned: mosaic(network, turned, 572), ramp)
    steps = np.array(sorted(network.angles)) * 7 / (2 * math.pi)
    np.testing.assert_allclose(steps, np.arange(7), atol=0.05)
    # each version is as good as another: 1, 2, ..., 7 average to 4
    np.testing.assert_allclose(scores, 4, rtol=1e-6)


def test_the_first_rotation_is_the_image_as_it_is() -> None:
    class Inputs(Window):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.numpy().copy())
            return super().forward(image)

    seen: list[Image] = []
    image = noise(0, 1, 20, 20)
    rotated_mean(lambda turned: mosaic(Inputs(), turned, 572), image)
    straight = [array[0, :, 92:112, 92:112] for array in seen]
    assert np.array_equal(straight[0], image)
    assert not any(np.allclose(array, image, atol=0.1) for array in straight[1:])
    assert all(0 <= array.min() <= array.max() <= 1 for array in seen)


@pytest.mark.parametrize("average", ["none", "flips", "rotations"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (45, 2)])
def test_averages_of_the_smallest_images(average: str, shape: tuple[int, int]) -> None:
    found = predict_image(NARROW, noise(0, *shape), average=average)  # type: ignore[arg-type]
    assert found.shape == shape
    assert np.isfinite(found).all()


def test_an_unknown_average_or_tiling_is_refused() -> None:
    with pytest.raises(InputError, match="average is 'both'; it must be 'none'"):
        predict_image(NARROW, noise(0, 5, 5), average="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tiling is 'both'"):
        predict_image(NARROW, noise(0, 5, 5), tiling="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="508 or 524"):
        predict_image(NARROW, noise(0, 5, 5), tile=512)


def test_tiling_and_tile_reach_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def spy(layers: Layers, window: Tensor) -> Tensor:
        seen.append(tuple(window.shape))
        return one_tile(layers, window)

    monkeypatch.setattr("paper_unet.regions.one_pass", spy)
    image = noise(0, 10, 400)
    predict_image(NARROW, image, engine="tiles", tiling="abutting", tile=220)
    assert seen == [(1, 220, 220)] * len(tile_spans(400, 220, "abutting"))
    seen.clear()
    predict_image(NARROW, image)
    assert seen == []


def test_abutting_tiles_cannot_be_streamed() -> None:
    with pytest.raises(InputError, match=r"abutting tiles .* engine 'tiles'"):
        predict_image(NARROW, noise(0, 10, 40), tiling="abutting")


# --- grey values --------------------------------------------------------------------------------


def test_uint8_is_divided_by_255() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    as_float = image.astype(np.float32) / np.float32(255)
    assert np.array_equal(predict_image(NARROW, image), predict_image(NARROW, as_float))
    assert np.array_equal(
        predict_image(NARROW, image), predict_image(NARROW, as_float.astype(np.float64))
    )


def test_other_integers_need_a_range_that_is_given_or_stored_with_the_weights() -> None:
    image = np.random.default_rng(0).integers(100, 5000, (30, 30), dtype=np.uint16)
    unit = ((image - 100.0) / 4900).astype(np.float32)
    expected = predict_image(NARROW, unit)
    with pytest.raises(InputError, match="uint16 has no scale of its own"):
        predict_image(NARROW, image)
    assert np.array_equal(predict_image(NARROW, image, value_range=(100, 5000)), expected)
    model = random_network(2)
    model.grey_ranges["uint16"] = (100.0, 5000.0)
    assert np.array_equal(predict_image(model, image), expected)
    # what is given wins over what is stored
    other = predict_image(model, image, value_range=(0, 65535))
    assert np.array_equal(other, predict_image(NARROW, (image / 65535).astype(np.float32)))
    # whatever the order of the bytes
    assert np.array_equal(predict_image(model, image.astype(">u2")), expected)
    # and of another dtype nothing is known
    with pytest.raises(InputError, match="int32 has no scale"):
        predict_image(model, image.astype(np.int32))


def test_a_stored_range_of_uint8_is_used() -> None:
    image = np.random.default_rng(0).integers(0, 100, (30, 30), dtype=np.uint8)
    model = random_network(2)
    model.grey_ranges["uint8"] = (0.0, 100.0)
    expected = predict_image(NARROW, (image / 100).astype(np.float32))
    assert np.array_equal(predict_image(model, image), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.full((4, 4), 1.5),
            "float64 values from 1.5 to 1.5, accepted without a range is 0 to 1",
        ),
        (np.full((4, 4), -0.1, np.float32), "values from -0.1"),
        (np.full((4, 4), np.nan), "16 of 16 pixels are NaN or infinite"),
        (np.array([[0, np.inf]], np.float32), "1 of 2 pixels are NaN or infinite"),
        (np.zeros((4, 4), bool), "grey values of bool"),
        (np.zeros((4, 4), complex), "grey values of complex128"),
    ],
)
def test_values_that_have_no_meaning_are_refused(image: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict_image(NARROW, image)


def test_floats_beyond_0_to_1_are_taken_with_a_range() -> None:
    image = noise(0, 20, 20)
    found = predict_image(NARROW, image * 64 - 32, value_range=(-32, 32))
    assert np.array_equal(found, predict_image(NARROW, image))


def test_weights_that_are_not_finite_are_named_as_the_cause() -> None:
    model = random_network(2)
    assert model.head.bias is not None
    model.head.bias.data[0] = math.nan
    with pytest.raises(InputError, match=r"scores are not finite.*diverged"):
        predict_image(model, SECTIONS[0])


@pytest.mark.parametrize("shape", [(5, 5, 3), (3, 5, 5), (0, 5), (5, 0), (5,), (), (1, 1, 5, 5)])
def test_shapes_that_are_no_grey_image_are_refused(shape: tuple[int, ...]) -> None:
    message = f"the image has shape {shape}; (Y, X) with at least one pixel is needed"
    with pytest.raises(InputError, match=re.escape(message)):
        predict_image(NARROW, np.zeros(shape, np.uint8))


def test_a_network_of_several_channels_takes_as_many() -> None:
    model, image = random_network(2, in_channels=3), noise(0, 3, 12, 9)
    expected = probability_of_the_last(one_pass(model, image))
    np.testing.assert_allclose(predict_image(model, image), expected, rtol=1e-4, atol=1e-6)
    for wrong in (image[0], image[:2], image.transpose(1, 2, 0)):
        with pytest.raises(InputError, match=r"\(3, Y, X\)"):
            predict_image(model, wrong)


# --- stacks -------------------------------------------------------------------------------------


class Lazy:
    """A stack that is read one section at a time, from first to last."""

    def __init__(self, sections: NDArray[np.generic]) -> None:
        self.sections, self.shape = sections, sections.shape
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.sections)

    def __getitem__(self, z: int) -> NDArray[np.generic]:
        self.read.append(z)
        return self.sections[z]


class Sink:
    def __init__(self) -> None:
        self.taken: dict[int, Image] = {}

    def __setitem__(self, z: int, section: Image) -> None:
        assert z not in self.taken
        self.taken[z] = section


SECTIONS = np.random.default_rng(1).integers(0, 256, (3, 20, 31), dtype=np.uint8)


def test_a_stack_is_predicted_section_by_section() -> None:
    expected = np.stack([predict_image(NARROW, section) for section in SECTIONS])
    found = predict_stack(NARROW, SECTIONS)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    lazy, sink = Lazy(SECTIONS), Sink()
    assert predict_stack(NARROW, lazy, sink) is sink
    assert lazy.read == [0, 1, 2]
    assert list(sink.taken) == [0, 1, 2]
    assert np.array_equal(np.stack(list(sink.taken.values())), expected)
    out = np.empty((3, 20, 31), np.float32)
    assert predict_stack(NARROW, lazy, out) is out
    assert np.array_equal(out, expected)


def test_the_options_reach_every_section() -> None:
    options = {
        "engine": "tiles", "average": "flips", "tile": 204, "tiling": "abutting",
        "value_range": (0, 300),
    }  # fmt: skip
    stack = SECTIONS.astype(np.uint16)
    found = predict_stack(NARROW, stack, **options)  # type: ignore[arg-type]
    for z in range(3):
        expected = predict_image(NARROW, stack[z], **options)  # type: ignore[arg-type]
        assert np.array_equal(found[z], expected)  # type: ignore[index]


def test_an_error_names_the_section_and_keeps_what_was_done() -> None:
    stack = SECTIONS / 255
    stack[1, 3, 4] = np.nan
    sink = Sink()
    with pytest.raises(InputError, match=r"section 1: .*1 of 620 pixels are NaN"):
        predict_stack(NARROW, stack, sink)
    assert list(sink.taken) == [0]


@pytest.mark.parametrize("shape", [(20, 31), (2, 20, 31, 3), (5,)])
def test_stacks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"the stack has shape {shape}; (Z, Y, X)")):
        predict_stack(NARROW, np.zeros(shape, np.uint8))


def test_a_stack_of_no_sections() -> None:
    assert predict_stack(NARROW, np.zeros((0, 5, 5), np.uint8)).shape == (0, 5, 5)  # type: ignore[union-attr]


def test_progress_is_shown_on_request_only(capsys: pytest.CaptureFixture[str]) -> None:
    predict_stack(NARROW, SECTIONS)
    assert capsys.readouterr() == ("", "")
    predict_stack(NARROW, SECTIONS, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err


# --- what is left as it was ---------------------------------------------------------------------


def test_modes_are_put_back_and_dropout_is_off_meanwhile() -> None:
    model = random_network(2)
    expected = predict_image(model, SECTIONS[0])
    model.train()
    assert np.array_equal(predict_image(model, SECTIONS[0]), expected)
    assert all(module.training for module in model.modules())
    with pytest.raises(InputError):
        predict_image(model, SECTIONS[0], average="all")  # type: ignore[arg-type]
    assert all(module.training for module in model.modules())
    model.eval()
    predict_image(model, SECTIONS[0])
    assert not any(module.training for module in model.modules())


def test_the_mode_of_each_part_is_put_back() -> None:
    model = random_network(2).eval()
    model.dropout.train()
    predict_image(model, SECTIONS[0])
    assert [name for name, module in model.named_modules() if module.training] == ["dropout"]


def torch_state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.random.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        torch.backends.mkldnn.enabled,
    )


@pytest.mark.parametrize("average", ["none", "flips", "rotations"])
def test_the_state_of_torch_and_of_the_network_is_untouched(average: str) -> None:
    model, image = random_network(2), SECTIONS[0].copy()
    parameters = [p.detach().clone() for p in model.parameters()]
    before = torch_state()
    predict_image(model, image, average=average)  # type: ignore[arg-type]
    assert torch_state() == before
    for parameter, old in zip(model.parameters(), parameters, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.requires_grad
        assert parameter.grad is None
    assert np.array_equal(image, SECTIONS[0])
