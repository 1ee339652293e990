"""Sizes, tiles and mirror bounds: integers only (sec. 1 and 2).

One axis of one tile. The network sees what lies between ``low`` and ``high`` and returns an output
that lacks ``lost`` pixels on either side; of this the mosaic keeps ``core``::

            low             start                      start + core         high
             |                |                             |                |
    input    [================|=============================|================]
    output        [===========|=============================|===========]
    core                      [=============================]
             <--- before ---->                               <--- after ---->
             <lost>

Of the paper's network ``before``, ``after`` and ``lost`` are 92 pixels. Where the input of a valid
network reaches beyond the image, the image is mirrored (Fig. 2). A padded network's input ends with
the image, rounded up to whole steps of the lattice, because there its zeros belong; only inside the
image has the zero padding of a tile to be kept away from the pixels that count.

Why the core is 4 pixels smaller than the output. The four 2x2 pools tie the network to a lattice
of 16 pixels: moving the input by 16 moves the output by 16, moving it by anything else changes the
values. Legal outputs are 16k - 124, that is 4 modulo 16. The paper's tiles abut (388 after 388),
so each tile pools on another phase of the lattice than its neighbour, and the mosaic is not what
one pass over the whole image gives. Tiles that start on multiples of 16 (384 after 384, 4 output
pixels left unused) give exactly that, for any tile size::

    abutting  |------ 388 ------|------ 388 ------|     starts 0, 388, 776: phases 0, 4, 8
    exact     |----- 384 -----|+4                       starts 0, 384, 768: phase 0
                              |----- 384 -----|+4

"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError

DEPTH: Final = 4
"""Contracting steps (Fig. 1)."""

STRIDE: Final = 2**DEPTH
"""Pixels: the lattice on which the network commutes with shifts."""

HALO: Final = 92
"""Pixels of context that the output lacks on either side: (572 - 388) / 2."""

SMALLEST_INPUT: Final = 188
"""Pixels; gives 4 output pixels from a bottom that is 4 pixels wide after its pool's 8."""

PAPER_TILE: Final = 572
"""Pixels: the input tile of Fig. 1."""

Tiling = Literal["exact", "abutting"]


@dataclass(frozen=True)
class Tile:
    """One tile along one axis, pixels; see the picture at the top of the module."""

    start: int
    core: int
    low: int
    high: int
    skip: int  # pixels of the output before the first one of the core

    @property
    def side(self) -> int:
        """Side of the input."""
        return self.high - self.low


@dataclass(frozen=True)
class Sides:
    """Sides of images that fit: ``step * k + base``, ``smallest`` or more, pixels."""

    step: int
    base: int
    smallest: int

    def __str__(self) -> str:
        base = f" + {self.base}" if self.base else ""
        return f"{self.step}k{base}, {self.smallest} or more"

    def above(self, steps: int) -> int:
        """Return the side so many steps above the smallest."""
        return self.smallest + steps * self.step

    def fit(self, side: int) -> bool:
        """Whether this is such a side."""
        return side >= self.smallest and (side - self.base) % self.step == 0


