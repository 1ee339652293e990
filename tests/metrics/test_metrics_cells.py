"""SEG against its definition, object by object."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from paper_unet.metrics import seg_measure

frames = st.lists(
    npst.arrays(np.uint16, (2, 6, 5), elements=st.sampled_from([0, 1, 2, 3, 65535])),
    min_size=1,
    max_size=3,
).filter(lambda pairs: any(pair[0].any() for pair in pairs))


def literal(pairs: list[np.ndarray]) -> list[dict[int, float]]:
    found = []
    for truth, result in pairs:
        scores = {}
        for label in set(truth.ravel().tolist()) - {0}:
            reference = truth == label
            scores[label] = 0.0
            for other in set(result.ravel().tolist()) - {0}:
                segment = result == other
                shared = (reference & segment).sum()
                if shared / reference.sum() > 0.5:
                    scores[label] = shared / (reference | segment).sum()
        found.append(scores)
    return found


@given(pairs=frames)
@settings(max_examples=100, deadline=None)
def test_seg_is_the_literal_definition(pairs: list[np.ndarray]) -> None:
    scores = seg_measure((p[0] for p in pairs), (p[1] for p in pairs))
    expected = literal(pairs)
    assert list(scores.jaccards) == expected
    values = [value for frame in expected for value in frame.values()]
    assert scores.objects == len(values)
    assert scores.seg == pytest.approx(np.mean(values), abs=1e-12)


@given(pairs=frames, ids=st.permutations(range(1, 60)), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_ids_and_the_order_of_frames_do_not_matter(
    pairs: list[np.ndarray], ids: list[int], seed: int
) -> None:
    names = np.zeros(65536, dtype=np.int64)
    names[[1, 2, 3, 65535]] = ids[:4]
    other = np.zeros(65536, dtype=np.int32)
    other[[1, 2, 3, 65535]] = ids[4:8]
    expected = seg_measure([p[0] for p in pairs], [p[1] for p in pairs])
    order = np.random.default_rng(seed).permutation(len(pairs))
    renamed = seg_measure([names[pairs[i][0]] for i in order], [other[pairs[i][1]] for i in order])
    assert renamed.seg == pytest.approx(expected.seg, abs=1e-12)
    assert renamed.objects == expected.objects


def test_the_truth_itself_is_perfect_and_additions_are_free() -> None:
    truth = np.zeros((2, 8, 8), dtype=np.uint8)
    truth[0, 1:4, 1:4] = 5
    truth[1, 2:6, 2:6] = 9
    assert seg_measure(truth, truth).seg == 1
    more = truth.copy()
    more[0, 6:, 6:] = 1
    assert seg_measure(truth, more).seg == 1
    assert seg_measure(truth, np.zeros_like(truth)).seg == 0
    assert seg_measure(truth, np.ones_like(truth)).jaccards == ({5: 9 / 64}, {9: 16 / 64})
