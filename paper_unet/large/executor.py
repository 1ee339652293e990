"""Where pieces are computed: in this process, or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile
from typing import Protocol

import torch

from paper_unet.images import GreyCount, Output, Task
from paper_unet.inference.timings import Timings
from paper_unet.large.pieces import Done
from paper_unet.large.worker import WRITERS, Prediction, Worker
from paper_unet.networks.base import Network
from paper_unet.system.device import free_memory, load_arithmetic, pick_device, using_threads
from paper_unet.system.memory import resident_memory
from paper_unet.system.overlap import behind
from paper_unet.system.stop import Stop


class Executor(Protocol):
    """Where pieces are computed: in this process, or on a cluster.

    Attributes
    ----------
    greys : dict of int to GreyCount
        What the grey values were of the sections that `pieces` has worked on.
    timings : Timings or None
        The seconds of each stage, when all is computed; None where several processes compute.
    """

    greys: dict[int, GreyCount]
    timings: Timings | None

    def take(self, network: Network) -> None:
        """Take the network that was read for the plan, in place of reading it again here."""

    def pieces(self, prediction: Prediction, runs: Iterable[range], stop: Stop) -> Iterator[Done]:
        """Compute the runs, taking few at a time; yield each piece that is on disk."""

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks in any order; yield after each."""

    def longest(self, pieces: int) -> int | None:
        """Return how many of the missing pieces a run may have at most."""

    def workers(self) -> int:
        """Return how many processes compute now, at least 1."""

    def device(self, name: str) -> str:
        """Return the device that the name means there."""

    def threads(self) -> int:
        """Return the CPU threads that a process has there unless told."""

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that a process takes before it begins, and may take."""


class LocalExecutor:
    """Computes in this process.

    Attributes
    ----------
    timings : Timings or None
        The seconds of each stage, when all is computed.
    """

    timings: Timings | None = None

    def __init__(self) -> None:
        self.greys: dict[int, GreyCount] = {}
        self._network: Network | None = None

    def take(self, network: Network) -> None:
        """Keep it for `pieces`."""
        self._network = network

    def longest(self, pieces: int) -> int | None:
        """Return None: the longer the better."""
        return None

    def workers(self) -> int:
        """Return 1."""
        return 1

    def device(self, name: str) -> str:
        """Return the device that the name means here."""
        return str(pick_device(name))

    def threads(self) -> int:
        """Return PyTorch's number of CPU threads."""
        return torch.get_num_threads()

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that this process takes now, and may take."""
        where = torch.device(device)
        if where.type != "cpu":
            return 0, free_memory(where)
        load_arithmetic()
        base = resident_memory()
        return base, base + free_memory(where)

    def pieces(self, prediction: Prediction, runs: Iterable[range], stop: Stop) -> Iterator[Done]:
        """Compute the runs one after the other."""
        network, self._network = self._network, None
        with using_threads(prediction.threads), closing(Worker(prediction, network)) as worker:
            self.greys = worker.greys
            yield from worker.compute(runs, stop)
            self.timings = worker.timings

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks, some at a time."""
        at_once = output.tasks_at_once or WRITERS
        with ThreadPoolExecutor(at_once) as pool:
            wanted = takewhile(lambda task: not stop(), tasks)
            yield from behind(output.run, wanted, pool, depth=at_once)
