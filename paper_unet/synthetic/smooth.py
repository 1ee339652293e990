"""Smooth randomness: fields that vary over a given length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from paper_unet.synthetic.look import Floats


def basis(positions: Floats, knots: int, scale: float) -> Floats:
    """Weights (positions, knots) of Gaussians `scale` apart; unit rows keep the variance at 1."""
    centres = (np.arange(knots) - 2.5) * scale
    weights = np.exp(-0.5 * ((positions[:, None] - centres) / (0.75 * scale)) ** 2)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


@dataclass(frozen=True)
class SmoothField:
    """A normal random field of unit variance, smooth in depth and in the plane."""

    coefficients: Floats  # (depth knots, Y knots, X knots)
    depth_scale: float  # sections
    scale: float  # pixels

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        extent: tuple[int, int, int],
        scale: float,
        depth_scale: float,
    ) -> SmoothField:
        """Draw a field over `extent` (sections, Y, X)."""
        scales = (depth_scale, scale, scale)
        knots = [int(np.ceil(n / s)) + 6 for n, s in zip(extent, scales, strict=True)]
        return cls(rng.normal(size=knots), depth_scale, scale)

    def at(self, depth: float, shape: tuple[int, int]) -> Floats:
        """Return the field at one depth, shape (Y, X)."""
        depths, rows, columns = self.coefficients.shape
        w = basis(np.array([depth]), depths, self.depth_scale)[0]
        plane = np.tensordot(w, self.coefficients, 1)
        y, x = (np.arange(n, dtype=float) for n in shape)
        return np.asarray(basis(y, rows, self.scale) @ plane @ basis(x, columns, self.scale).T)


def grains(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Floats:
    """White noise blurred by `size` pixels, unit variance."""
    noise = ndi.gaussian_filter(rng.normal(size=shape), size, mode="wrap")
    return np.asarray(noise / noise.std())
