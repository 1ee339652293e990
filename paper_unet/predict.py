"""The overlap-tile strategy (sec. 1, Fig. 2): images of any size, mirrored at their edges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from paper_unet.augment import sample
from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE, STRIDE, Tiling, mirror_window, tile_spans
from paper_unet.images import to_unit_range
from paper_unet.model import UNet

Average = Literal["none", "flips", "rotations"]

ROTATIONS = 7
"""Sec. 4 averages over 7 rotated versions of the input."""


SMALL_MAP = 20_480
"""Values up to which PyTorch's CPU convolutions take other code than for larger maps."""


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
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
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
    tile : int
        Largest input side of a tile, pixels, 16k + 60.
    tiling : {"exact", "abutting"}
        ``exact`` equals one pass over the whole mirrored image; ``abutting`` is the paper's grid
        of outputs side by side. See `paper_unet.geometry`.
    average : {"none", "flips", "rotations"}
        Mean of the raw scores over the four flips of the image (the authors' release), or over
        seven rotations by multiples of 360/7 degrees (sec. 4; the angles are open in the paper).
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
    unit = to_unit_range(stacked, value_range)
    with evaluating(model):
        scores = averaged_scores(model, unit, tile, tiling, average)
    if not torch.isfinite(scores).all():
        raise InputError(
            "the network's scores are not finite: its weights are those of a training that "
            "diverged; use others"
        )
    probability: NDArray[np.float32] = torch.softmax(scores, dim=0)[-1].numpy()
    return probability


def predict_stack(
    model: UNet,
    stack: Slices,
    out: Sink | None = None,
    *,
    tile: int = PAPER_TILE,
    tiling: Tiling = "exact",
    average: Average = "none",
    value_range: tuple[float, float] | None = None,
    progress: bool = False,
) -> NDArray[np.float32] | Sink:
    """Predict a stack section by section, as `predict_image` does one image.

    Parameters
    ----------
    model : UNet
    stack : array-like, shape (Z, Y, X)
        Anything that gives a section when indexed: an ndarray, a memory map, `open_stack`.
    out : array-like, shape (Z, Y, X), optional
        Takes each float32 section by assignment; default: a new ndarray.
    tile, tiling, average, value_range
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
    target: Sink | NDArray[np.float32]
    target = np.empty(stack.shape, np.float32) if out is None else out
    for z in tqdm(range(len(stack)), unit="section", disable=not progress):
        try:
            section = predict_image(
                model,
                np.asarray(stack[z]),
                tile=tile,
                tiling=tiling,
                average=average,
                value_range=value_range,
            )
        except InputError as error:
            raise InputError(f"section {z}: {error}") from error
        target[z] = section
    return target


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, in true float32; everything is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def mosaic(
    model: nn.Module, image: NDArray[np.float32], tile: int, tiling: Tiling = "exact"
) -> Tensor:
    """Return the scores of every pixel of an image, tile by tile (Fig. 2).

    Parameters
    ----------
    model : nn.Module
        Maps (1, C, H, W) to (1, K, H - 184, W - 184); in evaluation mode.
    image : ndarray of float32, shape (C, Y, X)
        Grey values in [0, 1].
    tile : int
        Largest input side, pixels.
    tiling : {"exact", "abutting"}

    Returns
    -------
    Tensor of float32, shape (K, Y, X)
        On the CPU.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    rows = tile_spans(image.shape[1], tile, tiling)
    columns = tile_spans(image.shape[2], tile, tiling)
    scores: Tensor | None = None
    for row in rows:
        for column in columns:
            window = np.ascontiguousarray(mirror_window(image, row.source, column.source))
            output = _steady(model, torch.from_numpy(window)[None].to(device))[0].float().cpu()
            if scores is None:
                scores = torch.empty((output.shape[0], *image.shape[1:]))
            scores[:, row.target, column.target] = output[:, : row.core, : column.core]
    assert scores is not None  # noqa: S101  (tile_spans gives at least one tile per axis)
    return scores


def _steady(model: nn.Module, window: Tensor) -> Tensor:
    """Run one tile so that its values do not depend on its size.

    On the CPU, PyTorch computes a convolution of few values (up to 20,480, batch of one) by other
    code that rounds differently, and a mosaic of small tiles would differ from one pass in the last
    digits. A batch of two is always computed by the code for large maps. The smallest map of the
    network is the input of the lowest up-convolution.
    """
    if window.is_cuda or not isinstance(model, UNet):
        return model(window)  # type: ignore[no-any-return]
    bottom = [(side - 60) // STRIDE - 4 for side in window.shape[2:]]
    if 16 * model.config.width * bottom[0] * bottom[1] > 2 * SMALL_MAP:
        return model(window)  # type: ignore[no-any-return]
    return model(window.expand(2, -1, -1, -1).contiguous())[:1]  # type: ignore[no-any-return]


def averaged_scores(
    model: nn.Module, image: NDArray[np.float32], tile: int, tiling: Tiling, average: Average
) -> Tensor:
    """Return the mean raw scores over the asked-for versions of the image; shape (K, Y, X)."""
    if average == "none":
        return mosaic(model, image, tile, tiling)
    if average == "flips":
        axes: list[tuple[int, ...]] = [(), (2,), (1,), (1, 2)]
        versions = (mosaic(model, np.flip(image, a).copy(), tile, tiling).flip(a) for a in axes)
        return _mean(versions)
    if average == "rotations":
        angles = [2 * np.pi * k / ROTATIONS for k in range(ROTATIONS)]
        return _mean(_rotated_scores(model, image, angle, tile, tiling) for angle in angles)
    raise InputError(f"average is {average!r}; it must be 'none', 'flips' or 'rotations'")


def _mean(versions: Iterator[Tensor]) -> Tensor:
    total, count = next(versions), 1
    for version in versions:
        total, count = total + version, count + 1
    return total / count


def _rotated_scores(
    model: nn.Module, image: NDArray[np.float32], angle: float, tile: int, tiling: Tiling
) -> Tensor:
    """Scores of the image turned by an angle, turned back.

    The canvas is large enough to hold the turned image; its corners show the mirrored image.
    """
    if angle == 0:
        return mosaic(model, image, tile, tiling)
    height, width = image.shape[1:]
    side = int(np.ceil(np.hypot(height, width))) + 2
    centre, middle = ((height - 1) / 2, (width - 1) / 2), ((side - 1) / 2, (side - 1) / 2)
    there = _turned_grid((side, side), middle, centre, angle)
    canvas = sample(torch.from_numpy(image), there, "bicubic").clamp(0, 1)
    back = _turned_grid((height, width), centre, middle, -angle)
    return sample(mosaic(model, canvas.numpy(), tile, tiling), back, "bilinear")


def _turned_grid(
    shape: tuple[int, int], pivot: tuple[float, float], target: tuple[float, float], angle: float
) -> Tensor:
    """Coordinates (2, h, w) of a grid of pixels turned about its pivot and moved to the target."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    y, x = y - pivot[0], x - pivot[1]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([target[0] + cos * y - sin * x, target[1] + sin * y + cos * x])
    return torch.from_numpy(turned.astype(np.float32))
