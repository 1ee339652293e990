"""Which learning rate, and does it need centred grey values? The paper gives momentum 0.99 only.

python experiments/learning_rate.py --data data [--quick]

Trains the same network with each rate, on ISBI 2012 sections 0-23 as they are (grey value / 255)
and with 0.5 subtracted while training, and scores sections 24-29.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from typing import Any

import common
from matplotlib.figure import Figure

from paper_unet.config import TrainConfig
from paper_unet.errors import DivergedError
from paper_unet.train import train


@dataclass(frozen=True)
class Job:
    """One training run."""

    config: TrainConfig
    sections: common.Sections


def run(job: Job) -> dict[str, Any]:
    """Train and score one rate."""
    started = time.time()
    config = job.config
    row: dict[str, Any] = {"lr": config.lr, "centre": config.centre, "seed": config.seed}
    try:
        data = common.membrane_training_set(job.sections[common.TRAINING], job.config)
        model = train(job.config, data, overwrite=True, progress=False)
    except DivergedError as error:
        return row | {"diverged": str(error)}
    seconds = time.time() - started
    return row | common.held_out_scores(model, job.sections[common.HELD_OUT]) | {"seconds": seconds}


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
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--centres", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--seeds", type=int, default=1, help="runs per rate")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tile", type=int, default=316)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    options = parser.parse_args()
    if options.quick:
        quick = argparse.Namespace(rates=[1e-3, 1e-2], seeds=1, width=4, steps=20, tile=252)
        vars(options).update(vars(quick))
    started = time.time()
    sections = common.isbi2012(options.data, options.quick)
    jobs = [
        Job(
            TrainConfig(
                out=str(options.work / f"lr{rate:g}-centre{centre:g}-seed{seed}"),
                width=options.width,
                tile=options.tile,
                steps=options.steps,
                lr=rate,
                centre=centre,
                seed=seed,
                device=options.device,
                precision=options.precision,
                channels_last=True,
                checkpoint_every=10**9,
            ),
            sections,
        )
        for centre in options.centres
        for rate in options.rates
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    rows = common.run_jobs(run, jobs, options.jobs)
    for row in rows:
        print({k: v for k, v in row.items() if k != "thresholds"})
    results = {"source": sections.source, "config": asdict(jobs[0].config), "rows": rows}
    common.write_results(options.out, results, started)
    figure = draw(rows, sections.source)
    for suffix in ("png", "pdf"):
        figure.savefig(options.out / f"learning_rate.{suffix}", dpi=150)


if __name__ == "__main__":
    main()
