"""A training that is killed before any call that changes a file, or loses the power there."""

import os
from pathlib import Path

import pytest
from crash_helpers import crashed

CODE = """
import sys
sys.path.insert(0, os.getcwd())
from train_helpers import log_of, result, run, small, without_time

def config(folder):
    return small(folder / "run", width=1, steps=5, log_every=1, checkpoint_every=2)

def begin(folder):
    run(config(folder))

def go_on(folder):
    there = (folder / "run" / "checkpoint.safetensors").exists()
    assert there or not (folder / "run" / "weights.safetensors").exists()
    run(config(folder), resume=True)

def outcome(folder):
    if not (folder / "run" / "weights.safetensors").exists():
        return None
    tensors, about = result(folder / "run")
    return tensors, about, without_time(log_of(folder / "run")), sorted(os.listdir(folder / "run"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs fork and /proc")
@pytest.mark.parametrize("losses", ["none", os.environ.get("PAPER_UNET_LOSSES", "one")])
def test_the_run_goes_on_to_the_same_weights(tmp_path: Path, losses: str) -> None:
    (tmp_path / "made").mkdir()
    calls, done = crashed(CODE, tmp_path, losses, cwd=Path(__file__).parent)
    assert {"write", "fsync", "mkdir"} <= set(calls)
    assert {"replace", "link"} & set(calls)
    assert len(calls) > 30
    assert done >= len(calls)
