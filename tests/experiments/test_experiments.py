"""The experiment scripts run from end to end at small size, on made-up sections."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from process_helpers import run_python

from paper_unet import TrainConfig, UNet, train
from paper_unet.errors import InputError
from paper_unet.networks.one_choice import SamePaddingUNet
from paper_unet.networks.weights_file import load_model
from paper_unet.training.data import training_set

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def run_quickly(name: str, tmp_path: Path, *more: str) -> dict[str, Any]:
    """Run a script as a user does and return its metrics."""
    arguments = ["--quick", "--device", "cpu", "--data", "none", "--out", "out", "--work", "work"]
    arguments += more
    done = run_python(EXPERIMENTS / f"{name}.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics: dict[str, Any] = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["source"] == "synthetic"
    assert {"date", "torch", "cpu"} <= set(metrics["environment"])
    return metrics


@pytest.mark.slow
def test_learning_rate(tmp_path: Path) -> None:
    rows = run_quickly("learning_rate", tmp_path)["rows"]
    assert {(row["on"], row["lr"], row["warmup"], row["centre"]) for row in rows} == {
        (on, lr, 2, 0.5) for on in ("ISBI 2012", "DIC-C2DH-HeLa") for lr in (1e-3, 1e-2)
    }
    assert all(0 < row["losses"]["1"] < 2 for row in rows)
    assert (tmp_path / "out" / "learning_rate.png").stat().st_size > 10_000


@pytest.mark.slow
def test_bundled_weights(tmp_path: Path) -> None:
    from paper_unet import load_model

    metrics = run_quickly("bundled_weights", tmp_path)
    record = load_model(tmp_path / "out" / "isbi2012-width2.safetensors").record
    assert record["held_out_24_29"] == metrics["scores"]
    assert set(metrics["scores"]) == {"none", "flips", "rotations"}


@pytest.mark.slow
def test_table1(tmp_path: Path) -> None:
    metrics = run_quickly("table1_isbi2012", tmp_path)
    assert [row["network"] for row in metrics["rows"]] == ["bundled", "width4-seed0"]
    for row in metrics["rows"]:
        assert set(row["held_out"]) == {"none", "flips", "rotations"}
        assert all(0 <= row["held_out"][a]["v_rand"] <= 1 for a in row["held_out"])
    trained = metrics["rows"][1]["held_out"]["rotations"]["v_info"]
    assert metrics["held_out"]["rotations"]["v_info"] == {"mean": trained, "sd": None}
    assert metrics["best"] == "bundled"  # ten steps are no match
    submission = tifffile.imread(tmp_path / "work" / "test-volume-probability.tif")
    assert submission.shape == (2, 64, 64) and submission.dtype == np.float32
    assert 0 <= submission.min() < submission.max() <= 1
    left_behind(tmp_path, "table1_isbi2012")


@pytest.mark.slow
def test_table2(tmp_path: Path) -> None:
    metrics = run_quickly("table2_cell_tracking", tmp_path)
    folds = [(row["protocol"], row["trained_on"]) for row in metrics["rows"]]
    assert folds == [("across", "01"), ("across", "02"), ("forward", "forward")]
    scored = [row["seg"]["scored"]["grown"] for row in metrics["rows"]]
    found = metrics["summary"]["DIC-C2DH-HeLa"]
    assert found["across"]["seg"] == pytest.approx(sum(scored[:2]) / 2)
    assert found["forward"]["seg"] == scored[2]
    assert all(row["scored"]["objects"] > 10 for row in metrics["rows"])
    for row in metrics["rows"]:  # chosen by what is held out
        assert row["seg"]["held_out"]["grown"] >= max(row["held_out_grid"].values()) - 0.02
    left_behind(tmp_path, "table2_cell_tracking")


@pytest.mark.slow
def test_cells_study(tmp_path: Path) -> None:
    metrics = run_quickly("cells_study", tmp_path)
    assert [line["choice"] for line in metrics["table"]] == ["base", "gap 3"]
    for row in metrics["rows"]:
        assert len(row["curves"]["scored"]) == len(row["curves"]["held_out"]) > 5
        assert ("not_given_back" in row) == (row["choice"] == "gap 3")
    for sequences in metrics["sequences"].values():
        assert all(one["cells"] > 10 and one["touching_pairs"] == 0 for one in sequences.values())
    left_behind(tmp_path, "cells_study")


@pytest.mark.slow
def test_ablation(tmp_path: Path) -> None:
    metrics = run_quickly("ablation", tmp_path)
    choices = {line["choice"] for line in metrics["table"]}
    assert len(choices) == 13 and {"Adam", "the paper's recipe, rotations"} <= choices
    for line in metrics["table"]:
        assert line["seeds"] == 1 and line["diverged"] == 0
        if line["choice"] == "the paper's recipe":
            names = [name for name in line if name.endswith("_against_base")]
            assert names and all(line[name] == {"mean": 0.0, "sd": None} for name in names)
    left_behind(tmp_path, "ablation")
    some = run_quickly("ablation", tmp_path, "--choices", "Adam")["table"]  # of the same rows
    kept = ("the paper's recipe", "Adam")
    assert some == [line for line in metrics["table"] if line["choice"].split(",")[0] in kept]


@pytest.mark.slow
def test_learning_curve(tmp_path: Path) -> None:
    rows = run_quickly("learning_curve", tmp_path)["rows"]
    assert [row["sections"] for row in rows] == [1, 1, 24, 24]
    assert [len(row["numbers"]) for row in rows] == [1, 1, 24, 24]
    left_behind(tmp_path, "learning_curve")


def left_behind(tmp_path: Path, name: str) -> None:
    """Everything that a reader of the results needs."""
    out = tmp_path / "out"
    assert (out / f"{name}.png").stat().st_size > 10_000
    assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "log.txt").stat().st_size > 0
    assert json.loads((out / "config.json").read_text())["quick"] is True
    assert "torch" in json.loads((out / "environment.json").read_text())


def import_experiment(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module(name)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 24])
def test_sections_are_spread_evenly(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = import_experiment("learning_curve", monkeypatch).chosen(count)
    assert len(set(chosen)) == count and min(chosen) >= 0 and max(chosen) < 24
    steps = {b - a for a, b in pairwise(chosen)}
    assert max(steps, default=0) - min(steps, default=0) <= 1


def test_a_quick_run_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folders are others, unless they are given, before or after it."""
    common = import_experiment("common", monkeypatch)
    parser = common.parser("table1_isbi2012", None)
    plain, quick = parser.parse_args([]), parser.parse_args(["--quick"])
    assert not plain.quick and quick.quick
    assert plain.out == EXPERIMENTS / "results" / "table1_isbi2012"
    assert quick.out == EXPERIMENTS / "results" / "quick" / "table1_isbi2012"
    assert (plain.work, quick.work) == (
        Path("runs/table1_isbi2012"),
        Path("runs/quick/table1_isbi2012"),
    )
    for given in (["--quick", "--out", "a"], ["--out", "a", "--quick"]):
        assert parser.parse_args(given).out == Path("a")


