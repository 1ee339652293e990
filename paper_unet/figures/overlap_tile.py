"""Fig. 2: overlapping tiles, the mirrored context, and what abutting tiles change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from paper_unet.figures.style import BLUE, SKY, VERMILION, YELLOW, figure, scale_bar
from paper_unet.figures.tilings import Difference, busiest_window
from paper_unet.geometry import HALO, PAPER, STRIDE, Tile, mirror_window, output_size

INPUT, OUTPUT = BLUE, YELLOW
"""The paper's colours: what the network sees, and what it returns."""
LEVELS = colormaps["RdBu_r"].resampled(15)
"""Of the differences: few enough that the eye can count them."""
ZOOM = 96
"""Pixels: side of the window that is shown enlarged."""


@dataclass(frozen=True)
class TiledSection:
    """A section and what the network made of it.

    Attributes
    ----------
    image : ndarray, shape (Y, X)
        Grey values.
    tile : int
        Side of the largest exact tile, pixels.
    one_pass : ndarray of float32, shape (Y, X)
        Log odds from one pass over the mirrored section.
    stitched : ndarray of float32, shape (Y, X)
        Log odds from exact tiles.
    abutting : sequence of Difference
        Two, of abutting tiles, against ``one_pass``.
    """

    image: NDArray[Any]
    tile: int
    one_pass: NDArray[np.float32]
    stitched: NDArray[np.float32]
    abutting: Sequence[Difference]


def overlap_tile_figure(
    section: TiledSection, title: str = "", pixel_size: float | None = None
) -> Figure:
    """Draw the overlap-tile strategy of Fig. 2, and the difference that abutting tiles make.

    Parameters
    ----------
    section : TiledSection
    title : str
        Put above the figure.
    pixel_size : float, micrometres, optional
        For the scale bars.

    Returns
    -------
    Figure
        As wide as a page. Six panels: the section in its mirrored context with one tile; the
        mosaic; the stitched probability; two maps of differences; where most pixels change their
        class.
    """
    scale = max(float(np.quantile(np.abs(found.map), 0.999)) for found in section.abutting)
    with figure("page", 4.8) as page:
        panels = page.subplots(2, 3)
        _draw_context(panels[0, 0], section)
        _draw_mosaic(panels[0, 1], section)
        _draw_probability(panels[0, 2], section)
        for letter, axes, found in zip("de", panels[1, :2], section.abutting, strict=True):
            _draw_difference(axes, found, scale, letter)
        _draw_changes(panels[1, 2], section)
        if pixel_size is not None:
            for axes in (panels[0, 0], panels[0, 1], panels[1, 2]):
                scale_bar(axes, pixel_size)
        page.suptitle(title)
    return page


def _draw_context(axes: Axes, section: TiledSection) -> None:
    rows, columns = _tiles(section)
    row, column = rows[0], columns[0]
    below, right = (
        max(side + HALO, tile.high)
        for side, tile in zip(section.image.shape, (row, column), strict=True)
    )
    wide = mirror_window(section.image, (-HALO, below), (-HALO, right))
    extent = (-HALO - 0.5, right - 0.5, below - 0.5, -HALO - 0.5)
    _draw_behind(axes, wide, -HALO, -HALO)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    _shade_mirrored(axes, extent, section.image.shape)
    _draw_input(axes, row, column)
    _square(axes, row.start, column.start, output_size(row.side), OUTPUT, alpha=0.3)
    handles = [
        Patch(fc=to_rgba(INPUT, 0.18), ec=INPUT, label=f"input {row.side}²"),
        Patch(fc=to_rgba(OUTPUT, 0.3), ec=OUTPUT, label=f"output {output_size(row.side)}²"),
        Patch(fc="0.85", ec="0.5", label="mirrored"),
    ]
    look = {"handlelength": 1, "columnspacing": 1, "handletextpad": 0.5}
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, **look)
    axes.set_axis_off()
    axes.set_title("(a) a tile and its mirrored context")


def _draw_behind(axes: Axes, image: NDArray[Any], top: int, left: int) -> None:
    """Draw an image as the background of tiles: means of 2 x 2 pixels, at their place."""
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    means = even.reshape(-(-height // 2), 2, -(-width // 2), 2).mean((1, 3))
    right, below = left + even.shape[1] - 0.5, top + even.shape[0] - 0.5
    extent = (left - 0.5, right, below, top - 0.5)
    axes.imshow(means, extent=extent, interpolation="nearest")


def _shade_mirrored(
    axes: Axes, extent: tuple[float, float, float, float], shape: tuple[int, ...]
) -> None:
    """Pale what is not the section itself, and frame the section."""
    left, right, below, above = extent
    height, width = shape
    look: dict[str, Any] = {"fc": "white", "alpha": 0.5, "lw": 0}
    axes.add_patch(Rectangle((left, above), right - left, -0.5 - above, **look))
    axes.add_patch(Rectangle((left, height - 0.5), right - left, below - height + 0.5, **look))
    axes.add_patch(Rectangle((left, -0.5), -0.5 - left, height, **look))
    axes.add_patch(Rectangle((width - 0.5, -0.5), right - width + 0.5, height, **look))
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, ec="white", lw=1))


