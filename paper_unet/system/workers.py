"""Processes that work for another one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process when the one that began it is no more: the initializer of a pool.

    A process that is killed cannot end its workers, and those of
    `concurrent.futures.ProcessPoolExecutor` would wait for work for ever. What they have in hand
    is left; nothing is done in a process that no other of this package began.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
