"""Scores by streaming: a strip of a section flows through the network, nothing computed twice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.geometry import DEPTH, HALO, STRIDE, input_size
from paper_unet.inference.averaging import canvas_side
from paper_unet.inference.layers import Layers, check_precision
from paper_unet.inference.memory import (
    ALLOCATOR,
    CARD,
    CARD_STARTED,
    NETWORK,
    STARTED,
    held_bytes,
    maps_bytes,
    weights_bytes,
)
from paper_unet.inference.pipeline import Recorded, bands, rows_out, stream_rows
from paper_unet.inference.replay import recorder_for
from paper_unet.inference.section import Span, Window
from paper_unet.inference.settings import (
    BANDS,
    InferenceSettings,
    Plan,
    Precision,
    rounded_up,
    strip_widths,
)
from paper_unet.networks.base import Network, NetworkConfig
from paper_unet.system.device import free_memory
from paper_unet.system.memory import SHARE

FULL = 2**22
"""Pixels of a band that keep a GPU busy for longer than this program takes to send it the next."""

PIECE_ROWS, PIECE_ROWS_AT_ONCE = 128, 1024
"""Rows of a piece where the output asks for no other number: few where rows stream out slowly, more
where each piece has a halo of its own, and on a GPU."""


class Streaming:
    """The engine ``stream``: bands of rows through the paper's network.

    Parameters
    ----------
    network : Network
        One that streams; its weights are copied when the first scores are asked for.
    settings : InferenceSettings
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of weights and maps. The scores are float32.
    band : int, optional
        Rows that enter the network at a time, pixels, a multiple of 16; default: the first of
        `bands`.
    device : torch.device, optional
        To plan for; default: where the network is.

    Attributes
    ----------
    device : torch.device
        What is planned for, and where the network is.

    Raises
    ------
    InputError
        If the settings or the precision are none that it has.
    """

    def __init__(
        self,
        network: Network,
        settings: InferenceSettings,
        precision: Precision = "float32",
        band: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.network, self.settings, self.precision = network, settings, precision
        self.device = device or network.head.weight.device
        self._on_card = self.device.type == "cuda"
        self.band = band or self.bands[0]
        check_precision(precision)
        self.accepts(settings)

    @staticmethod
    def accepts(settings: InferenceSettings) -> None:
        """Raise InputError if the settings ask for what streaming has not."""
        if settings.halo is not None:
            raise InputError(
                f"halo is {settings.halo}; the paper's network has no padding, its context is "
                "fixed: leave it out"
            )

    def fit(self, shape: tuple[int, ...]) -> None:
        """On a GPU, choose the band for whole sections (Y, X) in memory: what there is room for."""
        if not self._on_card:
            return
        height, width = shape
        room = SHARE * free_memory(self.device)
        everything = rounded_up(input_size(height), STRIDE)
        bands = self._bands_for(width)
        if everything * width <= 2 * FULL:
            bands = (everything, *bands)
        plans = [Plan(band, width, height) for band in bands]
        fitting = (plan.band for plan in plans if self.peak_bytes(plan, (height, width)) <= room)
        self.band = next(fitting, bands[-1])

    @cached_property
    def layers(self) -> Layers:
        """The network's layers, ready to compute."""
        return Layers(self.network, self.precision)

    @cached_property
    def _network(self) -> Recorded:
        return Recorded(self.layers, recorder_for(self.device))

    def windows(self, shape: tuple[int, int], rows: Span, columns: Span) -> Iterator[Window]:
        """Yield the windows of a section (Y, X) that the scores of a region are made of.

        Streaming begins a little above the region. The bands lie where they lie when the strip is
        streamed from row 0, and the first one, which is shorter on its way through the network than
        those in the middle, gives only rows above the region. So each kept row comes from the same
        calls on maps of the same shapes, and its bytes do not depend on where the streaming began.
        """
        start = self._start(rows)
        left = columns[0] - HALO
        across = (left, left + input_size(columns[1] - columns[0]))
        # so much as if all rows below were wanted: the last band has the shape that it has there
        for first, end in bands(shape[0] - start, self.band):
            yield Window((start - HALO + first, start - HALO + end), across)
            if rows_out(end) >= rows[1] - start:
                return

    def scores(
        self, shape: tuple[int, int], rows: Span, columns: Span, images: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the scores of a region.

        Parameters
        ----------
        shape : (int, int)
            Height and width of the section, pixels.
        rows, columns : (int, int)
            Both begin on multiples of 16.
        images : iterator of Tensor
            What the `windows` show.

        Yields
        ------
        Tensor of float32, shape (K, n, columns)
            On the device of the network.
        """
        start, width = self._start(rows), columns[1] - columns[0]
        above, missing = rows[0] - start, rows[1] - rows[0]
        push = self._network.strip(input_size(width))
        for scores in stream_rows(push, images, shape[0] - start, width):
            wanted = scores[:, min(above, scores.shape[1]) :][:, :missing]
            above -= min(above, scores.shape[1])
            missing -= wanted.shape[1]
            if wanted.shape[1]:
                yield wanted

    def _start(self, rows: Span) -> int:
        return max(0, (rows[0] - self.band) // self.band * self.band)

    def plans(self, shape: tuple[int, int], alignment: tuple[int, int]) -> list[Plan]:
        """Return the ways to cut a section (Y, X) into strips and pieces.

        Parameters
        ----------
        shape : (int, int)
            Height and width of a section, pixels.
        alignment : (int, int)
            Rows and columns on whose multiples pieces must begin: the chunks of a Zarr.
        """
        step = math.lcm(STRIDE, alignment[1])
        if self.settings.needs_whole_sections:
            size = rounded_up(shape[1], step), rounded_up(shape[0], alignment[0])
            return [Plan(band, *size) for band in self._bands_for(size[0])]
        flips = self.settings.average == "flips"
        most = min(PIECE_ROWS_AT_ONCE if flips or self._on_card else PIECE_ROWS, shape[0])
        rows = rounded_up(most, math.lcm(STRIDE, alignment[0]))
        strips = strip_widths(shape[1], step)
        return [Plan(band, strip, rows) for strip in strips for band in self._bands_for(strip)]

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of rows that may enter at a time on this device, the best one first."""
        return BANDS["cuda" if self._on_card else "cpu"]

    def _bands_for(self, columns: int) -> tuple[int, ...]:
        """Return the bands that make sense for a strip: no more pixels than fill a GPU."""
        if not self._on_card:
            return self.bands
        last = self.bands[-1]
        return tuple(band for band in self.bands if band * columns <= FULL or band == last)

    def peak_bytes(self, plan: Plan, shape: tuple[int, int], values: int = 1) -> int:
        """Return the estimated peak memory of a prediction, besides what the process has already.

        Parameters
        ----------
        plan : Plan
        shape : (int, int)
            Height and width of a section, pixels.
        values : int
            Values of a pixel that are written.
        """
        config = self.network.config
        side = canvas_side(shape) if self.settings.average == "rotations" else 0
        columns = max(min(plan.strip, shape[1]), side)
        band = min(plan.band, input_size(max(shape[0], side)))
        maps = maps_bytes(config, self.precision, columns, band)
        held = held_bytes(config.out_channels, self.settings, plan, shape, 0, values)
        if self._on_card:
            return round(NETWORK * weights_bytes(config) + CARD_STARTED + CARD * maps + held)
        return round(NETWORK * weights_bytes(config) + STARTED + ALLOCATOR * maps + held)

    def work(self, plan: Plan, shape: tuple[int, int]) -> float:
        """Return the multiply-accumulates of a section (Y, X), once, its strips' halos included."""
        full, rest = divmod(shape[1], plan.strip)
        config = self.network.config
        work = full * multiply_accumulates(config, shape[0], plan.strip)
        return work + (multiply_accumulates(config, shape[0], rest) if rest else 0)

    def describe(self, grid_strips: int, plan: Plan) -> str:
        """Return how a section is computed, in words."""
        return f"bands of {plan.band} rows, {grid_strips} strip(s) of up to {plan.strip} columns"


def multiply_accumulates(config: NetworkConfig, height: int, width: int) -> int:
    """Return the multiply-accumulates of one pass of the paper's network over a region.

    Parameters
    ----------
    config : NetworkConfig
    height, width : int
        Of what is wanted of the scores, pixels.
    """
    rows, columns = input_size(height), input_size(width)
    total, channels = 0, config.in_channels
    for level in range(DEPTH + 1):
        wide = config.width << level
        total += 9 * (rows - 2) * (columns - 2) * channels * wide
        total += 9 * (rows - 4) * (columns - 4) * wide * wide
        rows, columns, channels = rows - 4, columns - 4, wide
        if level < DEPTH:
            rows, columns = rows // 2, columns // 2
    for level in reversed(range(DEPTH)):
        wide = config.width << level
        last = config.last_up_width
        up = last if level == 0 and last is not None else wide
        total += 4 * rows * columns * 2 * wide * up
        rows, columns = 2 * rows, 2 * columns
        total += 9 * (rows - 2) * (columns - 2) * (up + wide) * wide
        total += 9 * (rows - 4) * (columns - 4) * wide * wide
        rows, columns = rows - 4, columns - 4
    return int(total + rows * columns * config.width * config.out_channels)
