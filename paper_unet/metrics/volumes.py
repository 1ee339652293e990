"""Scores of numbers of cells against true ones, in 3-D: adapted Rand and variation of information.

Both come from one table, which says of how many voxels each pair of a true cell and a found one
is. Tables of parts of a volume add up to that of the whole, so a volume is never needed in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError

Counts = NDArray[np.int64]

PAIR = 24
"""Bytes of a table for each pair of cells that have a voxel in common."""

WAITING = 2**22
"""Pairs of parts of the volume that wait to be added up, beside as many as the table has."""


@dataclass(frozen=True)
class CellScores:
    """How well cells were found; what lies outside true cells does not count.

    Attributes
    ----------
    adapted_rand_error : float
        1 - F of the pairs of two voxels, as scikit-image has it: 0 is perfect. What was found to be
        background counts as one more cell.
    adapted_rand_precision, adapted_rand_recall : float
        Falls with merged cells; with split ones. (scikit-image 0.26 returns them the other way
        round than its documentation says.)
    cremi_adapted_rand_error : float
        The same as CREMI's own code has it: two voxels that were found to be background are no
        pair, and each voxel is a pair with itself.
    voi_split, voi_merge : float
        Bits that one more has to know at each voxel: of the found cell, given the true one, and of
        the true one, given the found. 0 is perfect.
    cremi_score : float
        Of CREMI's ranking: the geometric mean of the sum of these two and of its adapted Rand
        error.
    voxels : int
        In true cells.
    true_cells, found_cells : int
        How many there are in these, background aside.
    """

    adapted_rand_error: float
    adapted_rand_precision: float
    adapted_rand_recall: float
    cremi_adapted_rand_error: float
    voi_split: float
    voi_merge: float
    cremi_score: float
    voxels: int
    true_cells: int
    found_cells: int

    def to_dict(self) -> dict[str, float]:
        """Give everything as numbers, fit for JSON."""
        return asdict(self)


class Overlap:
    """The voxels that true and found cells have in common, added up over parts of a volume.

    It takes `PAIR` bytes for each pair of cells that overlap, and some more while it adds.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[NDArray[Any], NDArray[Any], Counts]] = []
        self._count = self._known = self._voxels = 0

    def add(self, truth: NDArray[Any], found: NDArray[Any]) -> None:
        """Add a part of the volume.

        Parameters
        ----------
        truth, found : ndarray of integers or bool, equal shapes
            Numbers of cells, 0 is background. Voxels where ``truth`` is 0 do not count.

        Raises
        ------
        InputError
            If the two differ in shape, or hold what is no number of a cell.
        """
        _check(truth, found)
        one, other = truth.reshape(-1), found.reshape(-1)
        self._voxels += one.size
        if not one.size:
            return
        changes = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
        starts = np.flatnonzero(np.concatenate(([True], changes)))
        lengths = np.diff(starts, append=one.size)
        inside = one[starts] != 0
        # in one type, whatever the parts have: numpy puts int64 and uint64 together as floats
        true, cells = (each[starts][inside].astype(np.uint64) for each in (one, other))
        self._take(true, cells, lengths[inside])

    def scores(self) -> CellScores:
        """Return the scores of all that was added.

        Raises
        ------
        InputError
            If there is no voxel in a true cell.
        """
        self._add_up()
        truth, found, counts = self._waiting[0] if self._waiting else (None, None, None)
        if truth is None or found is None or counts is None or not counts.size:
            raise InputError(
                "the truth has no voxel in a cell, so there is nothing to score; give numbers of "
                "cells, 0 is background"
            )
        return _scores(truth, found, counts, self._voxels)

    def _take(self, truth: NDArray[Any], found: NDArray[Any], counts: Counts) -> None:
        if counts.size:
            self._waiting.append(_added(truth, found, counts))
            self._count += len(self._waiting[-1][2])
        if self._count > 2 * self._known + WAITING:
            self._add_up()

    def _add_up(self) -> None:
        if len(self._waiting) > 1:
            columns = zip(*self._waiting, strict=True)
            truth, found, counts = (np.concatenate(column) for column in columns)
            self._waiting = [_added(truth, found, counts)]
        self._count = self._known = sum(len(part[2]) for part in self._waiting)