@dataclass(frozen=True)
class Context:
    """The geometry of a network along one axis, pixels.

    Attributes
    ----------
    lattice : int
        Shifts by multiples of it commute with the network.
    before, after : int
        Input pixels needed before the first and after the last pixel that is kept.
    lost : int
        Pixels that the output lacks on either side.
    base : int
        Legal inputs are ``lattice * k + base``.
    smallest : int
        The smallest of them.
    padded : bool
        Whether the network pads by zeros, so that its input ends with the image.
    """

    lattice: int
    before: int
    after: int
    lost: int = 0
    base: int = 0
    smallest: int = 16
    padded: bool = True

    @property
    def sides(self) -> Sides:
        """The legal inputs."""
        return Sides(self.lattice, self.base, self.smallest)

    def output_side(self, side: int, name: str = "") -> int:
        """Return the side of the scores of an image of ``side`` pixels.

        Raises
        ------
        InputError
            If a pool would see an odd side; the message names the nearest sides that fit.
        """
        if side < self.smallest or (side - self.base) % self.lattice:
            below, above = self.nearest(side)
            nearest = f"{below}" if below == above else f"{below} or {above}"
            legal = f"multiples of {self.lattice}"
            if self.base:
                legal = f"a legal side is {self.lattice}k + {self.base}"
            raise InputError(
                f"{side} pixels do not fit the network {name}; {legal}, {self.smallest} or more: "
                f"use {nearest}; prediction takes images of any size"
            )
        return side - 2 * self.lost

    def nearest(self, side: int) -> tuple[int, int]:
        """Return the legal input sides next below and next above ``side``, pixels.

        Both are ``side`` itself where that is legal; below the smallest one both are that one.
        """
        below = max(self.smallest, side - (side - self.base) % self.lattice)
        above = max(self.smallest, side + (self.base - side) % self.lattice)
        return below, above

    def with_halo(self, halo: int | None) -> Context:
        """Return the same with another halo, the pixels of a tile that are dropped on each side.

        Raises
        ------
        InputError
            If it is not on the lattice, or the network has no padding to keep away.
        """
        if halo is None:
            return self
        if not self.padded:
            raise InputError(
                f"halo is {halo}; only networks with zero padding have one to choose: leave it out"
            )
        if halo < 0 or halo % self.lattice:
            raise InputError(f"halo is {halo}; it must be a multiple of {self.lattice}, at least 0")
        return replace(self, before=halo, after=halo)

    def tiles(self, side: int, tile: int, tiling: Tiling = "exact") -> list[Tile]:
        """Cut one axis of an image into tiles; their cores cover ``range(side)`` once, in order.

        Parameters
        ----------
        side : int
            Of the image, pixels, at least 1.
        tile : int
            Largest input side, pixels.
        tiling : {"exact", "abutting"}
            ``exact``: tiles start on the lattice, so the mosaic equals one pass over the whole
            image. They are made equal and no larger than the image needs, since their size does not
            change the result. ``abutting``: the paper's tiles, of exactly the given size, one
            output next to the other.

        Raises
        ------
        InputError
            If the image is empty, or the tile leaves no room for a core or is not legal.
        """
        if side < 1:
            raise InputError(f"the image has a side of {side} pixels; it must be at least 1")
        if tiling == "abutting":
            core = self.output_side(tile)
            return [Tile(k, min(core, side - k), k - self.lost, k - self.lost + tile, 0)
                    for k in range(0, side, core)]  # fmt: skip
        if tiling != "exact":
            raise InputError(f"tiling is {tiling!r}; it must be 'exact' or 'abutting'")
        whole = -(-side // self.lattice) * self.lattice
        if self.padded and max(whole, self.smallest) <= tile:
            return [Tile(0, side, 0, max(whole, self.smallest), 0)]
        core = (tile - (tile - self.base) % self.lattice - self.before - self.after) or 1
        core -= core % self.lattice
        if core < self.lattice:
            least = self.nearest(self.lattice + self.before + self.after)[1]
            raise InputError(
                f"a tile of {tile} pixels is too small to tile exactly: use {least} or more"
                + (", or a smaller halo" if self.padded else "")
            )
        count = -(-side // core)
        core = self.lattice * -(-side // (self.lattice * count))
        return [self._tile(start, core, side, whole) for start in range(0, side, core)]

    def _tile(self, start: int, core: int, side: int, whole: int) -> Tile:
        low = start - self.before
        high = low + self.nearest(core + self.before + self.after)[1]
        if self.padded:
            low, high = max(low, 0), min(high, whole)
        return Tile(start, min(core, side - start), low, high, start - low - self.lost)


PAPER: Final = Context(
    STRIDE, before=HALO, after=HALO, lost=HALO, base=60, smallest=SMALLEST_INPUT, padded=False
)
"""The geometry of the paper's network (Fig. 1)."""


def is_input_size(side: int) -> bool:
    """Whether every pool of the network sees an even side: ``side`` is 16k + 60, at least 188."""
    return PAPER.nearest(side) == (side, side)


def nearest_input_sizes(side: int) -> tuple[int, int]:
    """Return the legal input sides next below and next above ``side`` (pixels).

    Both are ``side`` itself where that is legal; below the smallest one both are 188.
    """
    return PAPER.nearest(side)


def output_size(side: int) -> int:
    """Return the output side of the network for an input side (Fig. 1: 572 gives 388).

    Parameters
    ----------
    side : int
        Side of the input, pixels.

    Returns
    -------
    int
        ``side - 184``, pixels.

    Raises
    ------
    InputError
        If ``side`` is not of the form 16k + 60 with k >= 8; the message names the nearest legal
        ones. The paper asks for this: every max-pool must see an even side (sec. 2).
    """
    if not is_input_size(side):
        below, above = nearest_input_sizes(side)
        nearest = f"{below}" if below == above else f"{below} or {above}"
        raise InputError(
            f"an input side of {side} pixels does not fit the network; a legal side is 16k + 60 "
            f"with k >= 8 (188, 204, ..., 572, 588, ...): use {nearest}, or leave it to "
            "prediction, which takes images of any size"
        )
    return side - 2 * HALO


def input_size(side: int) -> int:
    """Return the smallest legal input side whose output covers ``side`` pixels.

    Parameters
    ----------
    side : int
        Output side wanted, pixels, at least 1.

    Returns
    -------
    int
        Input side, pixels: 572 for 388, 588 for 389, 700 for 512.

    Raises
    ------
    InputError
        If ``side`` is below 1.
    """
    if side < 1:
        raise InputError(f"an output side of {side} pixels was asked for; it must be at least 1")
    return nearest_input_sizes(side + 2 * HALO)[1]


def skip_crop(level: int) -> int:
    """Return what a skip connection loses on every side: 88, 40, 16, 4 pixels for levels 0 to 3.

    Fig. 1: 568 against 392, 280 against 200, 136 against 104, 64 against 56.
    """
    return 12 * (1 << (DEPTH - 1 - level)) - 8


def mirror_indices(start: int, stop: int, side: int) -> NDArray[np.intp]:
    """Return the image index that each coordinate shows when the image is mirrored at its edges.

    The edge pixel is not repeated (... 2 1 0 1 2 ...), as in the authors' release; the mirror
    image is mirrored again as often as needed, so any image works, down to one pixel.

    Parameters
    ----------
    start, stop : int
        Half-open range of coordinates, pixels; may leave ``range(side)`` on both sides.
    side : int
        Side of the image, pixels, at least 1.

    Returns
    -------
    ndarray of intp, shape (stop - start,)
        Values in ``range(side)``.
    """
    period = max(2 * (side - 1), 1)
    phase = np.arange(start, stop) % period
    return np.minimum(phase, period - phase) if side > 1 else np.zeros_like(phase)


def mirror_window(
    image: NDArray[np.generic], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.generic]:
    """Cut a window out of an image that is mirrored at its edges (Fig. 2).

    Parameters
    ----------
    image : ndarray, shape (..., Y, X)
        Any dtype.
    rows, columns : (int, int)
        Half-open ranges in pixels; may leave the image.

    Returns
    -------
    ndarray, shape (..., rows, columns)
        A copy.
    """
    y = mirror_indices(*rows, image.shape[-2])
    x = mirror_indices(*columns, image.shape[-1])
    return image[..., y[:, None], x[None, :]]
