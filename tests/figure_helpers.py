"""What tests of figures share: texts that overlap, fonts in a PDF."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from paper_unet.figures.style import picture


def nothing_overlaps(figure: Figure) -> None:
    """No text of a figure, as it is saved, lies over another or leaves the page."""
    boxes: dict[int, tuple[str, Bbox]] = {}
    draw = Text.draw
    page: list[Bbox] = []

    def noting(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            boxes[id(text)] = text.get_text(), text.get_window_extent(renderer)
        page[:] = [Bbox.from_extents(0, 0, renderer.width, renderer.height)]
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noting)
        picture(figure, "png")
    assert len(boxes) > 3
    for name, box in boxes.values():
        assert box.x0 >= 0 and box.y0 >= 0, name
        assert box.x1 <= page[0].x1 and box.y1 <= page[0].y1, name
    for (one, a), (other, b) in combinations(boxes.values(), 2):
        separate = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert separate, f"{one!r} lies over {other!r}"


def fonts(pdf: bytes) -> set[str]:
    """The kinds of the fonts in a PDF of matplotlib, which leaves their dictionaries in plain."""
    return {
        kind.decode()
        for kind in re.findall(rb"/Subtype /(Type[013]\w*|TrueType|CIDFont\w+)", pdf)
    }  # fmt: skip


def page_inches(pdf: bytes) -> tuple[float, float]:
    """Width and height of the page of a PDF."""
    found = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert found is not None
    return float(found[1]) / 72, float(found[2]) / 72
