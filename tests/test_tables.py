"""What is new is one file and one line in a table: added here from outside the package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from network_helpers import Dummy
from numpy.typing import NDArray

from paper_unet import TrainConfig, load_model, predict_image
from paper_unet.cli import main
from paper_unet.metrics.table import METRICS, Metric
from paper_unet.networks.table import NETWORKS


@pytest.fixture
def dummy_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(NETWORKS, "dummy", "network_helpers:Dummy")
    yield "dummy"


def write(folder: Path) -> NDArray[np.uint8]:
    """Sections of noise on stripes, and the stripes."""
    stripes = np.broadcast_to((np.arange(60) // 10 % 2).astype(np.uint8) * 255, (3, 50, 60))
    images = np.random.default_rng(0).integers(0, 56, stripes.shape).astype(np.uint8)
    images += stripes // 255 * 150
    for name, pixels in (("images", images), ("labels", stripes)):
        path = folder / f"{name}.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    return images


def test_a_network_from_outside_trains_predicts_and_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dummy_network: str
) -> None:
    monkeypatch.chdir(tmp_path)
    images = write(tmp_path)
    given = ["--images", "images.tif", "--labels", "labels.tif", "--out", "run", "--tile", "48"]
    more = ["--steps", "4", "--width", "3", "--device", "cpu"]
    assert main(["train", *given, "--network", dummy_network, *more]) == 0
    # of a process of its own, not of one that has run other tests
    monkeypatch.setattr("paper_unet.large.executor.resident_memory", lambda: 5 * 10**8)
    model = load_model("run/weights.safetensors")
    assert isinstance(model, Dummy) and model.centre == 0.5
    assert main(["predict", "images.tif", "-o", "out.tif", "--weights", "run/weights.safetensors",
                 "--device", "cpu", "--memory", "2GB"]) == 0  # fmt: skip
    found = tifffile.imread("out.tif")
    with torch.no_grad():
        image = torch.from_numpy(images[0, :48, :48] / np.float32(255))[None, None] - 0.5
        expected = torch.softmax(model(image), 1)[0, 1]
    np.testing.assert_allclose(found[0, :47, :47], expected[:47, :47], atol=1e-6)
    np.testing.assert_allclose(predict_image(model, images[0]), found[0], atol=1e-6)


def test_it_is_gone_when_its_line_is(dummy_network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TrainConfig(network=dummy_network, tile=48).weighted
    monkeypatch.delitem(NETWORKS, dummy_network)
    with pytest.raises(ValueError, match="network is 'dummy'"):
        TrainConfig(network=dummy_network)


def foreground(labels: NDArray[Any], interior: NDArray[np.floating]) -> tuple[float, float | None]:
    return float(np.abs((labels > 0).mean() - (interior > 0.5).mean())), 0.5


def test_a_metric_from_outside_is_computed_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    labels = tifffile.imread(tmp_path / "labels.tif")
    interior = np.where(labels > 0, 0.75, 0.25).astype(np.float32)
    interior[:, :5] = 0
    tifffile.imwrite(tmp_path / "p.tif", interior, photometric="minisblack")
    monkeypatch.setitem(METRICS, "area", Metric("difference of areas", False, foreground))
    command = ["evaluate", str(tmp_path / "labels.tif"), str(tmp_path / "p.tif")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["area"] == pytest.approx(0.05) and found["thresholds"]["area"] == 0.5
    assert main(command) == 0
    assert "difference of areas, lower is better" in capsys.readouterr().out
