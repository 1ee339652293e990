"""A made-up stack of serial sections of nerve tissue with exact truth.

The stack is built as a microscopist meets it: cell shapes, then the membranes between them, the
organelles inside them, the stain of the section, and the detector. Everything is drawn once
(``draw_tissue``) and then cut section by section, so a stack needs the memory of one section.
Grey levels, widths and sizes follow the ISBI 2012 training volume (4 x 4 x 50 nm voxels).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label as connected_components

from paper_unet.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int32]
Bools: TypeAlias = NDArray[np.bool_]
Window: TypeAlias = tuple[slice, slice]

MEMBRANE, CELL = 0, 255


@dataclass(frozen=True)
class Appearance:
    """What the tissue, the stain and the microscope look like.

    Lengths are in pixels, depths in sections, areas in square pixels. What ends in `stain` is by
    how many grey levels (of 0-255) it darkens. Amplitudes of what varies at random (drift,
    bend, grain, noise and their like) are standard deviations.
    """

    # cell shapes
    radius_median: float = 11.0  # of the discs that cells are made of
    radius_spread: float = 0.55  # of the logarithm
    radius_range: tuple[float, float] = (8.0, 60.0)
    discs_per_area: float = 2e-3  # discs tried per square pixel; most find no room
    chain_length: float = 2.6  # mean number of discs in a row: above 1 cells are elongated
    branch_fraction: float = 0.12  # share of chains that join their neighbour: branching neurites
    drift: float = 10.0  # wandering of a chain through the sections
    growth: float = 0.25  # relative change of its radius
    persistence: float = 5.0  # sections over which drift and growth turn
    bend: float = 9.0  # warp of the whole tissue, of wavelength 45
    ripple: float = 2.0  # the same, of wavelength 11
    misalignment: float = 5.0  # of the sections, of wavelength 150
    smallest_cell: int = 30  # square pixels in a section; a smaller piece counts as membrane
    # membranes
    slab: float = 0.3  # sections between the two heights whose mean is the image of one
    membrane_truth: float = 2.45  # half-width in the truth
    membrane_width: float = 2.8  # half-width of the dark line
    membrane_stain: float = 103.0
    smudge_width: float = 11.0  # extra half-width where densities (synapses) thicken a membrane
    # organelles
    mitochondrion_share: float = 0.3  # of the discs that are large enough
    mitochondrion_stain: float = 92.0
    vesicles_per_area: float = 7e-3
    vesicle_stain: float = 65.0
    # stain
    cytoplasm: float = 158.0  # grey level of unstained cytoplasm
    cell_spread: float = 9.0
    dark_cells: float = 0.05  # share of cells with dark cytoplasm
    grain: float = 23.0
    uneven: float = 12.0
    # detector
    section_brightness: float = 9.0
    section_contrast: float = 0.07
    blur: float = 0.7
    shot_noise: float = 36.0  # before the blur
    read_noise: float = 6.0  # after it


@dataclass(frozen=True)
class SyntheticStack:
    """Images of serial sections and what they show.

    Attributes
    ----------
    images : ndarray of uint8, shape (Z, Y, X)
        Grey values as of a transmission electron microscope.
    labels : ndarray of uint8, shape (Z, Y, X)
        0 = membrane, 255 = cell.
    instances : ndarray of int32, shape (Z, Y, X)
        0 = membrane, else the number of the cell. One number is one 6-connected body in 3-D.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: Ints


# ---------------------------------------------------------------------------- smooth randomness


def _basis(positions: Floats, knots: int, scale: float) -> Floats:
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
        w = _basis(np.array([depth]), depths, self.depth_scale)[0]
        plane = np.tensordot(w, self.coefficients, 1)
        y, x = (np.arange(n, dtype=float) for n in shape)
        return np.asarray(_basis(y, rows, self.scale) @ plane @ _basis(x, columns, self.scale).T)


