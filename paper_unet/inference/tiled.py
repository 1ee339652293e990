"""Scores by the overlap-tile strategy (Fig. 2): tile after tile through the network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from paper_unet.errors import InputError
from paper_unet.geometry import HALO, STRIDE, Tile
from paper_unet.inference.averaging import canvas_side
from paper_unet.inference.cost import Cost, cost
from paper_unet.inference.layers import PRECISIONS, Layers, check_precision
from paper_unet.inference.memory import (
    ALLOCATOR,
    COPY,
    NETWORK,
    OWN,
    STARTED,
    held_bytes,
    maps_bytes,
    weights_bytes,
)
from paper_unet.inference.mosaic import Mosaic
from paper_unet.inference.pipeline import one_pass
from paper_unet.inference.replay import Replay, recorder_for
from paper_unet.inference.section import Span, Window
from paper_unet.inference.settings import (
    BAND,
    InferenceSettings,
    Plan,
    Precision,
    rounded_up,
    strip_widths,
)
from paper_unet.inference.streaming import PIECE_ROWS_AT_ONCE, multiply_accumulates
from paper_unet.networks.base import Network


class Tiled:
    """The engine ``tiles``: each tile by a pass of its own.

    The paper's tiles are computed by the layers that stream; other networks by their own forward
    pass.

    Parameters
    ----------
    network : Network
        Its weights are copied when the first scores are asked for.
    settings : InferenceSettings
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of weights and maps. The scores are float32.
    device : torch.device, optional
        To plan for; default: where the network is.

    Attributes
    ----------
    device : torch.device
        Where the network is.
    context : Context
        What a tile needs around the pixels that are kept.

    Raises
    ------
    InputError
        If the settings or the precision are none that the network has.
    """

    def __init__(
        self,
        network: Network,
        settings: InferenceSettings,
        precision: Precision = "float32",
        device: torch.device | None = None,
    ) -> None:
        self.network, self.settings, self.precision = network, settings, precision
        self.device = device or network.head.weight.device
        check_precision(precision)
        self.accepts(settings)
        self.context = network.context.with_halo(settings.halo)
        self.forward: _Fused | _Own
        if network.streams:
            self.forward = _Fused(network, precision)
        else:
            self.forward = _Own(network, precision, self.device.type)

    def accepts(self, settings: InferenceSettings) -> None:
        """Raise InputError if the settings ask for what the network has not."""
        if settings.tiling == "abutting" and not self.network.streams:
            raise InputError(
                f"abutting tiles are of the paper's network, not of {self.network.variant}; leave "
                "the tiling out" + (", and give a halo of 0" if self.network.context.padded else "")
            )

    def fit(self, shape: tuple[int, int]) -> None:
        """Do nothing: what tiles take does not depend on the section."""

    def windows(self, shape: tuple[int, int], rows: Span, columns: Span) -> Iterator[Window]:
        """Yield the windows of a section (Y, X) that the scores of a region are made of."""
        return self._mosaic(shape, rows, columns).windows()

    def scores(
        self, shape: tuple[int, int], rows: Span, columns: Span, images: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the scores (K, n, columns) of a region, one row of tiles after the other.

        The tiles lie where they lie in the whole section, so the bytes of a pixel do not depend on
        the region. ``images`` are what the `windows` show.
        """
        return self._mosaic(shape, rows, columns).stitched(self._replayed, images)

    def _mosaic(self, shape: tuple[int, int], rows: Span, columns: Span) -> Mosaic:
        return Mosaic(self.tiles(shape[0]), self.tiles(shape[1]), rows, columns)

    def _replayed(self, window: Tensor) -> Tensor:
        found = self._replay(tuple(window.shape), lambda: [window])
        return self.forward(window) if found is None else found[0]

    @cached_property
    def _replay(self) -> Replay:
        return Replay(partial(_on_tile, self.forward), recorder_for(self.device))

    def tiles(self, side: int) -> list[Tile]:
        """Return the tiles along one axis of a section, ``side`` pixels long."""
        return self.context.tiles(side, self.settings.tile, self.settings.tiling)

    def plans(self, shape: tuple[int, int], alignment: tuple[int, int]) -> list[Plan]:
        """Return the ways to cut a section (Y, X) into strips and pieces: on borders of tiles."""
        steps = [math.lcm(STRIDE, chunk) for chunk in alignment]
        if self.settings.needs_whole_sections:
            return [Plan(BAND, rounded_up(shape[1], steps[1]), rounded_up(shape[0], alignment[0]))]
        rows = self.tiles(shape[0])[0].core
        if self.settings.average == "flips":
            rows = max(rows, min(PIECE_ROWS_AT_ONCE, shape[0]))
        rows = rounded_up(rows, steps[0])
        core = self.tiles(shape[1])[0].core
        widths = {rounded_up(width, steps[1]) for width in strip_widths(shape[1], core)}
        return [Plan(BAND, width, rows) for width in sorted(widths, reverse=True)]

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
        turned = self.settings.average == "rotations"
        whole = (canvas_side(shape),) * 2 if turned else shape
        side = self._largest(whole)
        output = self.network.output_side(side)
        width = whole[1] if turned else min(plan.strip, shape[1])
        row = output * (width + output)
        held = held_bytes(self.network.config.out_channels, self.settings, plan, shape, row, values)
        return round(self.forward.loaded + self.forward.maps_bytes(side) + held)

    def work(self, plan: Plan, shape: tuple[int, int]) -> float:
        """Return the multiply-accumulates of a section (Y, X), once, the tiles' halos included."""
        rows, across = self.tiles(shape[0]), self.tiles(shape[1])
        cut = sum(  # a tile that a strip ends in is computed for the next one, too
            tile.start < left < tile.start + tile.core
            for left in range(plan.strip, shape[1], plan.strip)
            for tile in across
        )
        height, width = (sum(tile.side for tile in axis) for axis in (rows, across))
        per_input = self.forward.macs(side := self._largest(shape)) / side**2
        return per_input * height * width * (1 + cut / len(across))

    def describe(self, grid_strips: int, plan: Plan) -> str:
        """Return how a section is computed, in words."""
        tiles = f"tiles of up to {self.settings.tile} pixels"
        return self.forward.words.format(tiles=tiles, tiling=self.settings.tiling)

    def _largest(self, shape: tuple[int, int]) -> int:
        """Return the longest side of a tile, pixels; a legal one."""
        return max(tile.side for side in shape for tile in self.tiles(side))


