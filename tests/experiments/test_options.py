"""What the options of the experiments mean together: with one another, and with --quick."""

from __future__ import annotations

import importlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


class JobsError(Exception):
    """Holds the jobs of a script, in place of their rows."""


@pytest.fixture
def jobs_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the jobs that a script makes of its options."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.chdir(tmp_path)

    def jobs(_: Any, every: Any, __: Any) -> None:
        raise JobsError(list(every))

    for name in ("run_rows", "run_jobs"):
        monkeypatch.setattr(importlib.import_module("row_files"), name, jobs)

    def called(script: str, *words: str) -> list[Any]:
        data = () if "--data" in words else ("--data", "none")
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *words, *data, "--device", "cpu"])
        with pytest.raises(JobsError) as found:
            importlib.import_module(script).main()
        return list(found.value.args[0])

    return called


@pytest.mark.parametrize(
    ("words", "base", "not_there"),
    [
        ("--optimizer adam", "Adam", "gradient descent, Adam"),
        ("--network paper_batch_norm", "batch normalisation", "same padding"),
        ("--network paper_batch_norm --optimizer adam", "batch normalisation, Adam", "Adam"),
    ],
)
def test_what_choices_are_taken_away_from_may_have_the_name_of_one(
    jobs_of: Any, words: str, base: str, not_there: str
) -> None:
    found = jobs_of("ablation", "--quick", "--sets", "ISBI 2012", *words.split())
    names = [job.choice for job in found]
    assert names[0] == base and names.count(base) == 1 and not_there not in names
    assert [job.is_base for job in found] == [True] + [False] * (len(found) - 1)
    assert len({job.stages[0].out for job in found}) == len(found)
    settings = [replace(job.stages[0], out="") for job in found]
    assert settings[0] not in settings[1:]


@pytest.mark.parametrize(
    ("words", "of_base", "of_choice"),
    [
        ("--optimizer adam --adam-lr 5e-4", 5e-4, 5e-4),
        ("--optimizer adam --lr 5e-4", 5e-4, 5e-4),
        ("--optimizer adam", 1e-3, 1e-3),
        ("--adam-lr 5e-4", None, 5e-4),
        ("--lr 2e-3", 2e-3, 1e-3),
        ("--optimizer rmsprop --lr 2e-3 --adam-lr 5e-4", 2e-3, 5e-4),
    ],
)
@pytest.mark.parametrize("on", ["ISBI 2012", "DIC-C2DH-HeLa"])
def test_the_rate_of_adam_is_that_of_every_run_with_adam(
    jobs_of: Any, words: str, of_base: float | None, of_choice: float, on: str
) -> None:
    found = jobs_of("ablation", "--quick", "--sets", on, "--seeds", "1", *words.split())
    base, *others = (job.stages[0] for job in found)
    assert base.rate == of_base or (of_base is None and base.optimizer == "sgd")
    assert {run.rate for run in others if run.optimizer == "adam"} == {of_choice}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("table1_isbi2012", ["bundled", "width4-seed0"]),
        ("table1_isbi2012 --weights isbi2012 --seeds 0", ["isbi2012"]),
        ("table1_isbi2012 --seed 3 --wid 3 --seeds 2", ["bundled", "width3-seed3", "width3-seed4"]),
        (
            "table2_cell_tracking --sets PhC-C2DH-U373 --protocols forward",
            ["PhC-C2DH-U373-forward-seed0"],
        ),
        (
            "learning_curve --counts 2 --seeds 2",
            ["2-sections-augmented-seed0", "2-sections-no_augmentation-seed0",
             "2-sections-augmented-seed1", "2-sections-no_augmentation-seed1"],
        ),
        (
            "learning_rate --sets PhC-C2DH-U373 --rates 1e-4 --warmups 100",
            ["PhC-C2DH-U373-lr0.0001-warmup100-centre0.5-seed0"],
        ),
        ("cells_study --choices base --sets PhC-C2DH-U373 --seed 1", [
            "PhC-C2DH-U373-01-base-seed1", "PhC-C2DH-U373-02-base-seed1",
        ]),
        ("variants --networks keras --recipes own --seeds 1 --seed 2", ["keras-own-seed2"]),
    ],
)  # fmt: skip
def test_what_is_given_holds_in_a_quick_run(jobs_of: Any, words: str, names: list[str]) -> None:
    script, *given = words.split()
    for command in (["--quick", *given], [*given, "--quick"]):
        assert [job.name for job in jobs_of(script, *command)] == names


@pytest.mark.parametrize(
    "script",
    ["table1_isbi2012", "table2_cell_tracking", "ablation", "learning_curve", "learning_rate",
     "cells_study", "variants", "bundled_weights"],
)  # fmt: skip
def test_sizes_that_are_given_hold_in_a_quick_run(jobs_of: Any, script: str) -> None:
    steps = ["--steps", "7"] + (["--cell-steps", "7"] if script == "ablation" else [])
    found = jobs_of(script, "--quick", "--width", "3", "--tile", "236", *steps)
    runs = [job.stages[0] for job in found if job.stages]
    assert {run.width for run in runs} == {3}
    assert all(220 < run.input_side <= 240 for run in runs)
    if script != "variants":  # other networks take as long in other steps
        assert 7 in {run.steps for run in runs} and len({run.steps for run in runs}) <= 3


def test_all_parts_are_tiny_in_a_quick_run(jobs_of: Any) -> None:
    reproduce = importlib.import_module("reproduce")
    parts = [part for plan in reproduce.PLANS.values() for part in plan]
    for script, given in dict.fromkeys((part.script, part.options) for part in parts):
        words = reproduce.quickly(shlex.split(given))
        runs = [stage for job in jobs_of(script, *words) for stage in job.stages]
        assert all(run.width <= 4 and run.steps <= 20 and run.input_side <= 256 for run in runs)
        assert {run.seed for run in runs} == {0}
    assert reproduce.quickly(["--steps", "9", "--finish", "9", "--x"])[:-1] == [
        "--finish", "9", "--x", "--finish", "4",
    ]  # fmt: skip
