"""Fig. 1: the U, each box and arrow from a map that the network made.

Boxes are as high as their map is wide in pixels, and as wide as the root of its channels. They are
laid out in points (1/72 inch), so that the text keeps its size whatever the network::

    level 0   [] [] []  ------------------------------------>  [|] [] [] []
                     |                                          ^
    level 1          [] [] []  ----------------------->  [|] [] []
                            |                             ^
    ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from paper_unet.figures.style import BLUE, GREEN, GREY, PURPLE, SMALL, VERMILION, WIDTHS, figure
from paper_unet.figures.trace import FeatureMap, Operation, Trace

TALLEST, NARROWEST = 100.0, 4.4
"""Points: height of the tile, width of a box of the first level's channels."""
THINNEST = 1.5
"""Points: no box is narrower or lower."""
GAP, BETWEEN_LEVELS, MARGIN = 13.0, 32.0, 14.0
"""Points: between the boxes of a level, between levels (two lines of text and an arrow)."""
TEXT, LINE, LEGEND = SMALL, 9.0, 84.0
"""Points: size of the text, room for one line of it, width of the legend."""

Point = tuple[float, float]

FILL, EDGE = "#9fbfe3", "#24476f"
ARROWS: dict[Operation, tuple[str, str]] = {
    "conv 3x3": (BLUE, "conv 3×3"),
    "copy and crop": (GREY, "copy and crop"),
    "max pool 2x2": (VERMILION, "max pool 2×2"),
    "up-conv 2x2": (GREEN, "up-conv 2×2"),
    "conv 1x1": (PURPLE, "conv 1×1"),
}


@dataclass(frozen=True)
class Box:
    """A map on the page: left and centre of its box, and its extent, in points."""

    made: FeatureMap
    left: float
    middle: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right side."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """Upper side."""
        return self.middle + self.height / 2

    @property
    def bottom(self) -> float:
        """Lower side."""
        return self.middle - self.height / 2

    @property
    def axis(self) -> float:
        """Middle between left and right."""
        return self.left + self.width / 2


def lay_out(traced: Trace) -> list[Box]:
    """Give every map its place on the page.

    Parameters
    ----------
    traced : Trace

    Returns
    -------
    list of Box
        In the order of the maps. Boxes of a level lie side by side on one line, and no two
        overlap; the copied map lies left of its up-sampled partner, as in the paper.
    """
    scale = TALLEST / max(made.side for made in traced.maps)
    middles = _middles(traced.maps, scale)
    boxes: list[Box] = []
    for made in traced.maps:
        width = max(NARROWEST * sqrt(made.channels / traced.width), THINNEST)
        left = _left(boxes, made, width)
        height = max(scale * made.side, THINNEST)
        boxes.append(Box(made, left, middles[made.level], width, height))
    return boxes


def architecture_figure(traced: Trace, title: str = "") -> Figure:
    """Draw the network as the paper's Fig. 1.

    Parameters
    ----------
    traced : Trace
        From `paper_unet.figures.trace.trace`.
    title : str
        Put above; empty for none.

    Returns
    -------
    Figure
        As wide as a page; its height follows from what is drawn.
    """
    boxes = lay_out(traced)
    right, top = max(box.right for box in boxes), max(box.top for box in boxes)
    low = min(box.bottom for box in boxes) - 2 * TEXT
    spare = WIDTHS["page"] * 72 - right  # left and right of the boxes
    x = (-0.43 * spare, right + 0.57 * spare)
    y = (low - MARGIN / 2, top + (3.2 if title else 1.8) * TEXT)
    with figure("page", (y[1] - y[0]) / 72) as page:
        page.set_layout_engine("none")
        axes = page.add_axes((0, 0, 1, 1), xlim=x, ylim=y)
        axes.set_axis_off()
        _draw_boxes(axes, boxes)
        for operation, start, end in arrows(boxes):
            _draw_arrow(axes, operation, start, end)
        _draw_notes(axes, traced, x[0] + MARGIN / 2, low)
        _draw_legend(axes, traced, x[1] - MARGIN / 2, low)
        axes.text(sum(x) / 2, y[1] - 2, title, ha="center", va="top")
    return page


def arrows(boxes: Sequence[Box]) -> Iterator[tuple[Operation, Point, Point]]:
    """Yield every operation with where its arrow begins and ends."""
    for before, box in pairwise(boxes):
        operation = box.made.operation
        if operation == "max pool 2x2":
            yield operation, (box.axis, before.bottom - LINE), (box.axis, box.top + LINE)
        elif operation == "up-conv 2x2":
            yield operation, (box.axis, before.top + LINE), (box.axis, box.bottom - LINE)
        else:
            start = _neighbour(boxes, box)
            yield operation, (start.right + 1, box.middle), (box.left - 1, box.middle)


def _left(boxes: Sequence[Box], made: FeatureMap, width: float) -> float:
    """Left side of the next box: below or above the last one, or at the end of its line."""
    if not boxes:
        return 0.0
    last = boxes[-1]
    if made.operation in ("max pool 2x2", "up-conv 2x2"):
        return last.axis - width / 2
    if made.operation == "copy and crop":
        return last.left - width
    return max(box.right for box in boxes if box.made.level == made.level) + GAP


def _middles(maps: Sequence[FeatureMap], scale: float) -> dict[int, float]:
    """Height of each level's line on the page."""
    middles: dict[int, float] = {}
    floor = 0.0
    for level in sorted({made.level for made in maps}):
        height = scale * max(made.side for made in maps if made.level == level)
        middles[level] = floor - height / 2
        floor -= height + BETWEEN_LEVELS
    return middles


