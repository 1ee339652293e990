r"""What each choice of the paper buys: one at a time is taken away, on ISBI 2012 and DIC-C2DH-HeLa.

python experiments/ablation.py --data data [--quick]

Every run of a data set has as many steps, and its seed draws the same weights and the same looks as
far as the choice allows. ISBI 2012: sections 0-23, scored on 24-29. DIC-C2DH-HeLa: learned from
sequence 01 and scored on 02 as table 2 reads its maps, by thresholds that the frames held out of 01
choose; SEG by the argmax, where one open pixel joins two cells, is kept beside. Runs go on where
they were cut.

``--network`` and ``--optimizer`` change what the choices are taken away from: the paper's recipe
learns too slowly for cells on a CPU, where batch normalisation and Adam stand in for its hours:

python experiments/ablation.py --data data --sets DIC-C2DH-HeLa --network paper_batch_norm \
    --optimizer adam --width 16 --tile 380 --precision bfloat16 --warmup 100 \
    --cell-steps 2500 --seeds 3 \
    --out experiments/results/ablation_cells_width16 --work runs/ablation_cells_width16

On a GPU:

python experiments/ablation.py --data data --device cuda --width 32 --tile 572 --steps 6000 \
    --precision tf32 --seeds 3
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
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
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_unet.cli import script
from paper_unet.figures.style import (
    BLUE,
    ORANGE,
    Width,
    draw_runs,
    figure,
    honest_limits,
    metric_label,
)
from paper_unet.geometry import HALO, input_size, output_size
from paper_unet.images import to_unit_range
from paper_unet.inference.layers import evaluating
from paper_unet.inference.predict import predict_stack
from paper_unet.inference.readout import probability
from paper_unet.inference.settings import Average
from paper_unet.metrics import isbi2012_scores
from paper_unet.metrics.table import ISBI2012
from paper_unet.networks.base import Network
from paper_unet.training.config import MEMBRANE_RATE, OTHER_RATE, TrainConfig

ISBI, HELA = "ISBI 2012", "DIC-C2DH-HeLa"
BASE = recipes.PAPERS_RECIPE
CHOICES: dict[str, dict[str, Any]] = {
    BASE: {},
    "no border weights": {"w0": 0.0},
    "no class balance": {"balance": 0.0},
    "no elastic deformation": {"elastic": 0.0},
    "no augmentation": {"elastic": 0.0, "rotate": False, "mirror": False, "grey": 0.0},
    "no drop-out": {"dropout": 0.0},
    "PyTorch's initial weights": {"init": "pytorch"},
    "same padding": {"network": "same_padding"},
    "batch normalisation": {"network": "paper_batch_norm"},
    "zeros beyond the border": {"extrapolation": "zero"},
    "Adam": {"optimizer": "adam"},
}
AVERAGES: tuple[Average, ...] = ("flips", "rotations")
"""Scored on the networks of the base; every other row is scored without averaging."""

SHOWN = {ISBI: ("v_rand", "v_info", "pixel_error"), HELA: ("seg",)}
LISTED = SHOWN | {HELA: ("seg", "seg_argmax")}


def base_of(options: argparse.Namespace) -> str:
    """Return the name of what the choices are taken away from."""
    return recipes.recipe(options)


def choices_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return every choice that can be taken away, what it is taken away from first."""
    base = base_of(options)  # may have the name of a choice
    found = {base: CHOICES[BASE]} | {k: v for k, v in CHOICES.items() if k not in (BASE, base)}
    if options.network != "paper":
        found = {name: changes for name, changes in found.items() if "network" not in changes}
        found["the paper's network"] = {"network": "paper"}
    if options.optimizer != "sgd":
        found["gradient descent"] = {"optimizer": "sgd", "lr": MEMBRANE_RATE}
    if options.optimizer == "adam":
        found = {name: v for name, v in found.items() if v != CHOICES["Adam"]}
    return found