def _grains(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Floats:
    """White noise blurred by `size` pixels, unit variance."""
    noise = ndi.gaussian_filter(rng.normal(size=shape), size, mode="wrap")
    return np.asarray(noise / noise.std())


# ---------------------------------------------------------------------------- cell shapes


@dataclass(frozen=True)
class Discs:
    """The discs whose growth fills the section; discs with one `cell` number form one cell."""

    centre: Floats  # (N, 2), pixels
    radius: Floats  # (N,), pixels
    cell: Ints  # (N,), from 1
    chain: Ints  # (N,), discs of a chain move together


@dataclass(frozen=True)
class Mitochondria:
    """Ellipsoids that travel with a disc."""

    disc: Ints  # (M,), index of the disc
    offset: Floats  # (M, 2), in disc radii
    semi_axes: Floats  # (M, 2), pixels
    angle: Floats  # (M,), radians
    depth: Floats  # (M,), sections
    half_length: Floats  # (M,), sections


def _gap(points: Floats, centres: Floats, radii: Floats) -> Floats:
    """Distance from each point to the nearest disc, negative inside one."""
    if len(centres) == 0:
        return np.full(len(points), np.inf)
    dy, dx = (points[:, None, axis] - centres[:, axis] for axis in (0, 1))
    distance = np.hypot(dy, dx) - radii
    return np.asarray(distance.min(axis=1))


def _draw_chain(rng: np.random.Generator, start: Floats, radius: float, mean: float) -> Floats:
    """Centres (n, 2) of overlapping discs along a curved line, n of the given mean."""
    n = int(rng.geometric(1 / mean))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.5, n))
    steps = 1.1 * radius * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    steps[0] = 0
    return np.asarray(start + np.cumsum(steps, axis=0))


def draw_discs(rng: np.random.Generator, shape: tuple[int, int], look: Appearance) -> Discs:
    """Pack chains of discs, large ones first: small cells then lie in bundles between large ones.

    The packing goes beyond the image so that cells can drift into it.
    """
    margin = look.radius_range[1]
    low, high = np.full(2, -margin), np.array(shape) + margin
    tries = int(look.discs_per_area * np.prod(high - low))
    radii = look.radius_median * np.exp(look.radius_spread * rng.normal(size=tries))
    centres, sizes, chains = np.empty((0, 2)), np.empty(0), np.empty(0, np.int32)
    for chain, radius in enumerate(sorted(radii.clip(*look.radius_range), reverse=True)):
        spots = rng.uniform(low, high, (24, 2))
        free = _gap(spots, centres, sizes)
        if free.max() < 0.8 * radius:
            continue
        row = _draw_chain(rng, spots[np.argmax(free >= 0.8 * radius)], radius, look.chain_length)
        blocked = _gap(row, centres, sizes) < 0.6 * radius
        row = row[: int(np.argmax(blocked)) if blocked.any() else None]
        centres = np.concatenate([centres, row])
        sizes = np.concatenate([sizes, np.full(len(row), radius)])
        chains = np.concatenate([chains, np.full(len(row), chain, np.int32)])
    chains = np.unique(chains, return_inverse=True)[1].astype(np.int32)
    return Discs(centres, sizes, _join_branches(rng, centres, chains, look), chains)


def _join_branches(
    rng: np.random.Generator, centres: Floats, chains: Ints, look: Appearance
) -> Ints:
    """Give some chains the cell number of a neighbour: where they part, a neurite branches."""
    cells = np.asarray(chains + 1, np.int32)
    for chain in range(int(chains.max()) + 1):
        if rng.random() < look.branch_fraction:
            own = chains == chain
            distance = np.linalg.norm(centres - centres[own][0], axis=1)
            cells[own] = cells[np.argmin(np.where(own, np.inf, distance))]
    return cells


def _draw_mitochondria(
    rng: np.random.Generator, discs: Discs, sections: int, look: Appearance
) -> Mitochondria:
    """Put mitochondria into some of the large discs."""
    roomy = np.flatnonzero(discs.radius > 21)
    per_length = 1 + sections // 14  # one after the other along a neurite
    disc = np.repeat(roomy[rng.random(len(roomy)) < look.mitochondrion_share], per_length)
    n = len(disc)
    axes = discs.radius[disc, None] * rng.uniform([0.8, 0.6], [1.2, 0.8], (n, 2))
    return Mitochondria(
        disc=disc.astype(np.int32),
        offset=rng.uniform(-0.15, 0.15, (n, 2)),
        semi_axes=axes.clip(9, [55, 36]),
        angle=rng.uniform(0, np.pi, n),
        depth=rng.uniform(-4, sections + 4, n),
        half_length=rng.uniform(3, 9, n),
    )


