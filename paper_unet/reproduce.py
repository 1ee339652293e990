"""The experiments by name: the scripts of ``experiments/``, which a wheel brings along."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from paper_unet.errors import InputError, nearest, shown
from paper_unet.system.stop import Stopped, stopping

PAPER: Final = {
    "fig1": "fig1_architecture",
    "fig2": "fig2_overlap_tile",
    "fig3": "fig3_weight_map",
    "table1": "table1_isbi2012",
    "table2": "table2_cell_tracking",
    "fig4": "fig4_cells",
}
"""What the paper shows, by the scripts that make it; figure 4 is of the networks of table 2."""

BEYOND: Final = {
    "ablation": "ablation",
    "learning_curve": "learning_curve",
    "learning_rate": "learning_rate",
    "cells_study": "cells_study",
    "variants": "variants",
    "rows": "reproduce",
}
"""What the paper leaves open; ``rows`` is all of it, row by row, as far as the time goes."""

EXPERIMENTS: Final = PAPER | BEYOND

ALL: Final = "all"

PATIENCE: Final[dict[int, float]] = {signal.SIGINT: 30.0, signal.SIGTERM: 3.0}
"""Seconds for a script to end by itself: a terminal signals all processes, and a batch system may;
a second time hurts. What kills one process alone, as a container's engine, waits ten."""


def scripts_folder() -> Path:
    """Return the folder of the scripts: that of a wheel, or that of a checkout.

    Raises
    ------
    InputError
        If there is none: the package was copied without them.
    """
    package = Path(__file__).parent
    for folder in (package / "_experiments", package.parent / "experiments"):
        if (folder / "common.py").is_file():
            return folder
    raise InputError(
        f"{package}: the experiments are not installed beside the package; install its wheel"
    )


def reproduce(name: str, options: Sequence[str] = ()) -> int:
    """Run an experiment in a process of its own, or all figures and tables of the paper.

    Parameters
    ----------
    name : str
        Of `EXPERIMENTS`, the name of a script, or ``all`` for those of `PAPER`, in turn.
    options : sequence of str
        Of the script. Of ``all``: of every one, so only what they share: ``--data``, ``--quick``,
        ``--device``, ``--seed``.

    Returns
    -------
    int
        How the script ended: 0, or the code of the first that failed, after which none is begun.

    Raises
    ------
    InputError
        If there is no experiment of this name.
    """
    for script in _scripts(name):
        code = run_script([sys.executable, str(scripts_folder() / f"{script}.py"), *options])
        if code:
            return code
    return 0


def run_script(words: Sequence[str], each_line: Callable[[str], None] | None = None) -> int:
    """Run a command to its end; a signal that stops this process stops that one, too.

    Parameters
    ----------
    words : sequence of str
    each_line : callable, optional
        Takes each line that the command prints; without it they are printed as they come. What
        it raises ends the command.

    Returns
    -------
    int
        How it ended.

    Raises
    ------
    Stopped
        If a signal came, when the command has ended.
    """
    pipe = subprocess.PIPE if each_line else None
    with (
        stopping() as stop,
        subprocess.Popen(words, stdout=pipe, text=True) as process,  # noqa: S603 - our own script
        ThreadPoolExecutor(1) as reader,
    ):
        reading = reader.submit(_read, process.stdout or (), each_line or str)
        passed_on, given_up = 0.0, False
        while process.poll() is None:
            if reading.done() and reading.exception() and not given_up:
                process.terminate()
                given_up = True
            if stop() and not passed_on:
                passed_on = time.monotonic() + PATIENCE[stop.signal]
            if passed_on and time.monotonic() > passed_on:
                process.send_signal(stop.signal)
                passed_on = math.inf
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    if stop():
        raise Stopped(stop.signal, "rows that are finished are kept")
    reading.result()
    return process.returncode


def _read(lines: Iterable[str], each_line: Callable[[str], object]) -> None:
    for line in lines:
        each_line(line)


def _scripts(name: str) -> list[str]:
    if name == ALL:
        return list(PAPER.values())
    found = EXPERIMENTS.get(name, name if name in EXPERIMENTS.values() else None)
    if found is None:
        raise InputError(
            f"{shown(repr(name))} is no experiment{nearest(name, [*EXPERIMENTS, ALL])}; there are "
            f"{', '.join(EXPERIMENTS)} and {ALL}"
        )
    return [found]
