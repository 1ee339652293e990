"""Compiled twins of the two pixel loops. Importing this module needs numba (extra `fast`).

Both release the interpreter lock, so slices run in parallel threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from paper_unet.metrics._flood import LINE, QUEUED, UNSEEN

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _compile(signature: str) -> Callable[[Loop], Loop]:
    """Compile, and keep the result on disk where some cache folder can be written."""

    def decorate(loop: Loop) -> Loop:
        compiled: Any
        try:
            compiled = njit(signature, nogil=True, cache=True)(loop)
        except RuntimeError:  # numba found no such folder: compile in every process
            compiled = njit(signature, nogil=True)(loop)
        return cast(Loop, compiled)

    return decorate


@_compile("int32[::1](int32[::1], int64[::1], int64)")
def flood_compiled(
    state: npt.NDArray[np.int32], shores: npt.NDArray[np.int64], stride: int
) -> npt.NDArray[np.int32]:
    """Do what `flood_plain` does."""
    label = state.copy()
    queue = np.empty(label.size, dtype=np.int64)
    end = shores.size
    queue[:end] = shores
    steps = (-stride, -1, stride, 1)
    start = 0
    while start < end:
        pixel = queue[start]
        start += 1
        region = np.int32(LINE)
        meets = False
        for step in steps:
            near = label[pixel + step]
            if near > 0:
                meets = meets or (region != LINE and near != region)
                region = near
            elif near == UNSEEN:
                label[pixel + step] = QUEUED
                queue[end] = pixel + step
                end += 1
        label[pixel] = LINE if meets else region
    return label


@_compile("boolean[::1](uint8[::1], int64[::1], int64[::1], boolean[::1])")
def flip_compiled(
    codes: npt.NDArray[np.uint8],
    order: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    simple: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Do what `flip_plain` does, in plain passes over the list."""
    code = codes.copy()
    flipped = np.zeros(order.size, dtype=np.bool_)
    pending = np.arange(order.size)
    count = order.size
    previous = count + 1
    while count < previous:
        previous = count
        count = 0
        for i in range(previous):
            rank = pending[i]
            pixel = order[rank]
            if simple[code[pixel]]:
                flipped[rank] = True
                for k in range(8):
                    code[pixel + steps[k]] ^= np.uint8(1 << (7 - k))
            else:
                pending[count] = rank
                count += 1
    return flipped
