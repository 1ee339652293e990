r"""How few annotated sections are enough? The score against the number of training sections.

python experiments/learning_curve.py --data data [--quick]

Trains on 1, 2, 4, 8, 16 and 24 sections of ISBI 2012, spread evenly over sections 0-23, and scores
sections 24-29. Every run has the same number of steps, with and without augmentation. Runs go on
where they were cut.

The paper's recipe learns too slowly for a CPU; Adam stands in for its hours:

python experiments/learning_curve.py --data data --optimizer adam --seeds 2

On a GPU:

python experiments/learning_curve.py --data data --device cuda --width 32 --tile 572 --steps 6000 \
    --precision tf32
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ablation
import common
import entry
import numpy as np
import recipes
import records
import row_files
from matplotlib.figure import Figure

from paper_unet.cli import script
from paper_unet.errors import InputError
from paper_unet.figures.style import (
    draw_runs,
    figure,
    honest_limits,
    keys,
    legend_below,
    metric_label,
)
from paper_unet.training.config import TrainConfig

SHOWN = ("v_rand", "v_info", "pixel_error")
SHIFTS = (0.95, 1.05)
"""Of the two, so that one does not hide the other."""
AUGMENTED, PLAIN = "with augmentation", "no augmentation"


@dataclass(frozen=True)
class Job:
    """One training run."""

    count: int
    choice: str
    stages: tuple[TrainConfig, ...]
    sections: common.Sections

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return Path(self.stages[0].out).name

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`."""
        return {**self.sections.facts, "sections": self.count}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`."""
        return self.sections[common.HELD_OUT].images.size


def chosen(count: int, of: int = 24) -> list[int]:
    """Return the numbers of ``count`` sections, spread evenly over ``of``."""
    return [int((2 * k + 1) * of / (2 * count)) for k in range(count)]


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and score."""
    common.be_one_of_several()
    training = job.sections[common.TRAINING]
    numbers = chosen(job.count, len(training.images))
    few = common.Sections(training.images[numbers], training.labels[numbers], training.source)
    config = job.stages[0]
    row = {"sections": job.count, "numbers": numbers, "choice": job.choice, "seed": config.seed}
    training_set, scored = (
        partial(common.membrane_training_set, part) for part in (few, job.sections[common.HELD_OUT])
    )
    model = recipes.train_row(row, job.stages, training_set, scored)
    if model is None:
        return row
    row |= ablation.scores(model, config, job.sections, "none")
    print(row, flush=True)
    return row


def draw(rows: list[dict[str, Any]], above: str) -> Figure:
    """Draw every run as a dot, their means and spreads, and lines between the means."""
    with figure("page", 2.3) as page:
        for axes, name in zip(page.subplots(1, len(SHOWN)), SHOWN, strict=True):
            drawn = []
            for shift, (choice, key) in zip(SHIFTS, keys((AUGMENTED, PLAIN)).items(), strict=True):
                mine = [row for row in rows if row["choice"] == choice and name in row]
                counts = sorted({row["sections"] for row in mine})
                runs = [[r[name] for r in mine if r["sections"] == n] for n in counts]
                places = [count * shift for count in counts]
                axes.plot(places, [np.mean(values) for values in runs], color=key[0], lw=0.8)
                for place, values in zip(places, runs, strict=True):
                    draw_runs(axes, place, values, key=key, label=choice)
                drawn += runs
            axes.set_ylim(honest_limits(name, drawn))
            axes.set_xscale("log", base=2)
            counts = sorted({row["sections"] for row in rows})
            if not drawn:  # a logarithmic axis of nothing has no limits
                axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
            axes.set_xticks(counts)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("training sections")
            axes.set_title(metric_label(name))
        legend_below(page)
        page.suptitle(above + common.collapsed(rows))
    return page


def title(results: dict[str, Any]) -> str:
    """Return what stands above the figure."""
    source = results["source"]
    return f"{'SYNTHETIC sections' if source == 'synthetic' else source}; {results['recipe']}"


def jobs(options: argparse.Namespace, sections: common.Sections) -> list[Job]:
    """Return every run that is asked for; seeds outside, so that a cut table is even."""
    there = len(sections[common.TRAINING].images)
    if max(options.counts) > there:
        raise InputError(f"--counts {max(options.counts)}: there are {there} to learn from")
    choices = {AUGMENTED: {}, PLAIN: ablation.CHOICES[PLAIN]}
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        for count in options.counts:
            for choice, changes in choices.items():
                looks = PLAIN if changes else "augmented"
                name = f"{count}-sections-{looks}{recipes.recipe_name(options)}-seed{seed}"
                config = recipes.train_config(options, name.replace(" ", "_"), seed, **changes)
                found.append(Job(count, choice, recipes.stages(options, config), sections))
    return found


def main() -> None:
    """Run what is missing, and draw."""
    parser = common.parser("learning_curve", __doc__)
    recipes.add_training_options(parser, width=8, steps=800, tile=316)
    recipes.add_recipe_options(parser)
    parser.add_argument("--counts", type=script.count, nargs="+", default=[1, 2, 4, 8, 16, 24])
    parser.add_argument("--seeds", type=script.count, default=3, help="runs per point")
    options = recipes.parsed(parser, width=2, steps=4, tile=252, seeds=1, counts=[1, 24])
    started = time.time()
    with records.recorded(options):
        sections = common.isbi2012(options.data, options.quick)
        every = jobs(options, sections)
        rows = row_files.run_rows(run, every, options)
        if not rows:
            return
        stages = [asdict(stage) for stage in every[0].stages]
        source, recipe = sections.source, recipes.recipe(options)
        results = {"source": source, "recipe": recipe, "config": stages, "rows": rows}
        records.write_results(options.out, results, started)
        records.save_figure(draw(rows, title(results)), options.out, "learning_curve")


if __name__ == "__main__":
    entry.run(main)
