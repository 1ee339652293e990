"""Which learning rate, and does it need centred grey values? The paper gives momentum 0.99 only.

python experiments/learning_rate.py --data data [--quick]

Trains the same network with each rate, on ISBI 2012 sections 0-23 as they are (grey value / 255)
and with 0.5 subtracted while training, and scores sections 24-29. Runs go on where they
were cut.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import common
import recipes
import records
from matplotlib.figure import Figure

from paper_unet.training.config import TrainConfig


@dataclass(frozen=True)
class Job:
    """One training run."""

    config: TrainConfig
    sections: common.Sections


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and score one rate."""
    common.be_one_of_several()
    config = job.config
    row: dict[str, Any] = {"lr": config.lr, "centre": config.centre, "seed": config.seed}
    training = partial(common.membrane_training_set, job.sections[common.TRAINING])
    model = recipes.train_row(row, (config,), training)
    if model is None:
        return row
    row |= common.held_out_scores(model, job.sections[common.HELD_OUT])
    print({key: value for key, value in row.items() if key != "thresholds"}, flush=True)
    return row


def draw(rows: list[dict[str, Any]], source: str) -> Figure:
    """Draw the scores against the rate."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name in ((left, "v_info"), (right, "pixel_error")):
        for centre, mark in zip(sorted({row["centre"] for row in rows}), "ox+s", strict=False):
            done = [row for row in rows if name in row and row["centre"] == centre]
            rates, values = [row["lr"] for row in done], [row[name] for row in done]
            axes.semilogx(rates, values, mark, label=f"{name}, centre {centre:g}")
        axes.set_xlabel("learning rate")
        axes.legend()
    left.set_title(f"{source}: higher is better", fontsize=9)
    right.set_title("lower is better", fontsize=9)
    return figure


def main() -> None:
    """Run the sweep."""
    parser = common.parser("learning_rate", __doc__)
    recipes.add_training_options(parser, width=8, steps=1000, tile=316, lr=None)
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--centres", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--seeds", type=int, default=1, help="runs per rate")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(rates=[1e-3, 1e-2], seeds=1, width=2, steps=5, tile=252)
    started = time.time()
    with records.recorded(options):
        sections = common.isbi2012(options.data, options.quick)
        jobs = [
            Job(
                recipes.train_config(
                    options, f"lr{rate:g}-centre{centre:g}-seed{seed}", seed, lr=rate, centre=centre
                ),
                sections,
            )
            for centre in options.centres
            for rate in options.rates
            for seed in range(options.seed, options.seed + options.seeds)
        ]
        rows = common.run_jobs(run, jobs, options.jobs)
        results = {"source": sections.source, "config": asdict(jobs[0].config), "rows": rows}
        records.write_results(options.out, results, started)
        records.save_figure(draw(rows, sections.source), options.out, "learning_rate")


if __name__ == "__main__":
    main()
