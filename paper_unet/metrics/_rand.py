"""Foreground-restricted Rand and information scores of one slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

# A dense table of all pairs is fastest, but noise gives tens of thousands of regions.
DENSE_PAIRS = 1 << 22

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """Contingency table of true objects and predicted regions, over the pixels in an object.

    A predicted pixel of region 0 (membrane) counts as a region of its own.

    Attributes
    ----------
    joint : ndarray of int64
        n_ij, pixels of object i in region j >= 1, without the zeros.
    objects : ndarray of int64
        a_i, pixels of object i, without the zeros.
    regions : ndarray of int64
        b_j, pixels of region j >= 1, without the zeros.
    single : int
        z, pixels of objects in no region.
    """

    joint: Counts
    objects: Counts
    regions: Counts
    single: int

    @classmethod
    def of(cls, objects: Counts, regions: npt.NDArray[np.int32]) -> Self:
        """Count the overlaps.

        Parameters
        ----------
        objects : ndarray of int64, shape (N,)
            Object number of each pixel in an object, from 1.
        regions : ndarray of int32, shape (N,)
            Region number of the same pixels, 0 for none.
        """
        width = int(regions.max(initial=0)) + 1
        pairs = objects * width + regions
        if (int(objects.max(initial=0)) + 1) * width <= DENSE_PAIRS:
            joint = np.bincount(pairs)
            joint[::width] = 0
        else:
            found, joint = np.unique(pairs, return_counts=True)
            joint[found % width == 0] = 0
        sizes, per_region = np.bincount(objects), np.bincount(regions, minlength=1)
        return cls(
            joint=joint[joint > 0],
            objects=sizes[sizes > 0],
            regions=per_region[1:][per_region[1:] > 0],
            single=int(per_region[0]),
        )

    @property
    def pixels(self) -> int:
        """Pixels in an object."""
        return int(self.objects.sum())


def pair_sums(overlaps: Overlaps) -> tuple[float, float, float]:
    """Count ordered pairs of pixels, a pixel with itself included.

    Returns
    -------
    both, same_region, same_object : float
        Pairs in one object and in one region; in one region; in one object.
    """
    both = _squares(overlaps.joint) + overlaps.single
    same_region = _squares(overlaps.regions) + overlaps.single
    return both, same_region, _squares(overlaps.objects)


def rand_scores(both: float, same_region: float, same_object: float) -> tuple[float, float, float]:
    """Give F-score, precision (mergers hurt) and recall (splits hurt); 0 without pixels."""
    if same_object == 0:
        return 0.0, 0.0, 0.0
    return 2 * both / (same_object + same_region), both / same_region, both / same_object


def info_scores(overlaps: Overlaps) -> tuple[float, float, float]:
    """Give the information score with its precision and recall; 0 without pixels.

    Where one side is a single piece, nothing can be learnt from it and the score is 0, even if the
    two sides are equal.
    """
    pixels = overlaps.pixels
    if pixels == 0:
        return 0.0, 0.0, 0.0
    alone = overlaps.single / pixels * np.log(pixels)
    h_objects = _entropy(overlaps.objects, pixels)
    h_regions = _entropy(overlaps.regions, pixels) + alone
    if h_regions == 0:
        return 0.0, 1.0, 0.0
    if h_objects == 0:
        return 0.0, 0.0, 1.0
    shared = h_objects + h_regions - _entropy(overlaps.joint, pixels) - alone
    return 2 * shared / (h_objects + h_regions), shared / h_objects, shared / h_regions


def _squares(counts: Counts) -> float:
    as_float = counts.astype(np.float64)  # the squares of a large slice overflow nothing
    return float(as_float @ as_float)


def _entropy(counts: Counts, pixels: int) -> float:
    share = counts / pixels
    return float(-(share * np.log(share)).sum())