def _pixel_grid(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Row and column of every pixel, each of shape (Y, X)."""
    y, x = np.indices(shape, dtype=np.float64)
    return y, x


@dataclass(frozen=True)
class Tissue:
    """Everything that goes on from one section to the next."""

    shape: tuple[int, int]
    look: Appearance
    discs: Discs
    motion: Floats  # (chains, depth knots, 3): Y, X and growth
    mitochondria: Mitochondria
    cell_stain: Floats  # (cells + 1,), grey levels
    warp: tuple[tuple[float, SmoothField, SmoothField], ...]  # amplitude in pixels, Y, X
    misalignment: tuple[SmoothField, SmoothField]  # Y, X
    width: SmoothField  # varies the membranes' width
    contrast: SmoothField  # varies the membranes' stain
    smudge: SmoothField  # high where a density thickens the membrane

    def discs_at(self, depth: float) -> tuple[Floats, Floats]:
        """Centres (N, 2) and radii (N,) of the discs at a depth, in pixels."""
        look = self.look
        w = _basis(np.array([depth]), self.motion.shape[1], look.persistence)[0]
        path = np.einsum("k,ckm->cm", w, self.motion)[self.discs.chain]
        size = (1 + look.growth * path[:, 2]).clip(0.05, 2)
        return self.discs.centre + look.drift * path[:, :2], self.discs.radius * size

    def warped_grid(self, depth: float) -> tuple[Floats, Floats]:
        """Tissue coordinates (Y, X) of every pixel, in pixels."""
        y, x = _pixel_grid(self.shape)
        for amplitude, down, right in self.warp:
            y += amplitude * down.at(depth, self.shape)
            x += amplitude * right.at(depth, self.shape)
        down, right = self.misalignment
        section = np.floor(depth + 0.5)  # a section moves as a whole
        y += self.look.misalignment * down.at(section, self.shape)
        x += self.look.misalignment * right.at(section, self.shape)
        return y, x

    def cells_at(self, depth: float) -> Ints:
        """Cell number of every pixel, shape (Y, X), without membranes.

        A pixel goes to the disc with the smallest (distance - radius) / radius**0.25: without the
        power large cells would swallow small ones that touch them, with a larger one the small
        cells would be bubbles.
        """
        y, x = self.warped_grid(depth)
        best = np.full(self.shape, np.inf)
        cells = np.zeros(self.shape, np.int32)
        for (cy, cx), r, cell in zip(*self.discs_at(depth), self.discs.cell, strict=True):
            at = _window((y, x), (cy, cx), 1.35 * r + 18)
            score = (np.hypot(y[at] - cy, x[at] - cx) - r) / r**0.25
            closer = score < best[at]
            best[at][closer] = score[closer]
            cells[at][closer] = cell
        return _fill(_without_small(cells, 2 * self.look.smallest_cell))


def _window(grid: tuple[Floats, Floats], centre: tuple[float, float], reach: float) -> Window:
    """Return the pixels within `reach` of a point given in coordinates of `grid`, possibly none.

    The grid is warped; how far is read off at the point, or at the image's edge nearest to it.
    """
    shape = grid[0].shape
    pixel = tuple(int(min(max(c, 0), n - 1)) for c, n in zip(centre, shape, strict=True))
    middle = [c + p - g[pixel] for c, p, g in zip(centre, pixel, grid, strict=True)]
    low = [int(min(max(c - reach, 0), n)) for c, n in zip(middle, shape, strict=True)]
    high = [int(min(max(c + reach + 1, 0), n)) for c, n in zip(middle, shape, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def _bodies(cells: Ints) -> Ints:
    """Give each face-connected body of equal value its own number; 0 stays 0."""
    bodies = connected_components(cells, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return np.asarray(bodies, np.int32)


def _without_small(cells: Ints, smallest: int) -> Ints:
    """Set pieces of fewer than `smallest` pixels to 0."""
    pieces = _bodies(cells)
    return np.where(np.bincount(pieces.ravel())[pieces] < smallest, 0, cells)


def _fill(cells: Ints) -> Ints:
    """Give pixels of value 0 to the nearest cell."""
    if cells.all() or not cells.any():
        return cells
    nearest = ndi.distance_transform_edt(cells == 0, return_distances=False, return_indices=True)
    return np.asarray(cells[tuple(nearest)])


def draw_tissue(
    rng: np.random.Generator, sections: int, shape: tuple[int, int], look: Appearance
) -> Tissue:
    """Draw cells, mitochondria and the fields that vary membranes."""

    def field(scale: float, depth_scale: float) -> SmoothField:
        return SmoothField.draw(rng, (sections, *shape), scale, depth_scale)

    discs = draw_discs(rng, shape, look)
    knots = int(np.ceil(sections / look.persistence)) + 6
    cells = int(discs.cell.max()) + 1
    dark = rng.random(cells) < look.dark_cells
    return Tissue(
        shape=shape,
        look=look,
        discs=discs,
        motion=rng.normal(size=(int(discs.chain.max()) + 1, knots, 3)),
        # A generator of its own: the truth must not depend on how many organelles there are.
        mitochondria=_draw_mitochondria(rng.spawn(1)[0], discs, sections, look),
        cell_stain=look.cell_spread * rng.normal(size=cells) + 28 * dark,
        warp=(
            (look.bend, field(45, 4), field(45, 4)),
            (look.ripple, field(11, 2), field(11, 2)),
        ),
        misalignment=(field(150, 0.5), field(150, 0.5)),
        width=field(30, 4),
        contrast=field(40, 3),
        smudge=field(20, 1.5),
    )


# ---------------------------------------------------------------------------- membranes


def _distance_to_other_cell(cells: Ints) -> Floats:
    """Distance from each pixel's centre to the border of its cell, at least 0.5 pixels."""
    inner = np.ones(cells.shape, bool)
    for axis in (0, 1):
        differs = np.diff(cells, axis=axis) != 0
        for side in ((1, 0), (0, 1)):
            padding = [(0, 0), (0, 0)]
            padding[axis] = side
            inner &= ~np.pad(differs, padding)
    if inner.all():
        return np.full(cells.shape, float(sum(cells.shape)))
    # Distances on the pixel grid come in steps; blurred, they let widths vary by less than two.
    return np.asarray(ndi.gaussian_filter(ndi.distance_transform_edt(inner) + 0.5, 0.7))


def cut_membranes(tissue: Tissue, depth: float) -> tuple[Ints, Floats]:
    """Cut one section.

    An image averages over the thickness of its section, so a membrane that runs obliquely through
    it is broad and faint; the truth is membrane wherever one passes at any height of the section.

    Returns
    -------
    instances : ndarray of int32, shape (Y, X)
        Cell numbers, 0 = membrane.
    stain : ndarray of float64, shape (Y, X)
        Share of the section's thickness that is membrane, 0-1.
    """
    look, shape = tissue.look, tissue.shape
    factor = (1 + 0.12 * tissue.width.at(depth, shape)).clip(0.8, 1.4)
    smudge = look.smudge_width * (tissue.smudge.at(depth, shape) - 1.8).clip(0, 1)
    heights = [tissue.cells_at(depth + half) for half in (-look.slab / 2, look.slab / 2)]
    distances = [_distance_to_other_cell(cells) for cells in heights]
    profiles = [
        np.exp(-((distance / (look.membrane_width * factor + smudge)) ** 2))
        for distance in distances
    ]
    inside = np.minimum(*distances) > look.membrane_truth * factor + smudge
    instances = np.where(inside & (heights[0] == heights[1]), heights[0], 0)
    instances = _without_small(instances, look.smallest_cell)
    return instances, np.mean(profiles, axis=0)


# ---------------------------------------------------------------------------- organelles


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


def mitochondria_stain(tissue: Tissue, depth: float, cells: Ints) -> Floats:
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
        at = _window((y, x), (cy, cx), 1.3 * axes.max() + 12)
        dy, dx = y[at] - cy, x[at] - cx
        c, s = np.cos(m.angle[k]), np.sin(m.angle[k])
        local = (c * dy + s * dx, c * dx - s * dy)
        own = room[at] & (cells[at] == tissue.discs.cell[disc])
        _stamp_mitochondrion(stain[at], own & (stain[at] == 0), local, axes)
    return stain


def vesicles_stain(rng: np.random.Generator, room: Bools, look: Appearance) -> Floats:
    """Stain of vesicles (rings) and microtubules (dots) in one section, shape (Y, X).

    A vesicle is about as large as a section is thick: none is seen in two sections. They crowd in
    some places and are rare in others.
    """
    crowd = SmoothField.draw(rng, (1, *room.shape), 35, 1).at(0, room.shape)
    stain = np.zeros(room.shape)
    grid = _pixel_grid(room.shape)
    count = rng.poisson(look.vesicles_per_area * room.size)
    spots = rng.uniform(0, room.shape, (count, 2))
    pixels = spots.astype(int)
    chance = np.exp(1.2 * crowd[pixels[:, 0], pixels[:, 1]] - 0.6)
    keep = room[pixels[:, 0], pixels[:, 1]] & (rng.random(count) < chance)
    radii = np.where(rng.random(count) < 0.55, rng.uniform(2.6, 4.8, count), 0.0)
    depths = rng.uniform(0.4, 1.3, count) * np.where(radii > 0, 1.1, 0.8)
    for (cy, cx), radius, depth in zip(spots[keep], radii[keep], depths[keep], strict=True):
        at = _window(grid, (cy, cx), radius + 4)
        wall = (np.hypot(grid[0][at] - cy, grid[1][at] - cx) - radius) / 1.25
        stain[at] += depth * np.exp(-(wall**2))
    return stain


def reticulum_stain(rng: np.random.Generator, room: Bools) -> Floats:
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
    mitochondria = mitochondria_stain(tissue, depth, instances)
    room = ndi.binary_erosion(instances > 0, iterations=3, border_value=1) & (mitochondria == 0)
    # Where two cells of different darkness meet is hidden under the membrane between them.
    cytoplasm = tissue.cell_stain[ndi.maximum_filter(instances, 7)]
    # Granules are dark on a lighter ground: the exponential gives the grain that skew.
    mixed = 1.3 * _grains(rng, shape, 1) + _grains(rng, shape, 3)
    grain = look.grain * np.expm1(0.3 * mixed.clip(-4, 3.2)) / 0.5
    contrast = (1 + 0.15 * tissue.contrast.at(depth, shape)).clip(0.4, 1.4)
    small = look.vesicle_stain * vesicles_stain(rng, room, look)
    small += 0.8 * look.membrane_stain * reticulum_stain(rng, room)
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


# ---------------------------------------------------------------------------- the stack


def cut_sections(
    rng: np.random.Generator, tissue: Tissue, sections: int
) -> Iterator[tuple[NDArray[np.uint8], Ints]]:
    """Yield image (Y, X) and instances (Y, X) of each section."""
    for z in range(sections):
        instances, membranes = cut_membranes(tissue, z)
        grey = stain_section(rng, tissue, z, instances, membranes)
        yield detect(rng, grey, tissue.look), instances


def synthetic_stack(
    sections: int = 10,
    side: int = 512,
    seed: int = 0,
    *,
    shape: tuple[int, int] | None = None,
    look: Appearance | None = None,
) -> SyntheticStack:
    """Make a stack of serial sections with exact truth.

    Parameters
    ----------
    sections : int
        Number of sections Z, at least 1.
    side : int, pixels
        Height and width of a section, at least 32.
    seed : int
        Any number from 0; the same one gives the same stack.
    shape : tuple of int, pixels, optional
        Height and width (Y, X), each at least 32, instead of `side`.
    look : Appearance, optional
        What the tissue and the microscope look like.

    Returns
    -------
    SyntheticStack
        Images, labels and instances, each of shape (Z, Y, X).
    """
    height, width = _checked((side, side) if shape is None else shape, sections, seed)
    look = look or Appearance()
    rng = np.random.default_rng(seed)
    tissue = draw_tissue(rng, sections, (height, width), look)
    pairs = list(cut_sections(rng, tissue, sections))
    cells = np.stack([instances for _, instances in pairs])
    # A cell that the stack shows as two bodies, without their link, is two cells for the truth.
    instances = _bodies(cells)
    labels = np.where(instances > 0, CELL, MEMBRANE).astype(np.uint8)
    return SyntheticStack(np.stack([image for image, _ in pairs]), labels, instances)


def _checked(shape: tuple[int, ...], sections: int, seed: int) -> tuple[int, int]:
    """Return the shape if a stack can be made of it."""
    if sections < 1:
        raise InputError(f"sections is {sections}; a stack has at least 1: give 1 or more")
    if seed < 0:
        raise InputError(f"seed is {seed}; a seed is a whole number from 0: give 0 or more")
    if len(shape) != 2 or min(shape) < 32:
        raise InputError(
            f"the shape of a section is {'x'.join(map(str, shape))}; accepted is height x width of "
            "at least 32x32 pixels: give a larger side or shape"
        )
    return shape[0], shape[1]
