"""Arrays in, figure out. Nothing here opens a file or a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.figures.cell_colours import cell_colours, matched_colours, paint
from paper_unet.figures.style import BLACK, SKY, VERMILION, figure, legend_below, scale_bar
from paper_unet.metrics import Evaluated, Isbi2012Scores, Mismatch, ThresholdScores
from paper_unet.metrics.table import metric


def segmentation_figure(
    image: NDArray[Any],
    interior: NDArray[np.floating],
    threshold: float,
    labels: NDArray[Any] | None = None,
    title: str = "",
    pixel_size: float | None = None,
) -> Figure:
    """Draw one section: image, probability, segmentation and, where there is one, the truth.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        Grey values.
    interior : ndarray of float, shape (Y, X)
        Probability of the cell class.
    threshold : float
        Cells are the 4-connected regions above it.
    labels : ndarray, shape (Y, X), optional
        Truth, 0 = membrane. Cells have the colours of the true cells that they match.
    title : str
        Put above the figure.
    pixel_size : float, micrometres, optional
        For a scale bar.

    Returns
    -------
    Figure
        As wide as a page.
    """
    panels: list[tuple[str, NDArray[Any]]] = [("image", image), ("probability of cell", interior)]
    found, _ = ndimage.label(interior > threshold)
    name = f"cells (probability > {threshold:.1f})"
    if labels is None:
        panels.append((name, paint(found, cell_colours(found))))
    else:
        truth, _ = ndimage.label(labels > 0)
        of_truth, of_found = matched_colours(truth, found)
        panels.append((f"{name}\nwhite, grey: no true cell", paint(found, of_found)))
        panels.append(("truth", paint(truth, of_truth)))
    with figure("page", 0.32 + 0.16 * bool(title) + 6.6 / len(panels)) as page:
        for axes, (name, panel) in zip(page.subplots(1, len(panels)), panels, strict=True):
            _show(axes, panel, name, limit=1 if panel is interior else None)
        if pixel_size is not None:
            scale_bar(page.axes[0], pixel_size)
        if title:
            page.suptitle(title)
    return page


CURVES: dict[str, Callable[[Isbi2012Scores], ThresholdScores]] = {
    metric("v_rand").title: lambda s: s.thin_rand,
    metric("v_info").title: lambda s: s.thin_info,
    f"1 - {metric('rand_error').title}": lambda s: s.rand,
    f"1 - {metric('pixel_error').title}": lambda s: s.pixel,
}


def scores_figure(evaluated: Evaluated, pixel_size: float | None = None) -> Figure:
    """Draw the five metrics against the threshold, and where one section is split or merged.

    Parameters
    ----------
    evaluated : Evaluated
        The stack. The section shown is the one with most splits and mergers, at the threshold that
        the warping error chose.
    pixel_size : float, micrometres, optional
        For a scale bar.

    Returns
    -------
    Figure
        As wide as a page.
    """
    with figure("page", 2.95) as page:
        left, middle, right = page.subplots(1, 3)
        _draw_curves(left, middle, evaluated.scores)
        _draw_worst(right, evaluated)
        if pixel_size is not None:
            scale_bar(right, pixel_size)
        legend_below(page, ncols=3)
    return page


def curves_figure(scores: Isbi2012Scores) -> Figure:
    """Draw the five metrics against the threshold.

    Parameters
    ----------
    scores : Isbi2012Scores

    Returns
    -------
    Figure
        As wide as a page.
    """
    with figure("page", 3.6) as page:
        left, right = page.subplots(1, 2)
        _draw_curves(left, right, scores)
        legend_below(page)
    return page


def mismatch_figure(
    evaluated: Evaluated, index: int, title: str = "", pixel_size: float | None = None
) -> Figure:
    """Draw one section: the labels, the probability, and where it splits or merges cells.

    Parameters
    ----------
    evaluated : Evaluated
        The stack.
    index : int
        Of the section in it, from 0.
    title : str
        Put above the figure.
    pixel_size : float, micrometres, optional
        For a scale bar.

    Returns
    -------
    Figure
        As wide as a page.
    """
    with figure("page", 2.95) as page:
        left, middle, right = page.subplots(1, 3)
        _show(left, evaluated.labels[index] != 0, "labels", limit=1)
        _show(middle, evaluated.interior[index], "probability of cell", limit=1)
        _draw_mismatches(right, evaluated, index, f"threshold {evaluated.threshold:.1f}")
        if pixel_size is not None:
            scale_bar(left, pixel_size)
        if title:
            page.suptitle(title)
        legend_below(page)
    return page


def _draw_curves(left: Axes, right: Axes, scores: Isbi2012Scores) -> None:
    """Draw the four scores of which higher is better, and the warping error."""
    for (name, curve), mark in zip(CURVES.items(), "osv^", strict=True):
        at = curve(scores)
        left.plot(at.thresholds, at.scores, f"{mark}-", label=name, clip_on=False)
    left.set_title("higher is better")
    left.set_ylim(0, 1)
    right.plot(scores.warping.thresholds, scores.warping.errors, "o-", color=BLACK)
    right.set_yscale("symlog", linthresh=1e-4)  # a perfect map has an error of 0
    right.set_ylim(bottom=0)
    right.set_title(str(metric("warping_error")))
    for axes in (left, right):
        axes.set(xlabel="threshold", xlim=(0, 1))
        axes.set_box_aspect(1)


def _draw_worst(axes: Axes, evaluated: Evaluated) -> None:
    """Draw the section with most splits and mergers, and where they are."""
    z = int(np.argmax([np.isin(codes, COUNTED).sum() for codes in evaluated.mismatches]))
    name = f"section {evaluated.names[z]}, threshold {evaluated.threshold:.1f}"
    _draw_mismatches(axes, evaluated, z, name)


COUNTED = (Mismatch.SPLIT, Mismatch.MERGER)


def _draw_mismatches(axes: Axes, evaluated: Evaluated, index: int, name: str) -> None:
    _show(axes, evaluated.interior[index], name, limit=1)
    codes = evaluated.mismatches[index]
    for code, colour, word in zip(COUNTED, (VERMILION, SKY), ("split", "merger"), strict=True):
        y, x = np.nonzero(codes == code)
        axes.plot(x, y, "o", color=colour, ms=1.5, mec="none", label=f"{word}: {len(y)} pixels")


def _show(axes: Axes, panel: NDArray[Any], name: str, limit: float | None) -> None:
    axes.imshow(panel, cmap="gray", vmin=0 if limit else None, vmax=limit)
    axes.set_title(name)
    axes.set_axis_off()
