r"""Table 2: SEG on PhC-C2DH-U373 and DIC-C2DH-HeLa, trained on one sequence, scored on the other.

python experiments/table2_cell_tracking.py --data data [--quick]

The challenge's test sequences are secret, so each of the two training sequences is the test of the
network that was trained on the other; frames are never split at random. Cells that the tracking
truth knows and the segmentation does not are ignored while training. Prediction follows the
authors' release: mean of the raw scores over four flips, argmax, 8-connected components of more
than 500 pixels, none wholly within 50 pixels of the border. Runs go on where they were cut.

The paper's recipe learns slowly on a CPU. Faster there, and the paper's network in the end:

python experiments/table2_cell_tracking.py --data data --network paper_batch_norm --optimizer adam \
    --finish 3000 --finish-balance 0.5 --finish-sets PhC-C2DH-U373 --jobs 2

On a GPU, the paper's width and tile:

python experiments/table2_cell_tracking.py --data data --device cuda --width 64 --tile 572 \
    --steps 20000 --precision tf32
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cells
import common
import numpy as np
import recipes
import records
import row_files
from matplotlib.figure import Figure

from paper_unet.figures.style import BLACK, draw_runs, figure, keys, legend_below
from paper_unet.metrics.table import metric
from paper_unet.training.config import TrainConfig


@dataclass(frozen=True)
class Fold:
    """One training run and the sequence it is scored on."""

    sequences: cells.Sequences
    train_on: str
    test_on: str
    stages: tuple[TrainConfig, ...]

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return Path(self.stages[0].out).name

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`."""
        return {**self.sequences.facts, "trained_on": self.train_on, "scored_on": self.test_on}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`: as they are, and four flips."""
        return 5 * int(self.sequences.frames[self.test_on].images.size)


def run(fold: Fold) -> dict[str, Any]:
    """Train, or go on training, and score the other sequence."""
    common.be_one_of_several()
    frames, first = fold.sequences.frames, fold.stages[0]
    started = time.time()
    model, seconds = recipes.train_stages(
        fold.stages, partial(cells.cell_training_set, frames[fold.train_on])
    )
    row: dict[str, Any] = {
        "set": fold.sequences.name,
        "source": fold.sequences.source,
        "trained_on": fold.train_on,
        "scored_on": fold.test_on,
        "seed": first.seed,
        "training_seconds": seconds,
    }
    test = frames[fold.test_on]
    for average in ("none", "flips"):
        found = cells.predicted_cells(model, test, average)
        row[average] = cells.score(test, found)
    print(f"{row['set']} {row['trained_on']} -> {row['scored_on']}: {row['flips']}", flush=True)
    return row | {"seconds": round(time.time() - started, 1)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return SEG of each data set: the mean of both directions, and its spread over seeds."""
    found = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        seeds = sorted({row["seed"] for row in mine})
        means = [np.mean([r["flips"]["seg"] for r in mine if r["seed"] == seed]) for seed in seeds]
        found[name] = {
            "seg": float(np.mean(means)),
            "sd_over_seeds": float(np.std(means, ddof=1)) if len(seeds) > 1 else None,
            "seeds": len(seeds),
            "paper": cells.PAPER.get(name),
        }
    return found


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw SEG of each direction, and the paper's value on the secret test sequences."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    trained = keys(f"trained on {sequence}" for sequence in cells.SEQUENCES)
    with figure("column", 2.4) as page:
        axes = page.subplots()
        for place, name in enumerate(names):
            for sequence, shift, (label, key) in zip(
                cells.SEQUENCES, (-0.12, 0.12), trained.items(), strict=True
            ):
                mine = [r for r in rows if (r["set"], r["trained_on"]) == (name, sequence)]
                values = [row["flips"]["seg"] for row in mine]
                draw_runs(axes, place + shift, values, key=key, label=label)
            spots = [place - 0.3, place + 0.3], [cells.PAPER[name]] * 2
            label = "the paper's, secret test sequences"
            axes.plot(*spots, "--", color=BLACK, lw=0.8, label=label)
        synthetic = any(row["source"] == "synthetic" for row in rows)
        ticks = [f"SYNTHETIC\nfor {name}" if synthetic else name for name in names]
        axes.set_xticks(range(len(names)), ticks)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(0, 1)
        axes.set_ylabel(str(metric("seg")))
        legend_below(page, ncols=2)
    return page


def stages_of(
    options: argparse.Namespace, sequences: cells.Sequences, train_on: str, seed: int
) -> tuple[TrainConfig, ...]:
    """Return the settings of one fold; each real set has its own range of grey values."""
    real = sequences.source != "synthetic"
    changes = {"value_range": cells.VALUE_RANGES[sequences.name]} if real else {}
    name = f"{sequences.name}-{train_on}{recipes.recipe_name(options)}-seed{seed}"
    config = recipes.train_config(options, name, seed, **changes)
    return recipes.stages(cells.options_of(options, sequences.name), config)


def main() -> None:
    """Train and score every fold."""
    parser = common.parser("table2_cell_tracking", __doc__)
    recipes.add_training_options(parser, width=16, steps=4000, tile=380)
    recipes.add_recipe_options(parser)
    cells.add_set_options(parser)
    parser.add_argument("--sets", nargs="+", default=list(cells.SETS), choices=cells.SETS)
    parser.add_argument("--seeds", type=int, default=1, help="runs per fold")
    options = recipes.parsed(parser)
    if options.quick:
        vars(options).update(width=4, steps=10, tile=252, sets=["DIC-C2DH-HeLa"])
    started = time.time()
    with records.recorded(options):
        sets = [cells.load(options.data, name, options.quick) for name in options.sets]
        folds = [
            Fold(one, train_on, test_on, stages_of(options, one, train_on, seed))
            for one in sets
            for seed in range(options.seed, options.seed + options.seeds)
            for train_on, test_on in (cells.SEQUENCES, cells.SEQUENCES[::-1])
        ]
        rows = row_files.run_rows(run, folds, options)
        if not rows:
            return
        found = summary(rows)
        for name, row in found.items():
            row["recipe"] = recipes.recipe(cells.options_of(options, name))
            print(name, row)
        source = " and ".join(dict.fromkeys(one.source for one in sets))
        results = {
            "source": source,
            "config": {f.sequences.name: [asdict(stage) for stage in f.stages] for f in folds},
            "summary": found,
        }
        records.write_results(options.out, {**results, "rows": rows}, started)
        records.save_figure(draw(rows), options.out, "table2_cell_tracking")


if __name__ == "__main__":
    main()
