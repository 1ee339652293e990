"""Rows of experiments: known by what decides them, kept when finished, begun when they fit."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from process_helpers import run_python

from paper_unet import TrainConfig
from paper_unet.training.checkpoint import comparable

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@dataclass(frozen=True)
class Job:
    name: str
    stages: tuple[TrainConfig, ...]
    facts: dict[str, Any]
    pixels: int = 0


@pytest.fixture
def row_files(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("row_files")


def job(seed: int = 0, **changes: Any) -> Job:
    config = TrainConfig(width=2, tile=188, steps=3, seed=seed)
    return Job(f"row {seed}", (replace(config, **changes),), {"data": "made up"})


def options(out: Path, minutes: float | None = None, jobs: int = 1) -> argparse.Namespace:
    return argparse.Namespace(out=out, minutes=minutes, jobs=jobs, device="cpu")


def result_of(job: Any) -> dict[str, Any]:
    return {"seed": job.stages[0].seed, "made": time.monotonic_ns()}


def failing(job: Any) -> dict[str, Any]:
    if job.stages[0].seed == 1:
        raise RuntimeError("no more")
    return result_of(job)


def test_a_row_is_known_by_what_decides_its_result(row_files: Any, tmp_path: Path) -> None:
    def path(**changes: Any) -> Path:
        return Path(row_files.path_of(tmp_path, job(**changes)))

    same = [{}, {"device": "cuda"}, {"out": "elsewhere"}, {"channels_last": True}, {"log_every": 1}]
    assert len({path(**changes) for changes in same}) == 1
    other = [{"lr": 1e-2}, {"warmup": 2}, {"precision": "bfloat16"}, {"steps": 4}, {"width": 4}]
    assert len({path(), *(path(**changes) for changes in other)}) == 1 + len(other)
    assert path() != row_files.path_of(tmp_path, replace(job(), facts={"data": "another"}))
    assert re.fullmatch(r"row_0-[0-9a-f]{10}\.json", path().name)


def test_the_second_stage_is_known_without_the_first_ones_folder(
    row_files: Any, tmp_path: Path
) -> None:
    first = job().stages[0]
    last = [replace(first, start=str(tmp_path / name), lr=1e-4) for name in ("a", "b")]
    one, other = (replace(job(), stages=(first, then)) for then in last)
    assert row_files.path_of(tmp_path, one) == row_files.path_of(tmp_path, other)


def test_a_row_is_known_to_versions_that_have_more_settings(row_files: Any, tmp_path: Path) -> None:
    """A setting that came later had its default in the rows of before."""
    row_files.run_rows(result_of, [job(0)], options(tmp_path))
    path = row_files.path_of(tmp_path, job(0))
    row = json.loads(path.read_text())
    for name in ("gap", "w0"):
        del row["settings"]["stages"][0][name]
    path.write_text(json.dumps(row))
    older = path.rename(path.with_name(f"{path.stem[:-10]}0123456789.json"))
    assert row_files.path_of(tmp_path, job(0)) == older
    assert row_files.path_of(tmp_path, job(0, gap=2.0)) not in (older, path)
    assert len(row_files.run_rows(failing, [job(0)], options(tmp_path))) == 1


def test_every_committed_row_is_known_by_its_settings(row_files: Any) -> None:
    """As those of today write them, so that no row that is there is made again."""
    paths = sorted((EXPERIMENTS / "results").glob("*/rows/*.json"))
    assert len(paths) > 40
    for path in paths:
        row = row_files.read(path)
        assert row is not None
        known = row["settings"]
        assert row_files._as_of_today(known) == known
        for stage in known["stages"]:
            assert stage.keys() == comparable(TrainConfig()).keys() - set(row_files.WHERE)
            config = TrainConfig(**{key: value for key, value in stage.items() if key != "start"})
            assert row_files._known(comparable(config), stage["start"]) == stage


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "null", "[]", "7", "{}", "\x00" * 99,
        '{"settings": {}, "result": {}}',
        '{"settings": 3, "result": {}, "seconds": 1, "environment": {}}',
        '{"settings": {}, "result": {}, "seconds": 1, "environment": {}}',
        '{"settings": {"stages": 5}, "result": {}, "seconds": 1, "environment": {}}',
        '{"settings": {"stages": [1]}, "result": {}, "seconds": 1, "environment": {}}',
        '{"settings": {"stages": [{}]}, "result": {}, "seconds": 1, "environment": {}}',
    ],
)  # fmt: skip
def test_what_is_no_row_is_made_again(row_files: Any, tmp_path: Path, content: str) -> None:
    path = row_files.path_of(tmp_path, job(0))
    path.parent.mkdir()
    path.write_text(content)
    assert row_files.read(path) is None
    assert row_files.run_rows(result_of, [job(0)], options(tmp_path))[0]["seed"] == 0
    assert row_files.read(path) is not None


def test_a_row_of_other_settings_under_this_name_is_not_taken(
    row_files: Any, tmp_path: Path
) -> None:
    row_files.run_rows(result_of, [job(0, lr=1e-2)], options(tmp_path))
    path = row_files.path_of(tmp_path, job(0))
    row_files.path_of(tmp_path, job(0, lr=1e-2)).rename(path)
    assert row_files.run_rows(result_of, [job(0)], options(tmp_path))
    assert row_files.read(path)["settings"] == row_files.settings(job(0))


def test_the_weights_of_the_start_are_known_by_their_bytes(row_files: Any, tmp_path: Path) -> None:
    paths = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        paths.append(row_files.path_of(tmp_path, job(start=str(tmp_path / name))))
    assert paths[0] == paths[1] != paths[2]


def test_finished_rows_are_kept_and_the_others_are_made(
    row_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [job(seed) for seed in range(3)]
    assert row_files.run_rows(result_of, every, options(tmp_path, minutes=0)) == []
    said = capsys.readouterr().out
    assert re.findall(r"missing: (row \d)", said) == ["row 0", "row 1", "row 2"]
    assert "3 of 3 rows are missing: the same command goes on" in said
    first = row_files.run_rows(result_of, every[1:2], options(tmp_path))
    rows = row_files.run_rows(result_of, every, options(tmp_path))
    assert [row["seed"] for row in rows] == [0, 1, 2] and rows[1] == first[0]
    assert row_files.run_rows(failing, every, options(tmp_path)) == rows
    assert row_files.run_rows(failing, every, options(tmp_path, minutes=0)) == []
    assert all(re.search(r", \d{4}-\d\d-\d\d$", row["made_on"]) for row in rows)
    kept = json.loads(row_files.path_of(tmp_path, every[0]).read_text())
    assert kept["settings"]["data"] == "made up" and "torch" in kept["environment"]
    assert "missing" not in capsys.readouterr().out


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_row_that_fails_takes_no_other_with_it(row_files: Any, tmp_path: Path, jobs: int) -> None:
    every = [job(seed) for seed in range(2)]
    with pytest.raises(RuntimeError, match="no more"):
        row_files.run_rows(failing, every, options(tmp_path, jobs=jobs))
    assert [path.name[:5] for path in (tmp_path / "rows").iterdir()] == ["row_0"]


@pytest.mark.parametrize("content", ["", '{"settings": {', '{"settings": {}}'])
def test_a_file_that_is_not_whole_is_made_anew(
    row_files: Any, tmp_path: Path, content: str
) -> None:
    path = row_files.path_of(tmp_path, job())
    path.parent.mkdir()
    path.write_text(content)
    assert row_files.run_rows(result_of, [job()], options(tmp_path))[0]["seed"] == 0
    assert json.loads(path.read_text())["result"]["seed"] == 0


def test_no_row_is_begun_that_cannot_end(
    row_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short row is made where a long one before it has no time."""
    monkeypatch.setattr(row_files, "measured", lambda _: (1.0, 0.0))
    monkeypatch.setattr(row_files, "METRICS_SECONDS", 0.0)
    every = [job(0, steps=100), job(1, steps=10), job(2, steps=100)]
    rows = row_files.run_rows(result_of, every, options(tmp_path, minutes=0.5))
    assert [row["seed"] for row in rows] == [1]


