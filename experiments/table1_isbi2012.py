r"""Table 1: the five metrics on held-out sections of ISBI 2012, and a test volume ready to submit.

python experiments/table1_isbi2012.py --data data [--quick]

Trains on sections 0-23 and scores 24-29 of the training volume, averaged over seven rotations as
in the paper and not; the test volume is scored where its labels lie beside it. The held-out
sections are neighbours of the training sections, so their scores are a little optimistic; the
paper's are of the secret test volume. ``--weights`` scores networks that are trained already.
Runs go on where they were cut.

On a GPU, the paper's width and tile:

python experiments/table1_isbi2012.py --data data --device cuda --width 64 --tile 572 \
    --steps 15000 --precision bfloat16 --seeds 3 --out experiments/results/table1_width64
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import entry
import numpy as np
import recipes
import records
import row_files
from matplotlib.figure import Figure

from paper_unet.cli import script
from paper_unet.errors import DivergedError
from paper_unet.figures.style import (
    BLACK,
    draw_runs,
    figure,
    honest_limits,
    keys,
    legend_below,
    metric_label,
)
from paper_unet.images import create_tiff
from paper_unet.inference.predict import predict_stack
from paper_unet.inference.settings import Average
from paper_unet.metrics.table import ISBI2012
from paper_unet.networks.base import Network
from paper_unet.networks.known_weights import is_known, locate
from paper_unet.networks.weights_file import load_model
from paper_unet.system.device import pick_device
from paper_unet.training.checkpoint import WEIGHTS
from paper_unet.training.config import TrainConfig
from paper_unet.training.initial_weights import start_network

PAPER = {"warping_error": 0.000353, "rand_error": 0.0382, "pixel_error": 0.0611}
"""Table 1 of the paper, u-net: averaged over seven rotations, on the secret test volume."""


@dataclass(frozen=True)
class Job:
    """A network to train, or one that is trained."""

    name: str
    stages: tuple[TrainConfig, ...]
    weights: Path | None
    device: str
    sections: common.Sections
    test: common.Sections | None

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`; a network that is trained already is known by its bytes."""
        found = dict(self.sections.facts)
        if self.weights is not None:
            found["weights"] = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        if self.tested:
            found["test"] = list(self.tested)
        return found

    @property
    def pixels(self) -> int:
        """See `row_files.Job`: as they are, four flips, seven rotations."""
        scored: list[tuple[int, ...]] = [self.sections[common.HELD_OUT].images.shape, self.tested]
        return sum(common.LOOKS.values()) * sum(math.prod(shape) for shape in scored if shape)

    @property
    def tested(self) -> tuple[int, ...]:
        """The size of the test volume where its labels are known; else nothing."""
        return self.test.labels.shape if self.test is not None and self.test.labels.size else ()


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and score."""
    common.be_one_of_several()
    row: dict[str, Any] = {"network": job.name}
    if not job.stages:
        model = load_model(job.weights, pick_device(job.device))
        row["width"] = model.config.width
    else:
        training, scored = (
            partial(common.membrane_training_set, job.sections[part])
            for part in (common.TRAINING, common.HELD_OUT)
        )
        first = job.stages[0]
        row |= {"width": first.width, "seed": first.seed}
        found = recipes.train_row(row, job.stages, training, scored)
        if found is None:
            return row
        model = found
    parts = {"held_out": job.sections[common.HELD_OUT], "test": job.test}
    for part, sections in parts.items():
        if sections is not None and sections.labels.size:
            row[part] = {
                average: common.held_out_scores(model, sections, average)
                for average in common.LOOKS
            }
    for average in common.LOOKS:
        shown = {name: round(row["held_out"][average][name], 6) for name in ISBI2012}
        print(job.name, average, shown, flush=True)
    return row


def summary(rows: list[dict[str, Any]], part: str) -> dict[str, Any]:
    """Return mean and spread over the networks that were trained here."""
    found: dict[str, Any] = {}
    trained = [row for row in rows if "seed" in row and part in row]
    for average in common.LOOKS:
        found[average] = {}
        for name in ISBI2012:
            values = [row[part][average][name] for row in trained]
            if values:
                found[average][name] = common.spread(values)
    return found


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the network with the highest V_rand + V_info on the held-out sections."""

    def quality(row: dict[str, Any]) -> float:
        scores = row["held_out"]["rotations"]
        return float(scores["v_rand"] + scores["v_info"])

    return max(rows, key=quality)


def submit(model: Network, test: common.Sections, out: Path, average: Average) -> None:
    """Write the probability of cell of the test volume as the challenge takes it."""
    with create_tiff(out, test.images.shape, np.float32, overwrite=True) as writer:
        predict_stack(model, test.images, writer, average=average)
    print(f"wrote {out}: float32, 0 = membrane, 1 = cell")


