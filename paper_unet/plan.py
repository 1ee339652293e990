"""How a section is cut for prediction: one memory model chooses bands and strips.

A section that is too wide for the memory allowed is cut into vertical strips on the 16-pixel
lattice, each with its halo of 92 pixels; a strip is streamed from top to bottom in bands. Finished
rows are written and recorded in pieces::

    strip 0        strip 1
    +-------------+----------+
    | piece 0     | piece 3  |   rows of a piece: what is lost at most when a run is killed
    +-------------+----------+
    | piece 1     | piece 4  |
    ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paper_unet.errors import InputError
from paper_unet.geometry import DEPTH, STRIDE, input_size
from paper_unet.layers import PRECISIONS, Precision
from paper_unet.model import UNetConfig
from paper_unet.regions import BAND, Procedure, Span

ALLOCATOR = 1.9
"""Peak of the process over the live maps: what the allocator keeps and oneDNN's own buffers take.
Measured between 1.4 and 1.9 on Linux; tests/test_plan.py holds it against peaks."""

NETWORK = 2.4
"""Bytes of a loaded network over those of its float32 weights: the network and its packed copy."""

STARTED = 32 * 2**20
"""Bytes that the first convolutions take besides: compiled kernels."""

WRITTEN = 20
"""Bytes for each pixel of a piece while it is written: the joined rows, those that were joined
before, the rows that came since, and a Zarr's chunks, each plain and compressed."""

TESTED = 15
"""Bytes for each score of a row of tiles while it is tested to be finite: the tiles, the row of
them, its absolute values and three masks."""

FRAGMENTS = 1.15
"""Peak over the rows of tiles and pieces: gaps between blocks of unlike sizes. Measured."""

AVERAGED = 30
"""Bytes for each score of the mean over flips: the sum, the parts of a version, these joined and
flipped, the scores before, and gaps between these. Measured: 27 with two classes."""

PROBABILITY = 12
"""Bytes for each pixel while the mean over flips becomes a probability."""

TURNED, TURNED_SCORES = 76, 12
"""Bytes for each pixel of the canvas of a rotation, and for each of its scores: a grid in float64
takes 48, and what else is there lies between its blocks. Measured: 81 to 94 with two classes."""

BANDS = (BAND, 32, 16)
PIECE_ROWS = 128
"""Rows of a piece where the output asks for no other number."""

WAITING = (92, 42, 17, 4)
"""Rows by which each level of the contracting path is ahead of its up-sampled partner."""


@dataclass(frozen=True)
class Plan:
    """The sizes that a prediction works with; part of what makes two runs the same.

    Attributes
    ----------
    band : int
        Rows that enter the network at a time, pixels.
    strip : int
        Columns of a strip, pixels; the last one may be narrower.
    rows : int
        Rows of a piece, pixels; the last one may be lower.
    """

    band: int
    strip: int
    rows: int


@dataclass(frozen=True)
class Piece:
    """A part of the output that is recorded as done when it is on disk."""

    index: int
    z: int
    rows: Span
    columns: Span


