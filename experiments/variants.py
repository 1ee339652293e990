r"""The paper's network, the release and the variants that people know, at the same arithmetic.

python experiments/variants.py --data data [--quick]

ISBI 2012: sections 0-23, scored on 24-29. A run of any network takes as many multiply-accumulates
as ``--steps`` steps of the paper's at ``--tile``; how many steps these are follows from the shapes
of its layers. Each variant is trained by its own recipe (`RECIPES`, docs/variants.md) and by the
paper's, which leaves the network alone to differ. Tiles, augmentation, warm-up and decay are the
same for all. Runs go on where they were cut.

On a GPU:

python experiments/variants.py --data data --device cuda --width 32 --tile 572 --steps 6000 \
    --precision tf32 --seeds 3
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import common
import entry
import numpy as np
import recipes
import records
import row_files
import torch
import variants_table
from numpy.typing import NDArray
from variants_table import OWN, PAPER

from paper_unet.cli import script
from paper_unet.images import to_unit_range
from paper_unet.inference.cost import cost
from paper_unet.inference.layers import evaluating
from paper_unet.inference.predict import engine_for, predict_image
from paper_unet.inference.readout import probability
from paper_unet.inference.seams import seams
from paper_unet.inference.settings import BAND, InferenceSettings, Plan
from paper_unet.networks.base import Network
from paper_unet.networks.table import make_network, network_class
from paper_unet.system.device import pick_device
from paper_unet.system.files import write_atomic
from paper_unet.training.config import TrainConfig
from paper_unet.training.initial_weights import new_network

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},  # the options
    "release": {},
    "annotated": {"optimizer": "adam", "lr": 2.5e-4},
    "popular": {"optimizer": "rmsprop", "lr": 1e-5, "momentum": 0.999, "weight_decay": 1e-8},
    "popular_bilinear": {
        "optimizer": "rmsprop", "lr": 1e-5, "momentum": 0.999, "weight_decay": 1e-8,
    },
    "three_level": {"optimizer": "sgd", "lr": 1e-2, "momentum": 0.99},
    "keras": {"optimizer": "adam", "lr": 1e-3},
    "valid_batchnorm": {"optimizer": "adam", "lr": 1e-3},  # its description names none
}  # fmt: skip
"""What each author trained with; none of them centres the grey values or weighs the pixels."""

THEIRS = {"centre": 0.0, "weighting": "none"}
OURS = {"init": "gaussian", "weighting": "map"}

SEAM_TILE = 380
"""Pixels: small enough that a section of 512 is cut, large enough for every halo."""
HALOS = (0, 32, None)
"""None is each network's own: as far as a pixel sees."""


