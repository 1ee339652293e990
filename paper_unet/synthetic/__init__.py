"""A made-up stack of serial sections of nerve tissue with exact truth.

The stack is built as a microscopist meets it: cell shapes, then the membranes between them, the
organelles inside them, the stain of the section, and the detector. Everything is drawn once
(``draw_tissue``) and then cut section by section, so a stack needs the memory of one section.
Grey levels, widths and sizes follow the ISBI 2012 training volume (4 x 4 x 50 nm voxels).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.synthetic.look import Appearance, Ints
from paper_unet.synthetic.section import detect, stain_section
from paper_unet.synthetic.tissue import Tissue, bodies, cut_membranes, draw_tissue

__all__ = ["PIXEL_SIZE", "Appearance", "SyntheticStack", "synthetic_stack"]

MEMBRANE, CELL = 0, 255
PIXEL_SIZE = 0.004
"""Micrometres, as of ISBI 2012, whose widths and sizes the tissue has."""


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


def _cut_sections(
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
    pairs = list(_cut_sections(rng, tissue, sections))
    cells = np.stack([instances for _, instances in pairs])
    # A cell that the stack shows as two bodies, without their link, is two cells for the truth.
    instances = bodies(cells)
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
