"""Table 1: what its networks are called, which one is submitted, and the labels of the test."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from paper_unet import UNet
from paper_unet.networks.weights_file import save_model

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_labels_of_the_test_volume_are_as_stored(
    scripts: Any, tmp_path: Path, photometric: str
) -> None:
    folder = tmp_path / "isbi2012"
    folder.mkdir()
    stored = np.repeat(np.array([[[0, 255], [255, 255]]], np.uint8), 2, axis=0)
    tifffile.imwrite(folder / "test-volume.tif", stored, photometric="minisblack")
    tifffile.imwrite(folder / "test-labels.tif", stored, photometric=photometric)
    found = scripts("common").isbi2012_test(tmp_path)
    np.testing.assert_array_equal(found.labels, stored // 255)


def test_networks_are_called_as_their_files_and_with_folders_where_two_are_alike(
    scripts: Any,
) -> None:
    called = scripts("table1_isbi2012").called
    assert called(["bundled", "runs/a/w.safetensors"], ["v-seed0"]) == {
        "bundled": "bundled", "runs/a/w.safetensors": "w",
    }  # fmt: skip
    files = ["x/a/w.safetensors", "y/a/w.safetensors", "b/w.safetensors", "b/v.safetensors"]
    assert list(called([*files, "b/bundled.st", "bundled"]).values()) == [
        "x/a/w", "y/a/w", "b/w", "v", "b/bundled", "bundled",
    ]  # fmt: skip
    assert called(["a/v-seed0.safetensors"], ["v-seed0"]) == {"a/v-seed0.safetensors": "a/v-seed0"}
    same = ["a/w.safetensors", "a/w.float16", "a/../a/w.safetensors"]
    assert len(set(called(same).values())) == 3


def test_the_network_that_is_submitted_is_the_best_of_two_files_of_one_name(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row may have been made of a copy, by another name."""
    table1 = scripts("table1_isbi2012")
    for folder, dropout in (("a", 0.25), ("b", 0.5), ("c", 0.75)):
        (tmp_path / folder).mkdir()
        save_model(tmp_path / folder / "weights.safetensors", UNet(width=1, dropout=dropout))
    (tmp_path / "b/weights-best.safetensors").write_bytes(
        (tmp_path / "b/weights.safetensors").read_bytes()
    )

    def scores(model: UNet, *_: Any) -> dict[str, float]:
        return dict.fromkeys(table1.ISBI2012, model.config.dropout % 0.75)

    submitted = []
    monkeypatch.setattr(table1.common, "held_out_scores", scores)
    monkeypatch.setattr(table1, "submit", lambda model, *_: submitted.append(model.config.dropout))
    monkeypatch.setattr(table1.records, "save_figure", lambda *_: None)
    monkeypatch.setattr(table1.records, "write_results", lambda _, found, __: shown.append(found))
    monkeypatch.chdir(tmp_path)
    shown: list[Any] = []
    words = ["--seeds", "0", "--data", "none", "--out", "out", "--work", "work", "--device", "cpu"]
    weights = ["a/weights.safetensors", "b/weights.safetensors", "c/weights.safetensors"]
    few = table1.common.Sections(*np.zeros((2, 30, 8, 8), np.uint8), "synthetic")
    for read in ("isbi2012", "isbi2012_test"):
        monkeypatch.setattr(table1.common, read, lambda *_: few)
    for given in (["b/weights-best.safetensors"], weights, [weights[1]]):
        monkeypatch.setattr(sys, "argv", ["table1_isbi2012.py", *words, "--weights", *given])
        table1.main()
    assert submitted == [0.5, 0.5, 0.5]
    assert [found["best"] for found in shown] == ["weights-best", "b/weights", "weights"]
    assert [row["network"] for row in shown[1]["rows"]] == ["a/weights", "b/weights", "c/weights"]
    assert len(table1.networks_by_recipe(shown[1]["rows"])) == 3
    best = next(iter(scripts("summary").table1({**shown[1], "held_out": {"rotations": {}}})))
    assert "0.500000 (best: b/weights)" in best[2]


def test_a_file_is_not_drawn_as_a_seed(scripts: Any) -> None:
    rows = [{"network": "w"}, {"network": "w-seed0", "seed": 0}, {"network": "v-seedNone"}]
    names = list(scripts("table1_isbi2012").networks_by_recipe(rows))
    assert names == ["w", "w-seed0", "v-seedNone"]
