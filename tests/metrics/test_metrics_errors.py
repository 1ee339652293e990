"""Every input that cannot be scored is refused in one line."""

import sys

import numpy as np
import pytest

from paper_unet.errors import InputError
from paper_unet.metrics import _loops, isbi2012_scores, seg_measure, warping_mismatches

LABELS = np.eye(5, dtype=np.uint8)[None]
MAP = np.full((1, 5, 5), 0.5)


def with_value(value: float) -> np.ndarray:
    interior = MAP.copy()
    interior[0, 2, 2] = value
    return interior


@pytest.mark.parametrize(
    ("labels", "interior", "message"),
    [
        (LABELS, MAP[:, :4], r"labels have shape \(1, 5, 5\) and interior has shape \(1, 4, 5\)"),
        (LABELS[0], MAP, r"shape \(5, 5\) and interior has shape \(1, 5, 5\)"),
        (LABELS[None], MAP[None], r"shape \(1, 1, 5, 5\); accepted are \(Z, Y, X\)"),
        (LABELS[0, 0], MAP[0, 0], r"shape \(5,\); accepted are"),
        (LABELS[:0], MAP[:0], r"shape \(0, 5, 5\).* at least one pixel"),
        (LABELS * 2, MAP, "labels hold 2 beside 0"),
        (LABELS * 1.5, MAP, "labels hold 1.5 beside 0"),
        (LABELS.astype(np.uint16) * 65535, MAP, "labels hold 65535 beside 0"),
        (-LABELS.astype(int), MAP, "labels hold -1 beside 0"),
        (np.arange(25).reshape(1, 5, 5), MAP, r"labels hold 1, 2, 3, 4, \.\.\. beside 0"),
        (LABELS + np.eye(5, k=1) * np.nan, MAP, "labels hold .*nan"),
        (LABELS.astype(str), MAP, "labels have dtype <U"),
        (LABELS, MAP.astype(complex), "interior has dtype complex128"),
        (LABELS, with_value(np.nan), "interior holds 1 of 25 values that are not finite"),
        (LABELS, with_value(-np.inf), "interior holds 1 of 25 values that are not finite"),
        (
            LABELS,
            np.arange(25).reshape(1, 5, 5),
            "int64 values from 0 to 24; accepted .* with `value_range` LOW HIGH",
        ),
        (LABELS, LABELS.astype(np.int8) - 1, "int8 values from -1 to 0; accepted"),
    ],
)
def test_stacks(labels: np.ndarray, interior: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        isbi2012_scores(labels, interior)
    assert "accepted" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, -1])
def test_workers(workers: int) -> None:
    with pytest.raises(InputError, match=f"workers is {workers}; accepted is 1 or more"):
        isbi2012_scores(LABELS, MAP, workers=workers)


def test_numba_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match=r'numba, .*\[fast\]", or leave compiled at None'):
        isbi2012_scores(LABELS, MAP, compiled=True)
    assert not _loops.resolve_compiled(None)
    assert isbi2012_scores(LABELS, MAP).v_info == 0


def test_mismatches_of_a_stack() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 5, 5\); accepted is one slice"):
        warping_mismatches(LABELS, MAP, 0.5)


CELLS = np.array([[0, 1], [2, 2]])


@pytest.mark.parametrize(
    ("truth", "result", "message"),
    [
        ([CELLS, CELLS], [CELLS], "result ends after 1 frames"),
        ([CELLS], [CELLS, CELLS], "truth ends after 1 frames"),
        (CELLS, CELLS, r"frame 0 of truth has shape \(2,\)"),
        ([CELLS], [CELLS[None]], r"frame 0 of result has shape \(1, 2, 2\)"),
        ([CELLS, CELLS], [CELLS, CELLS[:1]], r"frame 1 has shape \(2, 2\) in truth and \(1, 2\)"),
        ([CELLS], [CELLS > 0], "frame 0 of result .* dtype bool"),
        ([CELLS * 1.0], [CELLS], "frame 0 of truth .* dtype float64"),
        ([CELLS], [CELLS - 1], "frame 0 of result holds the label -1"),
        ([CELLS * 0], [CELLS], "truth holds no object in its 1 frames"),
        ([], [], "truth holds no object in its 0 frames"),
    ],
)
def test_label_images(truth: object, result: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        seg_measure(truth, result)
    assert "accepted" in str(caught.value)
    assert "\n" not in str(caught.value)
