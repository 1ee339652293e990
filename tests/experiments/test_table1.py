"""Table 1: what its networks are called, which one is submitted, and the labels of the test."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

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
