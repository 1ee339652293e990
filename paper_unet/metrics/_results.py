"""Scores of a stack, put together from the counts of its slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from paper_unet.metrics._classify import Mismatch
from paper_unet.metrics._rand import rand_scores
from paper_unet.metrics._slices import THRESHOLDS, WARPING_THRESHOLDS, SliceCounts

Rows = Iterable[tuple[float, float, float]]


@dataclass(frozen=True)
class ThresholdScores:
    """One score at every threshold; higher is better, 1 is perfect.

    Attributes
    ----------
    thresholds : tuple of float
        0 to 0.9999999999999999 in steps of 0.1.
    scores : tuple of float
        F-score, or the mean of the slices' scores.
    precision : tuple of float
        Falls with membrane called interior (pixels) or with merged objects (Rand, information).
    recall : tuple of float
        Falls with interior called membrane (pixels) or with split objects (Rand, information).
    """

    thresholds: tuple[float, ...]
    scores: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]

    @classmethod
    def from_rows(cls, rows: Rows) -> Self:
        """Collect (score, precision, recall) of each threshold."""
        scores, precision, recall = zip(*rows, strict=True)
        return cls(THRESHOLDS, scores, precision, recall)

    @property
    def best(self) -> float:
        """The largest score."""
        return max(self.scores)

    @property
    def best_threshold(self) -> float:
        """The first threshold with the largest score."""
        return self.thresholds[self.scores.index(self.best)]


@dataclass(frozen=True)
class WarpingCounts:
    """What remains of the warped labels' mismatches at every threshold; lower is better.

    Attributes
    ----------
    thresholds : tuple of float
        0 to 0.8999999999999999 in steps of 0.1.
    errors : tuple of float
        (splits + mergers) / pixels of the stack.
    splits, mergers : tuple of int
        Pixels that cut an object or join two. Only these two count.
    hole_additions, hole_deletions, object_additions, object_deletions : tuple of int
        Pixels of the other four classes.
    """

    thresholds: tuple[float, ...]
    errors: tuple[float, ...]
    splits: tuple[int, ...]
    mergers: tuple[int, ...]
    hole_additions: tuple[int, ...]
    hole_deletions: tuple[int, ...]
    object_additions: tuple[int, ...]
    object_deletions: tuple[int, ...]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64], pixels: int) -> Self:
        """Collect the counts, shape (10, 7), of a stack of so many pixels."""
        kinds = (kind for kind in Mismatch if kind is not Mismatch.NONE)
        columns = {f"{kind.name.lower()}s": tuple(counts[:, kind].tolist()) for kind in kinds}
        wrong = counts[:, Mismatch.SPLIT] + counts[:, Mismatch.MERGER]
        return cls(WARPING_THRESHOLDS, tuple((wrong / pixels).tolist()), **columns)

    @property
    def best(self) -> float:
        """The smallest error."""
        return min(self.errors)

    @property
    def best_threshold(self) -> float:
        """The first threshold with the smallest error."""
        return self.thresholds[self.errors.index(self.best)]


@dataclass(frozen=True)
class Isbi2012Scores:
    """The five scores of the ISBI 2012 challenge, each at its best threshold.

    Read the warping error only beside the Rand scores: a constant map has an excellent one.

    Attributes
    ----------
    pixel_error, rand_error, warping_error : float
        0 is perfect.
    v_rand, v_info : float
        1 is perfect.
    thresholds : dict of str to float
        The threshold chosen for each of the five: one for the whole stack, the first of equals,
        chosen on the evaluated data themselves.
    pixel, rand : ThresholdScores
        1 - error at every threshold, pooled over the slices.
    thin_rand, thin_info : ThresholdScores
        `v_rand` and `v_info` at every threshold, means over the slices.
    warping : WarpingCounts
        The warping error and its six classes at every threshold.
    """

    pixel_error: float
    rand_error: float
    warping_error: float
    v_rand: float
    v_info: float
    thresholds: dict[str, float]
    pixel: ThresholdScores
    rand: ThresholdScores
    thin_rand: ThresholdScores
    thin_info: ThresholdScores
    warping: WarpingCounts

    def to_dict(self) -> dict[str, Any]:
        """Give everything as dicts, lists and numbers, fit for JSON.

        Returns
        -------
        dict
            The keys are the attributes' names.
        """
        return {key: _plain(value) for key, value in asdict(self).items()}


def summarise(slices: Sequence[SliceCounts], pixels: int) -> Isbi2012Scores:
    """Put the slices' counts together, for a stack of so many pixels."""
    pixel = ThresholdScores.from_rows(
        map(_pixel_scores, np.sum([s.pixel for s in slices], axis=0).tolist())
    )
    rand = ThresholdScores.from_rows(_pooled_rand(slices))
    thin_rand = ThresholdScores.from_rows(_mean([s.v_rand for s in slices]))
    thin_info = ThresholdScores.from_rows(_mean([s.v_info for s in slices]))
    warping = WarpingCounts.from_counts(np.sum([s.warping for s in slices], axis=0), pixels)
    return Isbi2012Scores(
        pixel_error=1 - pixel.best,
        rand_error=1 - rand.best,
        warping_error=warping.best,
        v_rand=thin_rand.best,
        v_info=thin_info.best,
        thresholds={
            "pixel_error": pixel.best_threshold,
            "rand_error": rand.best_threshold,
            "warping_error": warping.best_threshold,
            "v_rand": thin_rand.best_threshold,
            "v_info": thin_info.best_threshold,
        },
        pixel=pixel,
        rand=rand,
        thin_rand=thin_rand,
        thin_info=thin_info,
        warping=warping,
    )


def _pixel_scores(counts: Sequence[int]) -> tuple[float, float, float]:
    tp, fp, fn = counts
    precision = 1.0 if fp == 0 else tp / (tp + fp)
    recall = 1.0 if fn == 0 else tp / (tp + fn)
    total = precision + recall
    return (2 * precision * recall / total if total else 0.0), precision, recall


def _pooled_rand(slices: Sequence[SliceCounts]) -> Rows:
    tables = np.array([s.rand for s in slices])
    # Officially a slice without objects has undefined counts, which make the sum undefined and the
    # score 0 for the whole stack.
    defined = bool(tables[:, :, 2].all())
    return [rand_scores(*row) for row in (tables.sum(axis=0) * defined).tolist()]


def _mean(tables: list[npt.NDArray[np.float64]]) -> Rows:
    rows: Rows = map(tuple, np.mean(tables, axis=0).tolist())
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
