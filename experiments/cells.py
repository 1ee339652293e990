"""What the cell tracking experiments share: frames and protocols, training sets, cells and SEG."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import recipes
from numpy.typing import NDArray

from paper_unet.datasets.cell_tracking import CellFrames, load_cell_frames
from paper_unet.images import to_unit_range
from paper_unet.inference.predict import predict_stack
from paper_unet.inference.settings import Average
from paper_unet.metrics import seg_measure
from paper_unet.metrics.instances import FIELD_OF_INTEREST, MIN_AREA, cell_instances
from paper_unet.networks.base import Network
from paper_unet.synthetic import synthetic_stack
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet, training_set
from paper_unet.weight_map import separate_touching

SETS = ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
SEQUENCES = ("01", "02")
PAPER = {"PhC-C2DH-U373": 0.9203, "DIC-C2DH-HeLa": 0.7756}
"""Table 2 of the paper, "IoU" of the u-net; its test sequences are secret."""


def add_set_options(options: argparse.ArgumentParser) -> None:
    """Add the option that keeps ``--finish`` for some of the data sets."""
    options.add_argument(
        "--finish-sets", nargs="+", default=list(SETS), choices=SETS,
        help="data sets that --finish is for; default: both",
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
        return {"data": self.source, "shape": sizes}


VALUE_RANGES = {"PhC-C2DH-U373": (40.0, 170.0), "DIC-C2DH-HeLa": (65.0, 175.0)}
"""Grey values that become 0 and 1: the frames use a small part of uint8 (not in the paper)."""


def load(data: Path, name: str, quick: bool = False) -> Sequences:
    """Read both sequences, or make two where the data set is absent."""
    folder = data / name
    if (folder / SEQUENCES[0]).is_dir():
        return Sequences(name, name, {s: load_cell_frames(folder, s) for s in SEQUENCES})
    print(f"no {name} in {data}: synthetic cells instead")
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


@dataclass(frozen=True)
class Split:
    """What is learned from, what is kept for choices, and what is scored, by one protocol.

    Attributes
    ----------
    protocol : str
        "across" the two sequences, or "forward" in time.
    name : str
        The sequence that is learned from, or "forward".
    learned, held_out, scored : CellFrames
        Held out are the last frames of what could be learned from.
    frames : dict
        The numbers of all of them, by part and sequence.
    """

    protocol: str
    name: str
    learned: CellFrames
    held_out: CellFrames
    scored: CellFrames
    frames: Mapping[str, Mapping[str, tuple[int, ...]]]

    @property
    def facts(self) -> dict[str, Any]:
        """What a row is known by: the frames, and their size, which a quick run has smaller."""
        parts = {part: {q: list(n) for q, n in of.items()} for part, of in self.frames.items()}
        return {"protocol": self.protocol, "frames": parts, "shape": self.scored.images.shape[1:]}

    @property
    def pixels(self) -> int:
        """How many pixels `read_out` predicts, four flips of each frame."""
        parts = (self.learned, self.held_out, self.scored)
        return 4 * sum(int(part.images.size) for part in parts)


PROTOCOLS = ("across", "forward")


def splits(sequences: Sequences, protocols: tuple[str, ...] = PROTOCOLS) -> list[Split]:
    """Return the splits of a data set: both ways across, and the one forward in time.

    Across: a sequence without its last fifth is learned from, the other is scored. Forward: of the
    first two thirds of both the same, the last thirds are scored. What is learned from is never
    later than what is held out, and that never later than what is scored.
    """
    counts = {name: len(frames.frames) for name, frames in sequences.frames.items()}
    found = []
    if "across" in protocols:
        for one, other in (SEQUENCES, SEQUENCES[::-1]):
            scored = {other: slice(0, counts[other])}
            found.append(_split(sequences, "across", one, {one: counts[one]}, scored))
    if "forward" in protocols:
        until = {name: counts[name] * 2 // 3 for name in SEQUENCES}
        scored = {name: slice(until[name], counts[name]) for name in SEQUENCES}
        found.append(_split(sequences, "forward", "forward", until, scored))
    return found


def _split(
    sequences: Sequences,
    protocol: str,
    name: str,
    until: Mapping[str, int],
    scored: Mapping[str, slice],
) -> Split:
    """Hold out the last fifth of the first frames, rounded up, of each sequence."""
    kept = {sequence: count - -(-count // 5) for sequence, count in until.items()}
    parts = {
        "learned": {sequence: slice(0, kept[sequence]) for sequence in until},
        "held_out": {sequence: slice(kept[sequence], until[sequence]) for sequence in until},
        "scored": scored,
    }
    chosen = {part: _frames(sequences, slices) for part, slices in parts.items()}
    numbers = {
        part: {sequence: sequences.frames[sequence].frames[s] for sequence, s in slices.items()}
        for part, slices in parts.items()
    }
    return Split(protocol, name, **chosen, frames=numbers)


def _frames(sequences: Sequences, slices: Mapping[str, slice]) -> CellFrames:
    """Return some frames of each sequence, one sequence after the other."""
    parts = [(sequences.frames[name], chosen) for name, chosen in slices.items()]
    return CellFrames(
        tuple(number for part, s in parts for number in part.frames[s]),
        np.concatenate([part.images[s] for part, s in parts]),
        np.concatenate([part.instances[s] for part, s in parts]),
        np.concatenate([part.ignore[s] for part, s in parts]),
        parts[0][0].border,
    )


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


THRESHOLDS = (0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 19)), 0.95, 0.98)


@dataclass(frozen=True)
class Reading:
    """From probabilities to cells: where the map is cut, and the gap that is given back."""

    threshold: float = 0.5
    gap: float = 1.0

    def __call__(
        self, maps: NDArray[np.float32], min_area: int | None = None
    ) -> NDArray[np.int32]:
        """Return the cells of each map, shape (T, Y, X)."""
        return np.stack([instances(map_ > self.threshold, min_area, self.gap) for map_ in maps])


def prior_threshold(data: TrainingSet) -> float:
    """Return where weighted training moved the even odds to.

    The weights multiply the odds of cell by the ratio of the classes' mean weights, r: what has
    the true odds 1 gets r, the probability r / (1 + r).
    """
    background, cell = (
        float(data.weights[(data.classes == k) & (data.weights > 0)].mean(dtype=np.float64))
        for k in (0, 1)
    )
    return cell / (background + cell)


def seg_curve(
    frames: CellFrames, maps: NDArray[np.float32], gap: float = 1.0
) -> dict[float, float]:
    """Return SEG at each threshold."""
    return {t: float(score(frames, Reading(t, gap)(maps))["seg"]) for t in THRESHOLDS}


def best_threshold(curve: Mapping[float, float], slack: float = 0.005) -> float:
    """Return the middle of the thresholds that are as good as the best, but for so much SEG."""
    top = max(curve.values())
    good = [threshold for threshold, value in curve.items() if value >= top - slack]
    return good[len(good) // 2]


def predicted_maps(
    model: Network, frames: CellFrames, average: Average = "flips"
) -> NDArray[np.float32]:
    """Return the probability of cell, shape (T, Y, X): by default the mean score of four flips."""
    return np.asarray(predict_stack(model, frames.images, average=average), np.float32)


def predicted_cells(
    model: Network,
    frames: CellFrames,
    average: Average = "flips",
    min_area: int | None = None,
    reading: Reading | None = None,
) -> NDArray[np.int32]:
    """Return the cells of each frame as the release's driver finds them, shape (T, Y, X).

    Mean of the raw scores over four flips, argmax, components of more than 500 pixels, none
    wholly within 50 pixels of the border; another reading cuts elsewhere.
    """
    return (reading or Reading())(predicted_maps(model, frames, average), min_area)


def instances(
    foreground: NDArray[np.bool_], min_area: int | None = None, gap: float = 1.0
) -> NDArray[np.int32]:
    """Give the cells of a mask numbers by the release's rules; small images keep small cells."""
    if min(foreground.shape) <= 4 * FIELD_OF_INTEREST:  # a quick run
        return cell_instances(foreground, min_area=20 if min_area is None else min_area, gap=gap)
    area = MIN_AREA if min_area is None else min_area
    return cell_instances(foreground, min_area=area, border=FIELD_OF_INTEREST, gap=gap)


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


