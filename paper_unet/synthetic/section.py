"""One section: organelles, stain and detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from paper_unet.synthetic.look import Appearance, Bools, Floats, Ints
from paper_unet.synthetic.smooth import SmoothField, grains
from paper_unet.synthetic.tissue import (
    Tissue,
    pixel_grid,
    window,
)


def _stamp_mitochondrion(
    stain: Floats, inside: Bools, local: tuple[Floats, Floats], axes: Floats
) -> None:
    """Darken an ellipse in place: two thin membranes with a gap, a matrix with bright cristae.

    `local` are coordinates along and across the cristae, in pixels from the centre; `inside` is
    where the cell has room.
    """
    along, across = local
    radius = np.hypot(along / axes[0], across / axes[1])
    to_border = (radius - 1) * axes.min()  # pixels, roughly
    rim = np.exp(-((to_border / 1.2) ** 2))
    matrix = 1 / (1 + np.exp(to_border + 3.5))
    wave = np.sin(0.75 * across + 1.4 * np.sin(0.09 * along) + 0.9 * np.sin(0.21 * across))
    cristae = 0.6 * ((wave - 0.55) / 0.45).clip(0) * (to_border < -5)
    stain += np.where(inside, np.maximum(0.9 * rim, matrix * (1 - cristae)), 0)


def _mitochondria_stain(tissue: Tissue, depth: float, cells: Ints) -> Floats:
    """Stain of the mitochondria in one section, 0-1, shape (Y, X); they stay inside their cells."""
    m = tissue.mitochondria
    stain = np.zeros(tissue.shape)
    y, x = tissue.warped_grid(depth)
    centres, radii = tissue.discs_at(depth)
    roundness = 1 - ((m.depth - depth) / m.half_length) ** 2
    room = ndi.binary_erosion(cells > 0, iterations=3, border_value=1)
    for k in np.flatnonzero(roundness > 0.1):
        disc = m.disc[k]
        axes = m.semi_axes[k] * np.sqrt(roundness[k])
        cy, cx = centres[disc] + m.offset[k] * radii[disc]
        at = window((y, x), (cy, cx), 1.3 * axes.max() + 12)
        dy, dx = y[at] - cy, x[at] - cx
        c, s = np.cos(m.angle[k]), np.sin(m.angle[k])
        local = (c * dy + s * dx, c * dx - s * dy)
        own = room[at] & (cells[at] == tissue.discs.cell[disc])
        _stamp_mitochondrion(stain[at], own & (stain[at] == 0), local, axes)
    return stain


def _vesicles_stain(rng: np.random.Generator, room: Bools, look: Appearance) -> Floats:
    """Stain of vesicles (rings) and microtubules (dots) in one section, shape (Y, X).

    A vesicle is about as large as a section is thick: none is seen in two sections. They crowd in
    some places and are rare in others.
    """
    crowd = SmoothField.draw(rng, (1, *room.shape), 35, 1).at(0, room.shape)
    stain = np.zeros(room.shape)
    grid = pixel_grid(room.shape)
    count = rng.poisson(look.vesicles_per_area * room.size)
    spots = rng.uniform(0, room.shape, (count, 2))
    pixels = spots.astype(int)
    chance = np.exp(1.2 * crowd[pixels[:, 0], pixels[:, 1]] - 0.6)
    keep = room[pixels[:, 0], pixels[:, 1]] & (rng.random(count) < chance)
    radii = np.where(rng.random(count) < 0.55, rng.uniform(2.6, 4.8, count), 0.0)
    depths = rng.uniform(0.4, 1.3, count) * np.where(radii > 0, 1.1, 0.8)
    for (cy, cx), radius, depth in zip(spots[keep], radii[keep], depths[keep], strict=True):
        at = window(grid, (cy, cx), radius + 4)
        wall = (np.hypot(grid[0][at] - cy, grid[1][at] - cx) - radius) / 1.25
        stain[at] += depth * np.exp(-(wall**2))
    return stain


def _reticulum_stain(rng: np.random.Generator, room: Bools) -> Floats:
    """Stain of thin curved sheets (endoplasmic reticulum) here and there, 0-1, shape (Y, X)."""
    extent = (1, *room.shape)
    level = SmoothField.draw(rng, extent, 14, 1).at(0, room.shape)
    patches = SmoothField.draw(rng, extent, 25, 1).at(0, room.shape)
    slope = np.hypot(*np.gradient(level)) + 0.02
    line = np.exp(-((level / slope / 1.3) ** 2))
    return np.asarray(line * ((patches - 1.2) * 2).clip(0, 1) * room)


# ---------------------------------------------------------------------------- stain and detector


def stain_section(
    rng: np.random.Generator, tissue: Tissue, depth: float, instances: Ints, membranes: Floats
) -> Floats:
    """Grey values of one section before the detector, shape (Y, X).

    `instances` and `membranes` come from `cut_membranes`.
    """
    look, shape = tissue.look, tissue.shape
    mitochondria = _mitochondria_stain(tissue, depth, instances)
    room = ndi.binary_erosion(instances > 0, iterations=3, border_value=1) & (mitochondria == 0)
    # Where two cells of different darkness meet is hidden under the membrane between them.
    cytoplasm = tissue.cell_stain[ndi.maximum_filter(instances, 7)]
    # Granules are dark on a lighter ground: the exponential gives the grain that skew.
    mixed = 1.3 * grains(rng, shape, 1) + grains(rng, shape, 3)
    grain = look.grain * np.expm1(0.3 * mixed.clip(-4, 3.2)) / 0.5
    contrast = (1 + 0.15 * tissue.contrast.at(depth, shape)).clip(0.4, 1.4)
    small = look.vesicle_stain * _vesicles_stain(rng, room, look)
    small += 0.8 * look.membrane_stain * _reticulum_stain(rng, room)
    organelles = look.mitochondrion_stain * mitochondria + small
    within = look.membrane_stain * contrast * membranes
    uneven = look.uneven * SmoothField.draw(rng, (1, *shape), 90, 1).at(0, shape)
    stain = (
        cytoplasm * (1 - membranes) + np.maximum(within, organelles) + grain * (1 - 0.3 * membranes)
    )
    return np.asarray(look.cytoplasm - stain + uneven)


def detect(rng: np.random.Generator, grey: Floats, look: Appearance) -> NDArray[np.uint8]:
    """Image of a stained section: its brightness and contrast, shot noise, blur, 8 bits."""
    brightness = look.section_brightness * rng.uniform(-1.7, 1.7)
    contrast = np.exp(look.section_contrast * rng.uniform(-1.7, 1.7))
    grey = 128 + brightness + contrast * (grey - 128)
    # Poisson noise grows with the root of the number of electrons, that is with the grey value.
    grey = grey + look.shot_noise * np.sqrt(grey.clip(20) / 128) * rng.normal(size=grey.shape)
    grey = ndi.gaussian_filter(grey, look.blur) + look.read_noise * rng.normal(size=grey.shape)
    return grey.clip(0, 255).round().astype(np.uint8)
