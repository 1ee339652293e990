"""How a section is cut for prediction: the least work within the memory allowed."""

from __future__ import annotations

from paper_unet.errors import InputError
from paper_unet.inference.settings import Plan
from paper_unet.inference.streaming import Streaming
from paper_unet.inference.tiled import Tiled
from paper_unet.large.memory import megabytes


def waiting_bytes(plan: Plan, shape: tuple[int, int], values: int, each: float) -> int:
    """Return the bytes of a piece that wait, with so many bytes for each value of its pixels."""
    return int(each * values * min(plan.rows, shape[0]) * min(plan.strip, shape[1]))


def choose_plan(
    engine: Streaming | Tiled,
    shape: tuple[int, int],
    memory: int,
    *,
    alignment: tuple[int, int] = (1, 1),
    base: int = 0,
    values: int = 1,
    waiting: float = 0.0,
) -> Plan:
    """Choose bands and strips: the least work within the memory allowed.

    Parameters
    ----------
    engine : Streaming or Tiled
    shape : (int, int)
        Height and width of a section, pixels.
    memory : int
        What the process may take at its peak, bytes.
    alignment : (int, int)
        Rows and columns, in pixels, on whose multiples pieces must begin: the chunks of a Zarr.
    base : int
        What the process takes before the network is loaded, and what the files keep decoded.
    values : int
        Values of a pixel that are written.
    waiting : float
        Bytes for each of them that the output keeps besides: `Output.waiting`.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If even the narrowest strip does not fit; the message says what would.
    """
    plans = engine.plans(shape, alignment)
    needed = {
        plan: base
        + engine.peak_bytes(plan, shape, values)
        + waiting_bytes(plan, shape, values, waiting)
        for plan in plans
    }
    fitting = [plan for plan in plans if needed[plan] <= memory]
    if not fitting:
        least = min(needed.values())
        raise InputError(
            f"a section of {shape[1]} x {shape[0]} pixels needs {megabytes(least)} of memory or "
            f"more, {megabytes(memory)} are allowed; allow more with `memory`, or use a smaller "
            "`tile` where there are tiles, no average, or another network or precision"
        )
    # each band costs a little beside the arithmetic
    work = {plan: engine.work(plan, shape) * (1 + 2 / plan.band) for plan in fitting}
    return min(fitting, key=lambda plan: (work[plan], -plan.strip, needed[plan]))
