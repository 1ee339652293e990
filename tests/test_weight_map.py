"""Eq. 2 against one distance transform per instance; the gap between cells against a loop."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label as connected_components

from paper_unet import border_weight_map, separate_touching, weight_map
from paper_unet.errors import InputError
from paper_unet.metrics import seg_measure
from paper_unet.metrics.instances import grow_back
from paper_unet.weight_map import class_weights

Labels = NDArray[np.integer]


def brute_force(labels: Labels, w0: float = 10.0, sigma: float = 5.0) -> NDArray[np.float64]:
    """w0 exp(-(d1 + d2)^2 / (2 sigma^2)) on background, a whole distance map per instance."""
    ids = [i for i in np.unique(labels) if i]
    if len(ids) < 2:
        return np.zeros(labels.shape)
    distances = np.sort([ndimage.distance_transform_edt(labels != i) for i in ids], axis=0)
    term = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return np.where(labels == 0, term, 0)


def random_instances(
    rng: np.random.Generator, shape: Sequence[int], count: int, largest: int
) -> Labels:
    """Rectangles that hide one another in part: touching, nested and disconnected instances."""
    labels = np.zeros(shape, np.int32)
    for i in range(1, count + 1):
        y, x = (int(rng.integers(0, side)) for side in shape)
        h, w = rng.integers(1, largest + 1, 2)
        labels[y : y + h, x : x + w] = i
        if rng.random() < 0.2:  # a second piece elsewhere
            y, x = (int(rng.integers(0, side)) for side in shape)
            labels[y : y + h, x : x + w] = i
    return labels


# --- the border term ----------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    count=st.integers(0, 25),
    largest=st.integers(1, 30),
)
@settings(max_examples=150, deadline=None)
def test_border_term_against_brute_force(
    seed: int, shape: tuple[int, int], count: int, largest: int
) -> None:
    labels = random_instances(np.random.default_rng(seed), shape, count, largest)
    border = border_weight_map(labels)
    assert border.dtype == np.float32
    np.testing.assert_allclose(border, brute_force(labels), rtol=0, atol=1e-6)


@given(
    seed=st.integers(0, 2**32),
    w0=st.sampled_from([0.0, 0.1, 1.0, 10.0, 50.0]),
    sigma=st.floats(0.05, 20),
)
@settings(max_examples=80, deadline=None)
@example(seed=0, w0=10.0, sigma=0.05)
def test_other_weights_and_widths(seed: int, w0: float, sigma: float) -> None:
    labels = random_instances(np.random.default_rng(seed), (60, 70), 6, 12)
    border = border_weight_map(labels, w0, sigma)
    tolerance = 1e-7 * w0  # what is cut off, and the rounding to float32
    np.testing.assert_allclose(border, brute_force(labels, w0, sigma), rtol=1e-6, atol=tolerance)


def test_far_apart_the_term_fades_out_but_does_not_stop_early() -> None:
    """Two pixels at every distance: nothing above a millionth of w0 is lost."""
    for gap in range(1, 60):
        labels = np.zeros((1, gap + 2), np.uint8)
        labels[0, 0], labels[0, -1] = 1, 2
        border = border_weight_map(labels)
        expected = 10 * np.exp(-((gap + 1) ** 2) / 50)
        np.testing.assert_allclose(border[0, 1:-1], expected, rtol=1e-6, atol=1e-6)


def test_values_by_hand() -> None:
    labels = np.array([[1, 0, 0, 2]])
    one_and_two = 10 * np.exp(-(3**2) / 50)
    np.testing.assert_allclose(border_weight_map(labels), [[0, one_and_two, one_and_two, 0]])
    beside_both = 10 * np.exp(-(2**2) / 50)
    diagonal = border_weight_map(np.array([[1, 0], [0, 2]]))
    np.testing.assert_allclose(diagonal, [[0, beside_both], [beside_both, 0]])


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((30, 30), np.uint8),
        np.ones((30, 30), np.uint8),
        np.pad(np.ones((5, 5), np.uint8), 12),
        np.zeros((1, 1), np.uint8),
        np.ones((1, 1), np.uint16),
        np.zeros((9, 9), bool),
        np.eye(9, dtype=bool),
    ],
    ids=["none", "no background", "one", "one pixel", "one cell pixel", "no cell, bool",
         "one cell, bool"],
)  # fmt: skip
def test_fewer_than_two_instances_have_no_border(labels: Labels) -> None:
    border = border_weight_map(labels)
    assert border.shape == labels.shape
    assert border.dtype == np.float32
    assert not border.any()


def test_no_background_pixel_between_two_instances() -> None:
    labels = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    assert not border_weight_map(labels).any()


def test_an_instance_is_an_id_not_a_component() -> None:
    """Between the two halves of one cell there is no border; to the third id there is."""
    labels = np.zeros((9, 40), np.int32)
    labels[:, :3], labels[:, 7:10], labels[:, 37:] = 1, 1, 2
    np.testing.assert_allclose(border_weight_map(labels), brute_force(labels), rtol=0, atol=1e-6)
    labels[:, 37:] = 0
    assert not border_weight_map(labels).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_the_values_of_the_ids_do_not_matter(dtype: type[np.integer]) -> None:
    labels = random_instances(np.random.default_rng(5), (50, 60), 9, 12)
    top = np.iinfo(dtype).max
    ids = np.array([0, 1, 2, top, top - 1, 70, 80, 3, 17, top // 2], dtype)
    np.testing.assert_array_equal(border_weight_map(ids[labels]), border_weight_map(labels))
    no_background = ids[np.maximum(labels, 1)]
    assert not border_weight_map(no_background).any()


def test_each_section_of_a_stack_stands_for_itself() -> None:
    rng = np.random.default_rng(2)
    stack = np.stack([random_instances(rng, (40, 30), n, 8) for n in (5, 0, 1, 7)])
    sections = [border_weight_map(section) for section in stack]
    np.testing.assert_array_equal(border_weight_map(stack), sections)


def test_the_argument_is_left_alone() -> None:
    labels = random_instances(np.random.default_rng(3), (40, 40), 8, 8)
    before = labels.copy()
    for function in (border_weight_map, weight_map, separate_touching):
        function(labels)
    np.testing.assert_array_equal(labels, before)


def grid_of_cells(side: int, per_axis: int) -> Labels:
    """Square cells with membranes of two pixels."""
    edges = np.linspace(0, side, per_axis + 1).astype(int)
    cell = np.searchsorted(edges, np.arange(side), side="right")
    inside = (np.arange(side) - edges[cell - 1]) >= 2
    numbers = (cell[:, None] - 1) * per_axis + cell[None]
    return np.where(inside[:, None] & inside[None], numbers, 0).astype(np.int32)


def test_thousands_of_cells_cost_no_more_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work, counted in pixels that a distance transform visits, goes with the area."""
    visited = 0
    transform = ndimage.distance_transform_edt

    def counting(image: NDArray[np.bool_]) -> NDArray[np.float64]:
        nonlocal visited
        visited += image.size
        result: NDArray[np.float64] = transform(image)
        return result

    monkeypatch.setattr(ndimage, "distance_transform_edt", counting)
    work = []
    for per_axis in (4, 35):  # 16 and 1225 cells; at 2048 x 2048 that is 64 and 4900
        visited = 0
        border_weight_map(grid_of_cells(1024, per_axis))
        work.append(visited)
    assert work[0] >= 1024 * 900  # it was counted
    assert work[1] < 3 * work[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"instances": np.zeros((4, 4))}, "float64.*integer label image"),
        ({"instances": np.zeros(4, int)}, r"shape \(4,\).*\(Y, X\) or \(Z, Y, X\)"),
        ({"instances": np.zeros((1, 2, 3, 4), int)}, r"\(Y, X\) or \(Z, Y, X\)"),
        ({"instances": np.zeros((0, 5), int)}, r"shape \(0, 5\); at least one pixel"),
        ({"instances": np.zeros((0, 4, 4), int)}, r"shape \(0, 4, 4\); at least one pixel"),
        ({"instances": np.full((4, 4), -1)}, "holds -1.*0 .background. or positive"),
        ({"instances": np.eye(4, dtype=int), "sigma": 0.0}, "sigma is 0.0 .*above 0"),
        ({"instances": np.eye(4, dtype=int), "sigma": np.nan}, "sigma is nan"),
        ({"instances": np.eye(4, dtype=int), "w0": -1.0}, "w0 is -1.0.*at least 0"),
        ({"instances": np.eye(4, dtype=int), "w0": np.inf}, "w0 is inf.*finite"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    for function in (border_weight_map, weight_map):
        with pytest.raises(InputError, match=message):
            function(**arguments)  # type: ignore[arg-type]


# --- class balance and the whole map ------------------------------------------------------------


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_the_balance_is_inverse_frequency_with_mean_one(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    classes = (rng.random((3, 20, 20)) < share).astype(np.uint8)
    classes[0, 0, :2] = 0, 1  # both occur
    w_c = class_weights(classes)
    assert w_c[classes].mean() == pytest.approx(1)
    frequency = [(classes == k).mean() for k in (0, 1)]
    assert w_c[0] * frequency[0] == pytest.approx(w_c[1] * frequency[1])


def test_the_balance_counts_annotated_pixels_only() -> None:
    classes = np.array([[0, 0, 0, 1, 1, 1, 1, 1]])
    ignore = np.array([[0, 0, 1, 0, 0, 0, 1, 1]], bool)  # leaves 2 and 3
    np.testing.assert_allclose(class_weights(classes, ignore), [5 / 4, 5 / 6])
    np.testing.assert_allclose(class_weights(np.zeros((2, 2), int)), [1, 0])
    np.testing.assert_allclose(class_weights(np.ones((2, 2), int)), [0, 1])


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_weaker_class_balances(power: float) -> None:
    """The ratio is that of the frequencies to the power, the mean over the pixels stays 1."""
    classes = np.array([0] * 90 + [1] * 9 + [3])
    w_c = class_weights(classes, count=4, power=power)
    np.testing.assert_allclose(w_c[[1, 3]] / w_c[0], [10**power, 90**power])
    assert w_c[2] == 0
    np.testing.assert_allclose(w_c[classes].mean(), 1)


@given(seed=st.integers(0, 2**32), count=st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_the_whole_map_is_balance_plus_border(seed: int, count: int) -> None:
    labels = random_instances(np.random.default_rng(seed), (50, 40), count, 15)
    weights = weight_map(labels, 8.0, 4.0)
    assert weights.dtype == np.float32
    cell = labels != 0
    expected = brute_force(labels, 8.0, 4.0)
    for mask in (cell, ~cell):
        if mask.any():
            expected[mask] += 1 / ((1 + (0 < cell.mean() < 1)) * mask.mean())
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-6)
    without_border = weight_map(labels, 0.0)
    assert without_border.mean(dtype=np.float64) == pytest.approx(1, rel=1e-6)


def test_a_given_balance_is_used_as_it_is() -> None:
    labels = random_instances(np.random.default_rng(0), (30, 30), 4, 9)
    weights = weight_map(labels, balance=(0.25, 1.5))
    expected = np.where(labels == 0, 0.25, 1.5) + brute_force(labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-6)


def test_ignored_pixels_weigh_nothing_and_change_no_distance() -> None:
    rng = np.random.default_rng(1)
    labels = random_instances(rng, (2, 40, 40)[1:], 8, 10)
    ignore = rng.random(labels.shape) < 0.3
    weights = weight_map(labels, ignore=ignore)
    assert not weights[ignore].any()
    balance = class_weights(labels != 0, ignore)
    expected = balance[(labels != 0).astype(int)] + brute_force(labels)
    np.testing.assert_allclose(weights[~ignore], expected[~ignore], rtol=1e-6, atol=1e-6)
    assert weight_map(labels, 0, ignore=ignore)[~ignore].mean() == pytest.approx(1, rel=1e-5)
    assert not weight_map(labels, ignore=np.ones_like(ignore)).any()
    with pytest.raises(InputError, match=r"ignore has shape \(3, 3\), the labels \(40, 40\)"):
        weight_map(labels, ignore=np.zeros((3, 3), bool))


# --- the gap between touching cells -------------------------------------------------------------


def literal_separation(labels: Labels) -> Labels:
    """Pixel by pixel: background if W, NW, N or NE is of another cell."""
    rows, columns = labels.shape
    result = labels.copy()
    for y in range(rows):
        for x in range(columns):
            for dy, dx in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
                if y + dy >= 0 and 0 <= x + dx < columns:
                    neighbour = labels[y + dy, x + dx]
                    if neighbour not in (0, labels[y, x]):
                        result[y, x] = 0
    return result


def neighbours_of_another_cell(labels: Labels) -> NDArray[np.bool_]:
    """Cell pixels with any of their eight neighbours in another cell."""
    far = np.iinfo(np.int64).max
    padded = np.pad(labels.astype(np.int64), 1)
    inner = padded[1:-1, 1:-1]
    touching = np.zeros(inner.shape, bool)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            shifted = padded[dy : dy + inner.shape[0], dx : dx + inner.shape[1]]
            touching |= (np.where(shifted == 0, far, shifted) != inner) & (shifted != 0)
    return touching & (inner != 0)


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    count=st.integers(0, 12),
    noisy=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_separation_against_the_loop_and_its_promise(
    seed: int, shape: tuple[int, int], count: int, noisy: bool
) -> None:
    rng = np.random.default_rng(seed)
    labels = random_instances(rng, shape, count, 12).astype(np.uint16)
    if noisy:
        labels = rng.integers(0, count + 1, shape).astype(np.uint16)
    separated = separate_touching(labels)
    assert separated.dtype == labels.dtype
    np.testing.assert_array_equal(separated, literal_separation(labels))
    # no two cells are neighbours any more, and only what touched another cell is gone
    assert not neighbours_of_another_cell(separated).any()
    changed = separated != labels
    assert not separated[changed].any()
    assert not (changed & ~neighbours_of_another_cell(labels)).any()


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    count=st.integers(0, 8),
    gap=st.sampled_from([1.0, 1.2, 1.5, 2.0, 3.0, 4.5, 40.0]),
    noisy=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_wide_gap_pixel_by_pixel(
    seed: int, shape: tuple[int, int], count: int, gap: float, noisy: bool
) -> None:
    """A cell loses what the rule of one pixel takes, and what is nearer than that to another."""
    rng = np.random.default_rng(seed)
    labels = random_instances(rng, shape, count, 12)
    if noisy:
        labels = rng.integers(0, count + 1, shape)
    expected = literal_separation(labels)
    points = np.argwhere(labels)
    values = labels[labels != 0]
    for (y, x), value in zip(points, values, strict=True):
        others = points[values != value]
        if gap > 1 and len(others) and np.hypot(*(others - (y, x)).T).min() < gap:
            expected[y, x] = 0
    np.testing.assert_array_equal(separate_touching(labels, gap), expected)


def test_a_gap_is_two_times_one_less_wide() -> None:
    labels = np.repeat([[1] * 10 + [2] * 10], 9, axis=0)
    for gap in (2, 3, 5):
        assert ((separate_touching(labels, gap) == 0).sum(1) == 2 * (gap - 1)).all()


@pytest.mark.parametrize("gap", [0, 0.9, -1, float("nan"), float("inf")])
def test_no_gap_is_refused(gap: float) -> None:
    with pytest.raises(InputError, match=f"gap is {gap} pixels; it must be at least 1"):
        separate_touching(np.ones((3, 3), np.uint8), gap)


def test_a_gap_by_hand() -> None:
    labels = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3]])
    np.testing.assert_array_equal(
        separate_touching(labels), [[1, 1, 0, 2], [1, 0, 0, 2], [0, 0, 0, 0]]
    )


