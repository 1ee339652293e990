"""The segmentation measure SEG of the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt

from paper_unet.errors import InputError

LabelImage = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SegScores:
    """SEG of one sequence.

    Attributes
    ----------
    seg : float
        Mean Jaccard index over all reference objects, 0 to 1; 1 is perfect.
    objects : int
        Number of reference objects, over all frames.
    jaccards : tuple of dict of int to float
        For each frame, the Jaccard index of every reference object by its label.
    """

    seg: float
    objects: int
    jaccards: tuple[dict[int, float], ...]


def seg_measure(truth: Iterable[npt.ArrayLike], result: Iterable[npt.ArrayLike]) -> SegScores:
    """Score the segmentation of cells by SEG.

    It punishes reference objects that were missed, split or merged (Jaccard index 0 unless one
    result object covers more than half of them) and borders in the wrong place. It does not punish
    result objects without a reference, so read it beside the images.

    Parameters
    ----------
    truth : iterable of array_like of integer, shape (Y, X)
        Reference label images, 0 = background; one per annotated frame. An object is a label, not
        a connected component. A stack (T, Y, X) will do.
    result : iterable of array_like of integer, shape (Y, X)
        Label images of the same frames, in the same order. The two iterables are read in step, one
        frame at a time.

    Returns
    -------
    SegScores
        The measure, the number of reference objects and their Jaccard indices.

    Raises
    ------
    InputError
        For images that are not 2-D integer arrays of labels >= 0, for shapes or numbers of frames
        that differ, and if no frame holds a reference object.

    Notes
    -----
    The mean runs over the objects of all frames, not over means of frames. The challenge averages
    the two sequences of a data set.

    References
    ----------
    Maska et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics
    30(11), 2014, doi:10.1093/bioinformatics/btu080.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 0, 2, 2]])
    >>> seg_measure([truth], [np.array([[7, 7, 0, 0, 0, 9]])]).jaccards
    ({1: 0.6666666666666666, 2: 0.0},)
    """
    end = object()
    frames: list[dict[int, float]] = []
    for reference, found in zip_longest(truth, result, fillvalue=end):
        number = len(frames)
        if reference is end or found is end:
            short = "truth" if reference is end else "result"
            raise InputError(
                f"{short} ends after {number} frames and the other goes on; accepted are two equal "
                "numbers: pass the result of every annotated frame and of no other"
            )
        frames.append(_jaccards(*_checked_frame(number, reference, found)))
    values = [value for frame in frames for value in frame.values()]
    if not values:
        raise InputError(
            f"truth holds no object in its {len(frames)} frames, so SEG is undefined; accepted is "
            "at least one pixel of a label other than 0"
        )
    return SegScores(fsum(values) / len(values), len(values), tuple(frames))


def _checked_frame(number: int, truth: Any, result: Any) -> tuple[LabelImage, LabelImage]:
    images = {"truth": np.asarray(truth), "result": np.asarray(result)}
    for name, image in images.items():
        if image.ndim != 2 or image.dtype.kind not in "ui":
            raise InputError(
                f"frame {number} of {name} has shape {image.shape} and dtype {image.dtype}; "
                "accepted are 2-D integer arrays: number the cells from 1, background 0"
            )
        if image.min(initial=0) < 0:
            raise InputError(
                f"frame {number} of {name} holds the label {image.min()}; accepted are 0 for "
                "background and numbers above it: number the cells from 1"
            )
    if images["truth"].shape != images["result"].shape:
        raise InputError(
            f"frame {number} has shape {images['truth'].shape} in truth and "
            f"{images['result'].shape} in result; accepted are equal shapes"
        )
    return images["truth"], images["result"]


def matched_objects(truth: LabelImage, result: LabelImage) -> dict[int, tuple[int, float]]:
    """Give the result object that matches each reference object, by the criterion of SEG.

    Parameters
    ----------
    truth, result : ndarray of integer, shape (Y, X)
        Label images, 0 = background.

    Returns
    -------
    dict of int to (int, float)
        By the label of each reference object that has a match, one that covers more than half of
        it: the label of the result object and the Jaccard index of the two. A result object may
        match several.
    """
    objects, truth_ids = np.unique(truth, return_inverse=True)
    found, result_ids = np.unique(result, return_inverse=True)
    truth_sizes, result_sizes = np.bincount(truth_ids.ravel()), np.bincount(result_ids.ravel())
    pairs, overlaps = np.unique(
        truth_ids.ravel() * found.size + result_ids.ravel(), return_counts=True
    )
    rows, columns = np.divmod(pairs, found.size)
    # Strictly more than half, so at most one result object matches.
    matched = (2 * overlaps > truth_sizes[rows]) & (objects[rows] != 0) & (found[columns] != 0)
    matches: dict[int, tuple[int, float]] = {}
    for row, column, overlap in zip(
        rows[matched], columns[matched], overlaps[matched], strict=True
    ):
        union = truth_sizes[row] + result_sizes[column] - overlap
        matches[int(objects[row])] = int(found[column]), float(overlap / union)
    return matches


def _jaccards(truth: LabelImage, result: LabelImage) -> dict[int, float]:
    """Give the Jaccard index of every reference object of one frame, 0 without a match."""
    scores = {int(label): 0.0 for label in np.unique(truth) if label != 0}
    return scores | {
        label: jaccard for label, (_, jaccard) in matched_objects(truth, result).items()
    }
