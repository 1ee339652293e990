"""The procedure of the authors' driver of 2015: from a frame of a film to a number for each cell.

The frame is cut into strips over its full width. Both sides of a strip become legal sizes, so its
output reaches a little beyond what is kept::

    d = ceil(([width, ceil(height / strips)] + 124) / 16)    input 16 d + 60, output 16 d - 124

Strips abut: each begins where the output of the one before ends, whatever the lattice of the pools
(see `paper_unet.geometry`), so their scores are not exactly those of one pass. Context is mirrored
for 92 pixels on each side; what an input needs beyond that is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.geometry import HALO, input_size, mirror_window, output_size
from paper_unet.images import to_unit_range
from paper_unet.inference.layers import Layers, exact_arithmetic
from paper_unet.inference.pipeline import one_pass
from paper_unet.metrics.instances import cell_instances
from paper_unet.release.settings import ReleaseSettings

FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps along y and x: the image itself, left-right, up-down, both."""


def release_input(
    image: NDArray[Any],
    grey_ranges: Mapping[str, tuple[float, float]],
    *,
    value_range: tuple[float, float] | None = None,
    fill: float | None = None,
) -> NDArray[np.float32]:
    """Scale grey values as the driver does: whole numbers by the largest one of their type.

    Parameters
    ----------
    image : ndarray of unsigned int or float, any shape
        Floating values must be in [0, 1] unless a range is given.
    grey_ranges : dict of str to (float, float)
        The network's own, which win over the range of the type.
    value_range : (float, float), optional
        Grey values that mean 0 and 1; wins over both.
    fill : float, optional
        Grey value to take where the image is not finite; without it that is an error.

    Returns
    -------
    ndarray of float32, same shape
        In [0, 1].

    Raises
    ------
    InputError
        As `to_unit_range`.
    """
    if value_range is None:
        value_range = grey_ranges.get(image.dtype.name)
    if value_range is None and image.dtype.kind == "u":
        value_range = 0.0, float(np.iinfo(image.dtype).max)
    return to_unit_range(image, value_range, fill=fill)


def strip_size(height: int, width: int, strips: int) -> tuple[int, int]:
    """Return rows and columns of the input of each strip, pixels.

    Parameters
    ----------
    height, width : int
        Of the image, pixels.
    strips : int
        How many there are to be along the height.

    Returns
    -------
    (int, int)
        For 520 x 696 pixels in two strips 444 and 892; the outputs are 184 smaller.
    """
    return input_size(-(-height // strips)), input_size(width)


def release_scores(layers: Layers, image: NDArray[np.float32], strips: int = 2) -> Tensor:
    """Return the mean of the raw scores over the four flips of an image.

    Parameters
    ----------
    layers : Layers
        The network.
    image : ndarray of float32, shape (Y, X), or (C, Y, X) for a network of C > 1 channels
        In [0, 1].
    strips : int
        How many strips the image is cut into, at least 1.

    Returns
    -------
    Tensor of float32, shape (K, Y, X)
        On the CPU.

    Raises
    ------
    InputError
        If the image is empty or has another shape, or the number of strips is below 1.
    """
    channels, stacked = layers.config.in_channels, image[None] if image.ndim == 2 else image
    if stacked.ndim != 3 or stacked.shape[0] != channels or stacked.size == 0:
        wanted = "(Y, X)" if channels == 1 else f"({channels}, Y, X)"
        raise InputError(
            f"the image has shape {image.shape}; {wanted} with at least one pixel is needed"
        )
    if strips < 1:
        raise InputError(f"strips is {strips}; it must be at least 1")
    total = torch.zeros((layers.config.out_channels, *stacked.shape[1:]))
    with exact_arithmetic(layers.precision):
        for y, x in FLIPS:
            scores = _strip_scores(layers, stacked[:, ::y, ::x], strips)
            total += scores.flip([axis for axis, step in ((1, y), (2, x)) if step < 0])
    return total / len(FLIPS)


def _strip_scores(layers: Layers, image: NDArray[np.float32], strips: int) -> Tensor:
    """Return the scores (K, Y, X) of an image (C, Y, X), strip by strip from the top."""
    height, width = image.shape[1:]
    rows, columns = strip_size(height, width, strips)
    step = output_size(rows)
    context = mirror_window(image, (-HALO, height + HALO), (-HALO, width + HALO))
    volume = np.zeros((len(image), -(-height // step) * step + 2 * HALO, columns), np.float32)
    volume[:, : context.shape[1], : context.shape[2]] = context
    parts = []
    for top in range(0, height, step):
        scores = one_pass(layers, torch.from_numpy(volume[:, top : top + rows]))
        parts.append(scores[:, : height - top, :width].float().cpu())
    return torch.cat(parts, dim=1)


def release_cells(
    layers: Layers, image: NDArray[np.float32], settings: ReleaseSettings | None = None
) -> NDArray[np.int32]:
    """Give each cell of an image a number, by the driver's procedure.

    A pixel is foreground where another class than the first has the highest mean score; cells are
    the 8-connected regions of the foreground that are large enough and reach into the field of
    interest.

    Parameters
    ----------
    layers : Layers
        The network.
    image : ndarray of float32, shape (Y, X), or (C, Y, X) for a network of C > 1 channels
        In [0, 1].
    settings : ReleaseSettings, optional
        Default: the driver's.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        0 = background, 1.. = cells.

    Raises
    ------
    InputError
        As `release_scores`, and if a score is not finite.
    """
    settings = settings or ReleaseSettings()
    scores = release_scores(layers, image, settings.strips)
    if not torch.isfinite(scores).all():
        raise InputError(
            "the network's scores are not finite: its weights are those of a training that "
            "diverged (use others), or too large for float16 (use bfloat16 or float32)"
        )
    return cell_instances(
        (scores.argmax(dim=0) > 0).numpy(),
        min_area=settings.min_area,
        border=settings.field_of_interest,
        fill_holes=settings.fill_holes,
    )
