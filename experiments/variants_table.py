"""The table and the figure of ``variants.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import common
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_unet.figures.style import (
    BLUE,
    draw_runs,
    figure,
    honest_limits,
    keys,
    legend_below,
    metric_label,
)

OWN, PAPER = "own", "paper"
SHOWN = ("v_rand", "v_info", "pixel_error")


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and spread over the seeds, and of the differences from the paper, by seed."""
    lines = []
    paper = {row["seed"]: row for row in rows if row["network"] == "paper"}
    for name, recipe in dict.fromkeys((row["network"], row["recipe"]) for row in rows):
        mine = [row for row in rows if (row["network"], row["recipe"]) == (name, recipe)]
        done = [row for row in mine if "diverged" not in row]
        line: dict[str, Any] = {"network": name, "recipe": recipe, "seeds": len(mine)}
        line["diverged"] = len(mine) - len(done)
        for metric in SHOWN:
            line[metric] = common.spread([row[metric] for row in done])
            line[f"{metric}_against_paper"] = common.spread(
                [
                    row[metric] - paper[row["seed"]][metric]
                    for row in done
                    if metric in paper.get(row["seed"], {})
                ]
            )
        line["seams"] = {
            halo: common.spread([row["seams"][halo]["rms"] for row in done])
            for halo in (done[0]["seams"] if done else {})
        }
        if done and "at_512" in done[0]:
            line["at_512"] = common.spread([row["at_512"]["rms"] for row in done])
        lines.append(line)
    return lines


def markdown(lines: list[dict[str, Any]], known: dict[str, Any], width: int) -> Iterator[str]:
    """Give the lines of the table that docs/variants.md shows."""
    heads = (
        "network", "recipe", "steps", "V_rand", "V_info", "pixel error", "parameters",
        "MAC per pixel", "pixels per second", "seams, halo 0", "seams, own halo",
    )  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for line in lines:
        fact = known[line["network"]]
        here = fact[f"width {width}"]
        cells = [line["network"], line["recipe"], str(fact["steps"])]
        cells += [_cell(line[metric], 4) for metric in SHOWN]
        cells += [f"{here['parameters']:,}", f"{here['per_pixel']:,.0f}"]
        cells += [f"{fact['pixels_per_second']:,.0f}"]
        cells += [_cell(line["seams"].get(halo), 6) for halo in ("0", "own")]
        yield f"| {' | '.join(cells)} |"


def _cell(entry: dict[str, float | None] | None, digits: int) -> str:
    if not entry or entry["mean"] is None:
        return "-"
    sd = "" if entry["sd"] is None else f" ± {entry['sd']:.{digits}f}"
    return f"{entry['mean']:.{digits}f}{sd}"


def draw(lines: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Figure:
    """Draw every run as a dot, their mean and spread; at the right the seams."""
    names = list(dict.fromkeys(line["network"] for line in lines))
    recipes = keys((PAPER, OWN))
    places = {
        (line["network"], line["recipe"]): names.index(line["network"])
        + (0.16 if line["recipe"] == PAPER else -0.16)
        for line in lines
    }
    with figure("page", 1.1 + 0.26 * len(names)) as page:
        *panels, seams = page.subplots(1, len(SHOWN) + 1, sharey=True)
        for axes, metric in zip(panels, SHOWN, strict=True):
            drawn = []
            for (network, recipe), place in places.items():
                mine = [r for r in rows if (r["network"], r["recipe"]) == (network, recipe)]
                values = [row[metric] for row in mine if metric in row]
                label = f"recipe: {recipe}"
                draw_runs(axes, place, values, key=recipes[recipe], label=label, upright=False)
                drawn.append(values)
            axes.set_xlim(honest_limits(metric, drawn))
            axes.locator_params(axis="x", nbins=4)
            axes.set_title(metric_label(metric))
        for line in lines:
            place = places[line["network"], line["recipe"]]
            draw_seams(seams, line["seams"], place, recipes[line["recipe"]][0])
        seams.set_xscale("log")
        seams.set_xticks([1e-9, 1e-6, 1e-3], ["≤ 1e-9", "1e-6", "1e-3"])
        seams.set_title("seams, RMS\nlower is better")
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        legend_below(page, ncols=5)
        source = rows[0]["source"]
        shown = "SYNTHETIC sections" if source == "synthetic" else source
        page.suptitle(shown + common.collapsed(rows))
    return page


def draw_seams(axes: Axes, seams: dict[str, Any], place: float, colour: str) -> None:
    """Draw the mean of the seams at each halo; what is below 1e-9 stands there."""
    for halo, mark in {"0": "x", "32": "+", "own": "|"}.items():
        if halo in seams:
            shown = max(seams[halo]["mean"], 1e-9)
            label = f"halo: {halo}" if colour == BLUE else None
            axes.plot(shown, place, mark, color=colour, ms=5, label=label)
