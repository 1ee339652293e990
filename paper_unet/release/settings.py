"""The settings of the authors' driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from paper_unet.settings import Limits, check

MIN_AREA = 500
"""Pixels; the release's setting for PhC-C2DH-U373, kept for DIC-C2DH-HeLa (not in the paper)."""
FIELD_OF_INTEREST = 50
"""Pixels at each side of a frame; the release's setting for PhC-C2DH-U373."""


@dataclass(frozen=True)
class ReleaseSettings:
    """The settings of the authors' driver, with its values for PhC-C2DH-U373 as defaults.

    Two that it has off there are left out: to normalise the grey values of the whole stack, and to
    resize.
    """

    strips: Annotated[
        int, "of the release: strips that a frame is cut into along its height", Limits(1)
    ] = 2
    min_area: Annotated[int, "of the release: regions of so many pixels or fewer go", Limits(0)] = (
        MIN_AREA
    )
    field_of_interest: Annotated[
        int, "of the release: regions wholly within so many pixels of the sides go", Limits(0)
    ] = FIELD_OF_INTEREST
    fill_holes: Annotated[bool, "of the release: fill the holes of cells"] = False

    def __post_init__(self) -> None:
        check(self)
