"""What a network needs around the pixels that are kept of its output: integers only.

One tile along one axis; the network loses ``lost`` pixels of the input on either side::

            low             start                      start + core         high
             |                |                             |                |
    input    [================|=============================|================]
    output        [===========|=============================|===========]
    core                      [=============================]
             <--- before ---->                               <--- after ---->
             <lost>

A valid network's input goes on beyond the image, which is mirrored there. A padded network's ends
with the image, rounded up to whole steps of the lattice, because there its zeros belong; only
inside the image has the zero padding of a tile to be kept away from the pixels that count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from paper_unet.errors import InputError


@dataclass(frozen=True)
class Tile:
    """One tile along one axis, pixels; see the picture at the top of the module."""

    start: int
    core: int
    low: int
    high: int
    skip: int  # pixels of the output before the first one of the core


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

    def output_side(self, side: int, name: str) -> int:
        """Return the side of the scores of an image of ``side`` pixels.

        Raises
        ------
        InputError
            If a pool would see an odd side; the message names the nearest sides that fit.
        """
        if side < self.smallest or (side - self.base) % self.lattice:
            below = max(self.smallest, side - (side - self.base) % self.lattice)
            above = max(self.smallest, below + self.lattice if side > below else below)
            nearest = f"{below}" if below == above else f"{below} or {above}"
            legal = f"multiples of {self.lattice}"
            if self.base:
                legal = f"a legal side is {self.lattice}k + {self.base}"
            raise InputError(
                f"{side} pixels do not fit the network {name}; {legal}, {self.smallest} or more: "
                f"use {nearest}; prediction pads images of any other size by itself"
            )
        return side - 2 * self.lost

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

    def tiles(self, side: int, tile: int) -> list[Tile]:
        """Cut one axis of an image into tiles; their cores cover ``range(side)`` once, in order.

        Parameters
        ----------
        side : int
            Of the image, pixels, at least 1.
        tile : int
            Largest input side, pixels.

        Raises
        ------
        InputError
            If it leaves no room for a core.
        """
        whole = -(-side // self.lattice) * self.lattice
        if self.padded and max(whole, self.smallest) <= tile:
            return [Tile(0, side, 0, max(whole, self.smallest), 0)]
        core = (tile - (tile - self.base) % self.lattice - self.before - self.after) or 1
        core -= core % self.lattice
        if core < self.lattice:
            least = self._legal(self.lattice + self.before + self.after)
            raise InputError(
                f"a tile of {tile} pixels is too small for the network's context: use {least} or "
                "more" + (", or a smaller halo" if self.padded else "")
            )
        count = -(-side // core)
        core = self.lattice * -(-side // (self.lattice * count))
        return [self._tile(start, core, side, whole) for start in range(0, side, core)]

    def _tile(self, start: int, core: int, side: int, whole: int) -> Tile:
        low = start - self.before
        high = low + self._legal(core + self.before + self.after)
        if self.padded:
            low, high = max(low, 0), min(high, whole)
        return Tile(start, min(core, side - start), low, high, start - low - self.lost)

    def _legal(self, least: int) -> int:
        """Return the smallest legal side of at least ``least`` pixels."""
        return max(self.smallest, least + (self.base - least) % self.lattice)
