r"""Gap, weights and threshold on cells: what makes gaps leak, and what holds on other frames.

python experiments/cells_study.py --data data --precision bfloat16 [--quick]

Networks learn from the first frames of one sequence and are read out in many ways, from the same
maps: cut at each threshold, grown from a high one to a low one, with the gap given back or not.
Choices are made by SEG on the last frames of the same sequence (held out); SEG on the other
sequence (scored) says whether they hold there. Runs go on where they were cut, and rows that are
there are not made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cell_readings
import cell_splits
import cells
import common
import entry
import numpy as np
import recipes
import records
import row_files
from matplotlib.figure import Figure

from paper_unet.cli import script
from paper_unet.figures.cell_colours import touching_pairs
from paper_unet.figures.style import figure, keys, legend_below
from paper_unet.metrics.table import metric
from paper_unet.training.config import TrainConfig

BASE = "base"
CHOICES: dict[str, dict[str, Any]] = {
    BASE: {},
    "gap 2": {"gap": 2.0},
    "gap 3": {"gap": 3.0},
    "gap 4": {"gap": 4.0},
    "gap 6": {"gap": 6.0},
    "balance 0.5": {"balance": 0.5},
    "balance 0": {"balance": 0.0},
    "gap 3, balance 0.5": {"gap": 3.0, "balance": 0.5},
    "gap 3, balance 0": {"gap": 3.0, "balance": 0.0},
    "no border weights": {"w0": 0.0},
    "border weights of 30": {"w0": 30.0},
    "grey changes twice as strong": {"grey": 2.0},
    "no grey changes": {"grey": 0.0},
    "displacements of 20 pixels": {"elastic": 20.0},
    "a third of the steps": {"steps": 1 / 3},
    "three times the steps": {"steps": 3.0},
}
"""One or two settings at a time; ``steps`` is a factor."""


@dataclass(frozen=True)
class Job:
    """One training run, what it is called and what it is read out on."""

    set: str
    source: str
    choice: str
    split: cell_splits.Split
    stages: tuple[TrainConfig, ...]

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return Path(self.stages[0].out).name

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`."""
        return {**self.split.facts, "data": self.source}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`."""
        return self.split.pixels


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and read the maps out in every way."""
    common.be_one_of_several()
    row: dict[str, Any] = {
        "set": job.set,
        "source": job.source,
        "choice": job.choice,
        "trained_on": job.split.name,
        "seed": job.stages[0].seed,
        "steps": job.stages[0].steps,
    }
    data = partial(cells.cell_training_set, job.split.learned)
    model = recipes.train_row(row, job.stages, data)
    if model is None:
        return row
    last = job.stages[-1]
    row |= cell_readings.read_out(model, job.split, last, study=True)
    print({k: v for k, v in row.items() if k not in ("curves", "held_out_grid")}, flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each set and choice, mean and spread over both sequences and all seeds."""
    lines = []
    for name, choice in dict.fromkeys((row["set"], row["choice"]) for row in rows):
        every = [row for row in rows if (row["set"], row["choice"]) == (name, choice)]
        mine = [row for row in every if "diverged" not in row]
        line: dict[str, Any] = {"set": name, "choice": choice, "runs": len(mine)}
        line["diverged"] = len(every) - len(mine)
        for part in ("held_out", "scored"):
            for way in cell_readings.WAYS:
                values = [row["seg"][part][way] for row in mine]
                line[f"{part}, {way}"] = common.spread(values)
            for name in ("gap_probability", "gap_open"):
                line[f"{part}, {name}"] = common.spread(_known(row[name][part] for row in mine))
        for way in cell_readings.WAYS:
            line[f"joined, {way}"] = common.spread(_known(row["joined"][way] for row in mine))
        lines.append(line)
    return lines


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def about(sequences: cells.Sequences) -> dict[str, Any]:
    """Return of each sequence the grey values, the cells, and how many of them touch.

    ``seg_without_gaps`` is SEG of the masks of the truth, cells that touch being one.
    """
    found = {}
    for name, frames in sequences.frames.items():
        values = np.asarray(frames.images, np.float64)
        masks = np.stack([cells.instances(truth > 0) for truth in frames.instances])
        found[name] = {
            "mean": round(float(values.mean()), 2),
            "sd": round(float(values.std()), 2),
            "percentiles": {f"{p}": float(np.percentile(values, p)) for p in PERCENTILES},
            "frames": len(frames.frames),
            "cells": sum(len(np.unique(truth[truth > 0])) for truth in frames.instances),
            "touching_pairs": sum(len(touching_pairs(truth)) for truth in frames.instances),
            "seg_without_gaps": cells.score(frames, masks)["seg"],
        }
    return found


PARTS = {"held_out": ("frames held out", ":"), "scored": ("other sequence", "-")}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw SEG against the threshold: held out and scored, a panel for each set and choice."""
    panels = list(dict.fromkeys((row["set"], row["choice"]) for row in rows))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    looks = keys(cells.SEQUENCES)
    with figure("page", 2.1 * lines + 0.7) as page:
        grid = page.subplots(lines, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, choice) in zip(grid.flat, panels, strict=False):
            mine = [row for row in rows if (row["set"], row["choice"]) == (name, choice)]
            for row in (row for row in mine if "diverged" not in row):
                colour, _ = looks[row["trained_on"]]
                for part, (title, style) in PARTS.items():
                    curve = row["curves"][part]
                    label = f"learned from {row['trained_on']}, {title}"
                    places = [float(threshold) for threshold in curve]
                    axes.plot(places, list(curve.values()), style, color=colour, label=label)
                grown, label = row["seg"]["scored"]["grown"], "other sequence, grown"
                axes.axhline(grown, color=colour, lw=0.8, ls="--", label=label)
                chosen, label = row["readings"]["threshold"]["edge"], "threshold chosen"
                axes.axvline(chosen, color=colour, lw=0.5, label=label)
            synthetic = any(row["source"] == "synthetic" for row in mine)
            lost = common.collapsed(mine, "\n")
            axes.set_title(f"{'SYNTHETIC for ' * synthetic}{name}\n{choice}{lost}")
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="threshold of the probability of cell")
        for axes in grid[:, 0]:
            axes.set_ylabel(str(metric("seg")))
        legend_below(page, ncols=3)
    return page


def jobs(options: argparse.Namespace, sets: Sequence[cells.Sequences]) -> list[Job]:
    """Return every run that is asked for; seeds outside, so that a cut table is even."""
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        for choice in options.choices or CHOICES:
            for one in sets:
                for split in cell_splits.splits(one, ("across",)):
                    changes = dict(CHOICES[choice])
                    factor = changes.pop("steps", 1)
                    changes["steps"] = max(1, round(factor * options.steps))
                    name = f"{one.name}-{split.name}-{choice}-seed{seed}".replace(" ", "_")
                    config = cells.train_config(
                        options, one, name.replace(",", ""), seed, **changes
                    )
                    stages = recipes.stages(options, config)
                    found.append(Job(one.name, one.source, choice, split, stages))
    return found


def main() -> None:
    """Run what is missing, and draw."""
    parser = common.parser("cells_study", __doc__)
    recipes.add_training_options(parser, width=8, steps=1500, tile=380)
    recipes.add_recipe_options(parser)
    parser.set_defaults(network="paper_batch_norm", optimizer="adam", warmup=100)
    parser.add_argument("--sets", nargs="+", default=list(cells.SETS), choices=cells.SETS)
    parser.add_argument(
        "--seeds", type=script.count, default=1, help="runs per choice and sequence"
    )
    parser.add_argument("--choices", nargs="+", choices=CHOICES, help="by name; default: all")
    options = recipes.parsed(
        parser, width=4, steps=6, tile=252, sets=["DIC-C2DH-HeLa"], choices=[BASE, "gap 3"]
    )
    started = time.time()
    with records.recorded(options):
        sets = {name: cells.load(options.data, name, options.quick) for name in cells.SETS}
        every = jobs(options, [sets[name] for name in options.sets])
        rows = row_files.run_rows(run, every, options)
        if not rows:
            return
        results = {
            "source": " and ".join(dict.fromkeys(row["source"] for row in rows)),
            "recipe": recipes.recipe(options),
            "sequences": {name: about(one) for name, one in sets.items()},
            "config": [asdict(stage) for stage in every[0].stages],
        }
        records.write_results(options.out, {**results, "table": table(rows), "rows": rows}, started)
        records.save_figure(draw(rows), options.out, "cells_study")


if __name__ == "__main__":
    entry.run(main)
