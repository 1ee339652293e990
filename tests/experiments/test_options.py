"""What the options of the experiments mean together: with one another, and with --quick."""

from __future__ import annotations

import importlib
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
