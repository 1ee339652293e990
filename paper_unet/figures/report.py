"""One page about the scores of a stack, that needs no other file and asks nothing of a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paper_unet.figures.results import curves_figure, mismatch_figure
from paper_unet.figures.style import picture
from paper_unet.metrics import Evaluated, Mismatch
from paper_unet.metrics.table import METRICS

WORST, ROWS = 4, 40
"""Sections that are drawn, and that are counted, the worst first."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1b1b; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; }
caption { text-align: left; color: #555; padding-bottom: .4rem; }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { width: 100%; height: auto; } figure { margin: 1rem 0; }
.doubt { border-left: 4px solid #d55e00; background: #fdf1e8; padding: .5rem .8rem; }
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""For the browser: the page loads nothing."""


@dataclass(frozen=True)
class SectionCounts:
    """What is wrong in one section after borders were moved.

    Attributes
    ----------
    index : int
        In the stack that was scored, from 0.
    splits, mergers : int
        Pixels.
    """

    index: int
    splits: int
    mergers: int


def worst_sections(evaluated: Evaluated) -> list[SectionCounts]:
    """Count splits and mergers of every section of a stack, the worst first.

    At the threshold that the warping error chose.
    """
    found = []
    for index, section in enumerate(evaluated.mismatches):
        codes = np.bincount(section.ravel(), minlength=len(Mismatch))
        found.append(SectionCounts(index, int(codes[Mismatch.SPLIT]), int(codes[Mismatch.MERGER])))
    return sorted(found, key=lambda one: -(one.splits + one.mergers))


def report_page(
    evaluated: Evaluated,
    *,
    title: str,
    facts: Mapping[str, str],
    pixel_size: float | None = None,
) -> str:
    """Make a page of HTML: scores, doubts, curves, the worst sections, where it comes from.

    Parameters
    ----------
    evaluated : Evaluated
        The stack and its scores.
    title : str
        Of the page.
    facts : mapping of str to str
        Where the numbers come from: files, versions, the command.
    pixel_size : float, micrometres, optional
        For scale bars.

    Returns
    -------
    str
        Everything is in it, pictures too; a browser loads nothing for it.
    """
    names, scores = evaluated.names, evaluated.scores
    counts = worst_sections(evaluated)
    wrong = [one for one in counts if one.splits + one.mergers]
    parts = [
        *(f'<p class="doubt">{_text(line)}</p>' for line in evaluated.doubts),
        "<h2>Scores</h2>", _scores(evaluated.headline),
        "<h2>At every threshold</h2>", _image(curves_figure(scores), "scores by threshold"),
        "<h2>Splits and mergers</h2>",
        f"<p>Pixels that still cut a cell or join two after borders were moved, at the threshold "
        f"{evaluated.threshold:.1f} of the warping error: {len(wrong)} of {len(counts)} sections "
        "have some.</p>",
        _sections(wrong, names),
        *(
            _image(
                mismatch_figure(evaluated, one.index, f"section {names[one.index]}", pixel_size),
                f"section {names[one.index]}",
            )
            for one in wrong[:WORST]
        ),
        "<h2>Where it comes from</h2>", _table([], facts.items()),
    ]  # fmt: skip
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join([f"<h1>{_text(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _text(value: object) -> str:
    return html.escape(str(value))


def _scores(found: Mapping[str, Any]) -> str:
    rows = []
    for name in (name for name in METRICS if name in found):
        threshold = found["thresholds"].get(name)
        rows.append(
            [
                str(METRICS[name]),
                float(found[name]),
                "" if threshold is None else f"{threshold:.1f}",
            ]
        )
    note = "Each threshold is the best one for this very stack, so the scores are optimistic."
    return _table(["metric", "score", "threshold"], rows, note)


def _sections(wrong: Sequence[SectionCounts], names: Sequence[int]) -> str:
    if not wrong:
        return ""
    note = "The worst first" + (f"; {len(wrong) - ROWS} more." if len(wrong) > ROWS else ".")
    rows = ([str(names[one.index]), one.splits, one.mergers] for one in wrong[:ROWS])
    return _table(["section", "pixels that split", "pixels that merge"], rows, note)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    caption = f"<caption>{_text(note)}</caption>" if note else ""
    head = "<tr>" + "".join(f"<th>{_text(one)}</th>" for one in heads) + "</tr>" if heads else ""
    lines = ("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table>{caption}{head}\n" + "\n".join(lines) + "</table>"


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f"<td>{_text(value)}</td>"
    return (
        f'<td class="number">{value:.6f}</td>'
        if isinstance(value, float)
        else (f'<td class="number">{_text(value)}</td>')
    )


def _image(drawn: Figure, name: str) -> str:
    data = base64.b64encode(picture(drawn, "png")).decode()
    return f'<figure><img alt="{_text(name)}" src="data:image/png;base64,{data}"></figure>'
