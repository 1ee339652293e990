"""Sec. 3.1 against scalar loops, numpy's padding and the eight poses of a square."""

import cmath
import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.augment import (
    Augmentation,
    AugmentSettings,
    Kernel,
    centre_crop,
    change_grey,
    displacement,
    draw_augmentation,
    sample,
    source_coordinates,
)
from paper_unet.errors import InputError

KERNELS: tuple[Kernel, ...] = ("bicubic", "bilinear", "nearest")
STILL = np.zeros((2, 3, 3))


def draws(count: int, settings: AugmentSettings, **options: float) -> list[Augmentation]:
    shape = (300, 200)
    return [
        draw_augmentation(np.random.default_rng(n), shape, settings, **options)
        for n in range(count)
    ]


def differing(one: Augmentation, other: Augmentation) -> set[str]:
    names = {field.name for field in fields(Augmentation)}
    return {n for n in names if not np.array_equal(getattr(one, n), getattr(other, n))}


# --- drawing -----------------------------------------------------------------------------------


def test_a_look_follows_from_its_generator_alone() -> None:
    first = draws(5, AugmentSettings())
    np.random.default_rng(123).normal(size=7)
    torch.manual_seed(99)
    again = draws(5, AugmentSettings())
    assert not any(differing(one, other) for one, other in zip(first, again, strict=True))
    others = {"centre", "angle", "nodes", "black", "white", "gamma"}
    assert all(differing(first[0], other) >= others for other in first[1:])


@pytest.mark.parametrize(
    ("off", "affected"),
    [
        ({"elastic": 0.0}, {"nodes"}),
        ({"elastic": 3.0}, {"nodes"}),
        ({"rotate": False}, {"angle"}),
        ({"mirror": False}, {"mirrored"}),
        ({"shift": False}, {"centre"}),
        ({"grey": 0.0}, {"black", "white", "gamma"}),
        ({"grey": 0.4}, {"black", "white", "gamma"}),
    ],
)
def test_switching_one_part_off_leaves_the_others(
    off: dict[str, object], affected: set[str]
) -> None:
    full = draws(20, AugmentSettings())
    part = draws(20, replace(AugmentSettings(), **off))  # type: ignore[arg-type]
    changed = [differing(one, other) for one, other in zip(full, part, strict=True)]
    assert set().union(*changed) == affected


def test_everything_off_is_the_middle_of_the_section_as_it_is() -> None:
    off = AugmentSettings(elastic=0, rotate=False, mirror=False, shift=False, grey=0)
    (look,) = draws(1, off)
    assert look.centre == (149.5, 99.5)
    assert look.angle == 0
    assert not look.mirrored
    assert not look.nodes.any()
    assert (look.black, look.white, look.gamma) == (0, 1, 1)


def test_the_spread_of_what_is_drawn() -> None:
    """2000 looks; each bound is five standard errors or a hard limit."""
    looks = draws(2000, AugmentSettings(), margin=50)
    y, x = np.array([look.centre for look in looks]).T
    # (300, 200) pixels with a margin of 50
    for values, low, high in ((y, 50, 249), (x, 50, 149)):
        assert low <= values.min() < low + 2 < high - 2 < values.max() <= high
        spread = (high - low) / math.sqrt(12)
        assert values.mean() == pytest.approx((low + high) / 2, abs=5 * spread / math.sqrt(2000))
    angles = np.array([look.angle for look in looks])
    assert 0 <= angles.min() < angles.max() < 2 * np.pi
    assert abs(np.exp(1j * angles).mean()) < 5 / math.sqrt(2000)
    assert abs(np.mean([look.mirrored for look in looks]) - 0.5) < 5 * 0.5 / math.sqrt(2000)
    for name, low, high in (("black", -0.1, 0.1), ("white", 0.9, 1.1), ("gamma", 1 / 1.5, 1.5)):
        values = np.array([getattr(look, name) for look in looks])
        assert low <= values.min() < low + 0.01 < high - 0.01 < values.max() <= high


def test_a_margin_wider_than_the_section_leaves_its_middle() -> None:
    for look in draws(10, AugmentSettings(), margin=1000):
        assert look.centre == (149.5, 99.5)


