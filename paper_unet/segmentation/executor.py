"""Where blocks are worked on: in this process, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from paper_unet.errors import InputError
from paper_unet.images import Output, Task
from paper_unet.system.memory import free_host_memory, resident_memory
from paper_unet.system.stop import Stop


class Executor(Protocol):
    """Where blocks are worked on; `paper_unet.large.cluster.Dask` is one, too."""

    def map(
        self, call: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], stop: Stop
    ) -> Iterator[Any]:
        """Call with the arguments of each job, in any order; yield results as they come."""

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks in any order; yield after each."""

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that a process takes before it begins, and may take."""


class LocalExecutor:
    """Works in this process, on one block after the other."""

    def map(
        self, call: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], stop: Stop
    ) -> Iterator[Any]:
        """Call with the arguments of each job; raise an `InputError` that is returned."""
        for job in jobs:
            if stop():
                return
            result = call(*job)
            if isinstance(result, InputError):
                raise result
            yield result

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks, one after the other."""
        for task in tasks:
            if stop():
                return
            output.run(task)
            yield

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that this process takes now, and may take."""
        base = resident_memory()
        return base, base + free_host_memory()