def test_sections_are_separated_one_by_one() -> None:
    rng = np.random.default_rng(4)
    stack = rng.integers(0, 4, (3, 9, 11))
    for gap in (1, 2.5):
        one_by_one = [separate_touching(section, gap) for section in stack]
        np.testing.assert_array_equal(separate_touching(stack, gap), one_by_one)
    identical = np.stack([np.full((3, 3), 1), np.full((3, 3), 2)])  # touch in z only
    np.testing.assert_array_equal(separate_touching(identical), identical)


@pytest.fixture(scope="module")
def hela_truth() -> list[Labels]:
    """The annotated frames of both training sequences of DIC-C2DH-HeLa."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PAPER_UNET_DATA") or beside) / "DIC-C2DH-HeLa"
    files = sorted(folder.glob("0?_GT/SEG/man_seg*.tif"))
    if not files:
        pytest.skip(f"no frames in {folder}: fetch the data and set PAPER_UNET_DATA")
    return [np.asarray(Image.open(file)).astype(np.uint16) for file in files]  # LZW


@pytest.mark.data
@pytest.mark.slow
def test_what_the_gap_is_worth_on_real_cells(hela_truth: list[Labels]) -> None:
    """Spec C1: a perfect mask of DIC-HeLa scores 0.554 in its 8-connected parts, 0.996 with gaps.

    195 cells in 18 frames, pooled.
    """
    assert len(hela_truth) == 18
    plain = [connected_components(frame != 0, connectivity=2) for frame in hela_truth]
    gaps = [separate_touching(frame) != 0 for frame in hela_truth]
    separated = [connected_components(mask, connectivity=2) for mask in gaps]
    without, with_gap = seg_measure(hela_truth, plain), seg_measure(hela_truth, separated)
    assert without.objects == 195
    assert round(without.seg, 3) == 0.554
    assert round(with_gap.seg, 3) == 0.996


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("gap", "kept", "given_back"), [(2, 0.994, 0.995), (4, 0.983, 0.978)])
def test_what_a_wide_gap_takes_and_gives_back_on_real_cells(
    hela_truth: list[Labels], gap: float, kept: float, given_back: float
) -> None:
    """Neighbours that did not touch get what was between them, too: that costs more when wide."""
    parts = [
        connected_components(separate_touching(frame, gap) != 0, connectivity=2)
        for frame in hela_truth
    ]
    assert round(seg_measure(hela_truth, parts).seg, 3) == kept
    grown = [grow_back(part.astype(np.int32), gap) for part in parts]
    assert round(seg_measure(hela_truth, grown).seg, 3) == given_back