@pytest.mark.parametrize("side", [21, 61])
def test_the_displacement_at_the_nodes_has_the_stated_spread(side: int) -> None:
    """Sec. 3.1: vectors on a 3 by 3 grid from a Gaussian of 10 pixels. 1000 draws."""
    at_nodes = []
    for look in draws(1000, AugmentSettings()):
        field = displacement(torch.from_numpy(look.nodes), side)
        step = (side - 1) // 2
        at_nodes.append(field[:, ::step, ::step].numpy())
    values = np.array(at_nodes)
    assert values.shape == (1000, 2, 3, 3)
    for node in values.reshape(1000, 18).T:  # each of the nine nodes, y and x
        assert node.std() == pytest.approx(10, rel=5 / math.sqrt(2 * 1000))
        assert abs(node.mean()) < 5 * 10 / math.sqrt(1000)
    correlation = np.corrcoef(values.reshape(1000, 18).T) - np.eye(18)
    assert abs(correlation).max() < 5 / math.sqrt(1000)
    assert values.std() == pytest.approx(10, rel=5 / math.sqrt(2 * 18_000))
    fourth = (values**4).mean() / values.var() ** 2
    assert fourth == pytest.approx(3, abs=5 * math.sqrt(24 / 18_000))  # Gaussian


# --- the smooth field --------------------------------------------------------------------------


def keys(distance: float) -> float:
    """Cubic convolution, a = -1/2 (Keys 1981)."""
    d = abs(distance)
    if d <= 1:
        return 1.5 * d**3 - 2.5 * d**2 + 1
    return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0


def keys_in_one_dimension(nodes: list[float], position: float) -> float:
    """Nodes at 0, 1, ...; one more on either side from Keys' boundary condition."""
    if len(nodes) == 2:
        before, after = 2 * nodes[0] - nodes[1], 2 * nodes[1] - nodes[0]
    else:
        before = 3 * nodes[0] - 3 * nodes[1] + nodes[2]
        after = 3 * nodes[-1] - 3 * nodes[-2] + nodes[-3]
    return sum(
        value * keys(position - index)
        for index, value in enumerate([before, *nodes, after], start=-1)
    )


def literal_displacement(nodes: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    grid = nodes.shape[-1]
    field = np.empty((2, side, side))
    for axis in (0, 1):
        for i in range(side):
            for j in range(side):
                y, x = (n * (grid - 1) / (side - 1) for n in (i, j))
                rows = [keys_in_one_dimension(list(row), x) for row in nodes[axis]]
                field[axis, i, j] = keys_in_one_dimension(rows, y)
    return field


@pytest.mark.parametrize(("grid", "side"), [(3, 2), (3, 5), (3, 24), (2, 9), (4, 10), (5, 17)])
def test_the_field_is_keys_cubic_convolution(grid: int, side: int) -> None:
    nodes = np.random.default_rng(grid).normal(0, 10, (2, grid, grid))
    field = displacement(torch.from_numpy(nodes), side)
    np.testing.assert_allclose(field, literal_displacement(nodes, side), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("grid", "side"), [(3, 5), (3, 189), (2, 7), (4, 31), (3, 3)])
def test_the_field_goes_through_its_nodes(grid: int, side: int) -> None:
    nodes = np.random.default_rng(side).normal(0, 10, (2, grid, grid))
    step = (side - 1) // (grid - 1)
    field = displacement(torch.from_numpy(nodes), side)
    np.testing.assert_allclose(field[:, ::step, ::step], nodes, rtol=0, atol=1e-12)


def test_the_outer_nodes_lie_on_the_corners_of_the_tile_of_fig_1() -> None:
    nodes = np.random.default_rng(0).normal(0, 10, (2, 3, 3))
    field = displacement(torch.from_numpy(nodes), 572)
    for row in (0, -1):
        for column in (0, -1):
            np.testing.assert_allclose(field[:, row, column], nodes[:, row, column], atol=1e-12)


def test_a_quadratic_surface_is_kept() -> None:
    """So Keys' rule at the boundary is in use; mirrored or repeated nodes would bend it."""
    y, x = np.mgrid[:3, :3] / 2.0
    surface = np.stack([1 + 2 * y - 3 * x + 4 * x**2, 5 * y**2 + y * x])
    v, u = np.mgrid[:33, :33] / 32.0
    expected = np.stack([1 + 2 * v - 3 * u + 4 * u**2, 5 * v**2 + v * u])
    field = displacement(torch.from_numpy(surface), 33)
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-12)


# --- where the pixels come from ----------------------------------------------------------------


