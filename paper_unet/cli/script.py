"""How a script ends: it did what it was asked, or says in one line why it could not."""

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


def run(
    main: Callable[[], None],
    *,
    less_memory: str = "smaller sizes",
    left: str = "nothing is written",
) -> None:
    """Call a script; what it could not help ends it with one line and a code, as ``paper-unet``.

    Parameters
    ----------
    main : callable
        The script, without arguments.
    less_memory : str
        The options of the script that take less memory, as it is to say them.
    left : str
        What is there of what a signal stopped.

    Raises
    ------
    SystemExit
        With 2 for options and data that cannot be used, 1 where memory or disk ran out, and 128 and
        the number of a signal.
    """

    def stop(number: int, _: FrameType | None = None) -> None:
        raise Stopped(number, left)

    before = signal.signal(signal.SIGTERM, stop)  # between two trainings, too
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        found = error if isinstance(error, Exception) else Stopped(signal.SIGINT, left)
        expected = explain(found, less_memory=less_memory)
        if expected is None:
            raise
        code, text = expected
        line = without_secrets(" ".join(text.split()))
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {line}\n")
        raise SystemExit(code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


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
    return _amount(word, "minutes")


def pixels(word: str) -> float:
    """Read a length in pixels, for an option."""
    return _amount(word, "pixels")


def _amount(word: str, unit: str) -> float:
    found = float(word)
    if not (math.isfinite(found) and found >= 0):
        raise argparse.ArgumentTypeError(f"{word}: give {unit}, 0 or more")
    return found


def new_file(word: str) -> Path:
    """Read where a file is to be written at the end, for an option: a folder of it is there now."""
    path = Path(word)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent}: no such folder; make it")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: is a folder; give a file")
    return path
