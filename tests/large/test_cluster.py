"""On dask workers: the bytes of one machine, whoever dies meanwhile."""

import os
import random
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import tifffile
import torch
from large_helpers import NAMES, Counted, Crashing, Fails, content, sections, settings

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.large import predict_file
from paper_unet.large.cluster import AHEAD, Dask, connect, local_threads, own_card
from paper_unet.large.pieces import Done

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    # what a killed worker leaves behind
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Dask]:
    with connect("local:2", threads=1) as dask:
        yield dask


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_one_machine(folder: Path, cluster: Dask, name: str) -> None:
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    predict_file(settings(folder, name), executor=cluster)
    assert content(folder / name) == expected
    assert not (folder / f"{name}.journal").exists()


def test_begun_on_one_machine_and_finished_on_a_cluster(folder: Path, cluster: Dask) -> None:
    expected = content(predict_file(settings(folder, "whole.tif")))
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Crashing(pieces=2))
    predict_file(settings(folder), executor=cluster)
    assert content(folder / "out.tif") == expected


def test_begun_on_a_cluster_and_finished_on_one_machine(folder: Path, cluster: Dask) -> None:
    class Stopping(Dask):
        def pieces(self, *args: object) -> Iterator[Done]:
            for count, done in enumerate(super().pieces(*args)):  # type: ignore[arg-type]
                if count == 3:
                    raise Fails
                yield done

    expected = content(predict_file(settings(folder, "whole.tif")))
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Stopping(cluster.client))
    rest = Crashing()
    predict_file(settings(folder), executor=rest)
    assert 0 < len(rest.done) < 9
    assert content(folder / "out.tif") == expected


def test_few_runs_are_taken_at_a_time(folder: Path, cluster: Dask) -> None:
    ahead: list[int] = []

    class Counting(Dask):
        def pieces(self, prediction: Any, runs: Any, stop: Any) -> Iterator[Done]:
            counted = Counted(runs)
            for count, done in enumerate(super().pieces(prediction, counted, stop), 1):
                ahead.append(counted.taken - count)
                yield done

    sections(folder / "in.tif", (40, 40, 40))
    predict_file(settings(folder), executor=Counting(cluster.client))
    assert len(ahead) == 40
    assert max(ahead) <= AHEAD * 2


def test_one_network_for_each_worker(folder: Path, cluster: Dask) -> None:
    sections(folder / "in.tif", (8, 200, 200))
    tokens: list[object] = []

    class Watching(Dask):
        def pieces(self, *args: object) -> Iterator[Done]:
            yield from super().pieces(*args)  # type: ignore[arg-type]
            tokens.extend(self.client.run(_loaded_network).values())

    predict_file(settings(folder), executor=Watching(cluster.client))
    token, loads = zip(*tokens, strict=True)  # type: ignore[call-overload]
    assert len(set(token)) == 1
    assert all(count <= 1 for count in loads)


def _loaded_network() -> tuple[str | None, int]:
    import gc

    from paper_unet.inference.layers import Layers
    from paper_unet.large import cluster

    alive = sum(isinstance(thing, Layers) for thing in gc.get_objects())
    return (cluster._worker[0] if cluster._worker else None), alive


