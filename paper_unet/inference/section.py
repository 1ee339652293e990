"""A section that is read window by window, so that it never has to be in memory (Fig. 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.geometry import mirror_indices
from paper_unet.inference.intake import Intake, placed
from paper_unet.system.overlap import ahead

Span = tuple[int, int]
"""Half-open range of rows or columns, pixels."""

Read = Callable[[Span, Span], NDArray[Any]]
"""Gives the window (rows, columns) of a section, inside it, as (C, rows, columns), as stored."""


class Window(NamedTuple):
    """Rows and columns of a section, pixels; they may leave it, which is mirrored there."""

    rows: Span
    columns: Span


class Pixels(NamedTuple):
    """What was read for a window: the part inside the section, and what goes where.

    ``values`` is (C, h, w), as stored; row y of the window is row ``rows[y]`` of it, and likewise
    the columns.
    """

    values: NDArray[Any]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


@dataclass(frozen=True)
class Section:
    """A section by the function that reads it; what lies outside is mirrored at its edges.

    Attributes
    ----------
    read : callable
    height, width : int
        Pixels.
    intake : Intake
        Makes the network's input of what is read; default: grey values in [0, 1], on the CPU.
    upside_down, left_right : bool
        Whether it is shown flipped.
    """

    read: Read
    height: int
    width: int
    intake: Intake = field(default_factory=Intake)
    upside_down: bool = False
    left_right: bool = False

    @property
    def everything(self) -> tuple[Span, Span]:
        """All its rows and columns."""
        return (0, self.height), (0, self.width)

    def pixels(self, window: Window) -> Pixels:
        """Read what a window shows."""
        y, x = (
            mirror_indices(*window.rows, self.height),
            mirror_indices(*window.columns, self.width),
        )
        y = self.height - 1 - y if self.upside_down else y
        x = self.width - 1 - x if self.left_right else x
        top, left = int(y.min()), int(x.min())
        values = self.read((top, int(y.max()) + 1), (left, int(x.max()) + 1))
        return Pixels(values, y - top, x - left)

    def mirrored(self, rows: Span, columns: Span) -> Tensor:
        """Return a window that may leave the section, which is mirrored there (Fig. 2).

        Returns
        -------
        Tensor of float32, shape (C, rows, columns)
            Where the network is, in [0, 1].
        """
        return self.intake(*self.pixels(Window(rows, columns)))

    def images(self, windows: Iterable[Window], pool: Executor | None = None) -> Iterator[Tensor]:
        """Return what `mirrored` gives for one window after the other.

        Parameters
        ----------
        windows : iterable of Window
        pool : Executor, optional
            Its thread reads ahead, from now on.
        """
        return map(self._taken_in, ahead(self.pixels, windows, pool))

    def _taken_in(self, pixels: Pixels) -> Tensor:
        return self.intake(*pixels)

    def flipped(self, rows: bool, columns: bool) -> Section:
        """Return the section upside down, left to right, or both."""
        return replace(
            self,
            upside_down=self.upside_down != rows,
            left_right=self.left_right != columns,
        )


def whole(image: NDArray[Any], intake: Intake | None = None) -> Section:
    """Return an image in memory, (C, Y, X), as a section; without an intake it is in [0, 1]."""
    _, height, width = image.shape
    return Section(partial(_part, image), height, width, intake or Intake())


def _part(image: NDArray[Any], rows: Span, columns: Span) -> NDArray[Any]:
    return image[:, slice(*rows), slice(*columns)]


class Canvas:
    """An image (C, Y, X) that is where the network is already, mirrored at its edges.

    Parameters
    ----------
    image : Tensor of float32, shape (C, Y, X)
        In [0, 1].
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.height, self.width = image.shape[1:]

    @property
    def everything(self) -> tuple[Span, Span]:
        """All its rows and columns."""
        return (0, self.height), (0, self.width)

    def mirrored(self, rows: Span, columns: Span) -> Tensor:
        """Return a window (C, rows, columns) that may leave the image, which is mirrored there."""
        y, x = mirror_indices(*rows, self.height), mirror_indices(*columns, self.width)
        return placed(self.image, y, x)

    def images(self, windows: Iterable[Window], pool: Executor | None = None) -> Iterator[Tensor]:
        """Return what `mirrored` gives for one window after the other; nothing is to be read."""
        return starmap(self.mirrored, windows)