@dataclass(frozen=True)
class Job:
    """One training run."""

    network: str
    recipe: str
    config: TrainConfig
    sections: common.Sections

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
        return {**self.sections.facts, "seams": SEAM_TILE}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`; the seams are of one section, in several tilings."""
        return 2 * self.sections[common.HELD_OUT].images.size


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training, and score."""
    common.be_one_of_several()
    config = job.config
    row: dict[str, Any] = {
        "network": job.network, "recipe": job.recipe, "seed": config.seed,
        "source": job.sections.source, "steps": config.steps, "tile": config.input_side,
    }  # fmt: skip
    training = partial(common.membrane_training_set, job.sections[common.TRAINING])
    model = recipes.train_row(row, (config,), training)
    if model is None:
        return row
    held_out = job.sections[common.HELD_OUT]
    row |= common.held_out_scores(model, held_out)
    image = repeated(held_out.images[0])
    row["seams"] = seam_errors(model, image)
    if (side := getattr(model, "authors_side", None)) is not None:
        row[f"at_{side}"] = floored(model, image)
    print(row, flush=True)
    return row


def repeated(image: NDArray[np.uint8], least: int = 512) -> NDArray[np.uint8]:
    """Repeat a small section until its sides have ``least`` pixels, so that tiles can cut it."""
    times = [-(-least // side) for side in image.shape]
    return np.tile(image, times)[: max(least, image.shape[0]), : max(least, image.shape[1])]


def seam_errors(model: Network, image: NDArray[np.uint8]) -> dict[str, dict[str, float]]:
    """Compare tiles with one pass, for each halo; a streaming network has exact tiles alone."""
    if model.streams:
        whole = predict_image(model, image)
        tiles = predict_image(model, image, engine="tiles", tile=SEAM_TILE)
        difference = tiles.astype(np.float64) - whole
        rms, largest = float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())
        return {"own": {"rms": rms, "largest": largest, "at_seams": rms, "halo": 92}}
    halos = HALOS if model.context.padded else (None,)
    found = {}
    for halo in halos:
        seam = asdict(seams(model, image, tile=SEAM_TILE, halo=halo))
        kept = {name: seam[name] for name in ("rms", "largest", "at_seams", "halo")}
        found["own" if halo is None else str(halo)] = kept
    return found


def floored(model: Network, image: NDArray[np.uint8]) -> dict[str, float]:
    """Compare a pass over 512 pixels, whose third pool floors 121 rows, with legal tiles.

    Its author takes the 324 pixels that come out for the centre of the 512, 94 from each side.
    """
    window = image[:512, :512]
    grey = torch.from_numpy(to_unit_range(window)).to(model.head.weight.device)
    with evaluating(model):
        scores = model(grey[None, None])[0].cpu()
        found = probability(scores, model.sigmoid).astype(np.float64)
    legal = predict_image(model, image)[94 : 94 + 324, 94 : 94 + 324]
    difference = found - legal
    return {
        "rms": float(np.sqrt(np.mean(difference**2))),
        "largest": float(np.abs(difference).max()),
        "disagreeing": float(np.mean((found > 0.5) != (legal > 0.5))),
        "sd": float(legal.std()),
    }


def tile_of(name: str, tile: int) -> int:
    """Return the largest side that fits a network and is no larger than the paper's tile."""
    kind = network_class(name)
    return tile // 16 * 16 if kind.context.padded else tile


def steps_of(name: str, options: argparse.Namespace) -> int:
    """Return how many steps take the arithmetic of the paper's network."""
    budget = int(options.steps) * _step("paper", options)
    return max(1, round(budget / _step(name, options)))


def _step(name: str, options: argparse.Namespace) -> int:
    return _work(name, options.width, tile_of(name, options.tile))


@cache
def _work(name: str, width: int, side: int) -> int:
    work: int = cost(shadow(name, width), side).multiply_accumulates
    return work


def shadow(name: str, width: int) -> Network:
    """Return a network whose weights take no memory, for its shapes."""
    with torch.device("meta"):
        return make_network(name, 1, None, width, 0.5)


def facts(name: str, options: argparse.Namespace, side: int) -> dict[str, Any]:
    """Return what follows from the shapes: parameters and arithmetic, at this width and at 64."""
    found: dict[str, Any] = {"steps": steps_of(name, options), "step": _step(name, options)}
    for width in dict.fromkeys((options.width, 64)):
        model = shadow(name, width)
        whole = Plan(BAND, side, side)
        work = engine_for(model, InferenceSettings()).work(whole, (side, side)) / side**2
        parameters = cost(model, 560 if model.context.padded else 572).parameters
        found[f"width {width}"] = {"parameters": parameters, "per_pixel": work}
    return found


def speeds(names: list[Any], options: argparse.Namespace, image: NDArray[np.uint8]) -> Any:
    """Return pixels per second of each network, measured in turns; untrained, float32."""
    device = pick_device(options.device)
    models = {
        name: new_network(TrainConfig(network=name, width=options.width)).to(device).eval()
        for name in names
    }
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds + 1):  # the first one warms up
        for name, model in models.items():
            started = time.perf_counter()
            predict_image(model, image)
            times[name].append(time.perf_counter() - started)
    return {name: image.size / float(np.median(seen[1:])) for name, seen in times.items()}


def jobs(options: argparse.Namespace, sections: common.Sections) -> list[Job]:
    """Return every run that is asked for; seeds outside, so that a cut table is even."""
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        for name in options.networks:
            for recipe in options.recipes if RECIPES[name] else [PAPER]:
                changes = THEIRS | RECIPES[name] if recipe == OWN else OURS
                config = recipes.train_config(
                    options,
                    f"{name}-{recipe}-seed{seed}",
                    seed,
                    network=name,
                    tile=tile_of(name, options.tile),
                    steps=steps_of(name, options),
                    **changes,
                )
                found.append(Job(name, recipe, config, sections))
    return found


def main() -> None:
    """Run what is missing, measure, and draw."""
    parser = common.parser("variants", __doc__)
    recipes.add_training_options(parser, width=8, steps=600, tile=316)
    parser.add_argument("--seeds", type=script.count, default=3, help="runs per network and recipe")
    parser.add_argument(
        "--rounds", type=script.count, default=5, help="of the measurement of speed"
    )
    parser.add_argument("--networks", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--recipes", nargs="+", default=[PAPER, OWN], choices=[PAPER, OWN])
    options = recipes.parsed(parser, width=2, steps=4, tile=252, seeds=1, rounds=1)
    started = time.time()
    with records.recorded(options):
        sections = common.isbi2012(options.data, options.quick)
        every = jobs(options, sections)
        rows = row_files.run_rows(run, every, options)
        if not rows:
            return
        image = repeated(sections.images[0])
        known = {name: facts(name, options, image.shape[0]) for name in options.networks}
        for name, speed in speeds(options.networks, options, image).items():
            known[name]["pixels_per_second"] = speed
        lines = variants_table.table(rows)
        results = {"source": sections.source, "networks": known, "table": lines, "rows": rows}
        records.write_results(options.out, results, started)
        text = "\n".join(variants_table.markdown(lines, known, options.width))
        write_atomic(options.out / "table.md", (text + "\n").encode())
        print(text)
        records.save_figure(variants_table.draw(lines, rows), options.out, "variants")


if __name__ == "__main__":
    entry.run(main)
