"""How scores are to be computed: streamed or tiled, averaged or not; and what suits a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE, Context, Tiling, output_size
from paper_unet.inference.tiled import ForwardPass, Prepared

Engine = Literal["stream", "tiles"]
Average = Literal["none", "flips", "rotations"]


@dataclass(frozen=True)
class Procedure:
    """How scores are computed.

    Attributes
    ----------
    engine : {"stream", "tiles"}
        Row streaming, or the overlap-tile strategy of Fig. 2. The same result up to rounding.
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


def suited(procedure: Procedure, network: Prepared) -> Procedure:
    """Return the procedure that a network can follow: without streaming it is the engine ``tiles``.

    Raises
    ------
    InputError
        If the procedure asks for what the network has not.
    """
    if isinstance(network, ForwardPass):
        return suited_to_tiles(procedure, network.variant, network.context)
    return suited_to_streaming(procedure)


def suited_to_streaming(procedure: Procedure) -> Procedure:
    """Return the procedure, which must not ask for a halo."""
    if procedure.halo is not None:
        raise InputError(
            f"halo is {procedure.halo}; the paper's network has no padding, its context is fixed: "
            "leave it out"
        )
    return procedure


def suited_to_tiles(procedure: Procedure, variant: str, context: Context) -> Procedure:
    """Return the procedure with the engine ``tiles``."""
    if procedure.tiling == "abutting":
        raise InputError(
            f"abutting tiles are of the paper's network, not of {variant}; leave the tiling out"
            + (", and give a halo of 0" if context.padded else "")
        )
    context.with_halo(procedure.halo)
    return replace(procedure, engine="tiles")
