"""A training that earlier code began, and that was stopped, goes on to the weights it was to have.

With the same PyTorch on the same processor they are the same to the bit. Elsewhere the steps after
the stop are computed with other roundings, of which Adam makes the most, since it divides by the
size of the gradient. A bias that batch normalisation subtracts again has no gradient but rounding,
so Adam moves it at random; folding puts the difference into the bias behind it, and the network
computes the same.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from old_files_helpers import STOPPED, TRAININGS, image, training_command, write_tissue

from paper_unet import load_model, predict_image
from paper_unet.cli import main
from paper_unet.training.checkpoint import as_of_today

BOUNDS = {"sgd": 1e-6, "adam": 3e-4}
"""Between weights, and between probabilities.

Seen between instruction sets: 3e-8 and 6e-5. A run that goes on without the memory of its optimiser
ends with half of the tensors 3e-4 and more away with SGD, 4e-3 with Adam, whose probabilities are
wrong by 0.2.
"""

SUBTRACTED = [f"{block}{level}.0.bias" for block in ("upconv", "up") for level in range(4)]
AT_RANDOM = {"sgd": [], "adam": SUBTRACTED}


def steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_training_is_finished(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tissue(tmp_path)
    run = tmp_path / name
    shutil.copytree(TRAININGS / name, run)
    log = (run / "log.jsonl").read_text().splitlines()
    assert not (run / "weights.safetensors").exists()

    assert main([*training_command(name, name), "--resume"]) == 0
    kept = 3 if name == "sgd" else 2  # lines up to the step of the checkpoint
    assert (run / "log.jsonl").read_text().splitlines()[:kept] == log[:kept]
    assert steps(run) == sorted(set(steps(run))) and steps(run)[-1] == 8

    found, whole = (
        load_model(run / "weights.safetensors"),
        load_model(TRAININGS / f"{name}.safetensors"),
    )
    assert found.variant == whole.variant == "paper"
    assert found.grey_ranges == whole.grey_ranges
    then, now = whole.record, found.record
    assert now.keys() == then.keys()
    recorded = as_of_today(then["config"])  # type: ignore[arg-type]
    assert now["config"].items() >= recorded.items()  # type: ignore[attr-defined]
    assert (now["steps"], now["sections"]) == (8, 2)
    weights, bound = found.state_dict(), BOUNDS[name]
    assert weights.keys() == whole.state_dict().keys()
    for key in weights.keys() - AT_RANDOM[name]:
        pair = weights[key], whole.state_dict()[key]
        np.testing.assert_allclose(*pair, rtol=0, atol=bound, err_msg=key)
    pair = predict_image(found, image()), predict_image(whole, image())
    np.testing.assert_allclose(*pair, rtol=0, atol=bound)


@pytest.mark.parametrize("name", STOPPED)
def test_other_settings_are_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tissue(tmp_path)
    shutil.copytree(TRAININGS / name, name)
    assert main([*training_command(name, name), "--resume", "--momentum", "0.5"]) == 2
    assert "momentum = 0.99, now 0.5" in capsys.readouterr().err
