"""What a prediction says of grey values: of the first section before it begins, then of odd ones.

A range that is wrong, or a file that is read as something else than it is, shows here first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paper_unet.images import Stack, describe_section
from paper_unet.large.executor import Executor
from paper_unet.large.worker import Prediction

Say = Callable[[str], None]


def say_greys(say: Say, stack: Stack, prediction: Prediction) -> None:
    """Say how the input is read, and what the grey values of the first section become."""
    for note in stack.notes:
        say(note)
    if about := prediction.output.about:
        say(f"grey values are scaled by percentiles {about['percentiles']} of {about['sample']}")
    for line in describe_section(stack, prediction.first, prediction.value_range):
        say(line)


def warn_of_scaling(say: Say, record: Mapping[str, Any], asked: bool) -> None:
    """Warn if weights learnt from grey values scaled by percentiles, and nobody asked for any."""
    scaling = record.get("scaling")
    if isinstance(scaling, dict) and not asked:
        say(
            "warning: these weights learnt from grey values scaled by percentiles "
            f"{scaling.get('percentiles')}; give `value_range` percentile:LOW,HIGH with these"
        )


def warn_of_greys(say: Say, prediction: Prediction, executor: Executor, index: int) -> None:
    """Warn of a section that says nothing, when its last piece is done."""
    grid = prediction.grid
    sections = grid.strips * grid.in_strip
    z = index // sections + prediction.first
    if (index + 1) % sections or z == prediction.first or z not in executor.greys:
        return
    if warning := executor.greys.pop(z).warning():
        say(f"warning: section {z}: {warning}")
