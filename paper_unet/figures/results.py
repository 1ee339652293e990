"""Arrays in, figure out. Nothing here opens a file or a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import label2rgb

from paper_unet.metrics import Isbi2012Scores, Mismatch, ThresholdScores, warping_mismatches


def segmentation_figure(
    image: NDArray[Any],
    interior: NDArray[np.floating],
    threshold: float,
    labels: NDArray[Any] | None = None,
    title: str = "",
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
        Truth, 0 = membrane.
    title : str
        Put above the figure.

    Returns
    -------
    Figure
    """
    panels: list[tuple[str, NDArray[Any]]] = [
        ("image", image),
        ("probability of cell", interior),
        (f"cells (probability > {threshold:.1f})", colour_cells(interior > threshold)),
    ]
    if labels is not None:
        panels.append(("truth", colour_cells(labels > 0)))
    figure = Figure(figsize=(3.4 * len(panels), 3.9), layout="constrained")
    for axes, (name, panel) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        _show(axes, panel, name, limit=1 if panel is interior else None)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


CURVES: dict[str, Callable[[Isbi2012Scores], ThresholdScores]] = {
    "V_rand (thin)": lambda s: s.thin_rand,
    "V_info (thin)": lambda s: s.thin_info,
    "1 - Rand error": lambda s: s.rand,
    "1 - pixel error": lambda s: s.pixel,
}


def scores_figure(
    scores: Isbi2012Scores, labels: NDArray[Any], interior: NDArray[np.floating]
) -> Figure:
    """Draw the five metrics against the threshold, and where one section is split or merged.

    Parameters
    ----------
    scores : Isbi2012Scores
        Of this very stack.
    labels, interior : ndarray, shape (Z, Y, X)
        As they were scored. The section shown is the one with most splits and mergers, at the
        threshold that the warping error chose.

    Returns
    -------
    Figure
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, curve in CURVES.items():
        left.plot(curve(scores).thresholds, curve(scores).scores, ".-", label=name)
    left.set_title("higher is better", fontsize=9)
    left.set_ylim(top=1)
    middle.plot(scores.warping.thresholds, scores.warping.errors, ".-k")
    middle.set_yscale("symlog", linthresh=1e-4)  # a perfect map has an error of 0
    middle.set_title("warping error, lower is better", fontsize=9)
    left.legend(fontsize=8)
    for axes in (left, middle):
        axes.set_xlabel("threshold")
    threshold = scores.thresholds["warping_error"]
    found = [
        warping_mismatches(truth, map_, threshold)
        for truth, map_ in zip(labels, interior, strict=True)
    ]
    counted = (Mismatch.SPLIT, Mismatch.MERGER)
    z = int(np.argmax([np.isin(codes, counted).sum() for codes in found]))
    _show(right, interior[z], f"section {z}, threshold {threshold:.1f}", limit=1)
    for code, colour, name in ((counted[0], "red", "split"), (counted[1], "cyan", "merger")):
        y, x = np.nonzero(found[z] == code)
        right.plot(x, y, ".", color=colour, markersize=2, label=f"{name}: {len(y)} pixels")
    right.legend(fontsize=8, loc="lower right")
    return figure


def colour_cells(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give each 4-connected region a colour, the background black; RGB in [0, 1], (Y, X, 3)."""
    numbered, count = ndimage.label(cells)
    colours = np.random.default_rng(0).uniform(0.25, 1, (max(count, 1), 3))
    coloured: NDArray[np.float64] = label2rgb(numbered, colors=list(colours), bg_label=0)  # type: ignore[no-untyped-call]
    return coloured


def _show(axes: Axes, panel: NDArray[Any], name: str, limit: float | None) -> None:
    axes.imshow(panel, cmap="gray", vmin=0 if limit else None, vmax=limit, interpolation="nearest")
    axes.set_title(name, fontsize=9)
    axes.set_axis_off()
