"""How scores are to be computed: streamed or tiled, averaged or not, and how a section is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE, Tiling, output_size
from paper_unet.settings import check

Engine = Literal["stream", "tiles"]
Average = Literal["none", "flips", "rotations"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]

Classes = Literal["one", "all", "argmax"]
"""What is wanted of the classes: the probability of one, of all, or which is the most probable."""

BAND = 64
"""Rows that enter the network at a time on a CPU where memory is no concern; measured."""

BANDS = {"cpu": (BAND, 32, 16), "cuda": (2048, 1024, 512, 256, 128, 64)}
"""Rows that may enter at a time, by the kind of device: what fits a CPU's cache fills no GPU."""


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How scores are computed."""

    engine: Annotated[
        Engine,
        "stream: rows flow through the network, nothing is computed twice; tiles: Fig. 2; networks "
        "with padding or other layers are always tiled",
    ] = "stream"
    tile: Annotated[
        int,
        "largest input side of a tile, 16k + 60, where there are tiles; networks with padding "
        "take the largest multiple of 16 below it",
    ] = PAPER_TILE
    tiling: Annotated[
        Tiling,
        "of tiles; exact: equal to one pass over the whole section; abutting: the paper's grid",
    ] = "exact"
    average: Annotated[
        Average,
        "mean of the raw scores over the four flips (the authors' release) or seven rotations by "
        "multiples of 360/7 degrees (sec. 4; not in the paper: the angles)",
    ] = "none"
    halo: Annotated[
        int | None,
        "of a network with zero padding: pixels dropped on each side of a tile, a multiple of 16; "
        "default: as far as a pixel sees",
    ] = None

    def __post_init__(self) -> None:
        check(self)
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


def check_dtype_of_argmax(dtype: str) -> None:
    """Raise InputError if numbers of classes are wanted in another dtype than theirs."""
    if dtype == "uint16":  # float32 stands for what is not given
        raise InputError("`argmax` writes numbers of uint8; leave `dtype` out")


def rounded_up(value: int, step: int) -> int:
    """Return the least multiple of ``step`` that is no less than ``value``."""
    return -(-value // step) * step


def strip_widths(width: int, step: int) -> list[int]:
    """Return the widths of strips, multiples of the step, that cut a section into 1, 2, 3, ..."""
    counts = range(1, -(-width // step) + 1)
    return sorted({rounded_up(-(-width // count), step) for count in counts}, reverse=True)
