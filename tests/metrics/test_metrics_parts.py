"""The parts against the definitions written out."""

import metrics_literal as literal
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from metrics_helpers import blobs, plain_and_compiled, stacks
from scipy import ndimage
from skimage.metrics import variation_of_information

from paper_unet.metrics import Mismatch, _rand, warping_mismatches
from paper_unet.metrics._flood import thin
from paper_unet.metrics._loops import pixel_loops
from paper_unet.metrics._rand import Overlaps, info_scores, pair_sums
from paper_unet.metrics._slices import THRESHOLDS, WARPING_THRESHOLDS
from paper_unet.metrics._warp import NEIGHBOURS, neighbourhood_codes, neighbourhood_tables


def names(classes: np.ndarray) -> np.ndarray:
    table = np.array([kind.name.lower() for kind in sorted(Mismatch)], dtype=object)
    return table[classes]


def test_thresholds_are_those_of_the_official_loop() -> None:
    expected, threshold = [], 0.0
    while threshold <= 1.0:
        expected.append(threshold)
        threshold += 0.1
    assert list(THRESHOLDS) == expected
    assert len(THRESHOLDS) == 11
    assert THRESHOLDS[3] == 0.30000000000000004
    assert THRESHOLDS[-1] == 0.9999999999999999
    assert len(WARPING_THRESHOLDS) == 10


def test_simple_points_are_those_of_the_definition() -> None:
    simple, joined = neighbourhood_tables()
    for code in range(256):
        patch = np.zeros((3, 3), dtype=bool)
        for k, (dy, dx) in enumerate(NEIGHBOURS):
            patch[1 + dy, 1 + dx] = code & (1 << k)
        assert simple[code] == literal.is_simple(patch)
        assert joined[code] == (ndimage.label(patch)[1] <= 1)
    assert simple.sum() == 116  # 232 of the 512 patches, the centre being either


def test_codes_hold_the_neighbours() -> None:
    image = np.random.default_rng(0).random((5, 4)) > 0.5
    codes = neighbourhood_codes(image)
    padded = np.pad(image, 1)
    for x in range(1, 6):
        for y in range(1, 5):
            bits = [codes[x, y] >> k & 1 for k in range(8)]
            assert bits == [padded[x + dx, y + dy] for dx, dy in NEIGHBOURS]


@plain_and_compiled
@given(stack=stacks(slices=1))
@settings(max_examples=60, deadline=None)
def test_thinning_is_the_literal_flood(compiled: bool, stack: tuple) -> None:
    interior = stack[0][0]
    basins = ndimage.label(interior.T)[0]
    ours = thin(np.ascontiguousarray(interior.T), basins, pixel_loops(compiled).flood)
    # The numbers of the regions are free, their pixels are not.
    theirs = literal.thin(interior)
    pairs = np.unique(np.stack([ours.T.ravel(), theirs.ravel()]), axis=1)
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]
    np.testing.assert_array_equal(ours.T == 0, theirs == 0)


@plain_and_compiled
@given(stack=stacks(slices=1), threshold=st.sampled_from(WARPING_THRESHOLDS))
@example(stack=(np.ones((1, 1, 7), bool), np.eye(1, 7, 3, dtype=np.float32)[None]), threshold=0.0)
@settings(max_examples=100, deadline=None)
def test_mismatches_are_those_of_the_literal_warp(
    compiled: bool, stack: tuple, threshold: float
) -> None:
    labels, interior = stack[0][0], stack[1][0]
    ours = warping_mismatches(labels, interior, threshold, compiled=compiled)
    np.testing.assert_array_equal(names(ours), literal.classes(labels, interior, threshold))


@plain_and_compiled
@pytest.mark.parametrize("seed", range(3))
def test_mismatches_in_images_larger_than_the_window(compiled: bool, seed: int) -> None:
    labels = blobs(seed, (52, 47), 2.0) > 0.42
    interior = blobs(seed + 100, (52, 47), 1.5)
    ours = warping_mismatches(labels, interior, 0.5, compiled=compiled)
    assert np.unique(ours).size > 3
    np.testing.assert_array_equal(names(ours), literal.classes(labels, interior, 0.5))


@pytest.mark.parametrize(("side", "expected"), [(11, "HOLE_DELETION"), (70, "SPLIT")])
def test_a_cut_ring_is_split_unless_it_closes_within_the_window(side: int, expected: str) -> None:
    labels = np.zeros((90, 90), dtype=bool)
    labels[5 : 5 + side, 5 : 5 + side] = True
    labels[6 : 4 + side, 6 : 4 + side] = False
    interior = labels.astype(np.float32)
    interior[5, 5 + side // 2] = 0
    found = warping_mismatches(labels, interior, 0.5)
    assert np.count_nonzero(found) == 1
    assert found[5, 5 + side // 2] == Mismatch[expected]


@given(stack=stacks(slices=1), dense=st.booleans())
@settings(max_examples=40, deadline=None)
def test_pair_sums_count_pairs(stack: tuple, dense: bool) -> None:
    objects = ndimage.label(stack[0][0])[0].astype(np.int64)
    regions = ndimage.label(stack[1][0] > 0.5)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rand, "DENSE_PAIRS", 1 << 22 if dense else 0)
        overlaps = Overlaps.of(objects[objects > 0], regions[objects > 0])
    assert pair_sums(overlaps) == literal.rand_pairs(objects, regions)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_information_score_is_that_of_scikit_image(
    monkeypatch: pytest.MonkeyPatch, seed: int, dense: bool
) -> None:
    monkeypatch.setattr(_rand, "DENSE_PAIRS", 1 << 22 if dense else 0)
    objects = ndimage.label(blobs(seed, (40, 50)) > 0.65)[0].astype(np.int64)
    regions = ndimage.label(blobs(seed + 50, (40, 50)) > 0.5)[0].astype(np.int32)
    inside = objects > 0
    score, precision, recall = info_scores(Overlaps.of(objects[inside], regions[inside]))

    alone = regions.astype(np.int64)
    none = alone == 0
    alone[none] = alone.max() + 1 + np.arange(none.sum())
    false_splits, false_merges = np.log(2) * variation_of_information(
        objects, alone, ignore_labels=(0,)
    )
    share = np.bincount(objects[inside])[1:] / inside.sum()
    assert share.size > 5
    h_objects = -(share * np.log(share)).sum()
    shared = h_objects - false_merges
    assert precision == pytest.approx(shared / h_objects, abs=1e-9)
    assert recall == pytest.approx(shared / (shared + false_splits), abs=1e-9)
    assert score == pytest.approx(2 * shared / (2 * shared + false_splits + false_merges), abs=1e-9)
