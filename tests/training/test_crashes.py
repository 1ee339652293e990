"""Crashes survived: a run that was cut goes on to the same bits."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from process_helpers import Child
from train_helpers import bits, interrupted, log_of, result, run, small, train_module, without_time

from paper_unet import TrainConfig, load_model
from paper_unet.networks.weights_file import read_tensors
from paper_unet.system.stop import Stopped
from paper_unet.training.run_folder import CHECKPOINT, LOG, WEIGHTS


@pytest.mark.exact
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"channels_last": True, "network": "release"}, {"optimizer": "adam"},
        {"network": "paper_batch_norm"}, {"network": "same_padding", "tile": 192},
    ],
)  # fmt: skip
def test_a_run_that_was_cut_twice_is_the_run_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole, cut = small(tmp_path / "whole", **changes), small(tmp_path / "cut", **changes)
    run(whole)
    interrupted(cut, 2, monkeypatch)  # before the first checkpoint
    interrupted(cut, 7, monkeypatch, resume=True)
    assert read_tensors(tmp_path / "cut" / CHECKPOINT)[1]["step"] == 4
    interrupted(cut, 12, monkeypatch, resume=True)
    with (tmp_path / "cut" / LOG).open("a") as log:
        log.write('{"step": 13, "lo')  # torn by the crash
    model = run(cut, resume=True)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
    assert bits(tmp_path / "cut" / CHECKPOINT) == bits(tmp_path / "whole" / CHECKPOINT)
    logs = (without_time(log_of(tmp_path / name)) for name in ("cut", "whole"))
    assert next(logs) == next(logs)
    assert not model.training


def test_going_on_with_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run(small(tmp_path))
    before = bits(tmp_path / WEIGHTS), (tmp_path / LOG).read_bytes()
    model = run(small(tmp_path), resume=True)
    assert (bits(tmp_path / WEIGHTS), (tmp_path / LOG).read_bytes()) == before
    again = load_model(tmp_path / WEIGHTS)
    assert torch.equal(model.down0[0].bias, again.down0[0].bias)


CHILD = """
import sys
from pathlib import Path
import torch
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
torch.set_num_threads(int(sys.argv[2]))
from test_crashes import long_run, run
run(long_run(Path(sys.argv[3])), resume=True)
"""


def long_run(out: Path) -> TrainConfig:
    return small(out, steps=120, log_every=3, checkpoint_every=10)


def train_and_kill(out: Path, lines: int) -> None:
    """Train in a process of its own; kill -9 as soon as its log has so many lines."""
    here, threads = str(Path(__file__).parent), str(torch.get_num_threads())
    with Child(CHILD, here, threads, str(out)) as child:
        until = time.monotonic() + 300
        while not (out / LOG).exists() or (out / LOG).read_text().count("\n") < lines:
            assert child.poll() is None, child.error.read_text()  # it ended by itself
            assert time.monotonic() < until, "the child does not train"
            time.sleep(0.01)
        child.kill()
        assert child.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_kill_9_and_resume_is_bit_equal_to_a_run_without(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    run(long_run(whole))
    train_and_kill(killed, 8)
    first = read_tensors(killed / CHECKPOINT)[1]["step"]
    train_and_kill(killed, 22)
    second = read_tensors(killed / CHECKPOINT)[1]["step"]
    assert 0 < first < second < 120
    assert not (killed / WEIGHTS).exists()
    run(long_run(killed), resume=True)
    assert result(killed) == result(whole)
    assert without_time(log_of(killed)) == without_time(log_of(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Ctrl-C, and the batch system that wants its node back: nothing is lost."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(small(whole))
    step = train_module.train_step

    def then_signal(*arguments: Any) -> Any:
        if arguments[1] == 6:
            os.kill(os.getpid(), number)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train_step", then_signal)
        with pytest.raises(Stopped) as caught:
            run(small(stopped))
    assert caught.value.signal == number
    assert read_tensors(stopped / CHECKPOINT)[1]["step"] == 7
    assert not (stopped / WEIGHTS).exists()
    run(small(stopped), resume=True)
    assert result(stopped) == result(whole)


def test_what_a_killed_run_was_writing_is_swept(tmp_path: Path) -> None:
    partial = tmp_path / f".{CHECKPOINT}.0123abcd.partial"
    partial.write_bytes(b"half a checkpoint")
    run(small(tmp_path))
    assert not partial.exists()
