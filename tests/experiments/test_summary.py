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


def test_a_mean_says_what_is_not_in_it(scripts: Any) -> None:
    """In the table of README.md as in that of all results."""
    headline, summary = scripts("headline"), scripts("summary")
    errors = {name: {"mean": 0.25, "sd": None} for name in headline.ERRORS}
    row = {"network": "w-seed0", "seed": 0, "held_out": {"rotations": dict.fromkeys(errors, 0.25)}}
    row["held_out"]["rotations"] |= {"v_rand": 0.5, "v_info": 0.5}
    of_table1 = {
        "command": "python experiments/table1_isbi2012.py", "config": [{"width": 16}],
        "recipe": "R", "held_out": {"rotations": errors}, "best": "w-seed0", "diverged": 1,
        "paper_test_volume": errors,
        "rows": [row, {"network": "w-seed1", "seed": 1, "diverged": "x"}],
    }  # fmt: skip
    whole = of_table1 | {"diverged": 0, "rows": [row]}
    assert [next(headline.table1(m, "-"))[2] for m in (whole, of_table1)] == [
        "0.250000 (width 16; R)", "0.250000 (width 16; R; 1 collapsed)",
    ]  # fmt: skip
    assert next(summary.table1(of_table1))[2] == "0.250000 (best: w-seed0), 1 collapsed"

    def table2(folds: list[str], diverged: int, seg: float | None = 0.5) -> Any:
        found: dict[str, Any] = {
            "seg": seg,
            "sd_over_seeds": None,
            "seg_argmax": seg,
            "folds": folds,
        }
        found["diverged"] = diverged
        return {
            "command": "python experiments/table2_cell_tracking.py", "rows": [],
            "config": {"S": [{"width": 16}]},
            "summary": {"S": {"paper": 0.9, "recipe": "R", "across": found}},
        }  # fmt: skip

    for folds, diverged, said in (
        (["01", "02"], 0, ""),
        (["01", "02"], 1, "1 collapsed"),
        (["02"], 1, "not all folds, 1 collapsed"),
    ):
        metrics = table2(folds, diverged)
        about = f" ({said})" if said else ""
        shown = f"0.5000 across sequences{about} (width 16; R)"
        assert next(headline.table2(metrics, "-"))[2] == shown
        about = f", {said}" if said else ""
        assert next(summary.table2(metrics))[2] == f"0.5000{about}; by the argmax 0.5000"
    shown = "collapsed across sequences (width 16; R)"
    assert next(headline.table2(table2([], 2, None), "-"))[2] == shown
