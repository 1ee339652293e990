"""Write the table of all results into experiments/README.md from the committed metrics.json.

The small table of README.md (`headline.py`) is written, too.

python experiments/summary.py [--check]

No number of that table is typed by hand; ``--check`` fails if the table is not what the files say.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import entry
import headline

HERE = Path(__file__).parent
BEGIN, END = "<!-- begin: written by summary.py -->", "<!-- end -->"
HEAD = "| experiment | measure | paper | ours | command | time | hardware, date |"

Cells = tuple[str, str, str]
"""Measure, the paper's value, ours."""


def number(value: float | None, digits: int = 4, sign: str = "") -> str:
    """Return a value for a table cell; ``sign`` is "+" for differences."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def spread(runs: dict[str, float | None] | None, digits: int = 4, sign: str = "") -> str:
    """Return mean ± sd of a table cell; one run has no sd."""
    if not runs or runs["mean"] is None:
        return "-"
    sd = runs.get("sd")
    return number(runs["mean"], digits, sign) + ("" if sd is None else f" ± {number(sd, digits)}")


ABLATED = ("v_rand", "v_info", "pixel_error", "seg", "seg_argmax")


def measures(line: dict[str, Any], names: Iterable[str], base: str, of_base: bool) -> str:
    """Return what a line measured and, where it is not of the base, its difference from it."""
    shown = []
    for name in names:
        if name in line:
            against = "" if of_base else f" ({spread(line[f'{name}_against_{base}'], sign='+')})"
            shown.append(f"{name} {spread(line[name])}{against}")
    diverged = f", {line['diverged']} diverged" if line["diverged"] else ""
    return f"{'; '.join(shown)}; {line['seeds']} seeds{diverged}"


def table1(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give the five metrics over rotations: the networks trained here, and the best of all."""
    names = {
        "warping_error": "warping error", "rand_error": "Rand error", "pixel_error": "pixel error",
        "v_rand": "V_rand (thin)", "v_info": "V_info (thin)",
    }  # fmt: skip
    digits = {"warping_error": 6}
    best = next(row for row in metrics["rows"] if row["network"] == metrics["best"])
    for name, title in names.items():
        paper = metrics["paper_test_volume"].get(name)
        shown = "-" if paper is None else f"{paper} (secret test volume)"
        places = digits.get(name, 4)
        trained = spread(metrics["held_out"]["rotations"].get(name), places)
        found = number(best["held_out"]["rotations"][name], places)
        seeds = sum("seed" in r and "diverged" not in r for r in metrics["rows"])
        ours = f"{found} (best: {metrics['best']})"
        ours += f"; {trained} over {seeds} runs" if seeds > 1 else ""
        ours += "".join(f", {gone}" for gone in headline.lost(metrics))
        yield f"{title}, sections 24-29, 7 rotations; {metrics['recipe']}", shown, ours