def draw(rows: list[dict[str, Any]], source: str) -> Figure:
    """Draw the five metrics of every network, averaged and not, and the paper's three."""
    lost = common.collapsed(rows)
    rows = [row for row in rows if "diverged" not in row]
    groups = networks_by_recipe(rows)
    moved = dict(zip(groups, np.linspace(-0.2, 0.2, len(groups) + 2)[1:-1], strict=True))
    with figure("page", 2.3) as page:
        for axes, name in zip(page.subplots(1, len(ISBI2012)), ISBI2012, strict=True):
            drawn = [[PAPER[name]]] if name in PAPER else []
            for group, key in keys(groups).items():
                for place, average in enumerate(common.LOOKS):
                    values = [row["held_out"][average][name] for row in groups[group]]
                    draw_runs(axes, place + moved[group], values, key=key, label=group)
                    drawn.append(values)
            if name in PAPER:
                label = "the paper's, secret test volume"
                axes.axhline(PAPER[name], color=BLACK, ls="--", lw=0.8, label=label)
            axes.set_title(metric_label(name))
            axes.set_ylim(honest_limits(name, drawn))
            axes.set_xticks(range(len(common.LOOKS)), common.LOOKS)
            axes.set_xlim(-0.5, len(common.LOOKS) - 0.5)
            axes.locator_params(axis="y", nbins=5)
        legend_below(page)
        shown = "SYNTHETIC" if source == "synthetic" else source
        page.suptitle(f"{shown}, sections 24-29{lost}")
    return page


def networks_by_recipe(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the networks trained here that differ in their seed alone under one name."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows:
        name = row["network"].removesuffix(f"-seed{row.get('seed')}")
        groups.setdefault((name, "seed" in row), []).append(row)
    return {
        f"{name} ({len(mine)} seeds)" if len(mine) > 1 else mine[0]["network"]: mine
        for (name, _), mine in groups.items()
    }


def called(weights: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return what trained networks are called: as their files, with folders where two are alike."""
    places = {word: Path(word).absolute().with_suffix("").parts for word in weights}
    places |= {word: ("", word) for word in places if is_known(word)}
    found = {}
    for word, place in places.items():
        others = [other for there, other in places.items() if there != word]
        others += [("", name) for name in taken]
        tails = (place[-k:] for k in range(1, len(place)))
        alone = (tail for tail in tails if all(other[-len(tail) :] != tail for other in others))
        found[word] = "/".join(next(alone, (word,)))
    return found


def main() -> None:
    """Train what is missing, score, write the test volume, draw."""
    parser = common.parser("table1_isbi2012", __doc__)
    recipes.add_training_options(parser, width=16, steps=24_000, tile=380)
    recipes.add_recipe_options(parser)
    parser.add_argument("--seeds", type=script.count_or_none, default=1, help="runs")
    parser.add_argument("--start", default="", help="weights that the runs go on from")
    parser.add_argument(
        "--weights", nargs="+", default=[], help="trained networks to score: files or names"
    )
    options = recipes.parsed(parser, width=4, steps=10, tile=252, weights=["bundled"])
    if not options.seeds and not options.weights:
        parser.error("--seeds 0 trains nothing; give --weights to score")
    started = time.time()
    with records.recorded(options):
        rows, results = score_all(options)
        if not rows:
            return
        source = results["source"]
        records.write_results(options.out, results, started)
        records.save_figure(draw(rows, source), options.out, "table1_isbi2012")


def score_all(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Do everything but the writing of the results."""
    sections = common.isbi2012(options.data, options.quick)
    test = common.isbi2012_test(options.data, options.quick)
    seeds = {
        seed: f"width{options.width}{recipes.recipe_name(options)}-seed{seed}"
        for seed in range(options.seed, options.seed + options.seeds)
    }
    jobs = [
        Job(name, (), locate(word)[0], options.device, sections, test)
        for word, name in called(options.weights, seeds.values()).items()
    ]
    for seed, name in seeds.items():
        config = recipes.train_config(options, name, seed, start=options.start or None)
        jobs.append(
            Job(name, recipes.stages(options, config), None, options.device, sections, test)
        )
    for job in jobs:  # before the first row is made
        if job.weights is not None:
            common.grey_network(job.weights)
    if options.seeds and options.start:
        start_network(jobs[-1].stages[0])
    pairs = row_files.run_jobs(run, jobs, options)
    if not pairs:
        return [], {}
    rows = [row | {"network": job.name} for job, row in pairs]  # a copy's row has its own name
    sound = [(job, row) for (job, _), row in zip(pairs, rows, strict=True) if "diverged" not in row]
    if not sound:
        raise DivergedError(rows[0]["diverged"])
    chosen = best([row for _, row in sound])
    job = next(job for job, row in sound if row is chosen)
    weights = job.weights or Path(job.stages[-1].out) / WEIGHTS
    if test is not None and weights.exists():  # a row made elsewhere left none
        model = load_model(weights, pick_device(options.device))
        options.work.mkdir(parents=True, exist_ok=True)
        submit(model, test, options.work / "test-volume-probability.tif", "rotations")
    return rows, results_of(options, jobs, rows, chosen)


def results_of(
    options: argparse.Namespace,
    jobs: list[Job],
    rows: list[dict[str, Any]],
    chosen: dict[str, Any],
) -> dict[str, Any]:
    """Return what metrics.json holds."""
    start = f", from {Path(options.start).stem}" if options.start else ""
    configs = [[asdict(stage) for stage in job.stages] for job in jobs if job.stages]
    return {
        "source": jobs[0].sections.source,
        "recipe": recipes.recipe(options) + start,
        "config": configs[0] if configs else None,
        "held_out": summary(rows, "held_out"),
        "test": summary(rows, "test"),
        "diverged": sum("diverged" in row for row in rows),
        "best": chosen["network"],
        "paper_test_volume": PAPER,
        "rows": rows,
    }


if __name__ == "__main__":
    entry.run(main)