def in_gaps(frames: CellFrames, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of cell where cells touch, by the gap of one pixel."""
    gaps = (frames.instances != 0) & (separate_touching(frames.instances) == 0)
    return maps[gaps & ~frames.unknown]


WAYS = ("argmax", "prior", "chosen")
"""Where maps are cut: at 0.5, where the weights moved even odds to, or as held-out frames say."""


def read_out(model: Network, split: Split, config: TrainConfig) -> dict[str, Any]:
    """Return SEG of what is held out and of what is scored, at every threshold and the chosen one.

    Parameters
    ----------
    model : Network
    split : Split
    config : TrainConfig
        What the network was trained with at last.

    Returns
    -------
    dict
        ``thresholds`` of `WAYS`; ``seg`` of each part by these; ``scored`` in full at the chosen
        one; the ``curves`` of SEG; the mean ``gap_probability`` where cells touch. ``grown`` are
        the same with the gap given back, chosen anew.
    """
    data = cell_training_set(split.learned, config)
    parts = {"held_out": split.held_out, "scored": split.scored}
    maps = {part: predicted_maps(model, frames) for part, frames in parts.items()}
    found: dict[str, Any] = {}
    for gap in dict.fromkeys((1.0, config.gap)):
        curves = {part: seg_curve(frames, maps[part], gap) for part, frames in parts.items()}
        cuts = (0.5, prior_threshold(data), best_threshold(curves["held_out"]))
        thresholds = dict(zip(WAYS, cuts, strict=True))
        scores = {
            part: {
                way: score(frames, Reading(t, gap)(maps[part])) for way, t in thresholds.items()
            }
            for part, frames in parts.items()
        }
        one = {
            "thresholds": thresholds,
            "seg": {part: {way: s["seg"] for way, s in ways.items()} for part, ways in scores.items()},
            "scored": scores["scored"]["chosen"],
            "curves": curves,
        }
        found |= one if gap == 1 else {"grown": one}
    parts["learned"], maps["learned"] = split.learned, predicted_maps(model, split.learned)
    found["gap_probability"] = {
        part: float(values.mean()) if (values := in_gaps(frames, maps[part])).size else None
        for part, frames in parts.items()
    }
    return found


def train_config(
    options: argparse.Namespace, sequences: Sequences, run: str, seed: int, **changes: Any
) -> TrainConfig:
    """Return the settings of a run; each real set has its own range of grey values."""
    if sequences.source != "synthetic":
        changes = {"value_range": VALUE_RANGES[sequences.name], **changes}
    return recipes.train_config(options, run, seed, **changes)


def shown(results: Sequences) -> str:
    """Return what a figure says about its data."""
    return results.name if results.source != "synthetic" else f"{results.name}: SYNTHETIC cells"
