"""Arrays in, figure out. Nothing here opens a file or a window."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import label2rgb


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