@dataclass(frozen=True)
class Grid:
    """All pieces of a stack, numbered section by section, strip by strip, from top to bottom.

    Attributes
    ----------
    sections, height, width : int
        Shape of the stack, (Z, Y, X).
    plan : Plan
    """

    sections: int
    height: int
    width: int
    plan: Plan

    @property
    def strips(self) -> int:
        """Strips of a section."""
        return -(-self.width // self.plan.strip)

    @property
    def in_strip(self) -> int:
        """Pieces of a strip."""
        return -(-self.height // self.plan.rows)

    def __len__(self) -> int:
        return self.sections * self.strips * self.in_strip

    def piece(self, index: int) -> Piece:
        """Return piece ``index``."""
        strips, row = divmod(index, self.in_strip)
        z, strip = divmod(strips, self.strips)
        top, left = row * self.plan.rows, strip * self.plan.strip
        return Piece(
            index,
            z,
            (top, min(top + self.plan.rows, self.height)),
            (left, min(left + self.plan.strip, self.width)),
        )

    def runs(self, missing: Sequence[int], longest: int | None = None) -> Iterator[range]:
        """Gather missing pieces, in order, into runs of neighbours within a strip."""
        start: int | None = None
        end = 0
        for index in sorted(missing):
            full = longest is not None and start is not None and index - start >= longest
            if start is None or index != end or index % self.in_strip == 0 or full:
                if start is not None:
                    yield range(start, end)
                start = index
            end = index + 1
        if start is not None:
            yield range(start, end)


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


def maps_bytes(config: UNetConfig, precision: Precision, columns: int, band: int) -> int:
    """Return the bytes of the feature maps that are alive at once, at most.

    Parameters
    ----------
    config : UNetConfig
    precision : {"float32", "bfloat16", "float16"}
    columns : int
        Output columns of a strip, pixels.
    band : int
        Rows that enter at a time, pixels.

    Returns
    -------
    int
        The rows that wait for the decoder, level by level, and the three widest maps of the
        highest level while it is computed.
    """
    row = config.width * input_size(columns) * PRECISIONS[precision].itemsize
    waiting = sum(rows + band / 2**level for level, rows in enumerate(WAITING))
    return int(row * (waiting + band + 3.5 * (band + 2)))


def weights_bytes(config: UNetConfig) -> int:
    """Return the bytes of the weights in float32, biases left out."""
    w = config.width
    convolutions = 9 * (config.in_channels * w + w * w + sum(6 * (w << k) ** 2 for k in range(4)))
    expanding = sum(27 * (w << k) ** 2 + 8 * (w << k) ** 2 for k in range(4))
    return 4 * (convolutions + expanding)


def peak_bytes(
    config: UNetConfig,
    precision: Precision,
    procedure: Procedure,
    plan: Plan,
    shape: tuple[int, int],
    base: int = 0,
) -> int:
    """Return the estimated peak memory of a prediction, in bytes.

    Parameters
    ----------
    config : UNetConfig
    precision : {"float32", "bfloat16", "float16"}
    procedure : Procedure
    plan : Plan
    shape : (int, int)
        Height and width of a section, pixels.
    base : int
        What the process takes before the network is loaded, and what the files keep decoded.
    """
    columns, band = min(plan.strip, shape[1]), plan.band
    side = canvas_side(shape) if procedure.average == "rotations" else 0
    across = max(columns, side)
    if procedure.engine == "tiles":
        across = min(across, procedure.tile - 184)
        band = procedure.tile
    maps = maps_bytes(config, precision, across, min(band, input_size(max(shape[0], side))))
    network = NETWORK * weights_bytes(config) + STARTED
    if procedure.average == "rotations":
        row = _tile_row(procedure, side, side)
    else:
        row = _tile_row(procedure, shape[0], columns)
    held = held_bytes(config.out_channels, procedure, plan, shape, row)
    return round(base + network + ALLOCATOR * maps + held)


def held_bytes(
    classes: int, procedure: Procedure, plan: Plan, shape: tuple[int, int], row: int
) -> float:
    """Return the bytes of the scores, what is computed from them, and the rows not yet written.

    Parameters
    ----------
    classes : int
    procedure : Procedure
    plan : Plan
    shape : (int, int)
        Height and width of a section, pixels.
    row : int
        Pixels of a row of tiles at most; 0 when rows stream.
    """
    height, columns = shape[0], min(plan.strip, shape[1])
    piece = min(plan.rows, height) * columns
    if procedure.average == "rotations":
        turned = (TURNED + TURNED_SCORES * classes) * canvas_side(shape) ** 2
        return turned + WRITTEN * piece + 8 * classes * row
    if procedure.average == "flips":  # of all rows of a strip at once
        scores = (AVERAGED * classes + PROBABILITY) * height * columns
        return scores + WRITTEN * piece + 8 * classes * row
    if procedure.engine == "stream":
        return 16 * classes * plan.band * columns + WRITTEN * piece
    computing = TESTED * classes * row + 8 * piece
    writing = 8 * classes * row + WRITTEN * piece
    return FRAGMENTS * max(computing, writing)


def _tile_row(procedure: Procedure, height: int, columns: int) -> int:
    """Return the pixels of a row of tiles at most; none when rows stream."""
    if procedure.engine == "stream":
        return 0
    output = procedure.tile - 184
    rows = output if procedure.tiling == "abutting" else min(output, _rounded(height, STRIDE))
    return rows * (columns + output)


def canvas_side(shape: tuple[int, int]) -> int:
    """Return the side of the square that holds a section turned by any angle, pixels."""
    return math.ceil(math.hypot(*shape)) + 2


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
        plans = [Plan(band, _rounded(shape[1], step), _rounded(shape[0], alignment[0]))
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
    return _rounded(min(rows, shape[0]), math.lcm(STRIDE, alignment))


def _strips(width: int, step: int) -> list[int]:
    """Return the widths of strips, multiples of the step, that cut a section into 1, 2, 3, ..."""
    counts = range(1, -(-width // step) + 1)
    return sorted({_rounded(-(-width // count), step) for count in counts}, reverse=True)


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step


def _work(config: UNetConfig, plan: Plan, shape: tuple[int, int]) -> float:
    """Relative time: the arithmetic with its halos, and a little for each band."""
    full, rest = divmod(shape[1], plan.strip)
    widths = [plan.strip] * full + [rest] * bool(rest)
    unlike = {width: widths.count(width) for width in set(widths)}
    work = sum(n * multiply_accumulates(config, shape[0], w) for w, n in unlike.items())
    return work * (1 + 2 / plan.band)


def megabytes(count: float) -> str:
    """Return bytes as text, in MB or GB of 10^6 and 10^9 bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
