"""The mean of the scores over flipped or turned versions of a section (sec. 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import product
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.augment import sample
from paper_unet.geometry import STRIDE
from paper_unet.inference.intake import Intake
from paper_unet.inference.section import Canvas, Section, Span, Window, whole
from paper_unet.inference.settings import InferenceSettings
from paper_unet.inference.transfer import link_to

ROTATIONS = 7
"""Sec. 4 averages over 7 rotated versions of the input."""


class Engine(Protocol):
    """Computes scores as its settings say, but for the average."""

    @property
    def settings(self) -> InferenceSettings:
        """What is asked for."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""

    def windows(self, shape: tuple[int, int], rows: Span, columns: Span) -> Iterator[Window]:
        """Yield the windows of a section (Y, X) that the scores of a region are made of."""

    def scores(
        self, shape: tuple[int, int], rows: Span, columns: Span, images: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the scores (K, n, columns) of a region from top to bottom, where the network is."""


class Source(Protocol):
    """A section whose windows can be had where the network is: `Section` or `Canvas`."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    def mirrored(self, rows: Span, columns: Span) -> Tensor:
        """Return a window (C, rows, columns), mirrored where it leaves the section."""

    def images(self, windows: Iterable[Window], pool: Executor | None = None) -> Iterator[Tensor]:
        """Return what `mirrored` gives for one window after the other."""


def region_scores(
    engine: Engine, section: Section, rows: Span, columns: Span, pool: Executor | None = None
) -> Iterator[Tensor]:
    """Return the scores of a region from top to bottom, averaged as the engine's settings say.

    Parameters
    ----------
    engine : Streaming or Tiled
    section : Section
    rows, columns : (int, int)
        The region. Without averaging both begin on multiples of 16; where the settings need whole
        sections, it must be one.
    pool : Executor, optional
        Its one thread reads ahead, from now on.

    Returns
    -------
    iterator of Tensor of float32, shape (K, n, columns)
        Where the network is. The bytes do not depend on how a section is cut into rows; when
        streaming, for the width of a strip and the band they may, by rounding.
    """
    average = engine.settings.average
    if average == "none":
        return _scores(engine, section, rows, columns, pool)
    if average == "flips":
        flips = product((False, True), (False, True))  # left-right before up-down
        versions = [_flipped(engine, section, rows, columns, flip, pool) for flip in flips]
        return _once(lambda: _mean(version() for version in versions))

    def score(image: Tensor) -> Tensor:
        canvas = Canvas(image)
        return torch.cat(list(_scores(engine, canvas, *canvas.everything)), dim=1)

    return _once(lambda: rotated_mean(score, section.mirrored(*section.everything)))


def _once(compute: Callable[[], Tensor]) -> Iterator[Tensor]:
    yield compute()


def _scores(
    engine: Engine, source: Source, rows: Span, columns: Span, pool: Executor | None = None
) -> Iterator[Tensor]:
    shape = (source.height, source.width)
    images = source.images(engine.windows(shape, rows, columns), pool)
    return engine.scores(shape, rows, columns, images)


def image_scores(engine: Engine, image: NDArray[np.float32]) -> Tensor:
    """Return the scores (K, Y, X) of an image (C, Y, X) in memory, in [0, 1], on the CPU."""
    section = whole(image, Intake(link=link_to(engine.device)))
    return torch.cat(list(region_scores(engine, section, *section.everything)), dim=1).cpu()


def canvas_side(shape: tuple[int, int]) -> int:
    """Return the side of the square that holds a section turned by any angle, pixels."""
    return math.ceil(math.hypot(*shape)) + 2


def _flipped(
    engine: Engine,
    section: Section,
    rows: Span,
    columns: Span,
    flip: tuple[bool, bool],
    pool: Executor | None,
) -> Callable[[], Tensor]:
    """Return what gives the scores of a region of the flipped section, flipped back."""
    y = (section.height - rows[1], section.height - rows[0]) if flip[0] else rows
    x = (section.width - columns[1], section.width - columns[0]) if flip[1] else columns
    top, left = y[0] - y[0] % STRIDE, x[0] - x[0] % STRIDE  # on the lattice of the flipped section

    def compute() -> Tensor:
        parts = _scores(engine, section.flipped(*flip), (top, y[1]), (left, x[1]), pool)
        scores = torch.cat(list(parts), dim=1)[:, y[0] - top :, x[0] - left :]
        return scores.flip([axis for axis, on in ((1, flip[0]), (2, flip[1])) if on])

    return compute


def rotated_mean(score: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the mean raw scores over seven rotations of an image (sec. 4).

    Parameters
    ----------
    score : callable
        Gives the scores (K, Y, X) of an image (C, Y, X), on the same device.
    image : Tensor of float32, shape (C, Y, X)
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


def _rotated(score: Callable[[Tensor], Tensor], image: Tensor, angle: float) -> Tensor:
    """Scores of the image turned by an angle, turned back.

    The canvas is large enough to hold the turned image; its corners show the mirrored image.
    """
    if angle == 0:
        return score(image)
    height, width = image.shape[1:]
    side = canvas_side((height, width))
    centre, middle = ((height - 1) / 2, (width - 1) / 2), ((side - 1) / 2, (side - 1) / 2)
    there = _turned_grid((side, side), middle, centre, angle).to(image.device)
    canvas = sample(image, there, "bicubic").clamp(0, 1)
    back = _turned_grid((height, width), centre, middle, -angle).to(image.device)
    return sample(score(canvas), back, "bilinear")


def _turned_grid(
    shape: tuple[int, int], pivot: tuple[float, float], target: tuple[float, float], angle: float
) -> Tensor:
    """Coordinates (2, h, w) of a grid of pixels turned about its pivot and moved to the target."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    y, x = y - pivot[0], x - pivot[1]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([target[0] + cos * y - sin * x, target[1] + sin * y + cos * x])
    return torch.from_numpy(turned.astype(np.float32))
