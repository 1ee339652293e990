"""The seams that tiles leave where a network pads by zeros, measured against one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE
from paper_unet.inference.predict import engine_for, predict_image
from paper_unet.inference.settings import InferenceSettings
from paper_unet.inference.tiled import Tiled
from paper_unet.networks.base import Network

NEAR = 8
"""Pixels to either side of a border between tiles."""


@dataclass(frozen=True)
class Seams:
    """How far tiles are from one pass over the whole image, in probability.

    Attributes
    ----------
    rms, largest : float
        Root of the mean square, and the largest difference, over all pixels.
    at_seams : float
        Root of the mean square over the pixels within 8 of a border between tiles; 0 without any.
    tile, halo : int
        Pixels: the input side of the largest tile, and what was dropped on each side.
    tiles : int
        How many there were.
    """

    rms: float
    largest: float
    at_seams: float
    tile: int
    halo: int
    tiles: int


def seams(
    model: Network,
    image: NDArray[np.generic],
    *,
    tile: int = PAPER_TILE,
    halo: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> Seams:
    """Compare tiles with one pass over the whole image, for a network that does not stream.

    Parameters
    ----------
    model : Network
        One with zero padding or of other layers than the paper's; used in evaluation mode.
    image : ndarray, shape (Y, X) or (C, Y, X)
        Small enough for one pass.
    tile, halo, value_range
        As in `predict_image`.

    Returns
    -------
    Seams

    Raises
    ------
    InputError
        As `predict_image`, and if the network is one that streams, which leaves no seams.
    """
    engine = engine_for(model, InferenceSettings(tile=tile, halo=halo))
    if not isinstance(engine, Tiled):
        raise InputError(f"the network {model.variant} streams; there are no tiles to compare")
    context = engine.context
    found = predict_image(model, image, tile=tile, halo=halo, value_range=value_range)
    around = max(image.shape[-2:]) + context.before + context.after + 4 * context.lattice
    most = around - (around - 60) % 16 + 16
    once = predict_image(model, image, tile=most, value_range=value_range)
    difference = found.astype(np.float64) - once
    grids = [engine.tiles(side) for side in image.shape[-2:]]
    near = np.zeros(image.shape[-2:], bool)
    for cut in grids[0][1:]:
        near[max(cut.start - NEAR, 0) : cut.start + NEAR] = True
    for cut in grids[1][1:]:
        near[:, max(cut.start - NEAR, 0) : cut.start + NEAR] = True
    return Seams(
        rms=_rms(difference),
        largest=float(np.abs(difference).max()),
        at_seams=_rms(difference[near]) if near.any() else 0.0,
        tile=max(cut.side for grid in grids for cut in grid),
        halo=context.before,
        tiles=len(grids[0]) * len(grids[1]),
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
