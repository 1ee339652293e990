"""The comparison of the variants: its arithmetic by hand, and a quick run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from process_helpers import run_python
from torch import nn

from paper_unet.networks.base import initialise
from paper_unet.networks.table import make_network

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def variants(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("variants")


def counted(name: str, width: int, side: int) -> int:
    """Multiply-accumulates of a real pass, layer by layer, each output pixel for itself."""
    model, total = make_network(name, 1, None, width, 0.0).eval(), []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        turned = isinstance(layer, nn.ConvTranspose2d)
        pixels = (inputs[0] if turned else output)[0, 0].numel()
        total.append(layer.in_channels * layer.out_channels * pixels * layer.weight[0, 0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 1, side, side))
    return sum(total)


def test_every_run_takes_the_same_arithmetic(variants: Any) -> None:
    options = SimpleNamespace(width=4, tile=252, steps=600)
    budget = 600 * counted("paper", 4, 252)
    for name in variants.RECIPES:
        side = variants.tile_of(name, 252)
        assert side <= 252 < side + 16
        steps = variants.steps_of(name, options)
        spent = steps * counted(name, 4, side)
        assert abs(spent / budget - 1) < 0.5 / steps + 1e-9
    assert variants.steps_of("paper", options) == 600


def test_a_small_section_is_repeated(variants: Any) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = variants.repeated(image, 8)
    assert found.shape == (8, 8)
    assert all(found[y, x] == image[y % 3, x % 4] for y in range(8) for x in range(8))
    assert variants.repeated(np.zeros((600, 512), np.uint8)).shape == (600, 512)


def test_512_against_legal_tiles(variants: Any) -> None:
    """Against the same comparison by hand, on the mirrored section."""
    torch.manual_seed(0)
    model = make_network("valid_batchnorm", 1, None, 2, 0.0).eval()
    initialise(model, "gaussian")
    image = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
    found = variants.floored(model, image)
    grey = image / np.float32(255)
    padded = np.pad(grey, ((92, 96), (92, 96)), mode="reflect")
    with torch.no_grad():
        illegal = torch.sigmoid(model(torch.from_numpy(grey)[None, None]))[0, 0].numpy()
        legal = torch.sigmoid(model(torch.from_numpy(padded)[None, None]))[0, 0].numpy()
    difference = illegal - legal[94:418, 94:418]
    assert illegal.shape == (324, 324)
    assert found["rms"] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-3)
    assert found["rms"] > 0.01 * found["sd"] > 0


def test_the_table_is_paired_by_seed(variants: Any) -> None:
    rows = []
    for seed, (base, other) in enumerate([(0.9, 0.93), (0.8, 0.82)]):
        for name, value in (("paper", base), ("keras", other)):
            scores = dict.fromkeys(variants.variants_table.SHOWN, value)
            seams = {"own": {"rms": 0.1 * seed}}
            rows.append(
                {"network": name, "recipe": "paper", "seed": seed, **scores, "seams": seams}
            )
    rows.append({"network": "keras", "recipe": "paper", "seed": 2, "diverged": "at step 3"})
    paper, keras = variants.variants_table.table(rows)
    assert paper["v_rand_against_paper"] == {"mean": 0.0, "sd": 0.0}
    assert keras["v_rand_against_paper"]["mean"] == pytest.approx(0.025)
    assert keras["v_rand_against_paper"]["sd"] == pytest.approx(0.01 / 2**0.5)
    assert (keras["seeds"], keras["diverged"]) == (3, 1)
    assert keras["seams"]["own"]["mean"] == pytest.approx(0.05)


@pytest.mark.slow
def test_quick(tmp_path: Path) -> None:
    arguments = ["--quick", "--device", "cpu", "--data", "none", "--out", "out", "--work", "work"]
    done = run_python(EXPERIMENTS / "variants.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["source"] == "synthetic"
    runs = [(line["network"], line["recipe"]) for line in metrics["table"]]
    assert len(runs) == 14 and runs[:2] == [("paper", "paper"), ("release", "paper")]
    for line in metrics["table"]:
        assert line["diverged"] == 0 and 0 <= line["v_info"]["mean"] <= 1
    for name, fact in metrics["networks"].items():
        assert fact["pixels_per_second"] > 0 and fact["width 64"]["per_pixel"] > 1e5, name
    assert metrics["networks"]["paper"]["width 64"]["parameters"] == 31_030_658
    assert (tmp_path / "out" / "table.md").read_text().count("\n") == 16
    assert (tmp_path / "out" / "variants.png").stat().st_size > 10_000
