"""The two pixel loops, plain or compiled."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from paper_unet.metrics._flood import FloodLoop, flood_plain
from paper_unet.metrics._warp import FlipLoop, flip_plain
from paper_unet.system.libraries import is_installed, require


class Loops(NamedTuple):
    """Flood and flip; both versions give the same results."""

    flood: FloodLoop
    flip: FlipLoop


@cache
def pixel_loops(compiled: bool) -> Loops:
    """Give the plain loops, or compile those of numba."""
    if not compiled:
        return Loops(flood_plain, flip_plain)
    from paper_unet.metrics._kernels import flip_compiled, flood_compiled

    return Loops(flood_compiled, flip_compiled)


def resolve_compiled(compiled: bool | None) -> bool:
    """Decide for numba where it is installed, unless the caller said otherwise."""
    if compiled:
        require("numba", "compiled=True", "fast", instead="leave compiled at None")
    return is_installed("numba") if compiled is None else compiled
