"""The table and the figure of ``variants.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import common
import numpy as np
from matplotlib.figure import Figure

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
    """Draw every run as a dot and every mean as a bar; at the right the seams."""
    names = list(dict.fromkeys(line["network"] for line in lines))
    figure = Figure(figsize=(11.5, 1.4 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    colours, moved = {OWN: "tab:orange", PAPER: "tab:blue"}, {OWN: -0.15, PAPER: 0.15}
    for panel, metric in zip(axes, SHOWN, strict=False):
        for line in lines:
            place = names.index(line["network"]) + moved[line["recipe"]]
            key = (line["network"], line["recipe"])
            values = [r[metric] for r in rows if (r["network"], r["recipe"]) == key and metric in r]
            panel.plot(values, [place] * len(values), "o", color=colours[line["recipe"]], ms=4)
            if values:
                panel.plot([np.mean(values)] * 2, [place - 0.14, place + 0.14], color="k", lw=1.5)
        panel.set_title(metric + (" (lower is better)" if metric == "pixel_error" else ""))
    markers = {"0": "x", "32": "+", "own": "o"}
    for line in lines:
        place = names.index(line["network"]) + moved[line["recipe"]]
        for halo, entry in line["seams"].items():
            shown = max(entry["mean"], 1e-9)
            axes[3].plot(shown, place, markers[halo], color=colours[line["recipe"]], ms=5)
    axes[3].set_xscale("log")
    axes[3].set_title("seams, rms (x halo 0, + 32, o own)")
    for recipe, colour in colours.items():
        axes[0].plot([], [], "o", color=colour, label=f"recipe: {recipe}")
    axes[0].legend(fontsize=7)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    for panel in axes:
        panel.tick_params(labelsize=8)
        panel.title.set_fontsize(9)
    source = rows[0]["source"]
    figure.suptitle(f"{'SYNTHETIC sections' if source == 'synthetic' else source}", fontsize=9)
    return figure
