"""Sizes, tiles and mirror bounds of the valid-convolution U-Net: integers only (sec. 1 and 2).

One axis of one tile. The network sees ``input`` pixels and returns the ``output`` pixels whose
whole context lay inside, 92 fewer on either side; of these the mosaic keeps ``core``::

            start - 92      start                      start + core
                |             |                             |
    input       [=============|=============================|====|=============]
    output                    [=============================|====]
    core                      [=============================]
                 <--  92  -->                                <4>  <--  92  -->

Where the input reaches beyond the image, the image is mirrored (Fig. 2).

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

from dataclasses import dataclass
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


def is_input_size(side: int) -> bool:
    """Whether every pool of the network sees an even side: ``side`` is 16k + 60, at least 188."""
    return side >= SMALLEST_INPUT and (side - 60) % STRIDE == 0


def nearest_input_sizes(side: int) -> tuple[int, int]:
    """Return the legal input sides next below and next above ``side`` (pixels).

    Both are ``side`` itself where that is legal; below the smallest one both are 188.
    """
    above = max(SMALLEST_INPUT, side + (60 - side) % STRIDE)
    below = max(SMALLEST_INPUT, side - (side - 60) % STRIDE)
    return below, above


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
            f"with k >= 8 (188, 204, ..., 572, 588, ...): use {nearest}, or predict_image, which "
            "takes any size"
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


@dataclass(frozen=True)
class Span:
    """One tile along one axis; see the picture at the top of the module. All in pixels."""

    start: int
    core: int
    input: int

    @property
    def source(self) -> tuple[int, int]:
        """First and last-plus-one image coordinate that the input covers; may leave the image."""
        return self.start - HALO, self.start - HALO + self.input

    @property
    def target(self) -> slice:
        """Where the core lies in the image."""
        return slice(self.start, self.start + self.core)


def tile_spans(side: int, tile: int = PAPER_TILE, tiling: Tiling = "exact") -> list[Span]:
    """Cut one axis of an image into tiles.

    Parameters
    ----------
    side : int
        Side of the image, pixels, at least 1.
    tile : int
        Largest input side of a tile, pixels, 16k + 60. Exact tiles are made equal and no larger
        than the image needs, since their size does not change the result.
    tiling : {"exact", "abutting"}
        ``exact``: tiles start on multiples of 16, so the mosaic equals one pass over the whole
        mirrored image. ``abutting``: the paper's tiles, of exactly the given size, one output
        next to the other.

    Returns
    -------
    list of Span
        Their cores cover ``range(side)`` once, in order.

    Raises
    ------
    InputError
        If ``tile`` is not legal, or too small to hold one step of an exact tiling (below 204), or
        the image is empty.
    """
    if side < 1:
        raise InputError(f"the image has a side of {side} pixels; it must be at least 1")
    output = output_size(tile)
    if tiling == "abutting":
        stride = output
    elif tiling == "exact":
        if output < STRIDE:
            raise InputError(
                f"a tile of {tile} pixels is too small to tile exactly: use 204 or more"
            )
        largest = output - output % STRIDE
        count = -(-side // largest)
        stride = STRIDE * -(-side // (STRIDE * count))
        tile = input_size(stride)
    else:
        raise InputError(f"tiling is {tiling!r}; it must be 'exact' or 'abutting'")
    return [Span(start, min(stride, side - start), tile) for start in range(0, side, stride)]


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
