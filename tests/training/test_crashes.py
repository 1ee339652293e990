"""Crashes survived: a run that was cut goes on to the same bits."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from process_helpers import run_python
from train_helpers import bits, interrupted, log_of, result, run, small, train_module, without_time

from paper_unet import TrainConfig, load_model
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.system.stop import Stopped
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
from paper_unet.training.log import LOG


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


KILLS = os.environ.get("PAPER_UNET_KILLS", "20")
KILLING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
torch.set_num_threads(int(sys.argv[2]))
from test_crashes import long_run, run
out, kills, span = Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
chance, done = random.Random(0), 0
while done < kills:
    child = os.fork()
    if not child:
        run(long_run(out), resume=True)
        os._exit(0)
    time.sleep(chance.uniform(0.02, span))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    done += os.WIFSIGNALED(status)
    if (out / "weights.safetensors").exists():  # it was faster: begin again
        for path in out.iterdir():
            path.unlink()
print(done)
"""


def long_run(out: Path) -> TrainConfig:
    return small(out, steps=120, log_every=3, checkpoint_every=10)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_and_resume_is_bit_equal_to_a_run_without(tmp_path: Path) -> None:
    """At random moments of one run, each time gone on with."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    start = time.perf_counter()
    run(long_run(whole))
    span = (time.perf_counter() - start) / 4
    arguments = str(Path(__file__).parent), str(torch.get_num_threads()), str(killed)
    process = run_python(KILLING, *arguments, KILLS, str(span))
    assert process.returncode == 0, process.stderr
    assert process.stdout.split()[-1] == KILLS
    run(long_run(killed), resume=True)
    assert result(killed) == result(whole)
    assert bits(killed / CHECKPOINT) == bits(whole / CHECKPOINT)
    assert without_time(log_of(killed)) == without_time(log_of(whole))
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


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


KILLED_WHILE_WRITING = """
import os, signal, sys
from train_helpers import run, small
from paper_unet.system import files
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
write = files._write_beside
def then_die(partial, data, final):
    write(partial, data, final)
    if "checkpoint" in partial.name:
        die()
    return partial
files._write_beside = then_die
run(small(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_what_a_killed_run_was_writing_is_swept_and_nothing_else(tmp_path: Path) -> None:
    """What was being written has the token of the folder's lock in its name."""
    killed = run_python(KILLED_WHILE_WRITING, str(tmp_path), cwd=Path(__file__).parent)
    assert killed.returncode == -9, killed.stderr
    (left,) = tmp_path.glob(".*.partial")
    assert left.name.startswith(f".{CHECKPOINT}.")
    mine = {f".{CHECKPOINT}.0123abcd.partial", ".thesis.partial", f".{LOG}.{'0' * 32}.partial"}
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    run(small(tmp_path), resume=True)
    assert {path.name for path in tmp_path.glob(".*.partial")} == mine
    assert all((tmp_path / name).read_bytes() == b"mine" for name in mine)