def test_what_a_row_took_here_is_what_the_next_will_take(row_files: Any, tmp_path: Path) -> None:
    row_files.run_rows(result_of, [job(0)], options(tmp_path))
    path = row_files.path_of(tmp_path, job(0))
    row = json.loads(path.read_text()) | {"seconds": 1234.5}
    path.write_text(json.dumps(row))
    clock = row_files.Clock(60.0, tmp_path, "cpu")
    assert clock.expected(job(1)) == 1234.5 and clock.allows(1234.5)
    assert not clock.allows(3599.0)
    other = json.loads(json.dumps(row))
    other["environment"]["gpu"] = "another"
    path.write_text(json.dumps(other))
    assert clock.expected(job(1)) < 1000  # measured: a step of a tiny network


def test_a_step_and_a_prediction_are_measured(row_files: Any) -> None:
    step, pixel = row_files.measured(TrainConfig(width=1, tile=188, device="cpu"))
    assert 0 < step < 60 and 0 < pixel < 1e-3


def test_a_long_log_is_kept_in_short(row_files: Any, tmp_path: Path) -> None:
    lines = [{"step": k, "loss": float(k), "lr": 1.0, "seconds": k / 10} for k in range(1, 252)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    short = row_files.short_log(tmp_path)
    assert len(short) == 84 and short[0] == {"step": 3, "loss": 2.0, "lr": 1.0, "seconds": 0.3}
    assert short[-1]["step"] == 251 and short[-1]["loss"] == 250.5
    assert row_files.short_log(tmp_path / "nothing") == []


@pytest.mark.usefixtures("row_files")
def test_what_is_reproduced_stands_in_the_table_of_results() -> None:
    reproduce, summary = (importlib.import_module(name) for name in ("reproduce", "summary"))
    parts = [part for plan in reproduce.PLANS.values() for part in plan]
    assert len(parts) > 10 and {part.results for part in parts} <= summary.ROWS.keys()
    assert all((EXPERIMENTS / f"{part.script}.py").is_file() for part in parts)
    made = {(part.results, part.script, part.options) for part in parts}
    assert len({part.results for part in parts}) == len(made)  # none writes over another


@pytest.mark.slow
def test_reproducing_goes_on_where_it_ended(tmp_path: Path) -> None:
    def call(minutes: float) -> str:
        arguments = ["--quick", "--plan", "cpu", "--only", "table1", "bundled", "--data", "none"]
        folders = ["--out", str(tmp_path / "out"), "--work", "work", "--device", "cpu"]
        script = EXPERIMENTS / "reproduce.py"
        done = run_python(script, *arguments, *folders, "--minutes", str(minutes), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = call(0)
    assert re.findall(r"^missing: (\S+)$", listed, re.MULTILINE) == [
        "bundled", "width4-seed0", "width2-seed0",
    ]  # fmt: skip
    assert "table1: 2 rows are missing" in listed and "bundled: 1 rows are missing" in listed
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    made = call(10)
    assert "table1: complete" in made and "bundled: complete" in made
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows/*.json")}
    assert (
        len(files) == 3 and (tmp_path / "out/bundled_weights/isbi2012-width2.safetensors").exists()
    )
    assert "table1: complete" in call(10)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows/*.json")} == files
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert "table1: complete" in call(0)
    for path, when in written.items():
        assert path.stat().st_mtime_ns == when, path
    metrics = json.loads((tmp_path / "out/table1_isbi2012/metrics.json").read_text())
    assert len(metrics["rows"]) == 2 and "--minutes" not in metrics["command"]
    assert "--out out/table1_isbi2012" in metrics["command"]  # from where it was called
