"""What the cell tracking experiments share: frames, training sets, cells and SEG."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import recipes
from numpy.typing import NDArray

from paper_unet.cli import script
from paper_unet.datasets.cell_tracking import CellFrames, load_cell_frames
from paper_unet.images import to_unit_range
from paper_unet.inference.predict import predict_stack
from paper_unet.inference.settings import Average
from paper_unet.metrics import seg_measure
from paper_unet.metrics.instances import (
    FIELD_OF_INTEREST,
    MIN_AREA,
    MIN_CORE,
    cell_instances,
    cells_of_map,
)
from paper_unet.networks.base import Network
from paper_unet.synthetic import synthetic_stack
from paper_unet.training.config import OTHER_RATE, TrainConfig
from paper_unet.training.data import TrainingSet, training_set

SETS = ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
SEQUENCES = ("01", "02")
PAPER = {"PhC-C2DH-U373": 0.9203, "DIC-C2DH-HeLa": 0.7756}
"""Table 2 of the paper, "IoU" of the u-net; its test sequences are secret."""


def add_set_options(options: argparse.ArgumentParser) -> None:
    """Add the options that a data set has its own defaults for, or that are for some of them."""
    options.add_argument(
        "--finish-sets", nargs="+", default=list(SETS), choices=SETS,
        help="data sets that --finish is for; default: both",
    )  # fmt: skip
    options.add_argument("--gap", type=float, help="pixels; default: as chosen for the set")
    options.add_argument("--balance", type=float, help="default: as chosen for the set")
    options.add_argument(
        "--neck", type=script.pixels, metavar="PIXELS",
        help="cells that hang together by twice this or less are parted; default: "
        + ", ".join(f"{neck:g} for {name}" for name, neck in NECKS.items()),
    )  # fmt: skip


def options_of(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """Return the options as they hold for one data set."""
    if name in options.finish_sets:
        return options
    return argparse.Namespace(**vars(options) | {"finish": 0})


@dataclass(frozen=True)
class Sequences:
    """The segmented frames of a data set's two sequences, and where they are from."""

    name: str
    source: str
    frames: dict[str, CellFrames]

    @property
    def facts(self) -> dict[str, Any]:
        """What a row is known by: the source and the size, which a quick run has smaller."""
        sizes = {name: list(some.images.shape) for name, some in self.frames.items()}
        around = max(some.around for some in self.frames.values())
        return {"data": self.source, "shape": sizes, **({"around": around} if around else {})}


CHOSEN: dict[str, dict[str, Any]] = {"PhC-C2DH-U373": {}, "DIC-C2DH-HeLa": {}}
"""Settings chosen on held-out frames of what is learned from, see cells_study.py."""
VALUE_RANGES = {"PhC-C2DH-U373": (40.0, 170.0), "DIC-C2DH-HeLa": (65.0, 175.0)}
"""Grey values that become 0 and 1: the frames use a small part of uint8 (not in the paper)."""
AROUND = {"PhC-C2DH-U373": 50, "DIC-C2DH-HeLa": 0}
"""Pixels around a mask that are learned in the border of the frames, too: the cells of the one set
lie apart, those of the other touch cells that have no mask."""
NECKS = {"PhC-C2DH-U373": 5.0, "DIC-C2DH-HeLa": 0.0}
"""Pixels, as in `cells_of_map`. Cells of the one set that are found as one hang together by what is
narrow; those of the other by wide leaks, and they are narrow in places themselves."""


def load(data: Path, name: str, quick: bool = False) -> Sequences:
    """Read both sequences, or make two where the data set is absent."""
    folder = data / name
    if (folder / SEQUENCES[0]).is_dir():
        frames = {s: load_cell_frames(folder, s, around=AROUND[name]) for s in SEQUENCES}
        return Sequences(name, name, frames)
    common.note(f"no {name} in {data}: synthetic cells instead")
    side, sections = (128, 3) if quick else (512, 9)
    return Sequences(
        name,
        "synthetic",
        {s: _made_up(side, sections, seed) for seed, s in enumerate(SEQUENCES)},
    )


def _made_up(side: int, sections: int, seed: int) -> CellFrames:
    """Return sections of made-up tissue, whose instances stand in for cells."""
    made = synthetic_stack(sections=sections, side=side, seed=seed)
    instances = np.asarray(made.instances, np.int32)
    nowhere = np.zeros(instances.shape, bool)
    return CellFrames(tuple(range(sections)), made.images, instances, nowhere)


