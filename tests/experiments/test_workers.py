"""Experiments that are told to stop: in one line, and nothing of them runs on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

SCRIPT = f"""
import sys, time
sys.path.insert(0, {str(EXPERIMENTS)!r})
from pathlib import Path
from paper_unet.system.stop import Stopped, stopping
import entry
from workers import Workers

def at_once(name):
    Path(f"{{name}} begun").touch()
    try:
        while True:
            time.sleep(0.05)
    finally:
        Path(f"{{name}} ended").touch()

def when_asked(name):  # as a training does
    Path(f"{{name}} begun").touch()
    with stopping() as stop:
        while not stop():
            time.sleep(0.05)
        time.sleep(1)  # a second signal would interrupt this
        Path(f"{{name}} ended").touch()
        raise Stopped(stop.signal)

def one_fails(name):
    if name == "b":
        Path("b begun").touch()
        raise ValueError("a row that fails")
    when_asked(name)

def idle(name):
    Path(f"{{name}} begun").touch()

def main():
    how = globals()[sys.argv[1]]
    with Workers(2) as workers:
        running = {{workers.submit(how, name) for name in ("a", "b")}}
        while running:
            running = workers.one_ended(running)
        time.sleep(600)

if __name__ == "__main__":
    entry.run(main)
"""


def begin(folder: Path, how: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start the script; return it and its processes, once both workers have begun."""
    (folder / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", how], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    while not all((folder / f"{name} begun").exists() for name in "ab"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process, psutil.Process(process.pid).children(recursive=True)


def ended(processes: list[psutil.Process], seconds: float = 60) -> bool:
    """Whether all end by themselves."""
    _, alive = psutil.wait_procs(processes, seconds)
    for process in alive:
        process.kill()
    return not alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("how", ["at_once", "when_asked"])
def test_a_signal_to_the_script_stops_its_workers(
    tmp_path: Path, how: str, number: signal.Signals
) -> None:
    process, workers = begin(tmp_path, how)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    left = "rows that are finished are kept, and the same command goes on"
    assert said == f"script: stopped by {number.name}; {left}\n"
    assert all((tmp_path / f"{name} ended").exists() for name in "ab")
    assert ended(workers)


def test_a_signal_while_the_others_of_a_row_that_failed_end(tmp_path: Path) -> None:
    process, workers = begin(tmp_path, "one_fails")
    time.sleep(1)  # the error is there, and waits for the other row
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("ValueError: a row that fails")
    assert (tmp_path / "a ended").exists()
    assert ended(workers)


@pytest.mark.parametrize("how", ["at_once", "when_asked", "idle"])
def test_workers_do_not_outlive_a_script_that_is_killed(tmp_path: Path, how: str) -> None:
    process, workers = begin(tmp_path, how)
    assert len(workers) >= 2
    process.kill()
    assert ended(workers)
    assert all((tmp_path / f"{name} ended").exists() == (how != "idle") for name in "ab")
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
