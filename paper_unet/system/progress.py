"""How far work is: a bar on a terminal, a line a minute in a log, with rate and remaining time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 60.0
"""Seconds between the lines where there is no terminal."""

LINE = (
    "{desc}{n_fmt} of {total_fmt} {unit} ({percentage:.0f} %), {rate_fmt}, "
    "{remaining} left{postfix}"
)
UNKNOWN = "{desc}{n_fmt} {unit}, {rate_fmt}, {elapsed} gone{postfix}"


class _Bar(tqdm):  # type: ignore[type-arg]
    """A bar for libraries, too: true, whatever its total, and counted anew without losing time."""

    def __bool__(self) -> bool:
        return True

    def reset(self, total: float | None = None) -> None:
        """Count from 0 again; the clock goes on, so that the rate stays true."""
        self.n = 0
        self.total = self.total if total is None else total


class _Lines(_Bar):
    """The first line after a minute; the last one when it ends, if there was a first."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._last, self._said = time.monotonic(), False
        timing: dict[str, Any] = {"mininterval": EVERY, "miniters": 1, "maxinterval": EVERY}
        super().__init__(*arguments, **more | timing)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, unless the last one was just written."""
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last, self._said = now, True
            self._write()

    def close(self) -> None:
        """Write how it ended."""
        if self.disable:
            return
        self.disable = True
        own: Any = type(self)  # tqdm keeps a list of the bars of each class
        own._decr_instances(self)
        if self._said:
            self._write()

    def _write(self) -> None:
        form = {**self.format_dict, "bar_format": LINE if self.total else UNKNOWN, "ncols": None}
        form["prefix"] = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
        self.fp.write(self.format_meter(**form) + "\n")
        self.fp.flush()


def progress_bar(work: Iterable[Any] | None = None, *, show: bool = True, **more: Any) -> tqdm[Any]:
    """Return a bar to iterate with, or to update.

    Parameters
    ----------
    work : iterable, optional
        Gives its elements as they are.
    show : bool
        Whether anything is to be seen.
    **more
        ``total``, ``initial``, ``unit``, ``unit_scale``, ``desc`` of `tqdm.tqdm`.

    Returns
    -------
    tqdm
        On standard error: a bar that moves where that is a terminal; else a line each minute of
        work, so that what takes less says nothing.
    """
    terminal = bool(getattr(sys.stderr, "isatty", lambda: False)())
    kind = _Bar if terminal else _Lines
    return kind(work, disable=not show, dynamic_ncols=terminal, **more)
