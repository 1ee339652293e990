"""What computes pieces: the same on one machine and on a cluster, pure and idempotent."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import GreyCount, Output, Stack, open_stack, scale_of, to_unit_range
from paper_unet.inference.intake import Intake
from paper_unet.inference.layers import exact_arithmetic
from paper_unet.inference.predict import engine_for
from paper_unet.inference.readout import Readout
from paper_unet.inference.rows import FlawedPixelsError, begun_rows
from paper_unet.inference.section import Section, Span
from paper_unet.inference.settings import Classes, InferenceSettings, Precision
from paper_unet.inference.timings import Timings
from paper_unet.inference.transfer import link_to
from paper_unet.large.journal import is_current
from paper_unet.large.pieces import Done, Grid, Piece
from paper_unet.networks.base import Network
from paper_unet.networks.weights_file import load_model, weights_digest
from paper_unet.system.address import Address
from paper_unet.system.memory import Budget
from paper_unet.system.overlap import behind, behind_by


@dataclass(frozen=True)
class Prediction:
    """All that a process must know to compute any piece; small, and can be sent to another one."""

    source: Path | Address
    axes: str | None
    series: int | None
    channel: str | int | None
    time: int | None
    missing: Literal["fail", "fill"]
    memory: int | None  # bytes that the input may make the process take; None: most of what is free
    first: int  # section of the stack that becomes section 0 of the output
    weights: Path | str | None  # a name in the package, where that may lie elsewhere
    digest: str  # SHA-256 of the weights
    output: Output
    grid: Grid
    settings: InferenceSettings
    precision: Precision
    of_class: int | None
    classes: Classes
    value_range: tuple[float, float] | None
    fill: float | None
    device: str
    threads: int
    run: str  # in the journal's header: which run of this output it is


WRITERS = min(4, os.cpu_count() or 1)
"""Threads that write: compressing, and waiting for the disk, take longer than a GPU takes."""


class Worker:
    """A process's open stack and loaded network; it computes with the threads that it is given.

    Parameters
    ----------
    prediction : Prediction
    network : Network, optional
        Of the prediction, where this process has read it already.

    Attributes
    ----------
    greys : dict of int to GreyCount
        What the grey values were of the sections that it worked on, by number in the input; windows
        that overlap are counted again.
    timings : Timings
        The seconds of each stage.
    """

    def __init__(self, prediction: Prediction, network: Network | None = None) -> None:
        self.prediction = prediction
        device = torch.device(prediction.device)
        model = _read(prediction) if network is None else network
        model.to(device)
        self.stack = open_stack(
            prediction.source, axes=prediction.axes, series=prediction.series,
            channels=model.config.in_channels, missing=prediction.missing,
            channel=prediction.channel, time=prediction.time,
            budget=None if prediction.memory is None else Budget(prediction.memory),
        )  # fmt: skip
        self.scale = scale_of(self.stack.dtype, prediction.value_range)
        self.greys: dict[int, GreyCount] = {}
        self.timings = Timings()
        self.intake = Intake(
            self.stack.dtype, prediction.value_range, prediction.fill, link_to(device), self.timings
        )
        band = prediction.grid.plan.band
        self.engine = engine_for(model, prediction.settings, prediction.precision, band)
        sigmoid = self.engine.network.sigmoid
        self.readout = Readout(
            sigmoid, prediction.of_class, prediction.output.dtype, prediction.classes
        )
        self._reading = ThreadPoolExecutor(1, "read")
        self._writing = ThreadPoolExecutor(WRITERS, "write")

    def close(self) -> None:
        """Close the files."""
        for pool in (self._reading, self._writing):
            pool.shutdown(cancel_futures=True)
        self.stack.close()
        self.prediction.output.close()

    def compute(
        self, runs: Iterable[range], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Done]:
        """Compute runs of pieces; yield each piece when it is on disk.

        What is read, computed and written at one time are different pieces.

        Parameters
        ----------
        runs : iterable of range
            Numbers of neighbouring pieces, each from top to bottom of one strip. No more than one
            is taken ahead.
        stop : callable
            Asked after every band; if it says so, what is unfinished is dropped.
        """
        return behind(self._write, self._pieces(runs, stop), self._writing, depth=WRITERS)

    def _write(self, finished: tuple[Piece, NDArray[np.generic]]) -> Done:
        """Write a piece; return it when it is on disk."""
        piece, pixels = finished[0], self.readout.placed(finished[1])
        output = self.prediction.output
        with self.timings("write"):
            if not is_current(output, self.prediction.run):
                raise InputError(
                    f"{output.place}: its run is over or was started anew; this one writes no more"
                )
            place = piece.z, piece.rows[0], piece.columns[0]
            stored = output.write(*place, pixels)
            output.sync(piece.z, piece.rows, piece.columns)
            return Done(piece.index, stored, output.derive(*place, pixels))

    def _pieces(
        self, runs: Iterable[range], stop: Callable[[], bool]
    ) -> Iterator[tuple[Piece, NDArray[np.generic]]]:
        """Cut the rows that stream out of one strip after the other into pieces."""
        strips = ([self.prediction.grid.piece(index) for index in run] for run in runs)
        strip: list[Piece] = []
        for pieces, wait in behind_by(self.intake.link.behind, self._begun(strips)):
            if pieces is not strip:
                strip, missing, waiting = pieces, deque(pieces), list[NDArray[np.generic]]()
            waiting.append(self._checked(wait, pieces[0].z))
            yield from _cut(waiting, missing)
            if stop():
                return

    def _begun(
        self, strips: Iterator[list[Piece]]
    ) -> Iterator[tuple[list[Piece], Callable[[], NDArray[np.generic]]]]:
        """Begin to compute one band after the other, under settings that hold for that alone."""
        begun: deque[Iterator[Callable[[], NDArray[np.generic]]]] = deque()
        following = next(strips, None)
        while (pieces := following) is not None:
            if not begun:
                begun.append(self._rows(pieces))
            following = next(strips, None)
            if following is not None:  # its first windows are read meanwhile
                begun.append(self._rows(following))
            rows = begun.popleft()
            while True:
                with exact_arithmetic(self.prediction.precision):
                    wait = next(rows, None)
                if wait is None:
                    break
                yield pieces, wait

    def _rows(self, pieces: list[Piece]) -> Iterator[Callable[[], NDArray[np.generic]]]:
        """Return the output of a strip, from the first piece's top to the last one's bottom."""
        section = self._section(pieces[0].z + self.prediction.first)
        rows = pieces[0].rows[0], pieces[-1].rows[1]
        return begun_rows(
            self.engine, section, self.readout, rows, pieces[0].columns,
            pool=self._reading, timings=self.timings,
        )  # fmt: skip

    def _checked(self, wait: Callable[[], NDArray[np.generic]], z: int) -> NDArray[np.generic]:
        try:
            return wait()
        except FlawedPixelsError:
            self._reading.shutdown(cancel_futures=True)  # a stack has one reader at a time
            self._refuse_flawed(z + self.prediction.first)
            raise
        except InputError as error:
            weights = self.prediction.weights or "bundled weights"
            raise InputError(f"{weights}: {error}") from error

    def _section(self, z: int) -> Section:
        _, height, width = self.stack.shape
        count = self.greys.setdefault(z, GreyCount())

        def read(rows: Span, columns: Span) -> NDArray[np.generic]:
            with self.timings("read"):
                window = self.stack.window(z, rows, columns)
            count.add(window, self.scale)
            return window if self.stack.channels > 1 else window[None]

        return Section(read, height, width, self.intake)

    def _refuse_flawed(self, z: int) -> None:
        """Say what is wrong with a section's grey values, from all of them."""
        _, height, width = self.stack.shape
        name = f"{self.prediction.source}, section {z}"
        for top in range(0, height, 256):
            window = self.stack.window(z, (top, min(top + 256, height)), (0, width))
            if self.prediction.fill is None and not np.isfinite(window).all():
                raise _not_finite(self.stack, z, name)
            to_unit_range(window, self.intake.value_range, name=name, fill=self.intake.fill)


def _cut(
    waiting: list[NDArray[np.generic]], missing: deque[Piece]
) -> Iterator[tuple[Piece, NDArray[np.generic]]]:
    """Take what pieces are complete off the rows that wait."""
    while missing:
        height = missing[0].rows[1] - missing[0].rows[0]
        if sum(len(part) for part in waiting) < height:
            return
        joined = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
        yield missing.popleft(), joined[:height]
        waiting[:] = [joined[height:]]


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


def _read(prediction: Prediction) -> Network:
    """Read the network that the prediction began with."""
    model = load_model(prediction.weights)
    if weights_digest(model) != prediction.digest:
        raise InputError(
            f"{prediction.weights}: the weights changed after the prediction began; restore "
            "them, or start anew with `overwrite`"
        )
    return model
