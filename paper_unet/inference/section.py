"""A section that is read window by window, so that it never has to be in memory (Fig. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper_unet.geometry import mirror_indices

Span = tuple[int, int]
"""Half-open range of rows or columns, pixels."""

Read = Callable[[Span, Span], NDArray[np.float32]]
"""Gives the window (rows, columns) of a section, inside it, as (C, rows, columns) in [0, 1]."""


@dataclass(frozen=True)
class Section:
    """A section by the function that reads it; what lies outside is mirrored at its edges.

    Attributes
    ----------
    read : callable
    height, width : int
        Pixels.
    """

    read: Read
    height: int
    width: int

    @property
    def everything(self) -> tuple[Span, Span]:
        """All its rows and columns."""
        return (0, self.height), (0, self.width)

    def mirrored(self, rows: Span, columns: Span) -> NDArray[np.float32]:
        """Return a window that may leave the section, which is mirrored there (Fig. 2)."""
        y, x = mirror_indices(*rows, self.height), mirror_indices(*columns, self.width)
        top, left = int(y.min()), int(x.min())
        inside = self.read((top, int(y.max()) + 1), (left, int(x.max()) + 1))
        return np.ascontiguousarray(inside[:, (y - top)[:, None], (x - left)[None, :]])

    def flipped(self, rows: bool, columns: bool) -> Section:
        """Return the section upside down, left to right, or both."""

        def read(y: Span, x: Span) -> NDArray[np.float32]:
            y = (self.height - y[1], self.height - y[0]) if rows else y
            x = (self.width - x[1], self.width - x[0]) if columns else x
            window = self.read(y, x)
            return window[:, :: -1 if rows else 1, :: -1 if columns else 1]

        return Section(read, self.height, self.width)


def whole(image: NDArray[np.float32]) -> Section:
    """Return an image in memory, (C, Y, X) in [0, 1], as a section."""

    def read(rows: Span, columns: Span) -> NDArray[np.float32]:
        return image[:, slice(*rows), slice(*columns)]

    return Section(read, image.shape[1], image.shape[2])
