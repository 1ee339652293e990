"""Training tiles: image, labels and weights from one place, and the n-th from (seed, n) alone."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paper_unet.augment import centre_crop
from paper_unet.errors import InputError
from paper_unet.settings import AugmentSettings
from paper_unet.training.data import TrainingSet, instances_from_membranes, training_set
from paper_unet.training.tiles import Sample, TileSampler
from paper_unet.weight_map import border_weight_map, separate_touching

CPU = torch.device("cpu")
STILL = AugmentSettings(elastic=0, rotate=False, mirror=False, shift=False, grey=0)


def smooth_maps(sections: int, channels: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Slow waves in [0, 1], so that every way of sampling reads nearly the same."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    maps = [
        [
            0.5 + 0.25 * np.cos((y + 40 * k) * np.pi / 60) + 0.25 * np.cos((x - 9 * z) * np.pi / 45)
            for k in range(channels)
        ]
        for z in range(sections)
    ]
    return np.array(maps, np.float32)


def self_describing_set(sections: int = 2, channels: int = 1) -> TrainingSet:
    """The weight of a pixel is its grey value, its class whether that is above one half."""
    images = smooth_maps(sections, channels, (230, 250))
    return TrainingSet(images, (images[:, 0] > 0.5).astype(np.uint8), images[:, 0].copy())


def sampler(
    data: TrainingSet, settings: AugmentSettings | None = None, seed: int = 0, tile: int = 204
) -> TileSampler:
    return TileSampler(data, tile, settings or AugmentSettings(), seed, CPU)


def equal(one: Sample, other: Sample) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --- the tiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("tile", "channels"), [(188, 1), (204, 3), (252, 1)])
def test_shapes_and_types(tile: int, channels: int) -> None:
    made = sampler(self_describing_set(channels=channels), tile=tile)[0]
    assert made.image.shape == (1, channels, tile, tile)
    assert made.labels.shape == made.weights.shape == (1, tile - 184, tile - 184)
    assert made.image.dtype == made.weights.dtype == torch.float32
    assert made.labels.dtype == torch.int64


def test_image_labels_and_weights_move_together() -> None:
    """All augmentation but the grey change is on; each map tells the same story."""
    tiles = sampler(self_describing_set(), AugmentSettings(grey=0), tile=220)
    variation = []
    for n in range(30):
        made = tiles[n]
        image = centre_crop(made.image[:, 0], 36)
        variation.append(float(image.std()))
        # waves of 90 pixels: at most 0.035 per pixel, and a kink where the section is mirrored
        torch.testing.assert_close(made.weights, image, rtol=0, atol=0.01)
        sure = (image - 0.5).abs() > 0.04
        assert torch.equal(made.labels[sure], (image[sure] > 0.5).long())
    assert np.median(variation) > 0.1  # a shift of some pixels would have shown


def test_without_augmentation_a_tile_is_the_middle_of_the_section() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((1, 2, 204, 204), dtype=np.float32)
    classes = rng.integers(0, 2, (1, 204, 204), dtype=np.uint8)
    weights = rng.random((1, 204, 204), dtype=np.float32)
    made = sampler(TrainingSet(images, classes, weights), STILL)[0]
    np.testing.assert_allclose(made.image, images, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(made.labels, classes[:, 92:-92, 92:-92])
    np.testing.assert_allclose(made.weights, weights[:, 92:-92, 92:-92], rtol=0, atol=1e-4)


def test_the_context_of_a_small_section_is_mirrored() -> None:
    images = np.random.default_rng(0).random((1, 1, 30, 24), dtype=np.float32)
    data = TrainingSet(images, np.ones((1, 30, 24), np.uint8), images[:, 0])
    made = sampler(data, STILL)[0]
    expected = np.pad(images[0, 0], [(87, 87), (90, 90)], mode="reflect")
    np.testing.assert_allclose(made.image[0, 0], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(made.weights[0], expected[92:-92, 92:-92], rtol=0, atol=1e-4)


def test_the_grey_change_is_for_the_image_alone() -> None:
    data = self_describing_set()
    with_grey, without = sampler(data), sampler(data, AugmentSettings(grey=0))
    for n in range(5):
        one, other = with_grey[n], without[n]
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.weights, other.weights)
        assert not torch.allclose(one.image, other.image, atol=1e-3)
        order = other.image.flatten().argsort()
        assert (one.image.flatten()[order].diff() >= -1e-6).all()


# --- which tile is the n-th --------------------------------------------------------------------


def test_the_nth_tile_follows_from_seed_and_n() -> None:
    data = self_describing_set(3)
    tiles = sampler(data, seed=5)
    in_order = [tiles[n] for n in range(6)]
    np.random.seed(1)  # noqa: NPY002  the global generators must not matter
    torch.manual_seed(1)
    for n in (4, 0, 5, 2, 2):
        assert equal(tiles[n], in_order[n])
        assert equal(sampler(data, seed=5)[n], in_order[n])
    for n in range(6):
        assert not equal(in_order[n], in_order[n - 1])
        # and the runs of two seeds are not one sequence from another start
        assert not any(equal(sampler(data, seed=6)[n], other) for other in in_order)


def test_making_a_tile_draws_from_no_global_generator() -> None:
    tiles = sampler(self_describing_set())
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    tiles[3]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_all_sections_are_looked_at_about_equally() -> None:
    images = np.broadcast_to(
        np.arange(4, dtype=np.float32)[:, None, None, None] / 4, (4, 1, 20, 20)
    ).copy()
    data = TrainingSet(images, np.zeros((4, 20, 20), np.uint8), np.ones((4, 20, 20), np.float32))
    tiles = sampler(data, replace(STILL), tile=188)
    seen = [round(4 * float(tiles[n].image.mean())) for n in range(400)]
    counts = np.bincount(seen, minlength=4)
    # binomial with p = 1/4: mean 100, standard deviation 8.7
    assert ((counts > 56) & (counts < 144)).all()


def test_tiles_lie_all_over_the_section_but_not_beyond_its_border() -> None:
    """The centre of a tile stays a quarter of its output away from the border."""
    places = np.stack(np.mgrid[:230, :250]).astype(np.float32)[None] / 250
    data = TrainingSet(places, np.ones((1, 230, 250), np.uint8), np.ones_like(places[:, 0]))
    tiles = sampler(data, replace(STILL, shift=True), tile=252)  # 68 pixels out
    centres = [tiles[n].image[0, :, 125:127, 125:127].mean((1, 2)) * 250 for n in range(200)]
    low, high = torch.stack(centres).min(0).values, torch.stack(centres).max(0).values
    for axis, last in ((0, 229), (1, 249)):
        assert 17 - 0.1 <= low[axis] < 17 + 8
        assert last - 17 - 8 < high[axis] <= last - 17 + 0.1


def test_an_illegal_tile_is_refused() -> None:
    with pytest.raises(InputError, match="use 188 or 204"):
        sampler(self_describing_set(), tile=200)


# --- from labels to a training set -------------------------------------------------------------


def test_membranes_part_4_connected_cells() -> None:
    labels = np.array([[[255, 0, 255], [0, 255, 255], [255, 255, 0]], [[0] * 3, [0] * 3, [0] * 3]])
    found = instances_from_membranes(labels.astype(np.uint8))
    np.testing.assert_array_equal(found[0], [[1, 0, 2], [0, 2, 2], [2, 2, 0]])
    assert not found[1].any()
    ones = instances_from_membranes((labels // 255).astype(np.uint16))
    np.testing.assert_array_equal(ones, found)


def test_numbers_start_again_in_each_section() -> None:
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[:, ::2, ::2] = 255
    found = instances_from_membranes(labels)
    assert [list(np.unique(section)) for section in found] == [list(range(10))] * 3


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0, 1, 2], "0, 1, 2;"), ([0, 127, 255], "0, 127, 255;"), ([1, 255], "1, 255;"),
     ([7], "7;"), (list(range(9)), "0, 1, 2, 3, 4, 5, ...;")],
)  # fmt: skip
def test_membrane_labels_of_other_values_are_refused(values: list[int], shown: str) -> None:
    labels = np.resize(np.array(values, np.uint8), (1, 4, 5))
    with pytest.raises(InputError, match=re.escape(f"hold the values {shown}")):
        instances_from_membranes(labels)


def test_empty_labels_are_refused() -> None:
    with pytest.raises(InputError, match="hold the values ;"):
        instances_from_membranes(np.zeros((0, 4, 5), np.uint8))


def touching_cells() -> NDArray[np.int32]:
    instances = np.zeros((2, 40, 50), np.int32)
    instances[0, 5:20, 5:20], instances[0, 5:20, 20:35] = 1, 2
    instances[1, 25:35, 10:40], instances[1, 5:15, 10:20] = 1, 4
    return instances


@pytest.mark.parametrize("separate", [True, False])
def test_classes_and_weights(separate: bool) -> None:
    instances = touching_cells()
    images = np.zeros(instances.shape, np.float32)
    data = training_set(images, instances, w0=7, sigma=3, separate=separate)
    drawn = separate_touching(instances) if separate else instances
    assert data.images.shape == (2, 1, 40, 50)
    np.testing.assert_array_equal(data.classes, drawn != 0)
    # balanced over both sections together, the border of each section on top
    cell = (drawn != 0).mean()
    expected = np.where(drawn != 0, 0.5 / cell, 0.5 / (1 - cell)) + border_weight_map(drawn, 7, 3)
    np.testing.assert_allclose(data.weights, expected, rtol=1e-6)
    plain = training_set(images, instances, w0=0, separate=separate)
    assert plain.weights.mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)
    for k in (0, 1):  # each class weighs as much as the other
        assert plain.weights[plain.classes == k].sum() == pytest.approx(2000, rel=1e-5)
    assert plain.weights[0].mean() != pytest.approx(1, rel=1e-3)  # not section by section


def test_pixels_that_are_not_annotated() -> None:
    instances = touching_cells()
    ignore = np.zeros(instances.shape, bool)
    ignore[0, :, 30:], ignore[1, :7] = True, True
    images = np.zeros(instances.shape, np.float32)
    data = training_set(images, instances, ignore=ignore, w0=0)
    assert not data.weights[ignore].any()
    assert (data.weights[~ignore] > 0).all()
    assert data.weights[~ignore].mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)


def test_one_class_alone_is_balanced_too() -> None:
    images = np.zeros((1, 9, 9), np.float32)
    for instances in (np.zeros((1, 9, 9), int), np.ones((1, 9, 9), int)):
        np.testing.assert_array_equal(training_set(images, instances).weights, 1)


def test_channels_are_kept() -> None:
    images = np.random.default_rng(0).random((2, 3, 40, 50)).astype(np.float32)
    np.testing.assert_array_equal(training_set(images, touching_cells()).images, images)


@pytest.mark.parametrize("shape", [(1, 40, 50), (2, 40, 51), (2, 50, 40), (3, 1, 40, 50)])
def test_labels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"images are \d x .*labels 2 x \(40, 50\)"):
        training_set(np.zeros(shape, np.float32), touching_cells())


@pytest.mark.parametrize(
    ("value", "dtype"), [(200, np.uint8), (1.5, np.float32), (-0.1, np.float32), (np.nan, float)]
)
def test_images_that_are_not_in_0_to_1_are_refused(value: float, dtype: type) -> None:
    instances = touching_cells()
    with pytest.raises(InputError, match=r"floats in \[0, 1\] are needed"):
        training_set(np.full(instances.shape, value, dtype), instances)


def test_the_fingerprint_tells_training_sets_apart() -> None:
    def fingerprint(**changes: NDArray[np.generic]) -> str:
        data = self_describing_set()
        arrays = {"images": data.images, "classes": data.classes, "weights": data.weights}
        return TrainingSet(**{**arrays, **changes}).fingerprint()  # type: ignore[arg-type]

    data = self_describing_set()
    images, classes, weights = (x.copy() for x in (data.images, data.classes, data.weights))
    images[-1, 0, -1, -1] += 0.1
    classes[0, 0, 0] ^= 1
    weights[1, 2, 3] = 0
    changed = [
        fingerprint(images=images),
        fingerprint(classes=classes),
        fingerprint(weights=weights),
    ]
    assert fingerprint() == fingerprint()
    assert len({fingerprint(), *changed}) == 4


def test_nothing_annotated_is_refused() -> None:
    instances = touching_cells()
    with pytest.raises(InputError, match="every pixel is marked as not annotated"):
        training_set(
            np.zeros(instances.shape, np.float32), instances, ignore=np.ones(instances.shape, bool)
        )


def test_an_ignore_mask_of_another_shape_is_refused() -> None:
    instances = touching_cells()
    with pytest.raises(InputError, match=r"ignore .*\(2, 40, 51\).*\(2, 40, 50\)"):
        training_set(
            np.zeros(instances.shape, np.float32), instances, ignore=np.zeros((2, 40, 51), bool)
        )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 9, 9), (2, 9, 9), (2, 9, 9)), r"\(2, 9, 9\); \(Z, C, Y, X\) is needed"),
        (((0, 1, 9, 9), (0, 9, 9), (0, 9, 9)), "Z >= 1"),
        (((2, 1, 9, 9), (1, 9, 9), (2, 9, 9)), r"classes have shape \(1, 9, 9\)"),
        (((2, 1, 9, 9), (2, 9, 9), (2, 9, 8)), r"weights have shape \(2, 9, 8\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    images, classes, weights = shapes
    with pytest.raises(InputError, match=message):
        TrainingSet(
            np.zeros(images, np.float32), np.zeros(classes, np.uint8), np.zeros(weights, np.float32)
        )
