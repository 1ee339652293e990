r"""Table 2: SEG on PhC-C2DH-U373 and DIC-C2DH-HeLa, by two protocols.

python experiments/table2_cell_tracking.py --data data [--quick]

The challenge's test sequences are secret, and the paper learned from both training sequences. Here
two protocols stand on either side of that. Across: one sequence is learned from and the other is
scored, both ways; half of the data, and another field of view. Forward: the first two thirds of the
annotated frames of both are learned from, the last thirds scored; the same field of view, later.
Frames are never split at random. The last fifth of what could be learned from is held out, and says
where the map is cut: cells are told apart at a high threshold and grow from there to a low one;
those of PhC-C2DH-U373 are parted at narrow necks, too (--neck). No scored frame chooses thresholds.

Cells that the tracking truth knows and the segmentation does not are ignored while training.
Prediction follows the authors' release but for that: mean of the raw scores over four flips,
8-connected components, none of 500 pixels or fewer or wholly within 50 pixels of the border; its
argmax is shown beside. Runs go on where they were cut, and rows that are there are not made again.

The paper's recipe learns slowly on a CPU. Faster there, and the paper's network in the end:

python experiments/table2_cell_tracking.py --data data --network paper_batch_norm --optimizer adam \
    --warmup 100 --steps 2500 --finish 3000 --finish-balance 0.5 --finish-sets PhC-C2DH-U373 \
    --precision bfloat16 --seeds 2 --jobs 2

The paper's tile shows more of what is rare, such as cells that touch, and takes three times as
long: the same with --tile 572. On a GPU, the paper's width and tile:

python experiments/table2_cell_tracking.py --data data --device cuda --width 64 --tile 572 \
    --steps 20000 --precision tf32
"""

from __future__ import annotations

import time
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
from paper_unet.figures.style import BLACK, GREY, draw_runs, figure, keys, legend_below
from paper_unet.metrics.table import metric
from paper_unet.training.config import TrainConfig


@dataclass(frozen=True)
class Fold:
    """One training run, and the frames that it learns from, is chosen by and scored on."""

    set: str
    source: str
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


def run(fold: Fold) -> dict[str, Any]:
    """Train, or go on training, choose thresholds on frames held out, and score the others."""
    common.be_one_of_several()
    started = time.time()
    split, last = fold.split, fold.stages[-1]
    row: dict[str, Any] = {
        "set": fold.set,
        "source": fold.source,
        "protocol": split.protocol,
        "trained_on": split.name,
        "frames": split.facts["frames"],
        "seed": last.seed,
        "gap": last.gap,
        "balance": last.balance,
    }
    learned, unseen = (
        partial(cells.cell_training_set, part) for part in (split.learned, split.held_out)
    )
    model = recipes.train_row(row, fold.stages, learned, unseen)
    if model is None:
        return row
    row |= cell_readings.read_out(model, split, last)
    print(f"{fold.name}: {row['readings']['grown']} {row['seg']} {row['scored']}", flush=True)
    return row | {"seconds": round(time.time() - started, 1)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return SEG by data set and protocol: the mean over its folds, and its spread over seeds.

    A seed whose other fold is still missing, or collapsed, is left aside: the folds are not equally
    hard.
    """
    found: dict[str, Any] = {}
    for name, protocol in dict.fromkeys((row["set"], row["protocol"]) for row in rows):
        every_row = [row for row in rows if (row["set"], row["protocol"]) == (name, protocol)]
        mine = [row for row in every_row if "diverged" not in row]
        folds = sorted({row["trained_on"] for row in mine})
        every = sorted({row["seed"] for row in mine})
        whole = [s for s in every if sum(row["seed"] == s for row in mine) == len(folds)]
        seeds = whole or every
        of_set = found.setdefault(name, {"paper": cells.PAPER.get(name)})
        of_set[protocol] = {"folds": folds, "seeds": len(seeds)}
        of_set[protocol]["diverged"] = len(every_row) - len(mine)
        for way in cell_readings.WAYS:
            means = [
                float(np.mean([r["seg"]["scored"][way] for r in mine if r["seed"] == seed]))
                for seed in seeds
            ]
            key = "seg" if way == "grown" else f"seg_{way}"
            of_set[protocol] |= {key: common.spread(means)["mean"]}
            if way == "grown":
                of_set[protocol]["sd_over_seeds"] = common.spread(means)["sd"]
    return found


TITLES = {
    "01": "learned from 01, 02 scored",
    "02": "learned from 02, 01 scored",
    "forward": "forward in time",
}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw SEG of each fold, and the paper's value on the secret test sequences.

    What collapsed is a cross at 0: it finds no cell.
    """
    names = list(dict.fromkeys(row["set"] for row in rows))
    looks = keys(TITLES.values())
    with figure("column", 2.6) as page:
        axes = page.subplots()
        for place, name in enumerate(names):
            for (split, label), shift in zip(TITLES.items(), (-0.2, 0, 0.2), strict=True):
                mine = [r for r in rows if (r["set"], r["trained_on"]) == (name, split)]
                lost = [0.0] * sum("diverged" in row for row in mine)
                mine = [row for row in mine if "diverged" not in row]
                values = [row["seg"]["scored"]["grown"] for row in mine]
                draw_runs(axes, place + shift, values, key=looks[label], label=label)
                gone = "collapsed" if lost else None
                axes.plot([place + shift] * len(lost), lost, "x", color=BLACK, label=gone)
                for row in mine:
                    argmax = row["seg"]["scored"]["argmax"]
                    axes.plot(place + shift, argmax, "_", color=GREY, label="by the argmax")
            spots = [place - 0.35, place + 0.35], [cells.PAPER[name]] * 2
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


def main() -> None:
    """Train and score every fold."""
    parser = common.parser("table2_cell_tracking", __doc__)
    recipes.add_training_options(parser, width=16, steps=4000, tile=380)
    recipes.add_recipe_options(parser)
    cells.add_set_options(parser)
    parser.add_argument("--sets", nargs="+", default=list(cells.SETS), choices=cells.SETS)
    parser.add_argument(
        "--protocols", nargs="+", default=list(cell_splits.PROTOCOLS), choices=cell_splits.PROTOCOLS
    )
    parser.add_argument("--seeds", type=script.count, default=1, help="runs per fold")
    options = recipes.parsed(parser, width=4, steps=10, tile=252, sets=["DIC-C2DH-HeLa"])
    started = time.time()
    with records.recorded(options):
        sets = [cells.load(options.data, name, options.quick) for name in options.sets]
        folds = [
            Fold(one.name, one.source, split, cells.stages_of(options, one, split.name, seed))
            for seed in range(options.seed, options.seed + options.seeds)
            for one in sets
            for split in cell_splits.splits(one, tuple(options.protocols), options.neck)
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
            "config": {fold.set: [asdict(stage) for stage in fold.stages] for fold in folds},
            "summary": found,
        }
        records.write_results(options.out, {**results, "rows": rows}, started)
        records.save_figure(draw(rows), options.out, "table2_cell_tracking")


if __name__ == "__main__":
    entry.run(main)
