"""How a section is cut for prediction: the least work within the memory allowed."""

from __future__ import annotations

import math

from paper_unet.errors import InputError
from paper_unet.geometry import DEPTH, STRIDE, input_size
from paper_unet.inference.layers import Precision
from paper_unet.inference.section import BAND, Procedure
from paper_unet.large.memory import megabytes, peak_bytes
from paper_unet.large.pieces import Plan, rounded_up
from paper_unet.model import UNetConfig

BANDS = (BAND, 32, 16)
PIECE_ROWS = 128
"""Rows of a piece where the output asks for no other number."""


def multiply_accumulates(config: UNetConfig, height: int, width: int) -> int:
    """Return the multiply-accumulates of one pass that gives ``height`` x ``width`` pixels."""
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


def choose_plan(
    config: UNetConfig,
    precision: Precision,
    procedure: Procedure,
    shape: tuple[int, int],
    memory: int,
    *,
    alignment: tuple[int, int] = (1, 1),
    base: int = 0,
) -> Plan:
    """Choose bands and strips: the least work within the memory allowed.

    Parameters
    ----------
    config, precision, procedure, base
        As for `peak_bytes`.
    shape : (int, int)
        Height and width of a section, pixels.
    memory : int
        What the process may take at its peak, bytes.
    alignment : (int, int)
        Rows and columns, in pixels, on whose multiples pieces must begin: the chunks of a Zarr.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If even the narrowest strip does not fit; the message says what would.
    """
    step = math.lcm(STRIDE, alignment[1])
    rows = _piece_rows(procedure, shape, alignment[0])
    bands = BANDS if procedure.engine == "stream" else BANDS[:1]
    plans = [Plan(band, strip, rows) for band in bands for strip in _strips(shape[1], step)]
    if procedure.needs_whole_sections:
        plans = [Plan(band, rounded_up(shape[1], step), rounded_up(shape[0], alignment[0]))
                 for band in bands]  # fmt: skip
    needed = {plan: peak_bytes(config, precision, procedure, plan, shape, base) for plan in plans}
    fitting = [plan for plan in plans if needed[plan] <= memory]
    if not fitting:
        least = min(needed.values())
        raise InputError(
            f"a section of {shape[1]} x {shape[0]} pixels needs {megabytes(least)} of memory or "
            f"more, {megabytes(memory)} are allowed; allow more with --memory, or use another "
            "network, precision, tile or average"
        )
    return min(fitting, key=lambda plan: (_work(config, plan, shape), needed[plan]))


def _piece_rows(procedure: Procedure, shape: tuple[int, int], alignment: int) -> int:
    """Rows of a piece: few where rows stream out, more where each piece has a halo of its own."""
    if procedure.engine == "tiles":
        rows = max(STRIDE, (procedure.tile - 184) // STRIDE * STRIDE)
    else:
        rows = PIECE_ROWS
    if procedure.average == "flips":
        rows = max(rows, 1024)
    return rounded_up(min(rows, shape[0]), math.lcm(STRIDE, alignment))


def _strips(width: int, step: int) -> list[int]:
    """Return the widths of strips, multiples of the step, that cut a section into 1, 2, 3, ..."""
    counts = range(1, -(-width // step) + 1)
    return sorted({rounded_up(-(-width // count), step) for count in counts}, reverse=True)


def _work(config: UNetConfig, plan: Plan, shape: tuple[int, int]) -> float:
    """Relative time: the arithmetic with its halos, and a little for each band."""
    full, rest = divmod(shape[1], plan.strip)
    widths = [plan.strip] * full + [rest] * bool(rest)
    unlike = {width: widths.count(width) for width in set(widths)}
    work = sum(n * multiply_accumulates(config, shape[0], w) for w, n in unlike.items())
    return work * (1 + 2 / plan.band)