def _on_tile(forward: Callable[[Tensor], Tensor], windows: list[Tensor]) -> list[Tensor]:
    return [forward(windows[0])]


class _Fused:
    """The paper's network over one tile, by the layers that stream."""

    words = "{tiling} {tiles}"

    def __init__(self, network: Network, precision: Precision) -> None:
        self._network, self._precision = network, precision
        self.loaded = NETWORK * weights_bytes(network.config) + STARTED

    @cached_property
    def _layers(self) -> Layers:
        return Layers(self._network, self._precision)

    def __call__(self, window: Tensor) -> Tensor:
        """Return the scores (K, h, w), float32, of a window (C, H, W) in [0, 1]."""
        return one_pass(self._layers, window)

    def macs(self, side: int) -> int:
        """Return the multiply-accumulates of a tile."""
        return multiply_accumulates(self._network.config, side - 2 * HALO, side - 2 * HALO)

    def maps_bytes(self, side: int) -> int:
        """Return the bytes that the maps of a tile take at the peak."""
        maps = maps_bytes(self._network.config, self._precision, side - 2 * HALO, side)
        return round(ALLOCATOR * maps)


class _Own:
    """A network over one tile by its own forward pass: a copy in evaluation mode."""

    words = "this network does not stream: {tiles} through its own forward pass"

    def __init__(self, network: Network, precision: Precision, kind: str) -> None:
        self._network, self._dtype = network, PRECISIONS[precision]
        parameters = sum(value.numel() for value in network.parameters())
        self.loaded = COPY * 4 * parameters + (0 if kind == "cpu" else 2 * STARTED)
        self._allocator = OWN if kind == "cpu" else ALLOCATOR
        self._costs: dict[int, Cost] = {}

    @cached_property
    def _copy(self) -> nn.Module:
        copied = copy.deepcopy(self._network).eval().to(self._dtype)
        return copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def __call__(self, window: Tensor) -> Tensor:
        """Return the scores (K, h, w), float32, of a window (C, H, W) in [0, 1]."""
        image = window[None] - self._network.centre
        image = image.to(self._dtype, memory_format=torch.channels_last)
        scores: Tensor = self._copy(image)[0]
        return scores.float()

    def macs(self, side: int) -> int:
        """Return the multiply-accumulates of a tile."""
        return self._cost(side).multiply_accumulates

    def maps_bytes(self, side: int) -> int:
        """Return the bytes that the maps of a tile take at the peak."""
        return round(self._allocator * self._cost(side).maps * self._dtype.itemsize)

    def _cost(self, side: int) -> Cost:
        if side not in self._costs:
            self._costs[side] = cost(self._network, side)
        return self._costs[side]