@dataclass(frozen=True)
class Job:
    """One training run on one data set."""

    choice: str
    is_base: bool
    stages: tuple[TrainConfig, ...]
    source: str
    data: common.Sections | cell_splits.Split

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return Path(self.stages[0].out).name

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`."""
        of_data = {**self.data.facts, "data": self.source}
        return {**of_data, "averages": list(AVERAGES) if self.is_base else []}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`."""
        if isinstance(self.data, common.Sections):
            scored = self.data[common.HELD_OUT].images.size
        else:
            scored = self.data.pixels // 4
        return scored * (12 if self.is_base else 1)


def run(job: Job) -> list[dict[str, Any]]:
    """Train, or go on training, and score; one row for each way of averaging that is asked for."""
    common.be_one_of_several()
    config, data = job.stages[0], job.data
    on = ISBI if isinstance(data, common.Sections) else HELA
    row = {"data": on, "source": job.source, "choice": job.choice, "seed": config.seed}
    if isinstance(data, common.Sections):
        chosen, scored = (
            partial(common.membrane_training_set, data[part])
            for part in (common.TRAINING, common.HELD_OUT)
        )
    else:
        chosen, scored = (
            partial(cells.cell_training_set, frames) for frames in (data.learned, data.held_out)
        )
    model = recipes.train_row(row, job.stages, chosen, scored)
    if model is None:
        return [row]
    rows = [row | scores(model, config, data, "none")]
    if job.is_base:
        for average in AVERAGES:
            named = {"choice": f"{job.choice}, {average}"}
            rows.append(row | named | scores(model, config, data, average))
    print(rows[0], flush=True)
    return rows


def scores(
    model: Network,
    config: TrainConfig,
    data: common.Sections | cell_splits.Split,
    average: Average,
) -> dict[str, Any]:
    """Score what the network has not seen."""
    if isinstance(data, common.Sections):
        held_out = data[common.HELD_OUT]
        found = interior(model, config, held_out.images, average)
        values = isbi2012_scores((held_out.labels > 0).astype(np.uint8), found).to_dict()
        return {name: values[name] for name in ISBI2012}
    held_out_maps, maps = (
        interior(model, config, frames.images, average) for frames in (data.held_out, data.scored)
    )
    reading, _ = cell_readings.best_reading(data.held_out, held_out_maps, config.gap, data.neck)
    argmax = cell_readings.Reading(gap=config.gap)
    return {
        **cells.score(data.scored, reading(maps)),
        "seg_argmax": cell_readings.seg(data.scored, maps, argmax),
        "seg_held_out": cell_readings.seg(data.held_out, held_out_maps, reading),
        "reading": asdict(reading),
    }


def interior(
    model: Network, config: TrainConfig, images: NDArray[Any], average: Average
) -> NDArray[np.float32]:
    """Return the probability of cell of each section, beyond whose border is what training saw."""
    if config.network == "same_padding":  # one pass: a section is smaller than a tile
        side = input_size(max(images.shape[1:]))
        return np.asarray(predict_stack(model, images, tile=side, average=average))
    if config.extrapolation == "mirror":
        return np.asarray(predict_stack(model, images, average=average))
    with evaluating(model):
        return np.stack([probability(_one_pass(model, config, image)) for image in images])


def _one_pass(model: Network, config: TrainConfig, image: NDArray[Any]) -> torch.Tensor:
    """Return the scores (K, Y, X) of a section that is surrounded by zeros."""
    device = model.head.weight.device
    grey = torch.from_numpy(to_unit_range(image, config.value_range)).to(device)[None, None]
    rows, columns = image.shape
    right, below = (output_size(input_size(side)) - side + HALO for side in (columns, rows))
    padded = torch.nn.functional.pad(grey, (HALO, right, HALO, below))
    scores: torch.Tensor = model(padded)
    return scores[0, :, :rows, :columns].cpu()


def table(rows: list[dict[str, Any]], base_name: str = BASE) -> list[dict[str, Any]]:
    """Return mean and spread over the seeds, and over the pairs of runs of the same seed."""
    lines = []
    for on, choice in dict.fromkeys((row["data"], row["choice"]) for row in rows):
        mine = {r["seed"]: r for r in rows if (r["data"], r["choice"]) == (on, choice)}
        base = {r["seed"]: r for r in rows if (r["data"], r["choice"]) == (on, base_name)}
        line: dict[str, Any] = {"data": on, "choice": choice, "seeds": len(mine)}
        line["diverged"] = sum("diverged" in row for row in mine.values())
        for name in LISTED[on]:
            pairs = [(mine[s].get(name), base.get(s, {}).get(name)) for s in sorted(mine)]
            values = [value for value, _ in pairs if value is not None]
            gains = [v - b for v, b in pairs if v is not None and b is not None]
            line[name] = common.spread(values)
            line[f"{name}_against_base"] = common.spread(gains)
        lines.append(line)
    return lines


def draw(lines: list[dict[str, Any]], rows: list[dict[str, Any]], base_name: str = BASE) -> Figure:
    """Draw every run as a dot, their mean and spread; a line at the mean of the base."""
    panels = [
        (on, name) for on in SHOWN for name in SHOWN[on] if any(r["data"] == on for r in rows)
    ]
    choices = list(dict.fromkeys(line["choice"] for line in lines))
    width: Width = "column" if len(panels) == 1 else "page"
    with figure(width, 0.75 + 0.17 * len(choices)) as page:
        every = np.atleast_1d(page.subplots(1, len(panels), sharey=True))
        for axes, (on, name) in zip(every, panels, strict=True):
            here = [row for row in rows if row["data"] == on and name in row]
            runs = {c: [row[name] for row in here if row["choice"] == c] for c in choices}
            for place, (choice, values) in enumerate(runs.items()):
                key = BLUE if choice.startswith(base_name) else ORANGE, "o"
                draw_runs(axes, place, values, key=key, upright=False)
            if runs.get(base_name):
                axes.axvline(np.mean(runs[base_name]), color=BLUE, lw=0.6, zorder=0)
            synthetic = any(row["source"] == "synthetic" for row in rows if row["data"] == on)
            axes.set_title(f"{'SYNTHETIC for ' if synthetic else ''}{on}\n{metric_label(name)}")
            axes.set_xlim(honest_limits(name, runs.values()))
        lost = Counter(row["choice"] for row in rows if "diverged" in row)
        ticks = [f"{c} ({lost[c]} collapsed)" if lost[c] else c for c in choices]
        every[0].set_yticks(range(len(choices)), ticks)
        every[0].set_ylim(len(choices) - 0.5, -0.5)
    return page


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return every run that is asked for; seeds outside, so that a cut table is even."""
    data: dict[str, common.Sections | cell_splits.Split] = {}
    sources = {}
    config_of: dict[str, Callable[..., TrainConfig]] = {}
    if ISBI in options.sets:
        data[ISBI] = sections = common.isbi2012(options.data, options.quick)
        sources[ISBI] = sections.source
        config_of[ISBI] = partial(recipes.train_config, options)
    if HELA in options.sets:
        sequences = cells.load(options.data, HELA, options.quick)
        data[HELA] = cell_splits.splits(sequences, ("across",))[0]
        sources[HELA] = sequences.source
        config_of[HELA] = partial(cells.train_config, options, sequences)
    choices = choices_of(options)
    steps = {ISBI: options.steps, HELA: options.cell_steps}
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        for on in options.sets:
            for choice in dict.fromkeys((base_of(options), *(options.choices or choices))):
                changes = {"steps": steps[on], **choices[choice]}
                adam = changes.get("optimizer", options.optimizer) == "adam"
                if adam and (options.adam_lr or "optimizer" in changes):
                    changes["lr"] = options.adam_lr or OTHER_RATE
                if changes.get("network") == "same_padding":
                    changes["tile"] = round(options.tile / 16) * 16
                is_base = choice == base_of(options)
                name = f"{on}-{BASE if is_base else choice}{recipes.recipe_name(options)}"
                run_name = f"{name}-seed{seed}".replace(" ", "_").replace("'", "")
                config = config_of[on](run_name, seed, **changes)
                stages = recipes.stages(options, config)
                found.append(Job(choice, is_base, stages, sources[on], data[on]))
    return found