def _draw_mosaic(axes: Axes, section: TiledSection) -> None:
    rows, columns = _tiles(section)
    _draw_behind(axes, section.image, 0, 0)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            corner = (column.start - 0.5, row.start - 0.5)
            fill = to_rgba(OUTPUT, 0.22 if (x + y) % 2 == 0 else 0.06)
            axes.add_patch(Rectangle(corner, column.core, row.core, fc=fill, ec=OUTPUT, lw=1))
    _draw_input(axes, rows[len(rows) // 2], columns[len(columns) // 2])
    _mark_starts(axes, [span.start for span in rows], [span.start for span in columns])
    height, width = section.image.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    count = len(rows) * len(columns)
    tiles = f"{count} exact tile{'s' * (count > 1)}, starts on multiples of {STRIDE}"
    axes.set_title(f"(b) {tiles}")


def _draw_probability(axes: Axes, section: TiledSection) -> None:
    probability = 1 / (1 + np.exp(-section.stitched.astype(np.float64)))
    shown = axes.imshow(probability, cmap="gray", vmin=0, vmax=1)
    _colour_bar(axes, shown)
    axes.set_axis_off()
    apart = float(np.abs(section.stitched - section.one_pass).max()) / section.abutting[0].spread
    same = "the very values" if apart == 0 else f"within {apart:.0e} SD"
    axes.set_title(f"(c) probability of cell, stitched:\n{same} of one pass")


def _draw_difference(axes: Axes, found: Difference, scale: float, letter: str) -> None:
    limit = scale or 1.0  # one tile alone has no difference
    shown = axes.imshow(found.map, cmap=LEVELS, vmin=-limit, vmax=limit, interpolation="nearest")
    _colour_bar(axes, shown, extend="both")
    rows, columns = found.starts()
    for start in rows[1:]:
        axes.axhline(start - 0.5, color="black", lw=0.6, ls=":")
    for start in columns[1:]:
        axes.axvline(start - 0.5, color="black", lw=0.6, ls=":")
    _mark_starts(axes, rows, columns)
    axes.set_title(
        f"({letter}) {output_size(found.tile)}² abutting − one pass, in SD\n"
        f"max {found.maximum:.2g}, mean {found.mean:.2g}\n"
        f"another class: {found.changed.sum()} pixels ({found.changed.mean():.2%})",
    )


def _draw_changes(axes: Axes, section: TiledSection) -> None:
    """Show the class borders of one pass, and the pixels on the other side of them."""
    found = max(section.abutting, key=lambda each: int(each.changed.sum()))
    window = busiest_window(found.changed, ZOOM)
    axes.imshow(section.image[window], cmap="gray")
    overlay = np.zeros((*section.image[window].shape, 4))
    overlay[found.changed[window]] = to_rgba(VERMILION, 0.9)
    axes.imshow(overlay, interpolation="nearest")
    odds = section.one_pass[window]
    if odds.min() < 0 < odds.max():
        axes.contour(odds, levels=[0], colors=SKY, linewidths=1.0)
    axes.set_axis_off()
    axes.set_title(
        f"(f) {odds.shape[0]} × {odds.shape[1]} pixels, {output_size(found.tile)}² abutting\n"
        "blue: border of the classes in one pass\nred: pixels of another class",
    )


def _tiles(section: TiledSection) -> tuple[list[Tile], list[Tile]]:
    height, width = section.image.shape
    return PAPER.tiles(height, section.tile), PAPER.tiles(width, section.tile)


def _draw_input(axes: Axes, row: Tile, column: Tile) -> None:
    corner = (column.low - 0.5, row.low - 0.5)
    look: dict[str, Any] = {"fc": to_rgba(INPUT, 0.18), "ec": INPUT, "lw": 1.6}
    axes.add_patch(Rectangle(corner, column.side, row.side, **look))


def _square(axes: Axes, top: int, left: int, side: int, colour: str, alpha: float) -> None:
    look: dict[str, Any] = {"fc": to_rgba(colour, alpha), "ec": colour, "lw": 1.6}
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, **look))


def _mark_starts(axes: Axes, rows: Sequence[int], columns: Sequence[int]) -> None:
    axes.set_yticks(rows)
    axes.set_xticks(columns)
    axes.spines[:].set_visible(True)


def _colour_bar(axes: Axes, shown: Any, **look: Any) -> None:
    axes.figure.colorbar(shown, ax=axes, fraction=0.045, pad=0.02, **look)
