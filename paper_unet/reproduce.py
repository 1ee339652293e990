"""The experiments by name: the scripts of ``experiments/``, which a wheel brings along."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Sequence
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

PATIENCE: Final = 30.0
"""Seconds for a script to end by itself: a terminal signals all processes, a second time hurts."""


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
        code = _run([sys.executable, str(scripts_folder() / f"{script}.py"), *options])
        if code:
            return code
    return 0


def _run(words: Sequence[str]) -> int:
    """Run a command to its end; a signal that stops this process stops that one, too."""
    with stopping() as stop, subprocess.Popen(words) as process:  # noqa: S603 - our own script
        passed_on = 0.0
        while process.poll() is None:
            if stop() and not passed_on:
                passed_on = time.monotonic() + PATIENCE
            if passed_on and time.monotonic() > passed_on:
                process.send_signal(stop.signal)
                passed_on = math.inf
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    if stop():
        raise Stopped(stop.signal, "rows that are finished are kept")
    return process.returncode


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
