"""How scores are to be computed: streamed or tiled, averaged or not, and how a section is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE, Tiling, output_size

Engine = Literal["stream", "tiles"]
Average = Literal["none", "flips", "rotations"]
Precision = Literal["float32", "bfloat16", "float16"]

BAND = 64
"""Rows that enter the network at a time where memory is no concern; measured."""


@dataclass(frozen=True)
class InferenceSettings:
    """How scores are computed.

    Attributes
    ----------
    engine : {"stream", "tiles"}
        Row streaming, or the overlap-tile strategy of Fig. 2. The same result up to rounding.
        Networks other than the paper's and the release do not stream and are always tiled.
    tile : int
        Largest input side of a tile, pixels, 16k + 60; of the engine ``tiles`` alone.
    tiling : {"exact", "abutting"}
        See `paper_unet.geometry`; of the engine ``tiles`` alone.
    average : {"none", "flips", "rotations"}
        Mean of the raw scores over the four flips (the authors' release), or over seven rotations
        by multiples of 360/7 degrees (sec. 4; the angles are open in the paper).
    halo : int, optional
        Pixels of the scores that are dropped on each side of a tile inside the section, a multiple
        of 16; of networks with zero padding alone. Default: as far as a pixel of them sees.
    """

    engine: Engine = "stream"
    tile: int = PAPER_TILE
    tiling: Tiling = "exact"
    average: Average = "none"
    halo: int | None = None

    def __post_init__(self) -> None:
        for name, accepted in (
            ("engine", ("stream", "tiles")),
            ("tiling", ("exact", "abutting")),
            ("average", ("none", "flips", "rotations")),
        ):
            if getattr(self, name) not in accepted:
                choice = "', '".join(accepted[:-1]) + f"' or '{accepted[-1]}"
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be '{choice}'")
        output_size(self.tile)
        if self.engine == "stream" and self.tiling == "abutting":
            raise InputError(
                "abutting tiles are not what one pass gives, so they cannot be streamed; use "
                "engine 'tiles' with them"
            )

    @property
    def needs_whole_sections(self) -> bool:
        """Whether a part of a section cannot be computed without the rest of it."""
        return self.average == "rotations" or self.tiling == "abutting"


@dataclass(frozen=True)
class Plan:
    """The sizes that a prediction works with; part of what makes two runs the same.

    Attributes
    ----------
    band : int
        Rows that enter the network at a time, pixels.
    strip : int
        Columns of a strip, pixels; the last one may be narrower.
    rows : int
        Rows of a piece, pixels; the last one may be lower.
    """

    band: int
    strip: int
    rows: int


def rounded_up(value: int, step: int) -> int:
    """Return the least multiple of ``step`` that is no less than ``value``."""
    return -(-value // step) * step


def strip_widths(width: int, step: int) -> list[int]:
    """Return the widths of strips, multiples of the step, that cut a section into 1, 2, 3, ..."""
    counts = range(1, -(-width // step) + 1)
    return sorted({rounded_up(-(-width // count), step) for count in counts}, reverse=True)
