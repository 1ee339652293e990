"""A range of grey values from the content of a stack, for who asks for it; never by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.stack import Stack
from paper_unet.settings import checked_percentiles

SECTIONS = 16
"""Sections that are looked at, at most: evenly spread over the stack, the first and last too."""

VALUES = 2**19
"""Values of a section that are looked at, about: whole rows, in blocks evenly spread over it."""

ROWS = 16
"""Rows of such a block, at most; fewer in sections so wide that there were too few blocks."""

BLOCKS = 16
"""Blocks of a section, at least, if it has as many: the first and the last one too."""


@dataclass(frozen=True)
class PercentileRange:
    """Grey values at two percentiles of a sample of a stack.

    Attributes
    ----------
    percentiles : (float, float)
        From 0 to 100.
    grey_range : (float, float)
        The values there, by linear interpolation between neighbours.
    sample : str
        What was looked at, in words.
    """

    percentiles: tuple[float, float]
    grey_range: tuple[float, float]
    sample: str

    def record(self) -> dict[str, Any]:
        """Return what journals and outputs say of it, as JSON."""
        return {
            "percentiles": list(self.percentiles),
            "grey_range": list(self.grey_range),
            "sample": self.sample,
        }

    def __str__(self) -> str:
        (first, last), (low, high) = self.percentiles, self.grey_range
        return (
            f"{low:g} is black and {high:g} white: percentiles {first:g} and {last:g} of "
            f"{self.sample}"
        )


def percentile_range(
    stack: Stack, percentiles: tuple[float, float], *, fill: float | None = None
) -> PercentileRange:
    """Return the grey values at two percentiles of a stack.

    All of a stack's sections are sampled from, whichever are predicted or learnt from, so that
    parts of a stack are scaled alike. The sample follows from the stack's size alone.

    Parameters
    ----------
    stack : Stack
    percentiles : (float, float)
        From 0 to 100.
    fill : float, optional
        If it is given, values that are not finite are left out; else they are refused.

    Returns
    -------
    PercentileRange

    Raises
    ------
    InputError
        If values are not finite, or both percentiles are the same value.
    """
    percentiles = checked_percentiles(percentiles)
    sections, blocks = _sampled(stack)
    values = np.concatenate([_values(stack, z, rows, fill) for z in sections for rows in blocks])
    if not values.size:
        raise InputError(f"{stack.path}: no grey value that was looked at is finite")
    low, high = (float(value) for value in np.percentile(values, percentiles))
    rows = sum(stop - start for start, stop in blocks)
    part = "all rows" if rows == stack.shape[1] else f"{rows} of {stack.shape[1]} rows each"
    sample = f"{len(sections)} of {len(stack)} sections, {part}"
    if not low < high:
        raise InputError(
            f"{stack.path}: percentiles {percentiles[0]:g} and {percentiles[1]:g} of its grey "
            f"values are both {low:g} ({sample}), so they are no range; give two grey values with "
            "`value_range` LOW HIGH, or percentiles further apart"
        )
    return PercentileRange(percentiles, (low, high), sample)


def _sampled(stack: Stack) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the sections and, of each, the blocks of rows to look at."""
    count, height, width = stack.shape
    sections = np.unique(np.rint(np.linspace(0, count - 1, SECTIONS)).astype(int)).tolist()
    row = width * stack.channels
    deep = min(ROWS, max(1, VALUES // (BLOCKS * row)))
    wanted = max(BLOCKS, VALUES // (deep * row))
    tops = range(0, height, deep)
    if len(tops) > wanted:
        chosen = np.unique(np.rint(np.linspace(0, len(tops) - 1, wanted)).astype(int))
        tops = [tops[k] for k in chosen]  # type: ignore[assignment]
    return sections, [(top, min(top + deep, height)) for top in tops]


def _values(stack: Stack, z: int, rows: tuple[int, int], fill: float | None) -> NDArray[Any]:
    window = stack.window(z, rows, (0, stack.shape[2])).reshape(-1)
    if window.dtype.kind != "f":
        return window
    finite = np.isfinite(window)
    if fill is None and not finite.all():
        bad = window.size - int(np.count_nonzero(finite))
        raise InputError(
            f"{stack.path}, section {z}: {bad} of {window.size} pixels looked at are NaN or "
            "infinite; repair them, or give the grey value to take there with `fill`"
        )
    wide: NDArray[Any] = window[finite].astype(np.float64)
    return wide
