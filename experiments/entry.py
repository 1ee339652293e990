"""How an experiment is called and ends: numbers that can be, and one line when it cannot go on."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from paper_unet.errors import without_secrets
from paper_unet.system.explanation import explain
from paper_unet.system.stop import Stopped

LEFT = "rows that are finished are kept, and the same command goes on"


def run(main: Callable[[], None]) -> None:
    """Call a script; what it could not help ends it with one line and a code, as ``paper-unet``.

    Raises
    ------
    SystemExit
        With 2 for options and data that cannot be used, 1 where memory or disk ran out, and 128 and
        the number of a signal.
    """
    before = signal.signal(signal.SIGTERM, stop)  # between two trainings, too
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        found = error if isinstance(error, Exception) else Stopped(signal.SIGINT, LEFT)
        expected = explain(found, less_memory="a smaller --tile or --device cpu")
        if expected is None:
            raise
        code, text = expected
        line = without_secrets(" ".join(text.split()))
        print(f"{Path(sys.argv[0]).stem}: {line}", file=sys.stderr)
        raise SystemExit(code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(number: int, _: FrameType | None = None) -> None:
    """Raise for a signal; a handler of signals."""
    raise Stopped(number, LEFT)


def count(word: str, least: int = 1) -> int:
    """Read how many there are, for an option."""
    found = int(word)
    if found < least:
        raise argparse.ArgumentTypeError(f"{word}: give {least} or more")
    return found


def count_or_none(word: str) -> int:
    """Read how many there are, which may be none, for an option."""
    return count(word, 0)


def minutes(word: str) -> float:
    """Read a time in minutes, for an option."""
    found = float(word)
    if not (math.isfinite(found) and found >= 0):
        raise argparse.ArgumentTypeError(f"{word}: give minutes, 0 or more")
    return found
