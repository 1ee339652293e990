"""What the tissue, the stain and the microscope look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int32]
Bools: TypeAlias = NDArray[np.bool_]
Window: TypeAlias = tuple[slice, slice]


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