def table2(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give SEG of each data set, by each protocol."""
    protocols = {"across": "across sequences", "forward": "forward in time"}
    for name, of_set in metrics["summary"].items():
        for protocol, title in protocols.items():
            if protocol not in of_set:
                continue
            row = of_set[protocol]
            folds: dict[str, list[str]] = {}
            for r in metrics["rows"]:
                if (r["set"], r["protocol"]) == (name, "across") == (name, protocol):
                    lost = "diverged" in r
                    folds.setdefault(r["trained_on"], []).append(
                        "collapsed" if lost else number(r["seg"]["scored"]["grown"])
                    )
            ways = ", ".join(f"learned from {k}: {', '.join(v)}" for k, v in folds.items())
            ours = spread({"mean": row["seg"], "sd": row["sd_over_seeds"]})
            ours += f" ({ways})" if ways else ""
            ours += "".join(f", {gone}" for gone in headline.lost(row, protocol))
            ours += f"; by the argmax {number(row['seg_argmax'])}"
            yield (
                f"SEG, {name}, {title}; {of_set['recipe']}",
                f"{of_set['paper']} (secret test)",
                ours,
            )


def cells_study(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give SEG of each choice, read in three ways, on frames held out and on the other sequence."""
    for line in metrics["table"]:
        shown = "; ".join(
            f"{title} {spread(line[f'held_out, {way}'], 3)} and {spread(line[f'scored, {way}'], 3)}"
            for way, title in (("argmax", "argmax"), ("threshold", "threshold"), ("grown", "grown"))
        )
        pairs = ", ".join(
            f"{way} {spread(line[f'joined, {way}'], 3)}" for way in ("argmax", "grown")
        )
        runs = ", ".join([f"{line['runs']} runs", *headline.lost(line)])
        ours = f"{shown}; touching pairs joined: {pairs} ({runs})"
        title = f"SEG, {line['set']}, {line['choice']}; held out and other sequence"
        yield f"{title}; {metrics['recipe']}", "-", ours


def ablation(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give each choice with its difference from the base, seed by seed."""
    for line in metrics["table"]:
        of_base = line["choice"] == metrics["base"]
        ours = measures(line, ABLATED, "base", of_base)
        yield f"{line['data']}, {line['choice']}{' (base)' if of_base else ''}", "-", ours


def learning_curve(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give V_rand and V_info for each number of sections."""
    rows = metrics["rows"]
    for count, choice in dict.fromkeys((row["sections"], row["choice"]) for row in rows):
        every = [r for r in rows if (r["sections"], r["choice"]) == (count, choice)]
        mine = [row for row in every if "v_rand" in row]
        shown = []
        for name in ("v_rand", "v_info", "pixel_error"):
            values = [row[name] for row in mine]
            sd = statistics.stdev(values) if len(values) > 1 else None
            mean = statistics.fmean(values) if values else None
            shown.append(f"{name} {spread({'mean': mean, 'sd': sd})}")
        title = f"{count} section{'s' if count > 1 else ''}, {choice}; {metrics['recipe']}"
        lost = f", {len(every) - len(mine)} collapsed or diverged" if len(mine) < len(every) else ""
        seeds = f"{len(mine)} seed{'s' if len(mine) != 1 else ''}"
        yield title, "-", ", ".join(shown) + f" ({seeds}{lost})"


def variants(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give each network and recipe with its difference from the paper's network, seed by seed."""
    for line in metrics["table"]:
        ours = measures(
            line, ("v_rand", "v_info", "pixel_error"), "paper", line["network"] == "paper"
        )
        yield f"{line['network']}, recipe {line['recipe']}", "-", ours


def bundled_weights(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give the scores of the weights in the package."""
    for average, row in metrics["scores"].items():
        shown = ", ".join(f"{name} {number(row[name])}" for name in ("v_rand", "v_info"))
        yield f"sections 24-29, averaged over {average}", "-", shown


def learning_rate(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give what the sweep found best."""
    every = [r for r in metrics["rows"] if "v_info" in r or "diverged" in r]
    best = max((r for r in every if "v_info" in r), key=lambda r: r["v_info"], default=None)
    lost = sum("diverged" in r for r in every)
    ours = [f"{best['lr']:g} with centre {best['centre']:g}"] if best else []
    ours += [f"{lost} of {len(every)} runs collapsed or diverged"] if lost else []
    yield "rate with the highest V_info", "-", ", ".join(ours) or "-"


def sweep(metrics: dict[str, Any]) -> Iterator[Cells]:
    """Give the loss at the end for each rate and warm-up, or that the run collapsed."""
    for on in dict.fromkeys(row["on"] for row in metrics["rows"]):
        found: dict[str, list[str]] = {}
        for row in metrics["rows"]:
            if row["on"] == on:
                lost = "diverged" in row
                end = "collapsed or diverged" if lost else number(row["losses"]["1"])
                found.setdefault(f"{row['lr']:g} after {row['warmup']}", []).append(end)
        shown = [f"{start}: {', '.join(ends)}" for start, ends in found.items()]
        yield f"{on}, loss at the end for each rate and warm-up", "-", "; ".join(shown)


ROWS = {
    "table1_isbi2012": table1,
    "table1_width64": table1,
    "table2_cell_tracking": table2,
    "table2_tile572": table2,
    "table2_width64": table2,
    "cells_study": cells_study,
    "ablation": ablation,
    "ablation_width16": ablation,
    "ablation_cells": ablation,
    "ablation_cells_width16": ablation,
    "ablation_borders": ablation,
    "learning_curve": learning_curve,
    "learning_curve_width16": learning_curve,
    "learning_curve_width16_tile380": learning_curve,
    "variants": variants,
    "bundled_weights": bundled_weights,
    "bundled_width32": bundled_weights,
    "learning_rate": learning_rate,
    "learning_rate_width16": sweep,
    "learning_rate_width16_tile572": sweep,
    "learning_rate_width64": sweep,
}


AVERAGES = ("flips", "rotations")
"""Of `ablation.AVERAGES`: rows of the base's networks, whose training is in their own row."""


def spent(metrics: dict[str, Any]) -> str:
    """Return the wall time, or that of all trainings added up where it is longer.

    It is, where several ran at once, or were cut and went on: how many shared a machine in each of
    these calls is not known.
    """
    again = {f"{metrics.get('base')}, {average}" for average in AVERAGES}
    rows = [row for row in metrics.get("rows", [metrics]) if row.get("choice") not in again]
    trained = math.fsum(row.get("training_seconds", 0) for row in rows)
    wall = metrics["wall_seconds"]
    return f"{trained / 60:.0f} min of training" if trained > wall else f"{wall / 60:.0f} min"


def made_on(metrics: dict[str, Any]) -> list[str]:
    """Return hardware and date of every row, or of the whole where rows were not kept apart."""
    rows = metrics.get("rows", [metrics])
    places = dict.fromkeys(row["made_on"] for row in rows if "made_on" in row)
    where = metrics["environment"]
    return list(places) or [f"{where.get('gpu') or where['cpu']}, {where['date']}"]


def lines(results: Path) -> Iterator[str]:
    """Give the rows of the table, one experiment after the other."""
    yield HEAD
    yield "|---|---|---|---|---|---|---|"
    for name, rows in ROWS.items():
        path = results / name / "metrics.json"
        if not path.exists():
            continue
        metrics = json.loads(path.read_text())
        hardware = "; ".join(made_on(metrics))
        link = f"[{name}](results/{name}/)"
        for k, (measure, paper, ours) in enumerate(rows(metrics)):
            once = (f"`{metrics['command']}`", spent(metrics), hardware) if k == 0 else ("", "", "")
            cells = (link if k == 0 else "", measure, paper, ours, *once)
            yield f"| {' | '.join(cells)} |"


def with_table(text: str, table: Iterable[str]) -> str:
    """Return a page with this table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = "\n".join(table)
    return f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}"


def main() -> None:
    """Write the tables, or compare them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="fail if a table is out of date")
    check = options.parse_args().check
    results = HERE / "results"
    tables = {
        HERE / "README.md": lines(results),
        HERE.parent / "README.md": headline.lines(results, "experiments/results/{}/"),
    }
    for page, table in tables.items():
        text = page.read_text()
        wanted = with_table(text, table)
        if not check:
            page.write_text(wanted)
        elif wanted != text:
            sys.exit(f"{page} is out of date: run python experiments/summary.py")


if __name__ == "__main__":
    entry.run(main)
