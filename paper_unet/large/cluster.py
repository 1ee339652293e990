"""The same pieces on a cluster, through dask.distributed (extra ``large``).

The driver keeps the journal; workers read the input and write the output themselves, so both must
lie where every worker can reach them. A piece that a lost worker had is computed again elsewhere,
to the same bytes.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from paper_unet.errors import InputError, shown
from paper_unet.images import GreyCount, Output, Task
from paper_unet.inference.layers import keep_freed_memory
from paper_unet.inference.timings import Timings
from paper_unet.large.pieces import Done
from paper_unet.large.worker import Prediction, Worker
from paper_unet.networks.base import Network
from paper_unet.system.device import using_threads
from paper_unet.system.libraries import needed
from paper_unet.system.stop import Stop

if TYPE_CHECKING:
    from distributed import Client, Future

LOG = logging.getLogger(__name__)

PATIENCE = 10
"""Seconds without a worker after which that is said."""

LOST = (
    "the dask scheduler is gone; what is finished is kept: start a scheduler and run the same "
    "command again, with its address"
)

AHEAD = 4
"""Runs of pieces that each worker has waiting for it; more cost the scheduler memory."""

LONGEST = 8
"""Pieces of a run: the halo above a run is computed again, the fewer the less."""

KEPT = str(2**28)
"""Bytes below which the C library shall not give memory back; dask's own setting halves the speed
of convolutions."""


class Dask:
    """Computes on the workers of a dask scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    keep : callable, optional
        Called now and then while waiting: starts workers again that are gone for good.
    """

    def __init__(self, client: Client, keep: Callable[[], object] = lambda: None) -> None:
        self.client = client
        self.keep = keep
        self.greys: dict[int, GreyCount] = {}
        self.timings: Timings | None = None  # of one process alone

    def workers(self) -> int:
        """How many workers there are now, at least 1."""
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    def longest(self, pieces: int) -> int | None:
        """Pieces that a run may have, so that every worker has some runs of its own."""
        return max(1, min(LONGEST, pieces // (AHEAD * self.workers())))

    def device(self, name: str) -> str:
        """Return the device that the name means on the workers.

        Raises
        ------
        InputError
            If it is not the same on all of them, or there is none.
        """
        found = set(self._ask(_device, name))
        if len(found) != 1:
            raise InputError(
                f"the workers compute on different devices ({', '.join(sorted(found))}), whose "
                "results differ in the last digits; give `device`, or workers of one kind"
            )
        return str(found.pop())

    def threads(self) -> int:
        """Return the least number of CPU threads that a worker has."""
        return int(min(self._ask(_threads)))

    def allowed(self, device: str) -> tuple[int, int]:
        """Return the bytes that a worker takes now and may take, the least over the workers."""
        memory = self._ask(_memory, device, self._ask(_host))
        return max(base for base, _ in memory), min(most for _, most in memory)

    def _ask(self, call: Any, *arguments: Any) -> list[Any]:
        """Call on every worker; one that is lost meanwhile does not answer."""
        seconds = 0
        while True:
            try:
                self.client.wait_for_workers(1, timeout=1)
            except TimeoutError:
                self.keep()
                seconds += 1
                if seconds == PATIENCE:
                    LOG.warning("no dask worker has come yet; waiting (Ctrl-C ends it)")
                continue
            answers = self.client.run(call, *arguments, on_error="return").values()
            for answer in answers:
                if isinstance(answer, InputError):
                    raise answer
            heard = [answer for answer in answers if not isinstance(answer, Exception)]
            if heard:
                return heard
            time.sleep(0.2)

    def take(self, network: Network) -> None:
        """Drop it: every worker reads its own."""

    def pieces(self, prediction: Prediction, runs: Iterable[range], stop: Stop) -> Iterator[Done]:
        """Compute the runs; yield each piece that is on disk."""
        token = uuid.uuid4().hex
        jobs = ((token, prediction, run.start, run.stop) for run in runs)
        for pieces, greys in self.map(_compute, jobs, stop):
            for z, count in greys.items():
                self.greys.setdefault(z, GreyCount()).merge(count)
            yield from pieces

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Do the tasks in any order; yield after each."""
        yield from self.map(_do, ((output, task) for task in tasks), stop)

    def map(self, call: Any, jobs: Iterable[tuple[Any, ...]], stop: Stop) -> Iterator[Any]:
        """Call on the workers with the arguments of each job; yield results as they come.

        Every worker is kept busy and the scheduler's list short. An `InputError` that a call
        returns, since trying again would not help, is raised here.
        """
        from distributed import wait

        waiting, running = iter(jobs), set[Any]()
        try:
            while not stop():
                for job in islice(waiting, max(0, AHEAD * self.workers() - len(running))):
                    running.add(self.client.submit(call, *job, pure=False, retries=3))
                if not running:
                    return
                try:
                    done = wait(running, timeout=1, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    self.keep()
                    continue
                except CancelledError as error:
                    raise ConnectionError(LOST) from error
                running -= done
                for future in done:
                    yield _result(future)
        finally:
            self.client.cancel(list(running))


def _result(future: Future[Any]) -> Any:
    from distributed import KilledWorker

    try:
        result = future.result()
    except CancelledError as error:
        raise ConnectionError(LOST) from error
    except KilledWorker as error:
        raise ChildProcessError(
            f"a piece was lost with {error.last_worker.address if error.last_worker else 'its'} "
            "worker too often; look at the workers' logs, and give them more memory if they ran out"
        ) from error
    if isinstance(result, InputError):
        raise result
    return result


# what runs on a worker

_lock = threading.Lock()
_worker: tuple[str, Worker] | None = None


def _compute(token: str, prediction: Prediction, start: int, stop: int) -> Any:
    """Compute pieces with the network that this process has loaded.

    Returns what is on disk, and what the grey values of the sections were.
    """
    with _lock:
        try:
            with using_threads(prediction.threads):
                worker = _loaded(token, prediction)
                worker.greys.clear()
                return list(worker.compute([range(start, stop)])), dict(worker.greys)
        except InputError as error:  # trying again would not help
            return error


def _loaded(token: str, prediction: Prediction) -> Worker:
    global _worker
    if _worker is None or _worker[0] != token:
        if _worker is not None:
            _worker[1].close()
        keep_freed_memory()
        device = own_card(prediction.device, _number())
        _worker = token, Worker(replace(prediction, device=device))
    return _worker[1]


def own_card(device: str, number: int | None) -> str:
    """Return the device of one of several workers on a machine: worker k takes card k.

    Parameters
    ----------
    device : str
        That all were told; ``cuda:N`` is what it says, ``cuda`` is shared out.
    number : int or None
        Of the worker, from 0; None where workers have names, one for each card that they see.
    """
    import torch

    wanted = torch.device(device)
    cards = torch.cuda.device_count() if wanted.type == "cuda" else 0
    if number is None or cards < 2 or ":" in device:
        return device
    return f"cuda:{number % cards}"


def _number() -> int | None:
    """Return the number of this worker, which is its name on one machine."""
    from distributed import get_worker

    name = get_worker().name
    return name if isinstance(name, int) else None


def _do(output: Output, task: Task) -> None:
    output.run(task)
    output.close()


def _device(name: str) -> str:
    from paper_unet.system.device import pick_device

    return str(pick_device(name))


def _host() -> str:
    import socket

    return socket.gethostname()


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _memory(device: str, hosts: list[str]) -> tuple[int, int]:
    """Return what this worker takes now, and that with a fair share of what its machine has."""
    import torch

    from paper_unet.system.device import free_memory, load_arithmetic
    from paper_unet.system.memory import resident_memory

    if torch.device(device).type == "cuda":
        return 0, free_memory(torch.device(own_card(device, _number())))
    sharing = hosts.count(_host())
    load_arithmetic()
    base = resident_memory()
    return base, base + free_memory(torch.device(device)) // max(sharing, 1)


@contextmanager
def connect(where: str, threads: int | None, timeout: str = "20s") -> Iterator[Dask]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    where : str
        A scheduler's address such as ``tcp://10.0.0.1:8786``, or ``local:N`` for N workers here.
    threads : int, optional
        CPU threads of each worker; default here: the cores divided by the workers.
    timeout : str
        How long to wait for a scheduler.

    Raises
    ------
    InputError
        If dask is not installed, or no scheduler answers.
    """
    for library in ("dask", "distributed"):
        needed(library, "a cluster", "large")
    import dask
    from distributed import Client, LocalCluster

    if not where.startswith("local:"):
        try:
            client = Client(where, timeout=timeout)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no dask scheduler answers at {where}; give the address that dask-scheduler "
                "prints, or local:N for workers on this machine"
            ) from error
        with client:
            yield Dask(client)
        return
    number = where.removeprefix("local:")
    if not re.fullmatch("0*[1-9][0-9]{0,2}", number, re.ASCII):
        raise InputError(f'dask is "{shown(where)}"; give local:N with N workers, 1 to 999')
    environment = {
        "MALLOC_TRIM_THRESHOLD_": KEPT,
        "MALLOC_MMAP_THRESHOLD_": KEPT,
        "OMP_NUM_THREADS": str(threads or local_threads(int(number))),
    }
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": environment,
                # a busy machine takes longer to start a worker again than dask's 15 seconds
                "distributed.deploy.lost-worker-timeout": "60 seconds",
            }
        ),
        LocalCluster(
            n_workers=int(number), threads_per_worker=1, processes=True,
            memory_limit=0, dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield Dask(client, keep=lambda: cluster.scale(int(number)))


def local_threads(workers: int) -> int:
    """Return the threads for each of some workers that share this machine."""
    return max(1, (os.cpu_count() or 1) // workers)
