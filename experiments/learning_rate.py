r"""Which rate, and how long a warm-up? The paper gives momentum 0.99 and neither of them.

python experiments/learning_rate.py --data data --minutes 60 [--quick]

Trains the paper's network by the paper's recipe with each rate and warm-up on ISBI 2012 (sections
0-23, scored on 24-29) and on the cells (sequence 02, scored on 01), and says which runs collapsed:
gave the same scores everywhere. What collapses is the start, so the runs are short. ``--centres 0``
trains on the grey values as they are (grey value / 255). Finished rows stay, and the same command
goes on with the others.

On a GPU, the paper's width and tile, a minute or two:

python experiments/learning_rate.py --data data --device cuda --width 64 --tile 572 --steps 1000 \
    --precision bfloat16 --out experiments/results/learning_rate_width64
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cells
import common
import entry
import numpy as np
import recipes
import records
import row_files
from matplotlib.figure import Figure

from paper_unet.cli import script
from paper_unet.figures.style import BLACK, draw_runs, figure, keys, legend_below, metric_label
from paper_unet.training.config import TrainConfig
from paper_unet.training.log import LOG

ISBI = "ISBI 2012"
SETS = (ISBI, *cells.SETS)
TRAINED, SCORED = "02", "01"
"""Sequences of the cells: of the folds that were tried at full width, 02 of PhC collapsed."""


@dataclass(frozen=True)
class Job:
    """One training run."""

    on: str
    config: TrainConfig
    data: common.Sections | cells.Sequences

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return Path(self.config.out).name

    @property
    def stages(self) -> tuple[TrainConfig, ...]:
        """See `row_files.Job`."""
        return (self.config,)

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`."""
        return self.data.facts

    @property
    def pixels(self) -> int:
        """See `row_files.Job`."""
        if isinstance(self.data, common.Sections):
            return int(self.data[common.HELD_OUT].images.size)
        return int(self.data.frames[SCORED].images.size)


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and score."""
    common.be_one_of_several()
    config, data = job.config, job.data
    row: dict[str, Any] = {
        "on": job.on, "source": data.source, "lr": config.lr, "warmup": config.warmup,
        "centre": config.centre, "seed": config.seed, "steps": config.steps,
    }  # fmt: skip
    if isinstance(data, common.Sections):
        training = partial(common.membrane_training_set, data[common.TRAINING])
    else:
        training = partial(cells.cell_training_set, data.frames[TRAINED])
    model = recipes.train_row(row, (config,), training)
    row["losses"] = losses(Path(config.out), config.steps)
    if model is None:
        return row
    if isinstance(data, common.Sections):
        row |= common.held_out_scores(model, data[common.HELD_OUT])
    else:
        frames = data.frames[SCORED]
        row |= cells.score(frames, cells.predicted_cells(model, frames, "none"))
    print({key: value for key, value in row.items() if key != "thresholds"}, flush=True)
    return row


def losses(run_folder: Path, steps: int) -> dict[str, float]:
    """Return the loss at a quarter, the half and the end of a run, as far as it came.

    Each is the mean of a twentieth of the steps.
    """
    lines = [json.loads(line) for line in (run_folder / LOG).read_text().splitlines()]
    found = {}
    for share in (0.25, 0.5, 1.0):
        last = share * steps
        near = [line["loss"] for line in lines if last - steps / 20 < line["step"] <= last]
        if near:
            found[f"{share:g}"] = round(math.fsum(near) / len(near), 4)
    return found


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the loss at the end against the rate; a cross is a run that collapsed or diverged.

    The rows of the first sweep have scores in place of losses.
    """
    if not any("on" in row for row in rows):
        return draw_scores(rows)
    names = list(dict.fromkeys(row["on"] for row in rows))
    kinds = {(row["warmup"], row["centre"]): kind_label(row) for row in rows}
    shown = keys(kinds[kind] for kind in sorted(kinds))
    moved = dict(zip(shown, np.geomspace(0.85, 1.18, len(shown) + 2)[1:-1], strict=True))
    with figure("column" if len(names) < 3 else "page", 2.5) as page:
        panels = page.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            mine = [row for row in rows if row["on"] == name]
            top = max((row["losses"]["1"] for row in mine if "1" in row["losses"]), default=1.0)
            for rate, kind in dict.fromkeys((row["lr"], kind_label(row)) for row in mine):
                some = [row for row in mine if (row["lr"], kind_label(row)) == (rate, kind)]
                losses = [row["losses"]["1"] for row in some if "diverged" not in row]
                draw_runs(axes, rate * moved[kind], losses, key=shown[kind], label=kind)
                lost = [top * 1.1] * sum("diverged" in row for row in some)
                label = "collapsed or diverged" if lost else None
                axes.plot([rate * moved[kind]] * len(lost), lost, "x", color=BLACK, label=label)
            synthetic = any(row["source"] == "synthetic" for row in mine)
            axes.set_title("SYNTHETIC for\n" * synthetic + name)
            axes.set(xscale="log", xlabel="learning rate", ylim=(0, 1.16 * top))
            rates = sorted({row["lr"] for row in mine})
            axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
            axes.set_xticks([], minor=True)
            axes.set_xlim(rates[0] / 1.6, rates[-1] * 1.6)
        panels[0].set_ylabel("loss at the end, lower is better")
        legend_below(page, ncols=2)
    return page


