"""Ctrl-C and SIGTERM (a batch system that wants its node back): stop at a place to go on from."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818  (not an error)
    """A signal ended the work; what is recorded stays.

    Attributes
    ----------
    signal : int
        130 is the exit code for 2 (SIGINT), 143 for 15 (SIGTERM).
    """

    def __init__(self, number: int, left: str = "what is finished is kept") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {left}")
        self.signal = number


class Stop:
    """Says whether a signal has come."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return bool(self.signal)

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal; a second one interrupts at once."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a question that the work asks between two bands."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, stop.note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