def _neighbour(boxes: Sequence[Box], box: Box) -> Box:
    """Return the box that stands left of another on its line, from which its arrow comes."""
    line = (other for other in boxes if other.made.level == box.made.level)
    return max((b for b in line if b.right < box.left), key=lambda other: other.right)


def _draw_boxes(axes: Axes, boxes: Sequence[Box]) -> None:
    for n, box in enumerate(boxes):
        copied = box.made.operation == "copy and crop"
        _rectangle(axes, box, box.height, fc="white" if copied else FILL, ec=EDGE, lw=0.6)
        if copied:
            source = _neighbour(boxes, box)
            _rectangle(axes, source, box.height, fill=False, ec=EDGE, lw=0.9, ls=(0, (1.5, 1)))
            continue
        centre, channels = box.axis, str(box.made.channels)
        if box.made.operation == "up-conv 2x2":  # the next one is the copy beside it
            centre, channels = box.left, f"{boxes[n + 1].made.channels}+{channels}"
        axes.text(centre, box.top + 1.5, channels, ha="center", va="bottom", fontsize=TEXT)
        size = f"{box.made.side}²"
        points = TEXT if box.made.side < 1000 else TEXT - 1
        axes.text(centre, box.bottom - 1.5, size, ha="center", va="top", fontsize=points)
    first, last = boxes[0], boxes[-1]
    axes.text(first.left - 4, first.middle, "image\ntile", ha="right", va="center", fontsize=TEXT)
    scores = f"scores\nof {last.made.channels}\nclasses"
    axes.text(last.right + 10, last.middle, scores, ha="left", va="center", fontsize=TEXT)


def _rectangle(axes: Axes, box: Box, height: float, **style: Any) -> None:
    axes.add_patch(Rectangle((box.left, box.middle - height / 2), box.width, height, **style))


def _draw_arrow(axes: Axes, operation: Operation, start: Point, end: Point) -> None:
    style = {"arrowstyle": "-|>,head_width=0.2,head_length=0.4", "shrinkA": 0, "shrinkB": 0}
    look = {"color": ARROWS[operation][0], "lw": 1.2, "mutation_scale": 9}
    axes.annotate("", end, start, arrowprops=style | look)


def _draw_notes(axes: Axes, traced: Trace, left: float, low: float) -> None:
    """Write the numbers of the network into the lower left corner."""
    lines = (
        f"{traced.convolutions} convolutional layers",
        f"{traced.parameters:,} parameters",
        f"{traced.macs / 1e9:.2f} G multiply-accumulates",
        "box height: pixels; width: √channels",
        "dashed: the part that is copied",
    )
    axes.text(left, low, "\n".join(lines), va="bottom", fontsize=TEXT, linespacing=1.35)


def _draw_legend(axes: Axes, traced: Trace, right: float, low: float) -> None:
    """Name the arrows in the lower right corner."""
    left = right - LEGEND
    for n, (operation, (_, name)) in enumerate(reversed(ARROWS.items())):
        made = [each for each in traced.maps if each.operation == operation]
        active = bool(made) and all(each.relu for each in made)
        y = low + 1.45 * TEXT * n + TEXT / 2
        _draw_arrow(axes, operation, (left, y), (left + 18, y))
        axes.text(left + 22, y, name + ", ReLU" * active, va="center", fontsize=TEXT)
