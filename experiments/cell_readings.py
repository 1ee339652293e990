"""From maps of probability to cells: where they are cut, as held-out frames say, and SEG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cells
import numpy as np
from cell_splits import Split
from numpy.typing import NDArray

from paper_unet.datasets.cell_tracking import CellFrames
from paper_unet.networks.base import Network
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet
from paper_unet.weight_map import separate_touching

THRESHOLDS = (0.02, 0.05, *(round(0.05 * k, 2) for k in range(2, 19)), 0.95, 0.98)


@dataclass(frozen=True)
class Reading:
    """From probabilities to cells: where the map is cut, and the gap that is given back."""

    threshold: float = 0.5
    gap: float = 1.0

    def __call__(self, maps: NDArray[np.float32], min_area: int | None = None) -> NDArray[np.int32]:
        """Return the cells of each map, shape (T, Y, X)."""
        return np.stack(
            [cells.instances(map_ > self.threshold, min_area, self.gap) for map_ in maps]
        )


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
    return {t: float(cells.score(frames, Reading(t, gap)(maps))["seg"]) for t in THRESHOLDS}


def best_threshold(curve: Mapping[float, float], slack: float = 0.005) -> float:
    """Return the middle of the thresholds that are as good as the best, but for so much SEG."""
    top = max(curve.values())
    good = [threshold for threshold, value in curve.items() if value >= top - slack]
    return good[len(good) // 2]


def in_gaps(frames: CellFrames, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of cell where cells touch, by the gap of one pixel."""
    gaps = (frames.instances != 0) & (separate_touching(frames.instances) == 0)
    there: NDArray[np.float32] = maps[gaps & ~frames.unknown]
    return there


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
        one; the ``curves`` of SEG; the mean ``gap_probability`` where cells touch. With a gap that
        is wider than a pixel, ``not_grown`` has the same without giving it back.
    """
    parts = {"learned": split.learned, "held_out": split.held_out, "scored": split.scored}
    maps = {part: cells.predicted_maps(model, frames) for part, frames in parts.items()}
    prior = prior_threshold(cells.cell_training_set(split.learned, config))
    found = _read_at_all(parts, maps, prior, config.gap)
    if config.gap > 1:
        found["not_grown"] = _read_at_all(parts, maps, prior, 1.0)
    found["gap_probability"] = {
        part: float(values.mean()) if (values := in_gaps(frames, maps[part])).size else None
        for part, frames in parts.items()
    }
    return found


def _read_at_all(
    parts: Mapping[str, CellFrames],
    maps: Mapping[str, NDArray[np.float32]],
    prior: float,
    gap: float,
) -> dict[str, Any]:
    """Return what `read_out` does of cells that are grown back by a gap."""
    parts = {part: parts[part] for part in ("held_out", "scored")}
    curves = {part: seg_curve(frames, maps[part], gap) for part, frames in parts.items()}
    cuts = (0.5, prior, best_threshold(curves["held_out"]))
    thresholds = dict(zip(WAYS, cuts, strict=True))
    scores = {
        part: {
            way: cells.score(frames, Reading(t, gap)(maps[part])) for way, t in thresholds.items()
        }
        for part, frames in parts.items()
    }
    return {
        "thresholds": thresholds,
        "seg": {part: {way: s["seg"] for way, s in ways.items()} for part, ways in scores.items()},
        "scored": scores["scored"]["chosen"],
        "curves": curves,
    }


def chosen_reading(model: Network, split: Split, gap: float) -> Reading:
    """Return the reading that is best on the frames held out."""
    maps = cells.predicted_maps(model, split.held_out)
    return Reading(best_threshold(seg_curve(split.held_out, maps, gap)), gap)
