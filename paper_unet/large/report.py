"""What a run from file to file says while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def nothing(line: str) -> None:
    """Say nothing; then nothing is measured to be said, either."""


@dataclass
class Report:
    """What a run says while it goes on.

    Parameters
    ----------
    say : callable
        Takes lines of text.
    progress : bool
        Whether to show a progress bar.
    """

    say: Callable[[str], None] = nothing
    progress: bool = False
