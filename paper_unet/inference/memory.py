"""The memory model: what a prediction takes at its peak, before it begins."""

from __future__ import annotations

from paper_unet.geometry import input_size
from paper_unet.inference.averaging import canvas_side
from paper_unet.inference.layers import PRECISIONS
from paper_unet.inference.settings import InferenceSettings, Plan, Precision
from paper_unet.networks.base import NetworkConfig

ALLOCATOR = 1.9
"""Peak of the process over the live maps: what the allocator keeps and oneDNN's own buffers take.
Measured between 1.4 and 1.9 on Linux; tests/large/test_plan.py holds it against peaks."""

NETWORK = 2.4
"""Bytes of a loaded network over those of its float32 weights: the network and its packed copy."""

COPY = 3.4
"""The same of a network that predicts by its own forward pass: file, network and copy."""

OWN = 1.6
"""ALLOCATOR for such a network; what PyTorch imports for it was there before."""

STARTED = 32 * 2**20
"""Bytes that the first convolutions take besides: compiled kernels."""

WRITTEN = 27
"""Bytes for each pixel of a piece while it is written: the joined rows, those that were joined
before, the rows that came since, chunks of a Zarr, plain and compressed, what its pyramid waits
with, and pieces that wait for a thread that writes."""

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

WAITING = (92, 42, 17, 4)
"""Rows by which each level of the contracting path is ahead of its up-sampled partner."""

CARD = 2.0
"""Peak on a GPU over the live maps: those of a band as it is called, and of its graph.
benchmarks/gpu.py prints it beside measured peaks."""

CARD_STARTED = 640 * 2**20
"""Bytes that cuDNN and the first kernels take on a GPU besides, workspaces included."""


def maps_bytes(config: NetworkConfig, precision: Precision, columns: int, band: int) -> int:
    """Return the bytes of the feature maps that are alive at once, at most.

    Parameters
    ----------
    config : NetworkConfig
    precision : {"float32", "tf32", "bfloat16", "float16"}
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


def weights_bytes(config: NetworkConfig) -> int:
    """Return the bytes of the weights in float32, biases left out."""
    w = config.width
    convolutions = 9 * (config.in_channels * w + w * w + sum(6 * (w << k) ** 2 for k in range(4)))
    expanding = sum(27 * (w << k) ** 2 + 8 * (w << k) ** 2 for k in range(4))
    return 4 * (convolutions + expanding)


def held_bytes(
    classes: int,
    settings: InferenceSettings,
    plan: Plan,
    shape: tuple[int, int],
    row: int,
    values: int = 1,
) -> float:
    """Return the bytes of the scores, what is computed from them, and the rows not yet written.

    Parameters
    ----------
    classes : int
    settings : InferenceSettings
    plan : Plan
    shape : (int, int)
        Height and width of a section, pixels.
    row : int
        Pixels of a row of tiles at most; 0 when rows stream.
    values : int
        Values of a pixel that are written: one for each class if all are.
    """
    height, columns = shape[0], min(plan.strip, shape[1])
    piece = min(plan.rows, height) * columns * values
    if settings.average == "rotations":
        turned = (TURNED + TURNED_SCORES * classes) * canvas_side(shape) ** 2
        return turned + WRITTEN * piece + 8 * classes * row
    if settings.average == "flips":  # of all rows of a strip at once
        scores = (AVERAGED * classes + PROBABILITY * values) * height * columns
        return scores + WRITTEN * piece + 8 * classes * row
    if not row:
        return 16 * classes * plan.band * columns + WRITTEN * piece
    computing = TESTED * classes * row + 8 * piece
    writing = 8 * classes * row + WRITTEN * piece
    return FRAGMENTS * max(computing, writing)
