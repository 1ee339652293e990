"""Scores that mean nothing are said to; sound ones are left alone."""

import numpy as np
import pytest

from paper_unet.metrics import doubts, isbi2012_scores
from paper_unet.synthetic import synthetic_stack

LABELS = synthetic_stack(sections=2, side=96, seed=1).labels > 0
SOUND = LABELS.astype(np.float32)


def said(labels: np.ndarray, interior: np.ndarray, **more: object) -> str:
    scores = isbi2012_scores(labels, interior, workers=1)
    return "\n".join(doubts(scores, labels, interior, **more))  # type: ignore[arg-type]


def test_a_sound_result_is_not_doubted() -> None:
    assert said(LABELS, SOUND) == ""


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map(value: float) -> None:
    text = said(LABELS, np.full(LABELS.shape, value, np.float32))
    assert "the warping error means nothing for sections 0, 1: the map is constant" in text


def test_a_map_that_is_constant_in_one_section() -> None:
    text = said(LABELS, np.stack([SOUND[0], np.ones_like(SOUND[1])]), numbers=[24, 25])
    assert "means nothing for section 25:" in text


def test_cells_that_are_not_told_apart() -> None:
    cells = np.ones((1, 90, 90), bool)
    cells[:, ::10] = cells[:, :, ::10] = False
    text = said(cells, np.ones(cells.shape, np.float32))
    assert "below 0.2: cells are not told apart" in text
    scores = isbi2012_scores(cells, np.ones(cells.shape, np.float32), workers=1)
    assert len(doubts(scores)) == 1  # what the scores alone say


def test_an_inverted_map() -> None:
    assert "looks inverted" in said(LABELS, 1 - SOUND)


def test_labels_without_cells_or_without_membranes() -> None:
    full, bare = np.ones_like(LABELS[0]), np.zeros_like(LABELS[0])
    labels = np.stack([LABELS[0], full, bare, *[full] * 6])
    text = said(labels, np.stack([SOUND[0]] * 9))
    assert "section 2 of the labels without any cell" in text
    assert "sections 1, 3, 4, 5, 6 and 2 more of the labels without any membrane" in text
