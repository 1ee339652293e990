"""All counts of one slice at all thresholds; slices are independent of each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, repeat

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from paper_unet.metrics._classify import Mismatch, classify
from paper_unet.metrics._flood import thin
from paper_unet.metrics._loops import Loops, pixel_loops
from paper_unet.metrics._rand import Overlaps, info_scores, pair_sums, rand_scores
from paper_unet.metrics._warp import neighbourhood_codes, warp

# 0, 0.1, ..., 0.9999999999999999: added up as the official loop does it, so that the last one is
# just below 1 and a probability of exactly 1 is still above it.
THRESHOLDS = tuple(accumulate(repeat(0.1, 10), initial=0.0))
WARPING_THRESHOLDS = THRESHOLDS[:-1]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SliceCounts:
    """What one slice adds to the stack's scores; one row per threshold.

    Attributes
    ----------
    pixel : ndarray of int64, shape (11, 3)
        True positives, false positives, false negatives.
    rand : ndarray of float64, shape (11, 3)
        Pairs of pixels in one object and region, in one region, in one object; no thinning.
    v_rand, v_info : ndarray of float64, shape (11, 3)
        Score, precision, recall after thinning.
    warping : ndarray of int64, shape (10, 7)
        Pixels per `Mismatch` code.
    """

    pixel: Int
    rand: Float
    v_rand: Float
    v_info: Float
    warping: Int


def count_slice(
    labels: npt.NDArray[np.bool_], interior: npt.NDArray[np.float32], compiled: bool
) -> SliceCounts:
    """Count one slice.

    Parameters
    ----------
    labels : ndarray of bool, shape (Y, X)
        True inside cells.
    interior : ndarray of float32, shape (Y, X)
        Probability of the cell class.
    compiled : bool
        Use numba.
    """
    loops = pixel_loops(compiled)
    truth, probability = x_first(labels, interior)
    rand, v_rand, v_info = region_scores(truth, probability, loops)
    return SliceCounts(
        pixel=pixel_counts(truth, probability),
        rand=rand,
        v_rand=v_rand,
        v_info=v_info,
        warping=warping_counts(truth, probability, loops),
    )


def x_first(
    labels: npt.NDArray[np.bool_], interior: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.bool_], Float]:
    """Transpose a slice to (X, Y), the order of the official scans, and widen the probabilities.

    NumPy would compare float32 values with a threshold in 32 bits; the official code compares the
    widened value.
    """
    return np.ascontiguousarray(labels.T), np.ascontiguousarray(interior.T, dtype=np.float64)


def pixel_counts(truth: npt.NDArray[np.bool_], interior: Float) -> Int:
    """Count true positives, false positives and false negatives, shape (11, 3)."""
    inside, outside = interior[truth], interior[~truth]
    hits = [np.count_nonzero(inside > t) for t in THRESHOLDS]
    false = [np.count_nonzero(outside > t) for t in THRESHOLDS]
    return np.array([(hit, fp, inside.size - hit) for hit, fp in zip(hits, false, strict=True)])


def region_scores(
    truth: npt.NDArray[np.bool_], interior: Float, loops: Loops, *, thinned: bool = True
) -> tuple[Float, Float, Float]:
    """Compare true objects with predicted regions, before and after thinning.

    Returns
    -------
    rand, v_rand, v_info : ndarray of float64, shape (11, 3)
        As in `SliceCounts`. Without `thinned` the last two stay 0.
    """
    objects = ndimage.label(truth)[0][truth].astype(np.int64)
    rand, v_rand, v_info = np.zeros((3, len(THRESHOLDS), 3))
    known = -1
    for row, threshold in enumerate(THRESHOLDS):
        predicted = interior > threshold
        size = int(np.count_nonzero(predicted))
        if size == known:  # thresholds only remove pixels, so an equal number means an equal image
            for table in (rand, v_rand, v_info):
                table[row] = table[row - 1]
            continue
        known = size
        regions = ndimage.label(predicted)[0].astype(np.int32, copy=False)
        rand[row] = pair_sums(Overlaps.of(objects, regions[truth]))
        if thinned:
            overlaps = Overlaps.of(objects, thin(predicted, regions, loops.flood)[truth])
            v_rand[row] = rand_scores(*pair_sums(overlaps))
            v_info[row] = info_scores(overlaps)
    return rand, v_rand, v_info


def warping_counts(truth: npt.NDArray[np.bool_], interior: Float, loops: Loops) -> Int:
    """Count the pixels of every `Mismatch` code, shape (10, 7)."""
    codes = neighbourhood_codes(truth)
    constant = bool(truth.all() or not truth.any())
    counts = []
    for threshold in WARPING_THRESHOLDS:
        warped, rest = warp(truth, codes, interior, threshold, loops.flip)
        classes = classify(warped, rest, constant=constant)
        counts.append(np.bincount(classes, minlength=len(Mismatch)))
    return np.array(counts)
