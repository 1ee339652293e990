"""Prediction in memory: images and stacks of any size, mirrored at their edges (sec. 1, Fig. 2)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE, Tiling
from paper_unet.images import to_unit_range
from paper_unet.layers import Layers, Precision, evaluating
from paper_unet.model import UNet
from paper_unet.regions import Average, Engine, Procedure, region_scores, whole


class Slices(Protocol):
    """A stack that gives one section at a time, such as an ndarray or an open TIFF."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X)."""

    def __len__(self) -> int: ...

    def __getitem__(self, z: int, /) -> NDArray[np.generic]: ...


class Sink(Protocol):
    """Takes one section at a time, such as an ndarray or an open `StackWriter`."""

    def __setitem__(self, z: int, section: NDArray[np.float32], /) -> None: ...


def predict_image(
    model: UNet,
    image: NDArray[np.generic],
    *,
    engine: Engine = "stream",
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
    precision: Precision = "float32",
    value_range: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Return the probability of the last class at every pixel of an image.

    Parameters
    ----------
    model : UNet
        Used in evaluation mode, on the device where it is.
    image : ndarray, shape (Y, X), or (C, Y, X) for a network of C > 1 channels
        Any size from 1 x 1. uint8 is divided by 255; uint16 needs a range; floats must be in
        [0, 1] unless a range is given.
    engine : {"stream", "tiles"}
        ``stream`` lets the rows of the image flow through the network, nothing computed twice;
        ``tiles`` is the overlap-tile strategy of Fig. 2. The same result up to rounding.
    tile : int
        Largest input side of a tile, pixels, 16k + 60, for the engine ``tiles``.
    tiling : {"exact", "abutting"}
        ``exact`` equals one pass over the whole mirrored image; ``abutting``, for the engine
        ``tiles``, is the paper's grid of outputs side by side. See `paper_unet.geometry`.
    average : {"none", "flips", "rotations"}
        Mean of the raw scores over the four flips of the image (the authors' release), or over
        seven rotations by multiples of 360/7 degrees (sec. 4; the angles are open in the paper).
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic; float32 is the reference.
    value_range : (float, float), optional
        Grey values that mean 0 and 1; default: the model's own for the image's dtype.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        In [0, 1]; for the usual two classes, the probability of a cell.

    Raises
    ------
    InputError
        If the image is empty, of the wrong shape or dtype, or holds values that are not finite.
    """
    procedure = Procedure(engine, tile, tiling, average)
    return _predict(model, Layers(model, precision), image, procedure, value_range)


def predict_stack(
    model: UNet,
    stack: Slices,
    out: Sink | None = None,
    *,
    engine: Engine = "stream",
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
    precision: Precision = "float32",
    value_range: tuple[float, float] | None = None,
    progress: bool = False,
) -> NDArray[np.float32] | Sink:
    """Predict a stack section by section, as `predict_image` does one image.

    For stacks that do not fit in memory, for resuming and for clusters see
    `paper_unet.job.predict_file`.

    Parameters
    ----------
    model : UNet
    stack : array-like, shape (Z, Y, X)
        Anything that gives a section when indexed: an ndarray, a memory map, `open_stack`.
    out : array-like, shape (Z, Y, X), optional
        Takes each float32 section by assignment; default: a new ndarray.
    engine, tile, tiling, average, precision, value_range
        As in `predict_image`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X), or ``out``
        Probabilities of the last class.

    Raises
    ------
    InputError
        As `predict_image`; the message names the section.
    """
    if len(stack.shape) != 3:
        raise InputError(f"the stack has shape {stack.shape}; (Z, Y, X) is needed")
    procedure = Procedure(engine, tile, tiling, average)
    layers = Layers(model, precision)
    target: Sink | NDArray[np.float32]
    target = np.empty(stack.shape, np.float32) if out is None else out
    for z in tqdm(range(len(stack)), unit="section", disable=not progress):
        try:
            section = _predict(model, layers, np.asarray(stack[z]), procedure, value_range)
        except InputError as error:
            raise InputError(f"section {z}: {error}") from error
        target[z] = section
    return target


def _predict(
    model: UNet,
    layers: Layers,
    image: NDArray[np.generic],
    procedure: Procedure,
    value_range: tuple[float, float] | None,
) -> NDArray[np.float32]:
    channels = model.config.in_channels
    stacked = image[None] if image.ndim == 2 else image
    if stacked.ndim != 3 or stacked.shape[0] != channels or stacked.size == 0:
        wanted = "(Y, X)" if channels == 1 else f"({channels}, Y, X)"
        raise InputError(
            f"the image has shape {image.shape}; {wanted} with at least one pixel is needed (a "
            "colour image must become grey first, a stack goes through predict_stack)"
        )
    if value_range is None:
        value_range = model.grey_ranges.get(image.dtype.name)
    section = whole(to_unit_range(stacked, value_range))
    everything = (0, section.height), (0, section.width)
    with evaluating(model):
        parts = region_scores(layers, section, *everything, procedure)
        return np.concatenate([probability(scores) for scores in parts])


def probability(scores: Tensor) -> NDArray[np.float32]:
    """Return the probability of the last class from scores of shape (K, Y, X).

    Raises
    ------
    InputError
        If a score is not finite.
    """
    if not torch.isfinite(scores).all():
        raise InputError(
            "the network's scores are not finite: its weights are those of a training that "
            "diverged (use others), or too large for float16 (use bfloat16 or float32)"
        )
    found = np.empty(scores.shape[1:], np.float32)
    for y, row in enumerate(scores.unbind(dim=1)):
        # one row at a time: vector and scalar code round exp differently, so the bytes would depend
        # on how many rows come at once, and a resumed run cuts them elsewhere
        found[y] = torch.softmax(row.contiguous(), dim=0)[-1].numpy()
    return found
