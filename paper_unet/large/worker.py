"""What computes pieces: the same on one machine and on a cluster, pure and idempotent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.images import GreyCount, Output, Stack, open_stack, scale_of, to_unit_range
from paper_unet.inference.averaging import region_scores
from paper_unet.inference.layers import exact_arithmetic
from paper_unet.inference.predict import engine_for, probability
from paper_unet.inference.section import Section, Span
from paper_unet.inference.settings import InferenceSettings, Precision
from paper_unet.large.journal import current_run
from paper_unet.large.pieces import Grid, Piece
from paper_unet.networks.weights_file import load_model, weights_digest


@dataclass(frozen=True)
class Prediction:
    """All that a process must know to compute any piece; small, and can be sent to another one."""

    source: Path
    axes: str | None
    series: int | None
    missing: Literal["fail", "fill"]
    first: int  # section of the stack that becomes section 0 of the output
    weights: Path | None
    digest: str  # SHA-256 of the weights
    output: Output
    grid: Grid
    settings: InferenceSettings
    precision: Precision
    of_class: int | None
    value_range: tuple[float, float] | None
    fill: float | None
    device: str
    threads: int
    run: str  # in the journal's header: which run of this output it is


class Worker:
    """A process's open stack and loaded network; it computes with the threads that it is given.

    Attributes
    ----------
    greys : dict of int to GreyCount
        What the grey values were of the sections that it worked on, by number in the input; windows
        that overlap are counted again.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        model = load_model(prediction.weights, torch.device(prediction.device))
        if weights_digest(model) != prediction.digest:
            raise InputError(
                f"{prediction.weights}: the weights changed after the prediction began; restore "
                "them, or start anew with `overwrite`"
            )
        self.stack = open_stack(
            prediction.source, axes=prediction.axes, series=prediction.series,
            channels=model.config.in_channels, missing=prediction.missing,
        )  # fmt: skip
        self.scale = scale_of(self.stack.dtype, prediction.value_range)
        self.greys: dict[int, GreyCount] = {}
        band = prediction.grid.plan.band
        self.engine = engine_for(model, prediction.settings, prediction.precision, band)

    def close(self) -> None:
        """Close the files."""
        self.stack.close()
        self.prediction.output.close()

    def compute(self, run: range, stop: Callable[[], bool] = lambda: False) -> Iterator[int]:
        """Compute neighbouring pieces of a strip; yield each one's number when it is on disk.

        Parameters
        ----------
        run : range
            Numbers of pieces, from top to bottom of one strip.
        stop : callable
            Asked after every band; if it says so, what is unfinished is dropped.
        """
        grid, output = self.prediction.grid, self.prediction.output
        pieces = [grid.piece(index) for index in run]
        for piece, pixels in self._pieces(pieces, stop):
            if current_run(output.path) != self.prediction.run:
                raise InputError(
                    f"{output.path}: its run is over or was started anew; this one writes no more"
                )
            output.write(piece.z, piece.rows[0], piece.columns[0], pixels)
            output.sync(piece.z, piece.rows, piece.columns)
            yield piece.index

    def _pieces(
        self, pieces: list[Piece], stop: Callable[[], bool]
    ) -> Iterator[tuple[Piece, NDArray[np.generic]]]:
        """Cut the rows that stream out into pieces."""
        waiting: list[NDArray[np.generic]] = []
        coming = iter(pieces)
        piece = next(coming)
        for rows in self._rows(pieces):
            waiting.append(rows)
            height = piece.rows[1] - piece.rows[0]
            while sum(len(part) for part in waiting) >= height:
                joined = np.concatenate(waiting)
                yield piece, joined[:height]
                waiting = [joined[height:]]
                following = next(coming, None)
                if following is None:
                    return
                piece, height = following, following.rows[1] - following.rows[0]
            if stop():
                return

    def _rows(self, pieces: list[Piece]) -> Iterator[NDArray[np.generic]]:
        """Yield the output of a strip, from the first piece's top to the last one's bottom."""
        prediction = self.prediction
        section = self._section(pieces[0].z + prediction.first)
        rows = pieces[0].rows[0], pieces[-1].rows[1]
        scores = region_scores(self.engine, section, rows, pieces[0].columns)
        while True:
            with exact_arithmetic():
                part = next(scores, None)
                if part is None:
                    return
                grey = self._grey(part)
            yield grey

    def _grey(self, scores: Tensor) -> NDArray[np.generic]:
        try:
            found = probability(scores, self.engine.network.sigmoid, self.prediction.of_class)
            return quantised(found, self.prediction.output.dtype)
        except InputError as error:
            raise InputError(f"{self.prediction.weights or 'bundled weights'}: {error}") from error

    def _section(self, z: int) -> Section:
        _, height, width = self.stack.shape
        count = self.greys.setdefault(z, GreyCount())

        def read(rows: Span, columns: Span) -> NDArray[np.float32]:
            window = self.stack.window(z, rows, columns)
            name = f"{self.prediction.source}, section {z}"
            if self.prediction.fill is None and not np.isfinite(window).all():
                raise _not_finite(self.stack, z, name)
            count.add(window, self.scale)
            prediction = self.prediction
            unit = to_unit_range(window, prediction.value_range, name=name, fill=prediction.fill)
            return unit if self.stack.channels > 1 else unit[None]

        return Section(read, height, width)


def _not_finite(stack: Stack, z: int, name: str) -> InputError:
    """Count over the whole section, rows at a time."""
    _, height, width = stack.shape
    good, values = 0, stack.channels * height * width
    for top in range(0, height, 256):
        window = stack.window(z, (top, min(top + 256, height)), (0, width))
        good += int(np.count_nonzero(np.isfinite(window)))
    return InputError(
        f"{name}: {values - good} of {values} pixels are NaN or infinite; repair them, or give "
        "the grey value to take there with `fill`"
    )


def quantised(probability: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return probabilities as they are stored: float32, or round(p x largest value), in float32."""
    if dtype.kind == "f":
        return probability
    largest = np.float32(np.iinfo(dtype).max)
    steps: NDArray[Any] = np.rint(probability * largest).astype(dtype)
    return steps