def test_what_the_choices_are_taken_away_from(monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = import_experiment("ablation", monkeypatch)

    def options(**changes: Any) -> argparse.Namespace:
        plain = {"network": "paper", "optimizer": "sgd", "finish": 0, "finish_balance": None}
        return argparse.Namespace(**plain | changes)

    assert list(ablation.choices_of(options())) == list(ablation.CHOICES)
    assert "Adam" in ablation.choices_of(options(optimizer="rmsprop"))
    other = ablation.choices_of(options(network="paper_batch_norm", optimizer="adam", finish=7))
    base, *choices = other
    assert base == "batch normalisation, Adam, then 7 steps without normalisation"
    assert other[base] == {}
    assert {"the paper's network", "gradient descent", "no border weights"} <= set(choices)
    assert not {"Adam", "batch normalisation", "same padding", ablation.BASE} & set(choices)
    assert all(other[name] for name in choices)
    assert other["gradient descent"] == {"optimizer": "sgd", "lr": 3e-3}


def test_training_seconds_of_a_run_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = import_experiment("recipes", monkeypatch)
    log = "".join(json.dumps({"seconds": s}) + "\n" for s in (1.0, 2.5, 0.5, 1.0, 0.25))
    (tmp_path / "log.jsonl").write_text(log)
    assert recipes.logged_seconds(SimpleNamespace(out=tmp_path)) == pytest.approx(3.75, abs=0.051)


def test_the_zero_padded_pass_is_the_network_on_a_framed_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ablation = import_experiment("ablation", monkeypatch)
    image = np.random.default_rng(0).integers(0, 256, (37, 50)).astype(np.uint8)
    model = UNet(width=2).eval()
    config = TrainConfig(extrapolation="zero", width=2)
    found = ablation.interior(model, config, image[None], "none")[0]
    framed = np.zeros((252, 252), np.float32)
    framed[92 : 92 + 37, 92 : 92 + 50] = image / np.float32(255)
    with torch.no_grad():
        scores = model(torch.from_numpy(framed)[None, None])[0, :, :37, :50]
    np.testing.assert_allclose(found, torch.softmax(scores, 0)[1].numpy(), atol=1e-5)
    inside = ablation.interior(model, TrainConfig(width=2), image[None], "none")[0]
    assert np.abs(found - inside).max() > 1e-3  # mirrored


def test_the_same_padded_pass_is_centred(monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = import_experiment("ablation", monkeypatch)
    image = np.random.default_rng(0).integers(0, 256, (32, 48)).astype(np.uint8)
    model = SamePaddingUNet(width=2).eval()
    model.centre = 0.5  # as training leaves it
    config = TrainConfig(network="same_padding", tile=192, width=2)
    found = ablation.interior(model, config, image[None], "none")[0]
    grey = torch.from_numpy(image / np.float32(255)) - 0.5
    with torch.no_grad():
        scores = model(grey[None, None])[0]
    np.testing.assert_allclose(found, torch.softmax(scores, 0)[1].numpy(), atol=1e-5)


def test_the_table_of_results_is_what_the_files_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = import_experiment("summary", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["summary.py", "--check"])
    summary.main()
    here = tmp_path / "experiments"
    page, front = here / "README.md", tmp_path / "README.md"
    shutil.copytree(EXPERIMENTS / "results", here / "results")
    page.write_text((EXPERIMENTS / "README.md").read_text())
    front.write_text((EXPERIMENTS.parent / "README.md").read_text())
    monkeypatch.setattr(summary, "HERE", here)
    summary.main()
    metrics = here / "results" / "bundled_weights" / "metrics.json"
    scores = json.loads(metrics.read_text())
    scores["scores"]["none"]["v_rand"] = 0.12345
    metrics.write_text(json.dumps(scores))
    with pytest.raises(SystemExit, match="out of date"):
        summary.main()
    monkeypatch.setattr(sys, "argv", ["summary.py"])
    summary.main()
    assert "v_rand 0.1235" in page.read_text() or "v_rand 0.1234" in page.read_text()
    of_table1 = here / "results" / "table1_width64" / "metrics.json"
    found = json.loads(of_table1.read_text())
    found["held_out"]["rotations"]["pixel_error"]["mean"] = 0.54321
    of_table1.write_text(json.dumps(found))
    summary.main()
    assert "| 0.0611 | 0.5432 (width 64;" in front.read_text()


@pytest.mark.parametrize("page", ["fidelity", "departures"])
def test_each_page_names_what_is_there(page: str) -> None:
    """Each test, experiment and benchmark that it names exists, and so does each part of code."""
    root = EXPERIMENTS.parent
    text = (root / "docs" / f"{page}.md").read_text()
    named = set(re.findall(r"`((?:tests|experiments|benchmarks)/[\w/]+(?:\.(?:py|json))?)", text))
    assert len(named) >= (20 if page == "fidelity" else 4)
    assert [name for name in sorted(named) if not (root / name).exists()] == []
    assert "CLAIM" not in text
    package = root / "paper_unet"
    quoted = {name for name in re.findall(r"`([\w/]+\.\w+(?:\.\w+)?)`", text) if "/" not in name}
    places = sorted(
        quoted | set(re.findall(r"`((?!tests|experiments|benchmarks)\w+/[\w/.]+)`", text))
    )
    assert len(places) > 20
    assert [name for name in places if not found(name, package)] == []


def found(name: str, package: Path) -> bool:
    """Whether the package has a file, a module's member, or a member of the network."""
    if name.endswith(".py"):
        return (package / name).exists()
    module, *members = name.replace("/", ".").split(".")
    if module == "UNet":
        return hasattr(UNet(width=1), members[0])
    thing: Any = importlib.import_module(f"paper_unet.{module}")
    for member in members:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"{thing.__name__}.{member}")
        if not hasattr(thing, member):
            return False
        thing = getattr(thing, member)
    return True


def test_what_the_summary_says_of_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is from the base that the experiment names; a base has none."""
    summary = import_experiment("summary", monkeypatch)
    line = {
        "seg": {"mean": 0.5, "sd": 0.125},
        "seg_against_base": {"mean": -0.25, "sd": None},
        "seeds": 2,
        "diverged": 0,
    }
    assert summary.measures(line, ("v_rand", "seg"), "base", of_base=False) == (
        "seg 0.5000 ± 0.1250 (-0.2500); 2 seeds"
    )
    assert summary.measures(line, ("seg",), "base", of_base=True) == "seg 0.5000 ± 0.1250; 2 seeds"
    gone = line | {"diverged": 1, "seg": {"mean": None, "sd": None}, "seg_against_base": None}
    assert summary.measures(gone, ("seg",), "base", of_base=False) == (
        "seg - (-); 2 seeds, 1 diverged"
    )


def test_what_the_summary_says_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = import_experiment("summary", monkeypatch)
    row = {"on": "ISBI 2012", "lr": 1e-3, "warmup": 100, "losses": {"1": 0.25}}
    rows = [row, row | {"lr": 1e-2, "losses": {}, "diverged": "why"}]
    rows.append(row | {"seed": 1, "losses": {"1": 0.5}})
    assert list(summary.sweep({"rows": rows})) == [
        (
            "ISBI 2012, loss at the end for each rate and warm-up", "-",
            "0.001 after 100: 0.2500, 0.5000; 0.01 after 100: collapsed or diverged",
        )
    ]  # fmt: skip


def test_a_run_that_finishes_as_the_papers_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run has the weights of the first, and both are trained once."""
    recipes = import_experiment("recipes", monkeypatch)
    options = argparse.Namespace(finish=2, finish_lr=1e-12, finish_balance=0.5)
    config = TrainConfig(
        out=str(tmp_path / "first"),
        width=2,
        tile=188,
        steps=2,
        network="paper_batch_norm",
        warmup=0,
    )
    assert recipes.stages(argparse.Namespace(finish=0), config) == (config,)
    first, last = recipes.stages(options, config)
    assert first == config and (last.network, last.steps, last.lr) == ("paper", 2, 1e-12)
    assert (first.balance, last.balance) == (1.0, 0.5)
    rng = np.random.default_rng(0)
    images = rng.random((1, 200, 200), np.float32)
    data = training_set(images, (images > 0.5).astype(np.int32))
    for weaker, balance, expected in ((None, 0.0, 0.0), (0.5, 0.0, 0.0), (0.5, 1.0, 0.5)):
        settings = argparse.Namespace(finish=2, finish_lr=None, finish_balance=weaker)
        _, then = recipes.stages(settings, replace(config, balance=balance))
        assert (then.balance, then.lr) == (expected, recipes.FINISH_LR)
    with monkeypatch.context() as patch:  # a fast machine needs 0.0 s for each
        patch.setattr(recipes, "logged_seconds", {first: 1.25, last: 2.5}.get)
        model, seconds = recipes.train_stages((first, last), lambda _: data)
    assert seconds == pytest.approx(3.75, abs=0.051) and model.variant == "paper"
    assert recipes.logged_seconds(first) >= 0
    started = load_model(tmp_path / "first" / "weights.safetensors")
    for name, value in started.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    kept = (tmp_path / "first-finished-balance0.5" / "log.jsonl").read_text()
    again, _ = recipes.train_stages((first, last), lambda _: data)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert recipes.finished(first) is not None and recipes.finished(replace(first, seed=1)) is None
    assert recipes.finished(last) is not None
    assert (tmp_path / "first-finished-balance0.5" / "log.jsonl").read_text() == kept
    train(replace(first, seed=1), data, overwrite=True, progress=False)
    assert recipes.finished(last) is None  # it went on from other weights
    (tmp_path / "first" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors: no such file of weights"):
        recipes.finished(last)


def test_a_row_of_a_training_that_diverges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = import_experiment("recipes", monkeypatch)
    images = np.random.default_rng(0).random((1, 200, 200), np.float32)
    data = training_set(images, (images > 0.5).astype(np.int32))
    config = TrainConfig(out=str(tmp_path / "a"), width=2, tile=188, steps=3, warmup=0)
    row: dict[str, Any] = {"seed": 0}
    wild = replace(config, out=str(tmp_path / "b"), lr=1e30)
    assert recipes.train_row(row, (wild,), lambda _: data) is None
    assert row.keys() == {"seed", "diverged"} and "diverged" in capsys.readouterr().out
    model = recipes.train_row(row := {"seed": 0}, (config,), lambda _: data)
    assert model is not None and row.keys() == {"seed", "training_seconds"}