@given(
    angle=st.floats(0, 2 * np.pi),
    mirrored=st.booleans(),
    centre=st.tuples(st.floats(-20, 220), st.floats(-20, 220)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_source_coordinates_against_one_pixel_at_a_time(
    angle: float, mirrored: bool, centre: tuple[float, float], seed: int
) -> None:
    """Displace within the tile, mirror, rotate, move to the place in the section."""
    side = 21
    nodes = np.random.default_rng(seed).normal(0, 10, (2, 3, 3))
    found = source_coordinates(Augmentation(centre, angle, mirrored, nodes), side)
    assert found.dtype == torch.float32
    field = displacement(torch.from_numpy(nodes), side)
    for i in range(0, side, 4):
        for j in range(0, side, 5):
            y = i - 10 + float(field[0, i, j])
            x = j - 10 + float(field[1, i, j])
            place = complex(y, -x if mirrored else x) * cmath.exp(1j * angle) + complex(*centre)
            assert complex(*found[:, i, j].tolist()) == pytest.approx(place, abs=2e-4)


def test_a_smaller_tile_comes_from_the_middle_of_the_coordinates() -> None:
    look = draws(1, AugmentSettings(elastic=0))[0]
    large, small = source_coordinates(look, 21), source_coordinates(look, 13)
    np.testing.assert_allclose(centre_crop(large, 13), small, atol=1e-4)


POSES: dict[tuple[int, bool], Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    (0, False): lambda m: m,
    (1, False): lambda m: np.rot90(m, -1, (1, 2)),
    (2, False): lambda m: np.rot90(m, 2, (1, 2)),
    (3, False): lambda m: np.rot90(m, 1, (1, 2)),
    (0, True): lambda m: m[:, :, ::-1],
    (1, True): lambda m: m.transpose(0, 2, 1),
    (2, True): lambda m: m[:, ::-1],
    (3, True): lambda m: np.rot90(m, 2, (1, 2)).transpose(0, 2, 1),
}


@pytest.mark.parametrize("side", [2, 9, 24])
@pytest.mark.parametrize("pose", POSES)
def test_quarter_turns_and_mirroring_are_permutations(side: int, pose: tuple[int, bool]) -> None:
    quarters, mirrored = pose
    section = np.random.default_rng(side).random((2, side, side), dtype=np.float32)
    middle = (side - 1) / 2
    look = Augmentation((middle, middle), quarters * np.pi / 2, mirrored, STILL)
    where = source_coordinates(look, side)
    expected = POSES[pose](section)
    tile = sample(torch.from_numpy(section), where, "nearest")
    np.testing.assert_array_equal(tile, expected)
    for kernel in ("bicubic", "bilinear"):  # coordinates are whole to about 1e-6
        tile = sample(torch.from_numpy(section), where, kernel)  # type: ignore[arg-type]
        np.testing.assert_allclose(tile, expected, rtol=0, atol=2e-5)


def test_the_eight_poses_differ() -> None:
    section = np.random.default_rng(0).random((1, 5, 5), dtype=np.float32)
    assert len({pose(section).tobytes() for pose in POSES.values()}) == 8


# --- reading the section -----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (7, 1), (2, 2), (3, 8), (13, 11)])
def test_beyond_the_border_the_section_is_mirrored(kernel: Kernel, shape: tuple[int, int]) -> None:
    section = np.random.default_rng(1).random((2, *shape), dtype=np.float32)
    rows, columns = shape
    grid = np.mgrid[-9 : rows + 9, -9 : columns + 9].astype(np.float32)
    expected = np.pad(section, [(0, 0), (9, 9), (9, 9)], mode="reflect")
    found = sample(torch.from_numpy(section), torch.from_numpy(grid), kernel)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if kernel == "nearest" else 2e-5)


def literal_sample(
    section: NDArray[np.float32], y: float, x: float, kernel: Callable[[float], float]
) -> float:
    """Weigh the 4 x 4 mirrored pixels around a place."""
    rows, columns = section.shape
    mirrored = np.pad(section, 20, mode="reflect").astype(float)
    total = 0.0
    for i in range(math.floor(y) - 1, math.floor(y) + 3):
        for j in range(math.floor(x) - 1, math.floor(x) + 3):
            total += mirrored[i + 20, j + 20] * kernel(y - i) * kernel(x - j)
    assert -15 < y < rows + 15
    assert -15 < x < columns + 15
    return total


def pytorch_cubic(distance: float) -> float:
    """Cubic convolution, a = -3/4."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def linear(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


@pytest.mark.parametrize(("kernel", "weight"), [("bicubic", pytorch_cubic), ("bilinear", linear)])
def test_sampling_between_the_pixels(kernel: Kernel, weight: Callable[[float], float]) -> None:
    rng = np.random.default_rng(2)
    section = rng.random((17, 12), dtype=np.float32)
    places = np.stack([rng.uniform(-10, 27, (9, 9)), rng.uniform(-10, 22, (9, 9))])
    places = places.astype(np.float32)
    found = sample(torch.from_numpy(section)[None], torch.from_numpy(places), kernel)[0]
    expected = [
        [literal_sample(section, *places[:, i, j].tolist(), weight) for j in range(9)]
        for i in range(9)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_nearest_takes_the_nearest() -> None:
    labels = torch.arange(30.0).view(1, 5, 6)
    places = torch.tensor([[[0.4, 0.6, 4.4, -1.2]], [[1.4, 1.6, 5.3, 2.9]]])
    assert sample(labels, places, "nearest").tolist() == [[[1, 8, 29, 9]]]


@given(seed=st.integers(0, 2**31), kernel=st.sampled_from(KERNELS))
@settings(max_examples=30, deadline=None)
def test_positions_written_into_the_pixels_come_out(seed: int, kernel: Kernel) -> None:
    """A section that shows its own coordinates returns those that were asked for."""
    side, tile = 120, 24
    section = torch.stack(torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij"))
    rng = np.random.default_rng(seed)
    look = draw_augmentation(rng, (side, side), AugmentSettings(elastic=3), margin=40)
    where = source_coordinates(look, tile)
    inside = ((where > 1) & (where < side - 2)).all(0)
    error = (sample(section, where, kernel) - where)[:, inside]
    assert inside.any()
    # PyTorch's bicubic kernel (a = -3/4) bends a ramp by up to 0.05 of its step
    largest = {"nearest": 0.5 + 1e-4, "bilinear": 1e-3, "bicubic": 0.05}[kernel]
    assert error.abs().max() <= largest


def test_the_samples_are_of_the_type_of_the_maps() -> None:
    where = source_coordinates(draws(1, AugmentSettings())[0], 12)
    for dtype in (torch.float32, torch.float64):
        assert sample(torch.rand(3, 300, 200, dtype=dtype), where, "bicubic").dtype == dtype


# --- grey values -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**31), strength=st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_the_grey_curve(seed: int, strength: float) -> None:
    settings_ = AugmentSettings(grey=strength)
    look = draw_augmentation(np.random.default_rng(seed), (9, 9), settings_)
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    changed = change_grey(values, look)
    assert (changed.diff() > 0).all()  # black stays darker than white
    assert changed[0].item() == pytest.approx(look.black)
    assert changed[-1].item() == pytest.approx(look.white)
    for value, grey in zip(values.tolist(), changed.tolist(), strict=True):
        assert grey == pytest.approx(look.black + (look.white - look.black) * value**look.gamma)


def test_overshoots_of_the_interpolation_are_clipped() -> None:
    look = Augmentation((0, 0), 0, False, STILL, black=0.05, white=0.95, gamma=1.3)
    changed = change_grey(torch.tensor([-0.2, 0.0, 1.0, 1.3]), look)
    np.testing.assert_allclose(changed, [0.05, 0.05, 0.95, 0.95], rtol=1e-6)


def test_no_grey_change_changes_nothing() -> None:
    values = torch.rand(50)
    assert torch.equal(change_grey(values, Augmentation((0, 0), 0, False, STILL)), values)


# --- cropping and errors -----------------------------------------------------------------------


@pytest.mark.parametrize(("side", "inner"), [(10, 4), (9, 3), (572, 388), (5, 5)])
def test_centre_crop(side: int, inner: int) -> None:
    maps = torch.arange(2 * side * side).view(2, side, side)
    margin = (side - inner) // 2
    stop = side - margin
    expected: Tensor = maps[:, margin:stop, margin:stop]
    assert torch.equal(centre_crop(maps, inner), expected)


@pytest.mark.parametrize(
    "wrong", [{"grid": 1}, {"elastic": -1.0}, {"elastic": math.nan}, {"grey": -0.1}]
)
def test_settings_that_make_no_augmentation_are_refused(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        AugmentSettings(**wrong)  # type: ignore[arg-type]