def cell_training_set(
    frames: CellFrames, config: TrainConfig, separate: bool = True
) -> TrainingSet:
    """Return training data of segmented cells; what is not annotated weighs 0."""
    return training_set(
        to_unit_range(frames.images, config.value_range),
        frames.instances,
        ignore=frames.unknown,
        w0=config.w0,
        sigma=config.sigma,
        balance=config.balance,
        separate=separate,
        gap=config.gap,
    )


def predicted_maps(
    model: Network, frames: CellFrames, average: Average = "flips"
) -> NDArray[np.float32]:
    """Return the probability of cell, shape (T, Y, X): by default the mean score of four flips."""
    maps: NDArray[np.float32] = np.asarray(predict_stack(model, frames.images, average=average))
    return maps


def predicted_cells(
    model: Network, frames: CellFrames, average: Average = "flips", min_area: int | None = None
) -> NDArray[np.int32]:
    """Return the cells of each frame as the release's driver finds them, shape (T, Y, X).

    Mean of the raw scores over four flips, argmax, components of more than 500 pixels, none
    wholly within 50 pixels of the border.
    """
    interior = predicted_maps(model, frames, average)
    return np.stack([instances(section > 0.5, min_area) for section in interior])


def instances(
    foreground: NDArray[np.bool_], min_area: int | None = None, gap: float = 1.0
) -> NDArray[np.int32]:
    """Give the cells of a mask numbers by the release's rules; small images keep small cells."""
    rules = _rules(foreground.shape)
    area = rules["min_area"] if min_area is None else min_area
    return cell_instances(foreground, min_area=area, border=rules["border"], gap=gap)


def grown_instances(
    interior: NDArray[np.float32], core: float, edge: float, gap: float = 1.0, neck: float = 0.0
) -> NDArray[np.int32]:
    """Find the cells of a map at one threshold and let them grow to another, by the same rules."""
    rules = _rules(interior.shape)
    small = min(MIN_CORE, rules["min_area"])
    return cells_of_map(interior, core=core, edge=edge, gap=gap, neck=neck, min_core=small, **rules)


def _rules(shape: tuple[int, ...]) -> dict[str, int]:
    if min(shape) <= 4 * FIELD_OF_INTEREST:  # a quick run
        return {"min_area": 20, "border": 0}
    return {"min_area": MIN_AREA, "border": FIELD_OF_INTEREST}


def score(frames: CellFrames, found: NDArray[np.int32]) -> dict[str, Any]:
    """Return SEG and what it is made of."""
    scores = seg_measure(frames.instances, found)
    values = [value for frame in scores.jaccards for value in frame.values()]
    matched = [value for value in values if value > 0]
    return {
        "seg": scores.seg,
        "objects": scores.objects,
        "matched": len(matched),
        "mean_jaccard_of_matched": float(np.mean(matched)) if matched else 0.0,
    }


def train_config(
    options: argparse.Namespace, sequences: Sequences, run: str, seed: int, **changes: Any
) -> TrainConfig:
    """Return the settings of a run; each real set has its own range of grey values.

    Unless a rate is given it is that of ``paper-unet train`` on cells: at the rate for membranes
    some runs collapse, see docs/training.md.
    """
    if options.lr is None:
        changes = {"lr": OTHER_RATE, **changes}
    if sequences.source != "synthetic":
        changes = {"value_range": VALUE_RANGES[sequences.name], **changes}
    return recipes.train_config(options, run, seed, **changes)


def stages_of(
    options: argparse.Namespace, sequences: Sequences, split: str, seed: int
) -> tuple[TrainConfig, ...]:
    """Return the settings of one fold of table 2, as chosen for the set unless they are given."""
    given = {"gap": options.gap, "balance": options.balance}
    changes = CHOSEN[sequences.name] | {k: v for k, v in given.items() if v is not None}
    name = f"{sequences.name}-{split}{recipes.recipe_name(options)}-seed{seed}"
    config = train_config(options, sequences, name, seed, **changes)
    return recipes.stages(options_of(options, sequences.name), config)


def shown(results: Sequences) -> str:
    """Return what a figure says about its data."""
    return results.name if results.source != "synthetic" else f"{results.name}: SYNTHETIC cells"
