"""The augmentation of sec. 3.1: draw every random number first, then apply it as a pure function.

One tile is one look at one section: a position, a mirroring, a rotation, a smooth deformation and
a smooth change of the grey values. The deformation is given by random vectors on a coarse 3 by 3
grid over the tile and interpolated bicubically in between. Image, labels and weights are sampled
through the same field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from paper_unet.settings import AugmentSettings

Kernel = Literal["bicubic", "bilinear", "nearest"]
Extrapolation = Literal["mirror", "zero"]

_PADDING = {"mirror": "reflection", "zero": "zeros"}  # in PyTorch's words


@dataclass(frozen=True)
class Augmentation:
    """One drawn look at one section: enough to repeat it.

    Attributes
    ----------
    centre : (float, float)
        Where the tile's centre lies in the section (y, x), pixels.
    angle : float
        Rotation, radians.
    mirrored : bool
        Whether x runs backwards.
    nodes : ndarray of float64, shape (2, grid, grid)
        Displacement (y, x) at the nodes, pixels; the outer ones lie on the tile's edge.
    black, white : float
        What the grey values 0 and 1 become.
    gamma : float
        Exponent of the curve in between.
    """

    centre: tuple[float, float]
    angle: float
    mirrored: bool
    nodes: NDArray[np.float64]
    black: float = 0.0
    white: float = 1.0
    gamma: float = 1.0


def draw_augmentation(
    rng: np.random.Generator,
    shape: tuple[int, int],
    settings: AugmentSettings,
    margin: float = 0.0,
) -> Augmentation:
    """Draw one look at a section of ``shape`` (Y, X) pixels.

    Position, angle and mirroring are uniform, the tile's centre being at least ``margin`` pixels
    (or half the section) away from the border; the node vectors are N(0, elastic). The grey curve
    is ``black + (white - black) * v**gamma`` with black within 0.1 of 0, white within 0.1 of 1 and
    gamma between 1/1.5 and 1.5, all times the strength ``grey``.

    The same numbers are drawn whatever is switched off, so settings can be compared on the same
    looks.
    """
    position = rng.uniform(0, 1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    mirrored = rng.uniform() < 0.5
    nodes = rng.normal(0, 1, (2, settings.grid, settings.grid))
    black, white, gamma = settings.grey * rng.uniform(-1, 1, 3)
    last = np.array(shape) - 1
    near = np.minimum(margin, last / 2)
    middle = np.array(shape) // 2 - 0.5  # pixels of an even tile then fall on pixels
    y, x = near + position * (last - 2 * near) if settings.shift else middle
    return Augmentation(
        centre=(float(y), float(x)),
        angle=float(angle) if settings.rotate else 0.0,
        mirrored=bool(mirrored) and settings.mirror,
        nodes=settings.elastic * nodes,
        black=0.1 * float(black),
        white=1 + 0.1 * float(white),
        gamma=float(1.5**gamma),
    )


def displacement(nodes: Tensor, side: int) -> Tensor:
    """Interpolate the node vectors to every pixel of a tile (sec. 3.1).

    Parameters
    ----------
    nodes : Tensor of float, shape (2, grid, grid)
        Displacement (y, x) at the nodes, pixels. The outer nodes lie on the outer pixels.
    side : int
        Side of the tile, pixels, at least 2.

    Returns
    -------
    Tensor, shape (2, side, side)
        Pixels; equal to ``nodes`` at the nodes.

    Notes
    -----
    Cubic convolution (Keys 1981, a = -1/2), the usual bicubic interpolation; beyond the grid the
    nodes continue by Keys' own boundary rule, which keeps quadratics exact.
    """
    basis = _bicubic_basis(nodes.shape[-1], side, nodes.device).to(nodes.dtype)
    return basis @ nodes @ basis.T


@lru_cache(maxsize=8)
def _bicubic_basis(grid: int, side: int, device: torch.device) -> Tensor:
    """How much each of the nodes counts at each pixel of one axis; shape (side, grid)."""
    position = np.linspace(0, grid - 1, side)
    distance = np.abs(position[:, None] - (np.arange(-1, grid + 1)[None, :]))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    kernel = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    basis = kernel[:, 1:-1].copy()
    # the nodes at -1 and at `grid` are extrapolated from the three (or two) next to them
    rule = [3.0, -3.0, 1.0] if grid > 2 else [2.0, -1.0]
    for offset, weight in enumerate(rule):
        basis[:, offset] += kernel[:, 0] * weight
        basis[:, grid - 1 - offset] += kernel[:, -1] * weight
    return torch.from_numpy(basis).to(device)


def source_coordinates(look: Augmentation, side: int, device: torch.device | str = "cpu") -> Tensor:
    """Return where in the section each pixel of the tile comes from.

    Parameters
    ----------
    look : Augmentation
    side : int
        Side of the tile, pixels, at least 2.
    device : torch.device or str
        Where to compute it.

    Returns
    -------
    Tensor of float32, shape (2, side, side)
        Coordinates (y, x) in pixels; they may lie outside the section. A smaller centred tile
        comes from the centred part of this array.
    """
    return coordinates_of(torch.from_numpy(numbers_of(look)).float().to(device), side)


HEADER: Final = 9
"""Numbers of a look that are not nodes, see `numbers_of`."""


def numbers_of(look: Augmentation) -> NDArray[np.float64]:
    """Return a look as numbers, which is all that a device needs to make a tile.

    Returns
    -------
    ndarray of float64, shape (9 + 2 * grid * grid,)
        Centre (y, x), cosine and sine of the angle, both with the sign of the mirroring, black,
        white - black, gamma, and the nodes.
    """
    cos, sin = math.cos(look.angle), math.sin(look.angle)
    sign = -1.0 if look.mirrored else 1.0
    grey = (look.black, look.white - look.black, look.gamma)
    header = (*look.centre, cos, sin, sign * cos, sign * sin, *grey)
    return np.concatenate([header, look.nodes.ravel()])


def coordinates_of(numbers: Tensor, side: int) -> Tensor:
    """Return what `source_coordinates` does, from the numbers of a look; on their device."""
    grid = math.isqrt((len(numbers) - HEADER) // 2)
    nodes = numbers[HEADER:].view(2, grid, grid).float()
    axis = torch.arange(side, dtype=torch.float32, device=numbers.device) - (side - 1) / 2
    y, x = displacement(nodes, side) + torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
    top, left, cos, sin, signed_cos, signed_sin = numbers[:6]
    return torch.stack([cos * y - signed_sin * x + top, sin * y + signed_cos * x + left])


def sample(
    maps: Tensor, coordinates: Tensor, kernel: Kernel, beyond: Extrapolation = "mirror"
) -> Tensor:
    """Read maps at fractional coordinates; beyond the border they are mirrored.

    Parameters
    ----------
    maps : Tensor of float, shape (C, Y, X)
    coordinates : Tensor of float, shape (2, h, w)
        (y, x), pixels; the centre of the first pixel is 0.
    kernel : {"bicubic", "bilinear", "nearest"}
        The bicubic kernel is PyTorch's (cubic convolution, a = -3/4).
    beyond : {"mirror", "zero"}
        What lies beyond the border (sec. 1: mirrored).

    Returns
    -------
    Tensor, shape (C, h, w)
        On the device and of the dtype of ``maps``. The edge pixel is not repeated by the mirror.
    """
    rows, columns = maps.shape[-2:]
    y = coordinates[0] * (2 / max(rows - 1, 1)) - 1
    x = coordinates[1] * (2 / max(columns - 1, 1)) - 1
    where = torch.stack([x, y], dim=-1).to(maps.dtype)
    return functional.grid_sample(
        maps[None], where[None], mode=kernel, padding_mode=_PADDING[beyond], align_corners=True
    )[0]


def change_grey(image: Tensor, look: Augmentation) -> Tensor:
    """Apply the drawn grey curve to values in [0, 1]; small overshoots of sampling are clipped."""
    return grey_changed_by(torch.from_numpy(numbers_of(look)), image)


def grey_changed_by(numbers: Tensor, image: Tensor) -> Tensor:
    """Return what `change_grey` does, from the numbers of a look."""
    where = numbers[6:HEADER]
    black, span, gamma = where if where.device.type == "cuda" else where.tolist()
    changed: Tensor = black + span * image.clamp(0, 1) ** gamma
    return changed


def centre_crop(maps: Tensor, side: int) -> Tensor:
    """Cut the central ``side`` x ``side`` pixels out of (..., H, W)."""
    top, left = (maps.shape[-2] - side) // 2, (maps.shape[-1] - side) // 2
    return maps[..., top : top + side, left : left + side]
