"""How an experiment ends: with one line when it cannot go on."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType

from paper_unet.cli import script
from paper_unet.system.stop import Stopped

LEFT = "rows that are finished are kept, and the same command goes on"


def run(main: Callable[[], None]) -> None:
    """Call an experiment, see `script.run`."""
    script.run(main, less_memory="a smaller --tile or --device cpu", left=LEFT)


def stop(number: int, _: FrameType | None = None) -> None:
    """Raise for a signal; a handler of signals."""
    raise Stopped(number, LEFT)
