"""The experiment scripts run from end to end at small size, on made-up sections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def run_quickly(name: str, tmp_path: Path) -> dict[str, object]:
    """Run a script as a user does and return its metrics."""
    arguments = ["--quick", "--device", "cpu", "--data", "none", "--out", "out", "--work", "work"]
    subprocess.run(
        [sys.executable, "-W", "error", EXPERIMENTS / f"{name}.py", *arguments],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    metrics: dict[str, object] = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["source"] == "synthetic"
    assert {"date", "torch", "cpu"} <= set(metrics["environment"])
    return metrics


@pytest.mark.slow
def test_learning_rate(tmp_path: Path) -> None:
    rows = run_quickly("learning_rate", tmp_path)["rows"]
    assert {(row["lr"], row["centre"]) for row in rows} == {
        (lr, centre) for lr in (1e-3, 1e-2) for centre in (0.0, 0.5)
    }
    assert (tmp_path / "out" / "learning_rate.png").stat().st_size > 10_000


@pytest.mark.slow
def test_bundled_weights(tmp_path: Path) -> None:
    from paper_unet import load_model

    metrics = run_quickly("bundled_weights", tmp_path)
    record = load_model(tmp_path / "out" / "isbi2012.safetensors").record
    assert record["held_out_24_29"] == metrics["scores"]
    assert set(metrics["scores"]) == {"none", "flips", "rotations"}
