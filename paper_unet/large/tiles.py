"""The plan of a prediction by a network that does not stream: whole rows of tiles."""

from __future__ import annotations

import math

from paper_unet.errors import InputError
from paper_unet.geometry import Tile
from paper_unet.inference.layers import PRECISIONS, Precision
from paper_unet.inference.section import Procedure
from paper_unet.inference.tiled import cost
from paper_unet.large.memory import ALLOCATOR, STARTED, canvas_side, held_bytes, megabytes
from paper_unet.large.pieces import Plan, rounded_up
from paper_unet.model import UNet

COPY = 3.4
"""Bytes of a loaded network over those of its float32 weights: file, network and copy."""


def tiles_of(model: UNet, procedure: Procedure, shape: tuple[int, int]) -> list[list[Tile]]:
    """Return the tiles along both axes of a section of ``shape`` (Y, X)."""
    context = model.context.with_halo(procedure.halo)
    return [context.tiles(side, procedure.tile) for side in shape]


def forward_plan(
    model: UNet, procedure: Procedure, shape: tuple[int, int], alignment: tuple[int, int]
) -> Plan:
    """Return pieces of one row of tiles over the whole width, or the section if it is needed.

    Parameters
    ----------
    model : UNet
    procedure : Procedure
    shape : (int, int)
        Height and width of a section, pixels.
    alignment : (int, int)
        Rows and columns on whose multiples pieces must begin: the chunks of a Zarr.
    """
    context = model.context
    core = max(tile.core for tile in tiles_of(model, procedure, shape)[0])
    step = math.lcm(context.lattice, alignment[0])
    rows = shape[0] if procedure.needs_whole_sections else core
    width = math.lcm(context.lattice, alignment[1])
    return Plan(context.lattice, rounded_up(shape[1], width), rounded_up(rows, step))


def forward_peak(
    model: UNet,
    precision: Precision,
    procedure: Procedure,
    plan: Plan,
    shape: tuple[int, int],
    base: int = 0,
) -> int:
    """Return the estimated peak memory of a prediction, in bytes.

    Parameters
    ----------
    model : UNet
    precision : {"float32", "bfloat16", "float16"}
    procedure : Procedure
    plan : Plan
    shape : (int, int)
        Height and width of a section, pixels.
    base : int
        What the process takes before the network is loaded, and what the files keep decoded.
    """
    each = cost(model, largest_tile(model, procedure, shape))
    maps = each.maps * PRECISIONS[precision].itemsize
    network = COPY * 4 * each.parameters + 2 * STARTED  # more kinds of layers
    width = canvas_side(shape) if procedure.average == "rotations" else shape[1]
    row = each.output * (width + each.output)
    held = held_bytes(model.config.out_channels, procedure, plan, shape, row)
    return round(base + network + ALLOCATOR * maps + held)


def largest_tile(model: UNet, procedure: Procedure, shape: tuple[int, int]) -> int:
    """Return the longest side of a tile, pixels; a legal one."""
    sides = [tile.side for axis in tiles_of(model, procedure, shape) for tile in axis]
    if procedure.average == "rotations":
        side = canvas_side(shape)
        sides += [tile.side for tile in tiles_of(model, procedure, (side, side))[0]]
    return max(sides)


def forward_work(model: UNet, procedure: Procedure, shape: tuple[int, int]) -> float:
    """Return the multiply-accumulates for each pixel of a section, halos included."""
    axes = tiles_of(model, procedure, shape)
    side = largest_tile(model, procedure, shape)
    per_input = cost(model, side).multiply_accumulates / side**2
    rows, columns = (sum(tile.side for tile in axis) for axis in axes)
    return per_input * rows * columns / (shape[0] * shape[1])


def fit(needed: int, allowed: int, shape: tuple[int, int]) -> None:
    """Raise InputError if a tile needs more memory than is allowed."""
    if needed > allowed:
        raise InputError(
            f"a section of {shape[1]} x {shape[0]} pixels needs {megabytes(needed)} of memory with "
            f"tiles of this size, {megabytes(allowed)} are allowed; allow more with --memory, or "
            "use a smaller --tile or no average"
        )
