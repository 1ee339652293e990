"""What the table of all results and the one of README.md say of rows that repeat or are lost."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


def test_a_training_counts_once_and_so_does_another_that_took_as_long(scripts: Any) -> None:
    summary = scripts("summary")
    assert summary.AVERAGES == scripts("ablation").AVERAGES
    rows = [{"network": f"w-seed{k}", "seed": k, "training_seconds": 270.0} for k in range(3)]
    assert summary.spent({"rows": rows, "wall_seconds": 300.0}) == "14 min of training"
    rows = [
        {"choice": choice, "seed": seed, "training_seconds": 120.0}
        for choice in ("Adam", "Adam, flips", "Adam, rotations", "no drop-out") for seed in (0, 1)
    ]  # fmt: skip
    found = {"base": "Adam", "rows": [*rows, {"choice": "same padding", "diverged": "why"}]}
    assert summary.spent(found | {"wall_seconds": 60.0}) == "8 min of training"
    assert summary.spent(found | {"wall_seconds": 600.0}) == "10 min"
    alone = {"training_seconds": 6000.0, "wall_seconds": 120.0}  # trained before it was called
    assert summary.spent(alone) == "100 min of training"
