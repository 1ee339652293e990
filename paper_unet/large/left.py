"""What an interrupted run goes on with: read from its journal, and believed only if it can be."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from paper_unet.errors import InputError
from paper_unet.geometry import STRIDE
from paper_unet.images import Output
from paper_unet.inference.settings import Plan
from paper_unet.large.config import PredictConfig
from paper_unet.large.journal import Journal
from paper_unet.large.pieces import Grid
from paper_unet.large.verify import check_pieces
from paper_unet.settings import options


@dataclass(frozen=True)
class Left:
    """What a run keeps when it goes on.

    Attributes
    ----------
    plan : Plan
        How sections are cut.
    threads : int
        CPU threads of the arithmetic.
    run : str
        Which run it is.
    """

    plan: Plan
    threads: int
    run: str


def left_in(journal: Journal, output: Output) -> Left:
    """Return what the header of a journal says, once it fits the output.

    Raises
    ------
    InputError
        If it says something that no run can have written.
    """
    header = journal.header or {}
    plan = _plan(journal, output)
    check_pieces(journal, Grid(*output.shape, plan))
    run = header.get("run")
    if not isinstance(run, str):
        raise journal.damaged("its run has no name")
    return Left(plan, _threads(journal), run)


def _plan(journal: Journal, output: Output) -> Plan:
    """Return a plan that cuts the output into whole pieces, where a plan may cut."""
    values = (journal.header or {}).get("plan")
    names = {field.name for field in fields(Plan)}
    if not isinstance(values, dict) or values.keys() != names or not _are_sizes(values):
        raise journal.damaged("its plan is none")
    plan = Plan(**values)
    sides = zip((plan.rows, plan.strip), output.shape[1:], output.alignment, strict=True)
    fits = all(size % math.lcm(STRIDE, step) == 0 or size >= side for size, side, step in sides)
    if plan.band % STRIDE or not fits:
        raise journal.damaged("its plan does not fit the output")
    return plan


def _are_sizes(values: dict[str, Any]) -> bool:
    return all(type(value) is int and value > 0 for value in values.values())


def _threads(journal: Journal) -> int:
    option = next(option for option in options(PredictConfig) if option.name == "threads")
    threads = (journal.header or {}).get("threads")
    try:
        if type(threads) is int:
            return int(option.accepted(threads))
    except InputError:
        pass
    raise journal.damaged("its number of threads is none")
