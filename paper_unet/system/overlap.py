"""Work done by a thread beside the one that computes: in order, never far ahead or behind."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DEPTH = 2
"""Results that wait to be taken, at most: one is being taken, one is ready, one is made."""


class Ahead(Iterator[Result], Generic[Item, Result]):
    """Results of a function for one item after the other, made ahead of who takes them.

    Parameters
    ----------
    work : callable
    items : iterable
        Taken by the thread that iterates.
    pool : Executor
        Of one thread; it begins at once.
    depth : int
        How many results may be ahead.
    """

    def __init__(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        pool: Executor,
        depth: int = DEPTH,
    ) -> None:
        self._work, self._items, self._pool = work, iter(items), pool
        self._coming: deque[Future[Result]] = deque()
        for _ in range(depth):
            self._begin()

    def _begin(self) -> None:
        for item in self._items:
            self._coming.append(self._pool.submit(self._work, item))
            return

    def __next__(self) -> Result:
        if not self._coming:
            raise StopIteration
        result = self._coming.popleft().result()
        self._begin()
        return result

    def close(self) -> None:
        """Begin nothing more."""
        self._items = iter(())
        while self._coming:
            self._coming.pop().cancel()


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], pool: Executor | None
) -> Iterator[Result]:
    """Return the results of a function, one after the other; made ahead where there is a pool."""
    return map(work, items) if pool is None else Ahead(work, items, pool)


def behind(
    work: Callable[[Item], Result], items: Iterable[Item], pool: Executor, depth: int = DEPTH
) -> Iterator[Result]:
    """Yield the results of a function for items that this thread makes, each some items later.

    If an item cannot be made, the results of those before it come first, then its error.

    Parameters
    ----------
    work : callable
        Done by the pool's thread.
    items : iterable
        Taken by the thread that iterates, which waits when so many are not done yet.
    pool : Executor
    depth : int
    """
    waiting: deque[Future[Result]] = deque()
    failed: Exception | None = None
    coming = iter(items)
    try:
        while True:
            try:
                item = next(coming)
            except StopIteration:
                break
            except Exception as error:  # what was made before is done first
                failed = error
                break
            waiting.append(pool.submit(work, item))
            while waiting and (len(waiting) > depth or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failed is not None:
            raise failed
    finally:
        while waiting:
            waiting.pop().cancel()


def behind_by(count: int, items: Iterable[Item]) -> Iterator[Item]:
    """Yield each item when so many more have been taken."""
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def together(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int, name: str
) -> list[Result]:
    """Do work for all items, some at a time, and return the results when all of it has ended.

    After an error nothing more is begun.

    The threads are kept and shared: to begin some for a few short pieces of work takes longer than
    the work. What is done by them must not wait for others of the same name.

    Parameters
    ----------
    work : callable
    items : sequence
    threads : int
        How many at a time; one is the thread that calls.
    name : str
        Of the threads.

    Returns
    -------
    list
        One for each item.

    Raises
    ------
    Exception
        The first that the work raised, in the order of the items.
    """
    if min(threads, len(items)) <= 1:
        return [work(item) for item in items]
    pool = _kept(threads, name)
    begun = [pool.submit(work, item) for item in items]
    try:
        wait(begun, return_when=FIRST_EXCEPTION)
    finally:
        for one in begun:
            one.cancel()
    wait(begun)
    return [one.result() for one in begun]


@cache
def _kept(threads: int, name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, name)


if hasattr(os, "register_at_fork"):  # a fork has none of the threads
    os.register_at_fork(after_in_child=_kept.cache_clear)
