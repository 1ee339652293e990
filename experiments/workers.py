"""Rows in processes of their own, and how an experiment ends when it is told to stop.

A signal that reaches the script alone, as from `kill` or a batch system, stops its workers, too:
each saves a checkpoint, as a training does, and the same command goes on. Workers whose script is
no more, whatever killed it, do the same within a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any, cast

import entry

from paper_unet.system.explanation import EXIT_SIGNAL
from paper_unet.system.stop import signal_came, stopping

SECONDS = 0.5
"""Between two looks at whether to stop."""


class Workers:
    """So many processes that make rows.

    Leaving waits for what runs. A signal makes `one_ended` raise Stopped, and what runs stop,
    whether it comes before or while that is waited for.
    """

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._told = context.Event()
        self._pool = ProcessPoolExecutor(count, context, _begin, (self._told,))
        self._stopping = stopping()
        self._begun: set[Future[Any]] = set()

    def __enter__(self) -> Workers:
        self._stop = self._stopping.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        begun = self._begun
        while begun and not self._stop():
            begun = wait(begun, SECONDS).not_done
        if self._stop():
            self._told.set()
        self._pool.shutdown(cancel_futures=self._stop())
        self._stopping.__exit__(kind, error, None)

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Begin something in the next free process."""
        future = self._pool.submit(_call, function, *arguments)
        self._begun.add(future)
        return future

    def one_ended(self, running: set[Future[Any]]) -> set[Future[Any]]:
        """Wait until one of them has ended, and return the others.

        Raises
        ------
        Stopped
            If a signal came.
        Exception
            What one of them raised.
        """
        ended: set[Future[Any]] = set()
        while not ended:
            ended, others = wait(running, SECONDS, return_when=FIRST_COMPLETED)
            if self._stop():
                entry.stop(self._stop.signal)
        for future in ended:
            future.result()
        return others


_TOLD: list[Event] = []
"""In a worker, what says that it is to stop."""
_BUSY = threading.Event()


def _begin(told: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the script passes it on
    _TOLD.append(told)
    threading.Thread(target=_watch, args=(told,), daemon=True).start()


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function, which SIGTERM stops."""
    before = signal.signal(signal.SIGTERM, entry.stop)
    _BUSY.set()
    try:
        if _TOLD[0].is_set():
            entry.stop(signal.SIGTERM)
        return function(*arguments)
    finally:
        _BUSY.clear()
        signal.signal(signal.SIGTERM, before)
        if not _script().is_alive():
            os._exit(EXIT_SIGNAL + signal.SIGTERM)  # nobody to send a result to


def _script() -> BaseProcess:
    return cast("BaseProcess", multiprocessing.parent_process())


def _watch(told: Event) -> None:
    """Stop what runs here when this process is told to, or nobody is there to wait for it."""
    script = _script()
    while script.is_alive() and not told.is_set():
        script.join(SECONDS)
    if _BUSY.is_set() and not signal_came():
        os.kill(os.getpid(), signal.SIGTERM)
    script.join()
    while _BUSY.is_set():  # a checkpoint is being saved
        time.sleep(SECONDS)
    os._exit(EXIT_SIGNAL + signal.SIGTERM)
