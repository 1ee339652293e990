"""What must hold for any stack."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_helpers import blobs, plain_and_compiled, stacks

from paper_unet.metrics import Mismatch, isbi2012, isbi2012_scores, warping_mismatches

FIVE = ("pixel_error", "rand_error", "warping_error", "v_rand", "v_info")


def five(*args: np.ndarray, **options: object) -> list[float]:
    scores = isbi2012_scores(*args, **options)
    return [getattr(scores, name) for name in FIVE]


def cells(shape: tuple[int, int, int]) -> np.ndarray:
    """Rectangular cells between straight membranes, two pixels wide."""
    labels = np.ones(shape, dtype=np.uint8)
    labels[:, ::13] = labels[:, 1::13] = 0
    labels[:, :, ::17] = labels[:, :, 1::17] = 0
    return labels


@given(stack=stacks())
@settings(max_examples=60, deadline=None)
def test_numba_changes_nothing(stack: tuple) -> None:
    pytest.importorskip("numba")
    ours = [isbi2012_scores(*stack, workers=1, compiled=c).to_dict() for c in (False, True)]
    assert ours[0] == ours[1]


@pytest.mark.parametrize(("compiled", "workers"), [(False, 2), (True, 2), (True, 3), (None, None)])
def test_workers_change_nothing(compiled: bool | None, workers: int | None) -> None:
    labels, interior = blobs(1, (4, 40, 50)) > 0.4, blobs(2, (4, 40, 50))
    alone = isbi2012_scores(labels, interior, workers=1, compiled=False)
    assert isbi2012_scores(labels, interior, workers=workers, compiled=compiled) == alone


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_in_a_worker_reaches_the_caller(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("slice")

    monkeypatch.setattr(isbi2012, "count_slice", fail)
    with pytest.raises(ZeroDivisionError, match="slice"):
        isbi2012_scores(cells((2, 20, 20)), cells((2, 20, 20)), compiled=True, workers=workers)


@given(stack=stacks(slices=2))
@settings(max_examples=40, deadline=None)
def test_a_perfect_prediction_is_perfect(stack: tuple) -> None:
    labels = stack[0]
    scores = isbi2012_scores(labels, labels.astype(np.float32))
    assert (scores.pixel_error, scores.warping_error) == (0, 0)
    if all(piece.any() for piece in labels):
        assert (scores.rand_error, scores.v_rand) == pytest.approx((0, 1), abs=1e-12)
    assert set(scores.warping.errors) == {0}


def test_a_perfect_prediction_of_several_cells_has_v_info_one() -> None:
    labels = cells((2, 60, 70))
    assert five(labels, labels) == pytest.approx([0, 0, 0, 1, 1], abs=1e-12)


def test_each_score_falls_where_it_should() -> None:
    labels = cells((1, 60, 70))
    thick = labels.copy()
    thick[:, 2::13] = 0
    merged = labels.copy()
    merged[:, 26:28, 20:30] = 1
    lost = labels.copy()
    lost[:, 28:39, 19:34] = 0
    split = labels.copy()
    split[:, 32] = 0
    pixel, rand, warping, v_rand, v_info = five(labels, thick)
    assert pixel > 0.03 and rand > 0
    assert (warping, v_rand, v_info) == pytest.approx((0, 1, 1))
    for wrong in (merged, split):
        pixel, rand, warping, v_rand, v_info = five(labels, wrong)
        assert min(pixel, rand, warping) > 0
        assert max(v_rand, v_info) < 1
    assert five(labels, lost)[2] == 0
    scores = {n: isbi2012_scores(labels, i) for n, i in (("merged", merged), ("split", split))}
    for name, curve in (("v_rand", "thin_rand"), ("v_info", "thin_info")):
        precision = {n: getattr(s, curve).precision[5] for n, s in scores.items()}
        recall = {n: getattr(s, curve).recall[5] for n, s in scores.items()}
        assert precision["merged"] < 0.99 < precision["split"], name
        assert recall["split"] < 0.99 < recall["merged"], name


def test_polarity_matters() -> None:
    labels = cells((1, 60, 70))
    interior = np.clip(labels * 0.8 + 0.1 * blobs(3, labels.shape), 0, 1)
    right, inverted = five(labels, interior), five(labels, 1 - interior)
    assert right == pytest.approx([0, 0, 0, 1, 1], abs=1e-12)
    assert inverted[0] > 0.1
    assert inverted[1] > 0.5
    assert inverted[3] < 0.5


def test_a_constant_map_has_an_excellent_warping_error() -> None:
    labels = cells((2, 60, 70))
    pixel, rand, warping, v_rand, v_info = five(labels, np.full(labels.shape, 0.5))
    assert warping == 0
    assert rand > 0.8
    assert v_rand < 0.2
    assert v_info == 0
    assert pixel > 0.1


@given(stack=stacks(slices=3), order=st.permutations(range(3)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_slices_does_not_matter(stack: tuple, order: list[int]) -> None:
    shuffled = [array[order] for array in stack]
    assert five(*shuffled) == pytest.approx(five(*stack), abs=1e-12)


@given(stack=stacks(slices=1))
@settings(max_examples=30, deadline=None)
def test_kinds_of_labels_and_a_single_slice_are_the_same(stack: tuple) -> None:
    labels, interior = stack
    expected = isbi2012_scores(labels, interior)
    for kind in (labels.astype(np.uint8) * 255, labels.astype(np.float64), labels.astype(np.int32)):
        assert isbi2012_scores(kind, interior) == expected
    assert isbi2012_scores(labels[0], interior[0]) == expected
    assert isbi2012_scores(labels.tolist(), interior.tolist()) == expected


@pytest.mark.parametrize("binary", [bool, np.uint8, np.int16])
def test_a_binary_map_may_be_of_integers(binary: type) -> None:
    labels = cells((1, 40, 40))
    wrong = labels.copy()
    wrong[:, 26:28, 20:30] = 1
    scale = 1 if binary is bool else 200
    expected = isbi2012_scores(labels, wrong.astype(np.float32) * scale)
    assert isbi2012_scores(labels, (wrong * scale).astype(binary)) == expected


def test_values_are_compared_in_32_bits_widened() -> None:
    # float32(0.1) is above the double 0.1, float32(0.9) is below the double 0.9.
    labels = np.array([[1, 0, 1, 1]])
    scores = isbi2012_scores(labels, np.full((1, 4), 0.1))
    assert scores.pixel.recall[:3] == (1, 1, 0)
    scores = isbi2012_scores(labels, np.full((1, 4), 0.7, dtype=np.float32))
    assert scores.pixel.recall[6:9] == (1, 0, 0)


@plain_and_compiled
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 1, 30), (2, 2, 25), (2, 30, 21)])
@pytest.mark.parametrize("kind", ["one object", "no object", "half"])
def test_extreme_images(shape: tuple[int, ...], kind: str, compiled: bool) -> None:
    labels = np.full(shape, kind != "no object", dtype=np.uint8)
    if kind == "half":
        labels[..., : shape[-1] // 2] = 0
    interior = blobs(5, shape if len(shape) == 3 else (1, *shape)).reshape(shape)
    scores = isbi2012_scores(labels, interior, workers=1, compiled=compiled)
    values = [getattr(scores, name) for name in FIVE]
    assert np.isfinite(values).all()
    assert 0 <= min(values) <= max(values) <= 1 + 1e-12
    if kind == "no object":
        assert values == [float(interior.any()), 1, 0, 0, 0]
    if kind == "one object":
        assert scores.v_info == pytest.approx(0, abs=1e-12)
        assert scores.warping_error == 0


def test_one_object_found_whole() -> None:
    labels = np.zeros((1, 30, 30), dtype=np.uint8)
    labels[:, 8:20, 5:25] = 1
    assert five(labels, labels) == pytest.approx([0, 0, 0, 1, 0], abs=1e-12)


@given(stack=stacks(slices=2), row=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_mismatch_images_hold_the_counts(stack: tuple, row: int) -> None:
    labels, interior = stack
    counts = isbi2012_scores(labels, interior).warping
    images = [
        warping_mismatches(slice_, values, counts.thresholds[row])
        for slice_, values in zip(labels, interior, strict=True)
    ]
    assert images[0].dtype == np.uint8
    for kind in set(Mismatch) - {Mismatch.NONE}:
        pixels = sum(np.count_nonzero(image == kind) for image in images)
        assert pixels == getattr(counts, f"{kind.name.lower()}s")[row]


@given(stack=stacks())
@settings(max_examples=30, deadline=None)
def test_headlines_are_the_best_of_the_lists(stack: tuple) -> None:
    scores = isbi2012_scores(*stack)
    curves = {
        "pixel_error": scores.pixel,
        "rand_error": scores.rand,
        "v_rand": scores.thin_rand,
        "v_info": scores.thin_info,
    }
    for name, curve in curves.items():
        best = 1 - getattr(scores, name) if "error" in name else getattr(scores, name)
        row = curve.thresholds.index(scores.thresholds[name])
        assert curve.scores[row] == pytest.approx(best) == max(curve.scores)
        assert max(curve.scores[:row], default=-1) < curve.scores[row]
        assert len(curve.scores) == len(curve.precision) == len(curve.recall) == 11
    row = scores.warping.thresholds.index(scores.thresholds["warping_error"])
    wrong = np.add(scores.warping.splits, scores.warping.mergers)
    assert scores.warping_error == wrong.min() / stack[0].size
    assert np.argmin(wrong) == row


def test_the_dict_is_json() -> None:
    labels = cells((1, 30, 30))
    scores = isbi2012_scores(labels, labels)
    content = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert content == scores.to_dict()
    assert [content[name] for name in FIVE] == five(labels, labels)
    assert set(content["thresholds"]) == set(FIVE)
    assert content["warping"]["splits"] == [0] * 10
