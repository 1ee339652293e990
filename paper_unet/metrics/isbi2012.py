"""The metrics of the ISBI 2012 EM segmentation challenge, as its official code computed them.

Five numbers compare a stack of labels with a map of cell probabilities. Membrane is 0 in both. Each
slice is handled on its own, components are 4-connected, and each metric takes the threshold out of
0, 0.1, ..., 1 at which the whole stack scores best.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from paper_unet.errors import InputError
from paper_unet.metrics._checks import checked_stack, checked_workers
from paper_unet.metrics._classify import Mismatch, classify
from paper_unet.metrics._loops import pixel_loops, resolve_compiled
from paper_unet.metrics._results import Isbi2012Scores, summarise
from paper_unet.metrics._slices import SliceCounts, count_slice, x_first
from paper_unet.metrics._warp import neighbourhood_codes, warp
from paper_unet.system.progress import progress_bar
from paper_unet.system.workers import end_with_parent


def isbi2012_scores(
    labels: npt.ArrayLike,
    interior: npt.ArrayLike,
    *,
    value_range: tuple[float, float] | None = None,
    workers: int | None = None,
    compiled: bool | None = None,
    progress: bool = False,
) -> Isbi2012Scores:
    """Score a segmentation of cells by the five metrics of the ISBI 2012 challenge.

    Parameters
    ----------
    labels : array_like of bool, integer or float, shape (Z, Y, X) or (Y, X)
        0 = membrane, 1 or 255 = cell.
    interior : array_like of float, shape of `labels`
        Probability of the cell class, 0 = surely membrane, 1 = surely cell. Compared in 32 bits.
        A binary map may have 0 and any other value; unsigned integers are divided by the largest
        of their type, if they can be probabilities (see `as_probability`).
    value_range : tuple of two floats, optional
        The values of `interior` that mean 0 and 1.
    workers : int, optional
        Slices scored at the same time. By default one per core if numba is there, else 1. Without
        numba, more than one worker means new processes, so a script that asks for them needs
        ``if __name__ == "__main__":`` around its call.
    compiled : bool, optional
        Whether numba runs the two pixel loops. By default if it is installed (extra ``fast``).
        The result is the same.
    progress : bool
        Show how many slices are done.

    Returns
    -------
    Isbi2012Scores
        The five numbers, the threshold chosen for each, and all values at every threshold.

    Raises
    ------
    InputError
        For unequal shapes, other than 2 or 3 axes, labels other than {0, 1} or {0, 255}, values
        that are not finite, and a map that is not plausibly one of probabilities.

    Notes
    -----
    What each number punishes:

    * ``pixel_error``: 1 - F-score of the cell pixels, pooled over the slices. Every wrong pixel
      counts alike, so the width of membranes weighs more than their gaps. It is not the share of
      wrong pixels.
    * ``rand_error``: 1 - Rand F-score over the pixels of true cells, pooled over the slices, not
      thinned. Merged and split cells count by the pairs of pixels they join or part, so one gap
      between two large cells costs much. Cell pixels predicted as membrane each count as a cell of
      their own. The leader board of 2012 to 2015, and the U-Net paper, give this number.
    * ``warping_error``: the pixels that still split or merge cells after borders were moved without
      changing topology, over all pixels. Shifted borders are free, and so are lost or added objects
      and holes. **A constant map therefore scores excellently** (0 on labels without holes, about
      0.001 on the challenge's training labels): never show it without the Rand scores.
    * ``v_rand``, ``v_info``: Rand F-score and normalised mutual information after the predicted
      cells were grown until they meet, means over the slices. They punish splits and mergers, not
      thick membranes. ``v_info`` weighs small cells more, and is 0 for a slice with a single true
      cell, however it was predicted. The leader board after 2015 gives these two.

    Official values are kept where they look odd. A slice of labels without any cell makes the Rand
    error of the whole stack 1 and adds 0 to ``v_rand`` and ``v_info``. In a slice of labels without
    any membrane, or without any cell, no mismatch counts as split or merger. Labels of 65535, for
    which the official warping error is always 0, are refused.

    A threshold chosen on the evaluated data is part of the official definition; it makes the
    numbers optimistic.

    References
    ----------
    .. [1] Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
       connectomics", Front. Neuroanat. 9:142, 2015, doi:10.3389/fnana.2015.00142.
    .. [2] Jain et al., "Boundary learning by optimization with topological constraints", CVPR 2010,
       doi:10.1109/CVPR.2010.5539950 (warping error).

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.ones((1, 9, 9), dtype=np.uint8)
    >>> labels[:, 4] = 0
    >>> scores = isbi2012_scores(labels, labels)
    >>> scores.rand_error, scores.warping_error, scores.v_rand
    (0.0, 0.0, 1.0)
    """
    truth, probability = checked_stack(labels, interior, value_range)
    use_numba = resolve_compiled(compiled)
    cores = (os.cpu_count() or 1) if use_numba else 1
    count = checked_workers(workers, len(truth), cores)
    counts = _count_stack(truth, probability, count, use_numba)
    shown = progress_bar(counts, show=progress, desc="scores", total=len(truth), unit="section")
    return summarise(list(shown), truth.size)


def warping_mismatches(
    labels: npt.ArrayLike,
    interior: npt.ArrayLike,
    threshold: float,
    *,
    compiled: bool | None = None,
) -> npt.NDArray[np.uint8]:
    """Find the splits and mergers of one slice at one threshold.

    Parameters
    ----------
    labels : array_like, shape (Y, X)
        As in `isbi2012_scores`.
    interior : array_like, shape (Y, X)
        As in `isbi2012_scores`.
    threshold : float
        Above it a pixel is cell; for example ``scores.thresholds["warping_error"]``.
    compiled : bool, optional
        As in `isbi2012_scores`.

    Returns
    -------
    ndarray of uint8, shape (Y, X)
        `Mismatch` codes: 0 where the warped labels agree with the prediction. The codes' numbers of
        pixels are the counts in ``scores.warping``.

    Raises
    ------
    InputError
        As `isbi2012_scores`, and for a stack.
    """
    truth, probability = checked_stack(labels, interior)
    if np.ndim(labels) != 2:
        raise InputError(
            f"labels and interior have shape {np.shape(labels)}; accepted is one slice (Y, X): "
            "pass labels[z] and interior[z]"
        )
    inside, values = x_first(truth[0], probability[0])
    flip = pixel_loops(resolve_compiled(compiled)).flip
    warped, rest = warp(inside, neighbourhood_codes(inside), values, float(threshold), flip)
    found = np.full(inside.shape, Mismatch.NONE, dtype=np.uint8)
    constant = bool(inside.all() or not inside.any())
    found.ravel()[rest] = classify(warped, rest, constant=constant)
    return np.ascontiguousarray(found.T)


def _count_stack(
    truth: npt.NDArray[np.bool_],
    probability: npt.NDArray[np.float32],
    workers: int,
    compiled: bool,
) -> Iterator[SliceCounts]:
    flags = [compiled] * len(truth)
    if workers == 1:
        yield from map(count_slice, truth, probability, flags)
        return
    if compiled:
        pixel_loops(compiled)  # compiled before the threads start, so once
    with _pool(workers, compiled) as pool:
        yield from pool.map(count_slice, truth, probability, flags)


def _pool(workers: int, compiled: bool) -> Executor:
    if compiled:  # its loops release the interpreter lock
        return ThreadPoolExecutor(workers)
    # A forked copy of a process with threads may hang, so start fresh ones.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)
