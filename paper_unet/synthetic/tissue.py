"""The shapes of the cells and the membranes between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label as connected_components

from paper_unet.synthetic.look import Appearance, Floats, Ints, Window
from paper_unet.synthetic.smooth import SmoothField, basis


@dataclass(frozen=True)
class _Discs:
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


def _draw_discs(rng: np.random.Generator, shape: tuple[int, int], look: Appearance) -> _Discs:
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
    return _Discs(centres, sizes, _join_branches(rng, centres, chains, look), chains)


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
    rng: np.random.Generator, discs: _Discs, sections: int, look: Appearance
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


def pixel_grid(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Row and column of every pixel, each of shape (Y, X)."""
    y, x = np.indices(shape, dtype=np.float64)
    return y, x


@dataclass(frozen=True)
class Tissue:
    """Everything that goes on from one section to the next."""

    shape: tuple[int, int]
    look: Appearance
    discs: _Discs
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
        w = basis(np.array([depth]), self.motion.shape[1], look.persistence)[0]
        path = np.einsum("k,ckm->cm", w, self.motion)[self.discs.chain]
        size = (1 + look.growth * path[:, 2]).clip(0.05, 2)
        return self.discs.centre + look.drift * path[:, :2], self.discs.radius * size

    def warped_grid(self, depth: float) -> tuple[Floats, Floats]:
        """Tissue coordinates (Y, X) of every pixel, in pixels."""
        y, x = pixel_grid(self.shape)
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
            at = window((y, x), (cy, cx), 1.35 * r + 18)
            score = (np.hypot(y[at] - cy, x[at] - cx) - r) / r**0.25
            closer = score < best[at]
            best[at][closer] = score[closer]
            cells[at][closer] = cell
        return _fill(_without_small(cells, 2 * self.look.smallest_cell))


def window(grid: tuple[Floats, Floats], centre: tuple[float, float], reach: float) -> Window:
    """Return the pixels within `reach` of a point given in coordinates of `grid`, possibly none.

    The grid is warped; how far is read off at the point, or at the image's edge nearest to it.
    """
    shape = grid[0].shape
    pixel = tuple(int(min(max(c, 0), n - 1)) for c, n in zip(centre, shape, strict=True))
    middle = [c + p - g[pixel] for c, p, g in zip(centre, pixel, grid, strict=True)]
    low = [int(min(max(c - reach, 0), n)) for c, n in zip(middle, shape, strict=True)]
    high = [int(min(max(c + reach + 1, 0), n)) for c, n in zip(middle, shape, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def bodies(cells: Ints) -> Ints:
    """Give each face-connected body of equal value its own number; 0 stays 0."""
    bodies = connected_components(cells, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return np.asarray(bodies, np.int32)


def _without_small(cells: Ints, smallest: int) -> Ints:
    """Set pieces of fewer than `smallest` pixels to 0."""
    pieces = bodies(cells)
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

    discs = _draw_discs(rng, shape, look)
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
