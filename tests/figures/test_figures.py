from __future__ import annotations

import numpy as np
from scipy import ndimage

from paper_unet.figures.results import colour_cells, scores_figure, segmentation_figure
from paper_unet.metrics import isbi2012_scores


def test_neighbouring_cells_have_colours_of_their_own() -> None:
    cells = np.zeros((9, 9), bool)
    cells[:4], cells[5:] = True, True
    coloured = colour_cells(cells)
    assert coloured.shape == (9, 9, 3)
    assert not coloured[4].any()
    assert not np.allclose(coloured[0, 0], coloured[8, 8])
    assert (coloured[:4] == coloured[0, 0]).all()


def test_panels() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    interior = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    figure = segmentation_figure(image, interior, 0.5, interior > 0.4, "title")
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), interior)
    assert figure.axes[1].images[0].get_clim() == (0, 1)
    assert [axes.get_title() for axes in figure.axes][2:] == ["cells (probability > 0.5)", "truth"]
    assert len(segmentation_figure(image, interior, 0.5).axes) == 3


def test_scores_figure_marks_the_section_with_most_mismatches() -> None:
    labels = np.ones((2, 32, 32), np.uint8)
    labels[:, :, 16] = 0
    interior = labels.astype(np.float32)
    interior[1, 10:20, 16] = 1  # a gap in the membrane of section 1 merges its two cells
    scores = isbi2012_scores(labels, interior)
    figure = scores_figure(scores, labels, interior)
    curve = figure.axes[0].lines[0]
    np.testing.assert_array_equal(curve.get_ydata(), scores.thin_rand.scores)
    assert figure.axes[2].get_title().startswith("section 1")
    splits, mergers = figure.axes[2].lines
    chosen = scores.warping.thresholds.index(scores.thresholds["warping_error"])
    assert len(mergers.get_xdata()) == scores.warping.mergers[chosen]
    assert len(splits.get_xdata()) == scores.warping.splits[chosen]
    assert ndimage.label(interior[1])[1] == 1