def cell_scores(truth: NDArray[Any], found: NDArray[Any]) -> CellScores:
    """Score the cells that were found in a volume.

    Parameters
    ----------
    truth, found : ndarray of integers or bool, equal shapes
        Numbers of cells, 0 is background. Voxels where ``truth`` is 0 do not count.

    Raises
    ------
    InputError
        As `Overlap.add` and `Overlap.scores`.
    """
    return overlap([(truth, found)]).scores()


def overlap(parts: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Overlap:
    """Add up the parts of a volume, each its truth and what was found."""
    table = Overlap()
    for truth, found in parts:
        table.add(truth, found)
    return table


def _check(truth: NDArray[Any], found: NDArray[Any]) -> None:
    if truth.shape != found.shape:
        raise InputError(
            f"the truth has shape {truth.shape}, what was found {found.shape}; accepted are two "
            "equal shapes: crop or pad one of them"
        )
    for name, numbers in (("the truth", truth), ("what was found", found)):
        if numbers.dtype.kind not in "bui" or (numbers.dtype.kind == "i" and (numbers < 0).any()):
            kind = f"{numbers.dtype} values" if numbers.dtype.kind not in "i" else "values below 0"
            raise InputError(
                f"{name} holds {kind}; accepted are numbers of cells, integers from 0: segment "
                "probabilities first"
            )


def _added(
    truth: NDArray[Any], found: NDArray[Any], counts: Counts
) -> tuple[NDArray[Any], NDArray[Any], Counts]:
    """Put equal pairs together, in order."""
    order = np.lexsort((found, truth))
    truth, found, counts = truth[order], found[order], counts[order]
    changes = (truth[1:] != truth[:-1]) | (found[1:] != found[:-1])
    starts = np.flatnonzero(np.concatenate(([True], changes)))
    return truth[starts], found[starts], np.add.reduceat(counts, starts).astype(np.int64)


def _scores(truth: NDArray[Any], found: NDArray[Any], counts: Counts, voxels: int) -> CellScores:
    true_names, rows = np.unique(truth, return_inverse=True)
    found_names, columns = np.unique(found, return_inverse=True)
    total, both = int(counts.sum()), counts.astype(np.float64)
    of_true = np.bincount(rows, counts, len(true_names)).astype(np.float64)
    of_found = np.bincount(columns, counts, len(found_names)).astype(np.float64)
    same, true_pairs, found_pairs = (float(n @ n - n.sum()) for n in (both, of_true, of_found))
    split = _entropy(counts, of_true[rows], total)
    merge = _entropy(counts, of_found[columns], total)
    background = found_names == 0
    joined = ~background[columns]
    share = float(counts[~joined].sum() / voxels)
    cremi = _cremi(counts[joined], of_true, of_found[~background], share)
    return CellScores(
        adapted_rand_error=1 - _share(2 * same, true_pairs + found_pairs),
        adapted_rand_precision=_share(same, found_pairs),
        adapted_rand_recall=_share(same, true_pairs),
        cremi_adapted_rand_error=cremi,
        voi_split=split,
        voi_merge=merge,
        cremi_score=float(np.sqrt((split + merge) * cremi)),
        voxels=total,
        true_cells=len(true_names),
        found_cells=int(np.count_nonzero(~background)),
    )


def _share(pairs: float, all_pairs: float) -> float:
    """Return the share of all pairs that these are; of none, all are right."""
    return pairs / all_pairs if all_pairs else 1.0


def _entropy(counts: Counts, whole: NDArray[np.float64], total: int) -> float:
    """Return the bits that tell which of the parts of its whole a voxel is in."""
    return float(abs(counts @ np.log2(counts / whole)) / total)


def _cremi(
    counts: Counts, of_true: NDArray[np.float64], of_found: NDArray[np.float64], share: float
) -> float:
    """Return the adapted Rand error of CREMI's code, from what was not found to be background.

    That code adds the share of the volume that wrongly was to the pairs: less than one pair.
    """
    both = counts.astype(np.float64)
    same, found = both @ both + share, of_found @ of_found + share
    return float(1 - 2 * same / (of_true @ of_true + found))
