"""Workers end with the process that began them, and what stops them can be told to it."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from paper_unet.system.stop import Stopped

SCRIPT = """
import math, time
from paper_unet.metrics.isbi2012 import _pool
if __name__ == "__main__":
    pool = _pool(2, compiled=False)
    list(pool.map(math.sqrt, range(8)))
    print("ready", flush=True)
    list(pool.map(time.sleep, [0.1, 600]))
"""


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_workers_of_the_metrics_do_not_outlive_a_script_that_is_killed(
    tmp_path: Path, how: str
) -> None:
    """One is at work, the other waits for some."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        getattr(process, how)()
        _, alive = psutil.wait_procs(workers, 60)
        for worker in alive:
            worker.kill()
    assert not alive


def test_a_worker_can_say_that_it_was_stopped() -> None:
    there = pickle.loads(pickle.dumps(Stopped(signal.SIGTERM, "rows are kept")))  # noqa: S301  (our own bytes)
    assert str(there) == "stopped by SIGTERM; rows are kept"
    assert there.signal == signal.SIGTERM