def test_an_error_of_the_input_comes_back_as_one_line(folder: Path, cluster: Dask) -> None:
    import numpy as np

    stack = np.random.default_rng(0).random((4, 150, 90), dtype=np.float32)
    stack[3, 100, 5] = np.nan
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="section 3: 1 of 13500 pixels are NaN"):
        predict_file(settings(folder), executor=cluster)
    assert not (folder / "out.tif").exists()


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Workers are forked from a process that has imported what they need: many are started."""
    dask_config = pytest.importorskip("dask").config
    forkserver.set_forkserver_preload(["distributed", "paper_unet.large.cluster", "paper_unet"])
    forkserver.ensure_running()
    with dask_config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


KILLS = int(os.environ.get("PAPER_UNET_KILLS", "3"))


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("name", NAMES)
def test_killed_workers(folder: Path, name: str) -> None:
    """kill -9 of workers at random moments: others, or their successors, do the rest."""
    sections(folder / "in.tif", (24, 520, 520))
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    kills: list[int] = []
    journal = folder / f"{name}.journal"
    with connect("local:2", threads=1) as cluster:
        done = threading.Event()

        def kill() -> None:
            chance, seen = random.Random(0), 0
            while len(kills) < KILLS and not done.wait(chance.uniform(0, 0.5)):
                progress = len(journal.read_bytes()) if journal.exists() else 0
                if progress <= seen:  # some piece is done between two kills, or it takes for ever
                    continue
                pids = list(cluster.client.run(os.getpid, on_error="ignore").values())
                if pids:
                    os.kill(chance.choice(pids), signal.SIGKILL)
                    kills.append(pids[0])
                    seen = progress

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            while not (folder / name).exists():
                # a piece that takes down four workers is given up; the same command goes on
                with suppress(ChildProcessError):
                    predict_file(settings(folder, name), executor=cluster)
                if not kills and (folder / name).exists():  # it was faster: begin again
                    path = folder / name
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            done.set()
            killer.join()
    assert kills
    assert content(folder / name) == expected


@pytest.mark.usefixtures("forked_workers")
def test_workers_that_are_gone_for_good_are_started_again(folder: Path) -> None:
    """On a busy machine dask gives up a worker that takes too long to come back."""
    expected = content(predict_file(settings(folder, "whole.tif")))
    with connect("local:1", threads=1) as dask:
        dask_config = pytest.importorskip("dask").config
        dask_config.set({"distributed.deploy.lost-worker-timeout": "10 ms"})
        (pid,) = dask.client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while dask.client.cluster.workers:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        predict_file(settings(folder), executor=dask)
    assert content(folder / "out.tif") == expected


def test_a_scheduler_that_is_gone_is_one_line(
    folder: Path, cluster: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise distributed.client.FuturesCancelledError([])

    monkeypatch.setattr(distributed, "wait", gone)
    with pytest.raises(ConnectionError, match="start a scheduler and run the same command again"):
        predict_file(settings(folder), executor=cluster)


def test_workers_that_do_not_come_are_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[int] = []

    class Client:
        def wait_for_workers(self, number: int, timeout: float) -> None:
            if len(kept) < 12:
                raise TimeoutError

        def run(self, *_: object, **__: object) -> dict[str, int]:
            return {"worker": 3}

    dask = Dask(Client(), keep=lambda: kept.append(0))  # type: ignore[arg-type]
    assert dask.threads() == 3
    assert [record.getMessage()[:28] for record in caplog.records] == [
        "no dask worker has come yet;"
    ]


def _threads() -> int:
    return torch.get_num_threads()


def test_the_allocator_and_the_threads_are_put_right(folder: Path, cluster: Dask) -> None:
    """Dask's nanny sets MALLOC_TRIM_THRESHOLD_=65536, which halves the speed of convolutions."""
    for environment in cluster.client.run(lambda: dict(os.environ)).values():
        assert environment["MALLOC_TRIM_THRESHOLD_"] == "268435456"
        assert environment["MALLOC_MMAP_THRESHOLD_"] == "268435456"
    predict_file(settings(folder), executor=cluster)
    assert set(cluster.client.run(_threads).values()) <= {1, torch.get_num_threads()}
    assert 1 in cluster.client.run(_threads).values()
    assert local_threads(1) == os.cpu_count()
    assert local_threads(10**6) == 1


def test_the_command_line_on_a_local_cluster(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "predict", str(folder / "in.tif"), "--weights", str(folder / "net.safetensors"),
        "--threads", "1", "-o",
    ]  # fmt: skip
    assert main([*arguments, str(folder / "one.zarr")]) == 0
    assert main([*arguments, str(folder / "two.zarr"), "--dask", "local:1"]) == 0
    assert content(folder / "one.zarr") == content(folder / "two.zarr")
    assert "memory: about" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "reason"),
    [("local:none", "local:N"), ("tcp://127.0.0.1:9", "no dask scheduler answers")],
)
def test_an_address_without_a_scheduler(where: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason), connect(where, 1, timeout="2s"):
        pass


SBATCH = """#!{python}
# Stands for SLURM's sbatch: runs the job script in the background and prints a job number.
import subprocess, sys, pathlib
script = pathlib.Path(sys.argv[-1])
here = pathlib.Path(__file__).parent
copy = here / "job.sh"
copy.write_text(script.read_text())
(here / "jobs").open("a").write(copy.read_text())
subprocess.Popen(["bash", str(copy)], stdout=(here / "log").open("a"), stderr=subprocess.STDOUT,
                 start_new_session=True)
print("Submitted batch job 17")
"""


def test_slurm_through_dask_jobqueue(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The how-to of docs/large_stacks.md, with programs that stand for sbatch and scancel."""
    before = signal.getsignal(signal.SIGINT)
    jobqueue = pytest.importorskip("dask_jobqueue")
    signal.signal(signal.SIGINT, before)  # which it takes for itself when it is imported
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("sbatch", SBATCH.format(python=sys.executable)),
        ("scancel", "#!/bin/sh\n"),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    expected = content(predict_file(settings(folder, "whole.zarr")))
    cluster = jobqueue.SLURMCluster(
        cores=1, processes=1, job_cpu=1, memory="2GB", walltime="00:10:00",
        interface="lo", log_directory=str(tmp_path),
        scheduler_options={"dashboard_address": ":0"},
    )  # fmt: skip
    with cluster:
        cluster.scale(jobs=1)
        with distributed.Client(cluster) as client:
            client.wait_for_workers(1, timeout=60)
            predict_file(settings(folder, "out.zarr"), executor=Dask(client))
    jobs = (programs / "jobs").read_text()
    assert "--cpus-per-task=1" in jobs or "-c 1" in jobs or "cpus" in jobs
    assert "distributed" in jobs
    assert content(folder / "out.zarr") == expected
    time.sleep(0.5)  # the worker ends with its scheduler


@pytest.mark.parametrize(
    ("device", "number", "cards", "own"),
    [
        ("cuda", 0, 4, "cuda:0"), ("cuda", 5, 4, "cuda:1"), ("cuda:2", 5, 4, "cuda:2"),
        ("cuda", 3, 1, "cuda"), ("cuda", None, 4, "cuda"), ("cpu", 3, 4, "cpu"),
    ],
)  # fmt: skip
def test_worker_k_takes_card_k(
    device: str, number: int | None, cards: int, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: cards)
    assert own_card(device, number) == own
