"""What the grey values of a section become: how many are clipped, and whether they say anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.images.stack import Stack

NEARLY = 0.99
"""Share of a section that is black, or white, from which something is likely to be wrong."""

ROWS = 256
"""Rows that are read at a time."""

SAMPLE = 2**24
"""Pixels of a section that are looked at before the work begins: all, but for large ones."""


@dataclass
class GreyCount:
    """Counts of the grey values of a section, window by window.

    Attributes
    ----------
    values : int
        How many were looked at; those that are not finite are left out.
    black, white : int
        Those at the ends of the range or beyond, which become 0 and 1.
    clipped : int
        Those beyond.
    least, most : float
    """

    values: int = 0
    black: int = 0
    white: int = 0
    clipped: int = 0
    least: float = math.inf
    most: float = -math.inf

    def add(self, window: NDArray[Any], value_range: tuple[float, float]) -> None:
        """Count a window, ndarray of any shape; as few passes over it as will do."""
        low, high = value_range
        if window.dtype.kind == "f" and not np.isfinite(window.sum(dtype=np.float64)):
            window = window[np.isfinite(window)]
        if window.size == 0:
            return
        least, most = window.min().item(), window.max().item()
        self.values += window.size
        self.least, self.most = min(self.least, least), max(self.most, most)
        black = _at_most(window, low) if least <= low else 0
        white = _at_least(window, high) if most >= high else 0
        self.black += black
        self.white += white
        if least < low:
            self.clipped += black - int(np.count_nonzero(window == low))
        if most > high:
            self.clipped += white - int(np.count_nonzero(window == high))

    def merge(self, other: GreyCount) -> None:
        """Take over what was counted elsewhere."""
        self.values += other.values
        self.black += other.black
        self.white += other.white
        self.clipped += other.clipped
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    def warning(self) -> str | None:
        """Return what is likely to be wrong, in words; None if nothing is."""
        if not self.values:
            return None
        if self.least == self.most:
            return f"all grey values are {self.least:g}; look at it"
        for count, what in ((self.black, "black"), (self.white, "white")):
            if count >= NEARLY * self.values:
                share = "all" if count == self.values else "nearly all"
                return f"{share} grey values become {what}; look at it, and at the range"
        return None

    def describe(self, dtype: np.dtype[Any], value_range: tuple[float, float]) -> str:
        """Return what was read and what becomes of it, in words."""
        if not self.values:
            return "none of its grey values is finite"
        low, high = value_range
        share = 100 * self.clipped / self.values
        return (
            f"{dtype} from {self.least:g} to {self.most:g}; {low:g} is black and {high:g} white, "
            f"{self.clipped} of {self.values} ({share:.1f} %) lie beyond and are clipped"
        )


def _at_most(window: NDArray[Any], bound: float) -> int:
    if window.dtype.kind in "ui":  # compared as what they are
        bound = min(math.floor(bound), int(np.iinfo(window.dtype).max))
    return int(np.count_nonzero(window <= window.dtype.type(bound)))


def _at_least(window: NDArray[Any], bound: float) -> int:
    if window.dtype.kind in "ui":
        bound = max(math.ceil(bound), int(np.iinfo(window.dtype).min))
    return int(np.count_nonzero(window >= window.dtype.type(bound)))


def scale_of(dtype: np.dtype[Any], value_range: tuple[float, float] | None) -> tuple[float, float]:
    """Return the grey values that become 0 and 1 by `paper_unet.images.to_unit_range`."""
    if value_range is not None:
        return value_range
    return (0.0, 255.0) if dtype == np.uint8 else (0.0, 1.0)


def describe_section(stack: Stack, z: int, value_range: tuple[float, float] | None) -> list[str]:
    """Return what the grey values of a section are and become, and what is likely to be wrong.

    Parameters
    ----------
    stack : Stack
    z : int
        The section.
    value_range : tuple of two floats or None
        As `paper_unet.images.to_unit_range` takes it.

    Returns
    -------
    list of str
        One line, or two.
    """
    scale = scale_of(stack.dtype, value_range)
    count = count_section(stack, z, scale)
    looked_at = sum(stop - start for start, stop in _sampled(stack))
    part = "" if looked_at == stack.shape[1] else f", {looked_at} of {stack.shape[1]} rows"
    lines = [f"grey values of section {z}{part}: {count.describe(stack.dtype, scale)}"]
    warning = count.warning()
    return lines if warning is None else [*lines, f"warning: section {z}: {warning}"]


def count_section(stack: Stack, z: int, value_range: tuple[float, float]) -> GreyCount:
    """Count the grey values of a section, or of rows spread over a very large one.

    Some rows of it at a time are in memory.
    """
    count = GreyCount()
    for rows in _sampled(stack):
        count.add(stack.window(z, rows, (0, stack.shape[2])), value_range)
    return count


def _sampled(stack: Stack) -> list[tuple[int, int]]:
    """Return the rows of a section to look at: blocks, evenly spaced if they are not all."""
    _, height, width = stack.shape
    tops = range(0, height, ROWS)
    most = max(1, SAMPLE // (ROWS * width))
    return [(top, min(top + ROWS, height)) for top in tops[:: -(-len(tops) // most)]]
