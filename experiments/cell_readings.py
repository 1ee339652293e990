"""From maps of probability to cells: where they are cut, as held-out frames say, and SEG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cells
import numpy as np
from cell_splits import Split
from numpy.typing import NDArray

from paper_unet.datasets.cell_tracking import CellFrames
from paper_unet.figures.cell_colours import touching_pairs
from paper_unet.networks.base import Network
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet
from paper_unet.weight_map import separate_touching

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
CORES = (0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
EDGES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Reading:
    """From probabilities to cells: where they are told apart, how far they grow from there.

    Attributes
    ----------
    core, edge : float
        Thresholds as in `cells_of_map`; where both are the same, nothing grows.
    gap : float
        Of the training labels, given back if it is wider than a pixel.
    neck : float
        As in `cells_of_map`.
    """

    core: float = 0.5
    edge: float = 0.5
    gap: float = 1.0
    neck: float = 0.0

    def __call__(self, maps: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the cells of each map, shape (T, Y, X)."""
        return np.stack([self._cells(interior) for interior in maps])

    def _cells(self, interior: NDArray[np.float32]) -> NDArray[np.int32]:
        if self.core == self.edge and not self.neck:
            return cells.instances(interior > self.edge, gap=self.gap)
        return cells.grown_instances(interior, self.core, self.edge, self.gap, self.neck)


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


def seg(frames: CellFrames, maps: NDArray[np.float32], reading: Reading) -> float:
    """Return SEG of a reading."""
    return float(cells.score(frames, reading(maps))["seg"])


def seg_curve(
    frames: CellFrames, maps: NDArray[np.float32], gap: float = 1.0
) -> dict[float, float]:
    """Return SEG at each threshold, without growing."""
    return {t: seg(frames, maps, Reading(t, t, gap)) for t in THRESHOLDS}


SLACK = 0.02
"""SEG; about half of what one cell of two held-out frames is worth: less says nothing of others."""


def middle_of_best(found: Mapping[Any, float], slack: float = SLACK) -> tuple[float, ...]:
    """Return the mean of the settings that are as good as the best, but for so much SEG."""
    top = max(found.values())
    good = [setting for setting, value in found.items() if value >= top - slack]
    return tuple(float(value) for value in np.atleast_2d(np.array(good).T).mean(axis=-1))


def best_threshold(curve: Mapping[float, float]) -> float:
    """Return the middle of the best thresholds."""
    return middle_of_best(curve)[0]


def best_reading(
    frames: CellFrames, maps: NDArray[np.float32], gap: float = 1.0, neck: float = 0.0
) -> tuple[Reading, dict[str, float]]:
    """Return the middle of the best readings, and SEG by core and edge, "core edge".

    Where those as good as the best lie apart, and their middle is none of them, the best.
    """
    pairs = [(core, edge) for core in CORES for edge in EDGES if edge <= core]
    found = {pair: seg(frames, maps, Reading(*pair, gap, neck)) for pair in pairs}
    best = max(found, key=lambda pair: found[pair])
    core, edge = middle_of_best(found)
    middle = Reading(core, edge, gap, neck)
    agreed = seg(frames, maps, middle) >= found[best] - SLACK
    grid = {f"{pair[0]:g} {pair[1]:g}": value for pair, value in found.items()}
    return middle if agreed else Reading(*best, gap, neck), grid


def in_gaps(frames: CellFrames, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of cell where cells touch, by the gap of one pixel."""
    gaps = (frames.instances != 0) & (separate_touching(frames.instances) == 0)
    there: NDArray[np.float32] = maps[gaps & ~frames.unknown]
    return there


def joined(frames: CellFrames, found: NDArray[np.int32]) -> float | None:
    """Return the share of touching pairs of cells that were found as one; None without pairs.

    A cell was found as the region that has more than half of it.
    """
    pairs, together = 0, 0
    for truth, regions in zip(frames.instances, found, strict=True):
        region = {
            int(cell): _most_of(regions[truth == cell]) for cell in np.unique(truth[truth > 0])
        }
        touching = touching_pairs(truth)
        pairs += len(touching)
        together += sum(region[a] == region[b] != 0 for a, b in touching)
    return together / pairs if pairs else None


def _most_of(labels: NDArray[np.int32]) -> int:
    counts = np.bincount(labels)
    return int(counts.argmax()) if 2 * counts.max() > labels.size else 0


WAYS = ("argmax", "prior", "threshold", "grown")
"""Maps are cut at 0.5, where the weights moved even odds to, or as held-out frames say; grown from
a core to an edge, both as held-out frames say."""


def read_out(
    model: Network, split: Split, config: TrainConfig, *, study: bool = False
) -> dict[str, Any]:
    """Return SEG of what is held out and of what is scored, read in all ways.

    Parameters
    ----------
    model : Network
    split : Split
    config : TrainConfig
        What the network was trained with at last.
    study : bool
        Whether to return more than the scores.

    Returns
    -------
    dict
        ``readings`` of `WAYS`; ``seg`` of each part by these; ``scored`` in full as grown;
        ``held_out_grid``, SEG by core and edge. In a study also the ``curves`` of SEG against one
        threshold; where cells touch, the mean ``gap_probability`` and the share of pixels above
        one half, ``gap_open``; the share of touching pairs of what is scored that were ``joined``;
        and, with a gap wider than a pixel, ``not_given_back``: SEG as grown, without giving it
        back.
    """
    parts = {"held_out": split.held_out, "scored": split.scored}
    maps = {part: cells.predicted_maps(model, frames) for part, frames in parts.items()}
    gap = config.gap
    held_out = seg_curve(split.held_out, maps["held_out"], gap)
    prior = prior_threshold(cells.cell_training_set(split.learned, config))
    cut = best_threshold(held_out)
    grown, grid = best_reading(split.held_out, maps["held_out"], gap, split.neck)
    readings = dict(
        zip(WAYS, (*(Reading(t, t, gap) for t in (0.5, prior, cut)), grown), strict=True)
    )
    scores = {
        part: {way: cells.score(frames, read(maps[part])) for way, read in readings.items()}
        for part, frames in parts.items()
    }
    found: dict[str, Any] = {
        "readings": {way: asdict(reading) for way, reading in readings.items()},
        "seg": {part: {way: s["seg"] for way, s in ways.items()} for part, ways in scores.items()},
        "scored": scores["scored"]["grown"],
        "held_out_grid": grid,
    }
    if not study:
        return found
    found["curves"] = {"held_out": held_out, "scored": seg_curve(split.scored, maps["scored"], gap)}
    if gap > 1:
        best, _ = best_reading(split.held_out, maps["held_out"], neck=split.neck)
        found["not_given_back"] = {part: seg(parts[part], maps[part], best) for part in parts}
    parts["learned"] = split.learned
    maps["learned"] = cells.predicted_maps(model, split.learned, "none")
    in_gaps_of = {part: in_gaps(frames, maps[part]) for part, frames in parts.items()}
    found["gap_probability"] = {part: _mean(values) for part, values in in_gaps_of.items()}
    found["gap_open"] = {part: _mean(values > 0.5) for part, values in in_gaps_of.items()}
    found["joined"] = {
        way: joined(split.scored, read(maps["scored"])) for way, read in readings.items()
    }
    return found


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def chosen_reading(model: Network, split: Split, gap: float) -> Reading:
    """Return the reading that is best on the frames held out."""
    maps = cells.predicted_maps(model, split.held_out)
    best, _ = best_reading(split.held_out, maps, gap, split.neck)
    return best