def main() -> None:
    """Run what is missing, and draw."""
    parser = common.parser("ablation", __doc__)
    recipes.add_training_options(parser, width=8, steps=800, tile=316)
    recipes.add_recipe_options(parser)
    parser.add_argument("--cell-steps", type=int, default=1600, help="on DIC-C2DH-HeLa")
    parser.add_argument("--adam-lr", type=float, help=f"of runs with Adam; default: {OTHER_RATE:g}")
    parser.add_argument("--seeds", type=script.count, default=3, help="runs per choice")
    parser.add_argument("--sets", nargs="+", default=[ISBI, HELA], choices=[ISBI, HELA])
    parser.add_argument(
        "--choices", nargs="+", help="by name, and what they are taken away from; default: all"
    )
    options = recipes.parsed(parser, width=2, steps=4, cell_steps=4, tile=252, seeds=1)
    if unknown := set(options.choices or ()) - choices_of(options).keys():
        parser.error(f"--choices: {min(unknown)!r} is none of {', '.join(choices_of(options))}")
    if options.optimizer == "adam" and None not in (options.lr, options.adam_lr):
        parser.error("--lr and --adam-lr are one rate with --optimizer adam; give one of them")
    started = time.time()
    with records.recorded(options):
        every = jobs(options)
        rows = [row for part in row_files.run_rows(run, every, options) for row in part]
        if not rows:
            return
        base = base_of(options)
        lines = table(rows, base)
        source = " and ".join(dict.fromkeys(row["source"] for row in rows))
        results = {
            "source": source,
            "base": base,
            "config": [asdict(stage) for stage in every[0].stages],
        }
        records.write_results(options.out, {**results, "table": lines, "rows": rows}, started)
        records.save_figure(draw(lines, rows, base), options.out, "ablation")


if __name__ == "__main__":
    entry.run(main)
