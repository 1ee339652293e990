"""The scores of a region of a section, by streaming or tile by tile (sec. 1, Fig. 2).

A section is given by a function that reads windows of it, so that it never has to be in memory.
What lies outside is the section mirrored at its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.augment import sample
from paper_unet.geometry import (
    HALO,
    PAPER_TILE,
    STRIDE,
    Context,
    Tiling,
    input_size,
    mirror_indices,
)
from paper_unet.inference.layers import Layers
from paper_unet.inference.settings import Average, Engine, Procedure, suited
from paper_unet.inference.streaming import one_pass, stream_rows
from paper_unet.inference.tiled import ForwardPass, Prepared

__all__ = [
    "Average", "Engine", "Procedure", "Read", "Section", "Span", "image_scores",
    "region_scores", "rotated_mean", "suited", "tiled", "whole",
]  # fmt: skip

Span = tuple[int, int]
"""Half-open range of rows or columns, pixels."""

Read = Callable[[Span, Span], NDArray[np.float32]]
"""Gives the window (rows, columns) of a section, inside it, as (C, rows, columns) in [0, 1]."""

BAND = 64
"""Rows that enter the network at a time where memory is no concern; measured."""

ROTATIONS = 7
"""Sec. 4 averages over 7 rotated versions of the input."""


@dataclass(frozen=True)
class Section:
    """A section that is read window by window."""

    read: Read
    height: int
    width: int

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


def region_scores(
    layers: Prepared,
    section: Section,
    rows: Span,
    columns: Span,
    procedure: Procedure,
    band: int = BAND,
) -> Iterator[Tensor]:
    """Yield the scores of a region from top to bottom.

    Parameters
    ----------
    layers : Layers or ForwardPass
        The network; the latter is always tiled.
    section : Section
    rows, columns : (int, int)
        The region. Without averaging both begin on multiples of 16.
    procedure : Procedure
        Where it needs whole sections, the region must be one.
    band : int
        Rows that enter the network at a time when streaming, pixels, a multiple of 16.

    Yields
    ------
    Tensor of float32, shape (K, n, columns)
        On the CPU. The bytes do not depend on how a section is cut into rows; for the width of a
        strip, the band and the tile they may, by rounding.
    """
    if procedure.average == "none":
        yield from _plain(layers, section, rows, columns, procedure, band)
    elif procedure.average == "flips":
        flips = [(False, False), (False, True), (True, False), (True, True)]
        yield _mean(_flipped(layers, section, rows, columns, procedure, band, f) for f in flips)
    else:
        everything = (0, section.height), (0, section.width)
        image = section.read(*everything)
        yield rotated_mean(lambda turned: image_scores(layers, turned, procedure, band), image)


def image_scores(
    layers: Prepared, image: NDArray[np.float32], procedure: Procedure, band: int = BAND
) -> Tensor:
    """Return the scores (K, Y, X) of an image (C, Y, X) in memory, not averaged."""
    section = whole(image)
    rows, columns = (0, section.height), (0, section.width)
    return torch.cat(list(_plain(layers, section, rows, columns, procedure, band)), dim=1)


def _plain(
    layers: Prepared, section: Section, rows: Span, columns: Span, procedure: Procedure, band: int
) -> Iterator[Tensor]:
    if procedure.engine == "stream" and isinstance(layers, Layers):
        return _streamed(layers, section, rows, columns, band)
    forward = layers if isinstance(layers, ForwardPass) else partial(one_pass, layers)
    context = layers.context.with_halo(procedure.halo)
    return tiled(forward, context, section, rows, columns, procedure.tile, procedure.tiling)


def _streamed(
    layers: Layers, section: Section, rows: Span, columns: Span, band: int
) -> Iterator[Tensor]:
    """Stream from a little above the region to its end.

    The bands lie where they lie when the strip is streamed from row 0, and the first one, which is
    shorter on its way through the network than those in the middle, gives only rows above the
    region. So each kept row comes from the same calls on maps of the same shapes, and its bytes
    do not depend on where the streaming began.
    """
    start = max(0, (rows[0] - band) // band * band)
    left = columns[0] - HALO
    across = (left, left + input_size(columns[1] - columns[0]))

    def read(first: int, end: int) -> Tensor:
        window = section.mirrored((start - HALO + first, start - HALO + end), across)
        return torch.from_numpy(window)

    above, missing = rows[0] - start, rows[1] - rows[0]
    width = columns[1] - columns[0]
    for scores in stream_rows(layers, read, section.height - start, width, band):
        wanted = scores[:, min(above, scores.shape[1]) :][:, :missing]
        above -= min(above, scores.shape[1])
        missing -= wanted.shape[1]
        if wanted.shape[1]:
            yield wanted.cpu()
        if not missing:
            return


def tiled(
    network: Callable[[Tensor], Tensor],
    context: Context,
    section: Section,
    rows: Span,
    columns: Span,
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
) -> Iterator[Tensor]:
    """Yield the scores of a region one row of tiles after the other (Fig. 2).

    The tiles lie where they lie in the whole section, so the bytes of a pixel do not depend on the
    region.

    Parameters
    ----------
    network : callable
        Maps (C, H, W) to (K, h, w), as ``context`` says.
    context : Context
    section : Section
    rows, columns : (int, int)
        The region.
    tile : int
        Largest input side, pixels.
    tiling : {"exact", "abutting"}

    Yields
    ------
    Tensor of float32, shape (K, n, columns)
        On the CPU.
    """
    across = context.tiles(section.width, tile, tiling)
    for row in context.tiles(section.height, tile, tiling):
        top, bottom = max(row.start, rows[0]), min(row.start + row.core, rows[1])
        if top >= bottom:
            continue
        parts = []
        for column in across:
            left = max(column.start, columns[0])
            right = min(column.start + column.core, columns[1])
            if left >= right:
                continue
            window = section.mirrored((row.low, row.high), (column.low, column.high))
            scores = network(torch.from_numpy(window))
            y, x = top - row.start + row.skip, left - column.start + column.skip
            parts.append(scores[:, y : y + bottom - top, x : x + right - left].float().cpu())
        yield torch.cat(parts, dim=2)


def _flipped(
    layers: Prepared,
    section: Section,
    rows: Span,
    columns: Span,
    procedure: Procedure,
    band: int,
    flip: tuple[bool, bool],
) -> Tensor:
    """Scores of a region of the flipped section, flipped back; shape (K, rows, columns)."""
    y = (section.height - rows[1], section.height - rows[0]) if flip[0] else rows
    x = (section.width - columns[1], section.width - columns[0]) if flip[1] else columns
    top, left = y[0] - y[0] % STRIDE, x[0] - x[0] % STRIDE  # on the lattice of the flipped section
    turned = section.flipped(*flip)
    parts = list(_plain(layers, turned, (top, y[1]), (left, x[1]), procedure, band))
    scores = torch.cat(parts, dim=1)[:, y[0] - top :, x[0] - left :]
    return scores.flip([axis for axis, on in ((1, flip[0]), (2, flip[1])) if on])


def rotated_mean(
    score: Callable[[NDArray[np.float32]], Tensor], image: NDArray[np.float32]
) -> Tensor:
    """Return the mean raw scores over seven rotations of an image (sec. 4).

    Parameters
    ----------
    score : callable
        Gives the scores (K, Y, X) of an image (C, Y, X).
    image : ndarray of float32, shape (C, Y, X)
        In [0, 1].

    Returns
    -------
    Tensor of float32, shape (K, Y, X)
    """
    angles = [2 * np.pi * k / ROTATIONS for k in range(ROTATIONS)]
    return _mean(_rotated(score, image, angle) for angle in angles)


def _mean(versions: Iterator[Tensor]) -> Tensor:
    total, count = next(versions).clone(), 1
    for version in versions:
        total, count = total.add_(version), count + 1
    return total / count


def _rotated(
    score: Callable[[NDArray[np.float32]], Tensor], image: NDArray[np.float32], angle: float
) -> Tensor:
    """Scores of the image turned by an angle, turned back.

    The canvas is large enough to hold the turned image; its corners show the mirrored image.
    """
    if angle == 0:
        return score(image)
    height, width = image.shape[1:]
    side = int(np.ceil(np.hypot(height, width))) + 2
    centre, middle = ((height - 1) / 2, (width - 1) / 2), ((side - 1) / 2, (side - 1) / 2)
    there = _turned_grid((side, side), middle, centre, angle)
    canvas = sample(torch.from_numpy(image), there, "bicubic").clamp(0, 1)
    back = _turned_grid((height, width), centre, middle, -angle)
    return sample(score(canvas.numpy()), back, "bilinear")


def _turned_grid(
    shape: tuple[int, int], pivot: tuple[float, float], target: tuple[float, float], angle: float
) -> Tensor:
    """Coordinates (2, h, w) of a grid of pixels turned about its pivot and moved to the target."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    y, x = y - pivot[0], x - pivot[1]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([target[0] + cos * y - sin * x, target[1] + sin * y + cos * x])
    return torch.from_numpy(turned.astype(np.float32))