def kind_label(row: dict[str, Any]) -> str:
    """Return what a run had besides its rate."""
    centre = "" if row["centre"] == TrainConfig.centre else f", centre {row['centre']:g}"
    return f"warm-up {row['warmup']}{centre}"


def draw_scores(rows: list[dict[str, Any]]) -> Figure:
    """Draw V_info and the pixel error of the first sweep against the rate."""
    centres = {row["centre"]: f"{row['centre']:g} subtracted" for row in rows}
    shown = keys(centres.values())
    with figure("page", 2.5) as page:
        for axes, name in zip(page.subplots(1, 2), ("v_info", "pixel_error"), strict=True):
            for centre, label in centres.items():
                for rate in dict.fromkeys(row["lr"] for row in rows):
                    values = [
                        row[name] for row in rows if (row["lr"], row["centre"]) == (rate, centre)
                    ]
                    draw_runs(axes, rate, values, key=shown[label], label=label)
            axes.set(xscale="log", xlabel="learning rate", ylabel=metric_label(name))
        legend_below(page, ncols=2)
    return page


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return every run that is asked for; seeds outside, so that a cut sweep is even."""
    data: dict[str, common.Sections | cells.Sequences] = {}
    for name in options.sets:
        if name == ISBI:
            data[name] = common.isbi2012(options.data, options.quick)
        else:
            data[name] = cells.load(options.data, name, options.quick)
    seeds = range(options.seed, options.seed + options.seeds)
    found = []
    for seed, warmup, rate, centre, name in product(
        seeds, options.warmups, options.rates, options.centres, options.sets
    ):
        changes = {"lr": rate, "warmup": warmup, "centre": centre}
        if name != ISBI and data[name].source != "synthetic":
            changes["value_range"] = cells.VALUE_RANGES[name]
        plain = f"{name}-lr{rate:g}-warmup{warmup}-centre{centre:g}-seed{seed}".replace(" ", "_")
        config = recipes.train_config(options, plain, seed, **changes)
        found.append(Job(name, config, data[name]))
    return found


def main() -> None:
    """Run what is missing, and draw."""
    parser = common.parser("learning_rate", __doc__)
    recipes.add_training_options(parser, width=16, steps=1600, tile=380, sweep=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--warmups", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--centres", type=float, nargs="+", default=[TrainConfig.centre])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", type=script.count, default=1, help="runs per rate and warm-up")
    options = recipes.parsed(
        parser, rates=[1e-3, 1e-2], warmups=[2], seeds=1, width=2, steps=20, tile=252,
        sets=[ISBI, cells.SETS[1]],
    )  # fmt: skip
    started = time.time()
    with records.recorded(options):
        every = jobs(options)
        rows = row_files.run_rows(run, every, options)
        if not rows:
            return
        source = " and ".join(dict.fromkeys(row["source"] for row in rows))
        results = {"source": source, "config": asdict(every[0].config), "rows": rows}
        records.write_results(options.out, results, started)
        records.save_figure(draw(rows), options.out, "learning_rate")


if __name__ == "__main__":
    entry.run(main)
