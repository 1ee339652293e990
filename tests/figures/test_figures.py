from __future__ import annotations

import numpy as np
from figure_helpers import nothing_overlaps
from scipy import ndimage

from paper_unet.figures.results import scores_figure, segmentation_figure
from paper_unet.metrics import Evaluated, isbi2012_scores


def test_panels() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    interior = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    figure = segmentation_figure(image, interior, 0.5, interior > 0.4, "title")
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), interior)
    assert figure.axes[1].images[0].get_clim() == (0, 1)
    titles = ["cells (probability > 0.5)\nwhite, grey: no true cell", "truth"]
    assert [axes.get_title() for axes in figure.axes][2:] == titles
    assert len(segmentation_figure(image, interior, 0.5).axes) == 3
    nothing_overlaps(segmentation_figure(image, interior, 0.5, interior > 0.4, "title", 0.004))


def test_a_cell_has_one_colour_in_truth_and_result() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[2:9, 2:9], labels[2:9, 11:18], labels[11:18, 2:9] = 1, 1, 1
    interior = labels.astype(np.float32)
    interior[11:18, 2:9] = 0  # one is missed
    interior[11:18, 20:28] = 1  # and one is none
    found, truth = (
        np.asarray(axes.images[0].get_array())
        for axes in segmentation_figure(labels, interior, 0.5, labels).axes[2:]
    )
    np.testing.assert_array_equal(found[:10], truth[:10])
    assert len({tuple(colour) for colour in truth[5, [5, 14]]} | {tuple(truth[15, 5])}) == 3
    assert not found[15, 5].any() and truth[15, 5].any()
    np.testing.assert_array_equal(found[15, 24], [1, 1, 1])


def test_scores_figure_marks_the_section_with_most_mismatches() -> None:
    labels = np.ones((2, 32, 32), np.uint8)
    labels[:, :, 16] = 0
    interior = labels.astype(np.float32)
    interior[1, 10:20, 16] = 1  # a gap in the membrane of section 1 merges its two cells
    scores = isbi2012_scores(labels, interior)
    figure = scores_figure(Evaluated(scores, labels, interior))
    curve = figure.axes[0].lines[0]
    np.testing.assert_array_equal(curve.get_ydata(), scores.thin_rand.scores)
    assert figure.axes[2].get_title().startswith("section 1")
    splits, mergers = figure.axes[2].lines
    chosen = scores.warping.thresholds.index(scores.thresholds["warping_error"])
    assert len(mergers.get_xdata()) == scores.warping.mergers[chosen]
    assert len(splits.get_xdata()) == scores.warping.splits[chosen]
    assert ndimage.label(interior[1])[1] == 1
    names = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    for name in ("V_rand", "V_info", "Rand error", "pixel error", "split", "merger"):
        assert name in names
    named = scores_figure(Evaluated(scores, labels, interior, [24, 25]))
    assert named.axes[2].get_title().startswith("section 25,")
    nothing_overlaps(scores_figure(Evaluated(scores, labels, interior), 0.004))
