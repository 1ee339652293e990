"""Ctrl-C and SIGTERM (a batch system that wants its node back): stop at a place to go on from."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
        self.signal, self._left = number, left

    def __reduce__(self) -> tuple[type[Stopped], tuple[int, str]]:  # of a worker, to its pool
        return type(self), (self.signal, self._left)


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


_WATCHED: list[Stop] = []


def signal_came() -> int:
    """Return the signal that work in `stopping` is to stop for; 0 if none has come.

    For what waits long in a thread of its own.
    """
    return next((stop.signal for stop in list(_WATCHED) if stop.signal), 0)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a question that the work asks between two bands."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    before = {number: signal.signal(number, stop.note) for number in SIGNALS}
    _WATCHED.append(stop)
    try:
        yield stop
    finally:
        _WATCHED.remove(stop)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait until the end of a block, or of a function that this decorates.

    For short work of libraries that take a KeyboardInterrupt for an error of their data: what is
    sound would be called damaged. What the block raises gives way to the interrupt.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # it does not come here, or nobody is to be told
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], bool]]:
    """Remember whether Ctrl-C came: libraries make other errors of the KeyboardInterrupt.

    Where Python drops it, in a ``__del__`` or a callback of C, it comes again.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            hook(dropped)
        elif not came[1:]:
            threading.Timer(0.05, _interrupt_main).start()

    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = again
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def _interrupt_main() -> None:
    """Send Ctrl-C to the main thread, which it wakes."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        signal.raise_signal(signal.SIGINT)
