"""The seconds that each stage of a prediction takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

STAGES: Final = ("read", "send", "compute", "receive", "write")


class Timings:
    """Adds up the seconds of each stage; stages overlap, so the sum may exceed the whole.

    Of a GPU, ``compute`` is the time that the program takes to send it the work, and ``receive``
    what it waits for the results.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = Lock()
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the seconds of what is done within to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                self._seconds[stage] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds by stage."""
        return dict(self._seconds)

    def line(self) -> str:
        """Return the stages in words."""
        parts = ", ".join(f"{name} {value:.2f} s" for name, value in self._seconds.items())
        return f"{parts}; all together {time.perf_counter() - self._started:.2f} s, side by side"


NO_TIMINGS: Final = Timings()
"""For who does not ask."""
