"""Fig. 3: a frame, its cells, the mask with the drawn gaps, the weight map; and their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.figures.cell_colours import (
    Colour,
    cell_colours,
    cell_numbers,
    paint,
    touching_pairs,
)
from paper_unet.figures.style import SKY, VERMILION, figure, scale_bar
from paper_unet.figures.tilings import busiest_window
from paper_unet.weight_map import class_weights, separate_touching, weight_map

ZOOM = 80
"""Pixels: side of the window that is shown enlarged."""
GAP, BLACK, UNKNOWN = to_rgb(VERMILION), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)
"""Of drawn gaps, enlarged and not, and of pixels that are not annotated."""


@dataclass(frozen=True)
class WeightedFrame:
    """A frame, its cells and what the loss makes of them.

    Attributes
    ----------
    image : ndarray, shape (Y, X)
        Grey values.
    instances : ndarray of int, shape (Y, X)
        The annotation, 0 = background.
    separated : ndarray of int, shape (Y, X)
        The same with gaps drawn between touching cells.
    ignore : ndarray of bool, shape (Y, X)
        Not annotated.
    weights : ndarray of float32, shape (Y, X)
        w(x) of Eq. 2.
    balance : (float, float)
        w_c of background and of cells.
    """

    image: NDArray[Any]
    instances: NDArray[np.integer]
    separated: NDArray[np.integer]
    ignore: NDArray[np.bool_]
    weights: NDArray[np.float32]
    balance: tuple[float, float]

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Cell pixels that were made background."""
        gaps: NDArray[np.bool_] = (self.instances != 0) & (self.separated == 0)
        return gaps

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, for JSON."""
        total = float(self.weights.sum(dtype=np.float64))
        annotated = self.weights[~self.ignore]
        in_gaps = float(self.weights[self.gaps].sum(dtype=np.float64))
        w_c = np.where(self.separated != 0, self.balance[1], self.balance[0])[~self.ignore]
        return {
            "cells": len(cell_numbers(self.instances)),
            "touching_pairs": len(touching_pairs(self.instances)),
            "touching_pairs_after": len(touching_pairs(self.separated)),
            "gap_pixels": int(self.gaps.sum()),
            "unannotated_pixels": int(self.ignore.sum()),
            "w_c": {"background": self.balance[0], "cell": self.balance[1]},
            "weight_min": float(annotated.min()),
            "weight_max": float(annotated.max()),
            "weight_mean_in_gaps": in_gaps / int(self.gaps.sum()) if self.gaps.any() else None,
            "share_of_pixels_in_gaps": float(self.gaps[~self.ignore].mean()),
            "share_of_weight_in_gaps": in_gaps / total,
            "share_of_weight_from_border_term": 1 - float(w_c.sum()) / total,
        }


def weighted_frame(
    image: NDArray[Any],
    instances: NDArray[np.integer],
    ignore: NDArray[np.bool_] | None = None,
    *,
    balance: tuple[float, float] | None = None,
    w0: float = 10.0,
    sigma: float = 5.0,
) -> WeightedFrame:
    """Draw the gaps of a frame and weigh its pixels, as training does (sec. 3).

    Parameters
    ----------
    image : ndarray, shape (Y, X)
        Grey values.
    instances : ndarray of int, shape (Y, X)
        0 = background, 1.. = cells.
    ignore : ndarray of bool, shape (Y, X), optional
        Not annotated: weight 0.
    balance : (float, float), optional
        w_c of background and of cells in the training set; default: of this frame.
    w0, sigma : float
        Eq. 2; sec. 3: 10, and about 5 pixels.

    Returns
    -------
    WeightedFrame

    Raises
    ------
    InputError
        If the shapes differ, or no pixel is annotated.
    """
    unknown = np.zeros(instances.shape, np.bool_) if ignore is None else ignore
    if not image.shape == instances.shape == unknown.shape:
        raise InputError(
            f"the image has shape {image.shape}, the cells {instances.shape}, the pixels to ignore "
            f"{unknown.shape}; give one frame (Y, X)"
        )
    if unknown.all():
        raise InputError("every pixel is marked as not annotated; give a frame with cells")
    separated = separate_touching(instances)
    if balance is None:
        background, cell = class_weights((separated != 0).astype(np.uint8), unknown)
        balance = float(background), float(cell)
    weights = weight_map(separated, w0, sigma, balance=balance, ignore=unknown)
    return WeightedFrame(image, instances, separated, unknown, weights, balance)


def weight_map_figure(
    frame: WeightedFrame, title: str = "", pixel_size: float | None = None
) -> Figure:
    """Draw Fig. 3: image, cells, mask with gaps, weight map; below, a part of each enlarged.

    Parameters
    ----------
    frame : WeightedFrame
    title : str
        Put above the figure.
    pixel_size : float, micrometres, optional
        For the scale bars.

    Returns
    -------
    Figure
        As wide as a page.
    """
    with figure("page", 3.9) as page:
        panels = page.subplots(2, 4)
        detail = busiest_window(frame.gaps, ZOOM)
        for row, part in zip(panels, ((slice(None), slice(None)), detail), strict=True):
            weights = _draw_row(row, frame, part, GAP if part is detail else BLACK)
            if pixel_size is not None:
                scale_bar(row[0], pixel_size)
        for axes in panels[0]:
            _mark(axes, detail)
        page.colorbar(weights, ax=panels[:, 3], fraction=0.07, pad=0.03, aspect=40)
        _title(panels, frame)
        page.suptitle(title)
    return page


def _draw_row(
    row: NDArray[Any], frame: WeightedFrame, part: tuple[slice, slice], gap: Colour
) -> AxesImage:
    """Draw a part of the frame four times; return the weights."""
    grey = _grey(frame.image)
    cells = paint(frame.instances, cell_colours(frame.instances), grey)
    row[0].imshow(grey[part], vmin=0, vmax=1)
    row[1].imshow(cells[part], interpolation="nearest")
    row[2].imshow(_mask(frame, gap)[part], interpolation="nearest")
    weights: AxesImage = row[3].imshow(frame.weights[part], cmap="inferno", vmin=0)
    weights.set_clim(vmax=frame.weights.max())
    for axes in row:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    return weights


def _title(panels: NDArray[Any], frame: WeightedFrame) -> None:
    found = frame.to_dict()
    names = (
        "(a) image",
        f"(b) {found['cells']} cells; {found['touching_pairs']} pairs touch",
        f"(c) mask; {found['gap_pixels']} pixels of gaps",
        f"(d) weight w: {found['weight_min']:.2f} to {found['weight_max']:.1f}",
    )
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name)
    panels[1, 0].set_title("the framed part")
    panels[1, 2].set_title("red: drawn gap" + "; grey: unknown" * bool(frame.ignore.any()))


def _mark(axes: Axes, window: tuple[slice, slice]) -> None:
    rows, columns = window
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=SKY, lw=1.0))


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    """Stretch the contrast to [0, 1]; one pixel in 200 is clipped at either end."""
    low, high = np.quantile(image, (0.005, 0.995))
    stretched: NDArray[np.float64] = np.clip((image - low) / max(high - low, 1e-9), 0, 1)
    return stretched


def _mask(frame: WeightedFrame, gap: Colour) -> NDArray[np.float64]:
    """Cells white, background black, gaps in a colour, what is not annotated grey."""
    mask = np.zeros((*frame.image.shape, 3))
    mask[frame.separated != 0] = 1
    mask[frame.gaps] = gap
    mask[frame.ignore] = UNKNOWN
    return mask
