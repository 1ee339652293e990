"""Ctrl-C is Ctrl-C: never damage, never a traceback, and never lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from paper_unet.errors import InputError
from paper_unet.model import UNet
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.networks.weights_file import load_model, read_network, save_model
from paper_unet.system.stop import interrupts_noted, interrupts_wait


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_model(path, UNet(width=1))
    return path


def steps_of(work: Callable[[], object], at: int) -> tuple[int, str]:
    """Press Ctrl-C at a step of some work, a call or a return; how many there are, and the end."""
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += 1
        if count == at:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    try:
        try:
            sys.setprofile(step)
            work()
        finally:
            sys.setprofile(None)  # which may be where the key is pressed
    except KeyboardInterrupt:
        return count, "interrupted"
    except InputError as error:
        return count, str(error)
    return count, "done"


@pytest.mark.parametrize("load", [load_model, read_tensors, read_network])
def test_sound_weights_are_never_called_damaged(
    weights: Path, load: Callable[[Path], object]
) -> None:
    """Ctrl-C at every step that a library takes, and at many others."""
    load(weights)
    total, end = steps_of(lambda: load(weights), -1)
    assert end == "done"
    reached = [
        end
        for at in range(1, total - 5, max(1, total // 60))  # the last steps are the test's own
        for count, end in [steps_of(lambda: load(weights), at)]
        if count == at
    ]
    assert len(reached) > 20 and set(reached) == {"interrupted"}


def test_what_a_library_makes_of_an_interrupt(weights: Path) -> None:
    """So that the test above can fail: what it reads in is what swallows the interrupt."""
    from safetensors import safe_open

    def bare() -> None:
        try:
            with safe_open(weights, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        except ValueError as error:
            raise InputError("damaged") from error

    total, _ = steps_of(bare, -1)
    ends = {steps_of(bare, at)[1] for at in range(1, total - 5)}
    assert ends >= {"damaged", "interrupted"}


def test_an_interrupt_that_waits_comes_in_place_of_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("what a library made of it")
    with interrupts_wait():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_there_is_nothing_to_wait_for() -> None:
    found: list[object] = []

    def work() -> None:
        with interrupts_wait(), interrupts_noted() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_an_interrupt_that_is_dropped_comes_again() -> None:
    """In a ``__del__`` Python prints a traceback, and goes on."""

    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupts_noted() as interrupted:
        Dropping()
        assert interrupted()
        threading.Event().wait(10)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


COMMAND = """
import os, signal, sys
from paper_unet.__main__ import run
left = int(sys.argv.pop(1))
def count(event, about):
    global left
    if event == "import":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(count)
run()
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing there")
@pytest.mark.parametrize("imports", [1, 5, 20, 60, 150, 400, 900])
def test_ctrl_c_at_an_import_is_one_line(tmp_path: Path, imports: int) -> None:
    """While options are parsed, and while NumPy and PyTorch are loaded."""
    command = [sys.executable, "-c", COMMAND, str(imports), "predict", "in.tif", "-o", "out.tif"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 130, run.stderr
    assert run.stderr.startswith("paper-unet: interrupted") and run.stderr.count("\n") == 1


def test_an_error_after_an_interrupt_is_the_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a library made of it."""
    from paper_unet.cli import data, main

    def run(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise InputError("a.tif: damaged") from None

    monkeypatch.setattr(data, "_size", run)
    assert main(["size", "512"]) == 130
    assert capsys.readouterr().err == "paper-unet: interrupted (a training goes on with --resume)\n"
