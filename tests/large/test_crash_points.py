"""Killed before every single call that changes a file, or the power lost there: equal bytes."""

import os
from pathlib import Path

import pytest
import torch
from crash_helpers import crashed
from large_helpers import sections
from network_helpers import Dummy

from paper_unet.networks.weights_file import save_model

CODE = """
import sys
sys.path.insert(0, str(Path.cwd().parent))
from paper_unet.networks.table import NETWORKS
NETWORKS["dummy"] = "network_helpers:Dummy"
from itertools import count
from types import SimpleNamespace
from large_helpers import content, settings
from paper_unet.large import estimate, executor, lines, predict_file, worker
from paper_unet.large.report import Report
import ome_zarr_models.v05.image, zarr
import h5py, paper_unet.images.outputs.tiff, paper_unet.images.outputs.zarr
from paper_unet.images.outputs import level_files, precomputed

# the same calls each time
zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
worker.WRITERS = executor.WRITERS = level_files.SYNCED = 1
clock = count(step=lines.SECONDS * 0.6)  # of two records the first waits, whatever the time
lines.time = SimpleNamespace(monotonic=clock.__next__)
estimate.matrix_rate = lambda prediction: 1e9  # measures for a moment otherwise

def begin(folder):
    predict_file(settings(folder, NAME))

def go_on(folder):
    # where all is done and the name is taken, the rest is swept when it is made anew
    said, there = [], (folder / NAME).exists()
    report = Report(said.append)
    predict_file(settings(folder, NAME), overwrite=there, verify=True, report=report)
    # what was recorded was on disk: nothing had to be put right
    assert not [line for line in said if "computed again" in line], said

def outcome(folder):
    return content(folder / NAME) if (folder / NAME).exists() else None
"""
SHAPES = {
    "out.tif": (2, 140, 30),
    "out.h5": (2, 140, 30),
    "out.zarr": (2, 20, 530),
    "tall.zarr": (1, 520, 20),
    "out.precomputed": (2, 20, 530),
}
"""Of the tall one, two pieces make one chunk of the pyramid."""
DEEP = {"out.tif"}
"""Where the network is the paper's; elsewhere one that computes for a moment."""
LOSSES = os.environ.get("PAPER_UNET_LOSSES", "one")
"""``all``: three losses at every call; otherwise one of them in turn."""


def every_point(folder: Path, name: str, losses: str) -> tuple[list[str], int]:
    made = folder / "made"
    made.mkdir()
    if name in DEEP:
        (folder / "net.safetensors").rename(made / "net.safetensors")
    else:
        torch.manual_seed(1)
        save_model(made / "net.safetensors", Dummy(width=2))
    sections(made / "in.tif", SHAPES[name])
    return crashed(f"NAME = {name!r}\n{CODE}", folder, losses, cwd=Path(__file__).parent)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", SHAPES)
def test_killed_before_every_call_and_half_way_through_every_write(folder: Path, name: str) -> None:
    calls, done = every_point(folder, name, "none")
    assert {"write", "fsync", "ftruncate", "unlink"} <= set(calls)
    assert {"link", "pwrite" if name in ("out.tif", "out.h5") else "mkdir"} <= set(calls)
    assert len(calls) > 30
    assert done > len(calls) + 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs fork and /proc")
@pytest.mark.parametrize("name", SHAPES)
def test_the_power_is_lost_before_every_call(folder: Path, name: str) -> None:
    calls, done = every_point(folder, name, LOSSES)
    assert calls.count("fsync") > 10
    assert done == len(calls) * (3 if LOSSES == "all" else 1)
