"""The warping error's first step: move borders without changing topology.

Arrays here are x-first, shape (X, Y): the official list of mismatches runs over x in the outer
loop, so its order is the memory order of the transposed slice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

# Neighbour k of a pixel; the pixel is neighbour 7 - k of its neighbour k.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))

FlipLoop = Callable[
    [
        npt.NDArray[np.uint8],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
        npt.NDArray[np.bool_],
    ],
    npt.NDArray[np.bool_],
]


@cache
def neighbourhood_tables() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Look-up tables over the 256 neighbourhoods; bit k is neighbour k.

    Returns
    -------
    simple : ndarray of bool, shape (256,)
        The centre can be flipped without changing topology: one 4-connected piece of foreground
        touches the centre by a side, and the background is one 8-connected piece.
    joined : ndarray of bool, shape (256,)
        The foreground is 4-connected even without the centre.
    """
    simple = np.zeros(256, dtype=np.bool_)
    joined = np.zeros(256, dtype=np.bool_)
    for code in range(256):
        patch = np.zeros((3, 3), dtype=np.bool_)
        for k, (dx, dy) in enumerate(NEIGHBOURS):
            patch[1 + dx, 1 + dy] = bool(code >> k & 1)
        background = ~patch
        background[1, 1] = False
        pieces, count = ndimage.label(patch)
        beside = {int(pieces[0, 1]), int(pieces[1, 0]), int(pieces[1, 2]), int(pieces[2, 1])} - {0}
        simple[code] = len(beside) == 1 and ndimage.label(background, np.ones((3, 3)))[1] == 1
        joined[code] = count <= 1
    return simple, joined


def neighbourhood_codes(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Give every pixel the bits of its eight neighbours.

    Parameters
    ----------
    inside : ndarray of bool, shape (X, Y)

    Returns
    -------
    ndarray of uint8, shape (X + 2, Y + 2)
        The image lies inside a ring of background; the ring's own codes are never used.
    """
    width, height = inside.shape
    padded = np.pad(inside, 2).view(np.uint8)
    codes = np.zeros((width + 2, height + 2), dtype=np.uint8)
    for k, (dx, dy) in enumerate(NEIGHBOURS):
        codes |= padded[1 + dx : 3 + dx + width, 1 + dy : 3 + dy + height] << k
    return codes


def flip_plain(
    codes: npt.NDArray[np.uint8],
    order: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    simple: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Flip the simple pixels of a list, pass after pass, until a pass flips nothing.

    A pixel that is not simple can only become so when a neighbour flips, so a pass looks at those
    pixels alone; the heap keeps them in list order, and what lies behind waits for the next pass.

    Parameters
    ----------
    codes : ndarray of uint8, flat padded image
        Neighbourhood codes before the first flip.
    order : ndarray of int64
        Flat positions in the padded image, in the order in which they are tried.
    steps : ndarray of int64, shape (8,)
        From a flat position to its neighbours.
    simple : ndarray of bool, shape (256,)

    Returns
    -------
    ndarray of bool, shape of `order`
        Which pixels were flipped.
    """
    first = simple[codes[order]]
    heap = np.flatnonzero(first).tolist()  # sorted, so a heap already
    ranks = np.full(codes.size, -1, dtype=np.int64)
    ranks[order] = np.where(first, -1, np.arange(order.size))
    state = _FlipState(
        code=bytearray(codes.tobytes()),
        pixels=order.tolist(),
        waiting=ranks.tolist(),
        flipped=bytearray(order.size),
    )
    bits = [(step, 1 << (7 - k)) for k, step in enumerate(steps.tolist())]
    table = simple.tobytes()
    while heap:
        heap = _flip_pass(heap, state, bits, table)
        heapify(heap)
    return np.frombuffer(bytes(state.flipped), dtype=np.bool_)


class _FlipState(NamedTuple):
    """Plain sequences, which a Python loop reads faster than arrays."""

    code: bytearray
    pixels: list[int]  # by rank
    waiting: list[int]  # by pixel: the rank of a mismatch that is in no heap, else -1
    flipped: bytearray  # by rank


def _flip_pass(
    heap: list[int], state: _FlipState, bits: list[tuple[int, int]], simple: bytes
) -> list[int]:
    """Empty the heap; return what has to be tried again in the next pass."""
    code, pixels, waiting, flipped = state
    later: list[int] = []
    while heap:
        rank = heappop(heap)
        pixel = pixels[rank]
        if not simple[code[pixel]]:
            waiting[pixel] = rank
            continue
        flipped[rank] = 1
        for step, bit in bits:
            near = pixel + step
            around = code[near] ^ bit
            code[near] = around
            other = waiting[near]
            if other < 0 or not simple[around]:
                continue
            waiting[near] = -1
            if other > rank:
                heappush(heap, other)
            else:
                later.append(other)
    return later


def warp(
    truth: npt.NDArray[np.bool_],
    codes: npt.NDArray[np.uint8],
    interior: npt.NDArray[np.float64],
    threshold: float,
    flip: FlipLoop,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Warp the labels towards the thresholded prediction.

    Parameters
    ----------
    truth : ndarray of bool, shape (X, Y)
        True inside cells.
    codes : ndarray of uint8, shape (X + 2, Y + 2)
        `neighbourhood_codes` of `truth`.
    interior : ndarray of float64, shape (X, Y)
        float32 probabilities of the cell class, widened.
    threshold : float
    flip : callable
        `flip_plain` or its compiled twin.

    Returns
    -------
    warped : ndarray of bool, shape (X, Y)
    rest : ndarray of int64
        Flat positions in `warped` that still differ from the prediction.
    """
    height = truth.shape[1]
    mismatches = np.flatnonzero(truth != (interior > threshold))
    # The official sort compares 32-bit distances; ties keep the scan order.
    distance = np.abs(interior.ravel()[mismatches] - threshold).astype(np.float32)
    mismatches = mismatches[np.argsort(-distance, kind="stable")]
    x, y = np.divmod(mismatches, height)
    stride = height + 2
    order = (x + 1) * stride + y + 1
    steps = np.array([dx * stride + dy for dx, dy in NEIGHBOURS], dtype=np.int64)
    flipped = flip(codes.ravel(), order, steps, neighbourhood_tables()[0])
    warped = truth.copy()
    warped.ravel()[mismatches[flipped]] ^= True
    return warped, mismatches[~flipped]
