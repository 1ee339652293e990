"""It learns, is repeatable, and leaves no trace in the caller."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_helpers import easy_data, log_of, result, run, small

from paper_unet import load_model, predict_image, train
from paper_unet.errors import DivergedError, InputError
from paper_unet.system import progress
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
from paper_unet.training.config import learning_rate
from paper_unet.training.log import LOG
from paper_unet.training.run_folder import CONFIG

# --- it learns ---------------------------------------------------------------------------------


def test_the_loss_falls_on_an_easy_problem(tmp_path: Path) -> None:
    settings = {"width": 4, "tile": 220, "steps": 120, "warmup": 20, "dropout": 0.0}
    model = run(small(tmp_path, **settings, log_every=10, checkpoint_every=120))
    losses = [entry["loss"] for entry in log_of(tmp_path)]
    assert losses[0] == pytest.approx(math.log(2), abs=0.2)  # it knows nothing at first
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    data = easy_data()
    probability = predict_image(model, data.images[0, 0])
    right = (probability > 0.5) == (data.classes[0] == 1)
    assert right.mean() > 0.9


def test_what_a_run_leaves(tmp_path: Path) -> None:
    config = small(tmp_path / "deep" / "run").on(torch.device("cpu"))
    model = run(config)
    out = Path(config.out)
    assert {path.name for path in out.iterdir()} - {".lock"} == {WEIGHTS, CHECKPOINT, CONFIG, LOG}
    assert json.loads((out / CONFIG).read_text()) == json.loads(json.dumps(asdict(config)))
    log = log_of(out)
    assert [entry["step"] for entry in log] == [3, 4, 6, 8, 9, 12, 13]
    for entry in log:
        assert entry.keys() == {"step", "loss", "lr", "seconds"}
        assert entry["lr"] == learning_rate(int(entry["step"]) - 1, config)
    seconds = [entry["seconds"] for entry in log]
    assert seconds == sorted(seconds)
    assert not model.training
    again = load_model(out / WEIGHTS)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert again.record["steps"] == 13
    assert again.record["sections"] == 2
    assert again.record["torch"] == torch.__version__
    assert again.record["device"] == "cpu"
    recorded = again.record["config"]
    assert isinstance(recorded, dict)
    assert recorded.items() <= json.loads(json.dumps(asdict(config))).items()
    assert {"lr", "seed", "w0", "elastic", "momentum"} <= recorded.keys()
    with pytest.raises(InputError, match="unfinished training"):
        load_model(out / CHECKPOINT)


def test_the_log_holds_the_mean_loss_of_its_steps(tmp_path: Path) -> None:
    run(small(tmp_path / "each", log_every=1))
    run(small(tmp_path / "some"))
    each = [entry["loss"] for entry in log_of(tmp_path / "each")]
    first = 0
    for entry in log_of(tmp_path / "some"):
        last = int(entry["step"])
        assert entry["loss"] == pytest.approx(np.mean(each[first:last]), rel=1e-6)
        first = last


def test_images_of_several_channels(tmp_path: Path) -> None:
    model = train(small(tmp_path, steps=2), easy_data(channels=3), progress=False)
    assert load_model(tmp_path / WEIGHTS).config == model.config
    assert model.config.in_channels == 3


# --- repeatable, and no trace in the caller ----------------------------------------------------


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    torch.manual_seed(1)
    run(small(tmp_path / "one"))
    torch.manual_seed(2)
    run(small(tmp_path / "two", log_every=5, checkpoint_every=100))
    run(small(tmp_path / "other", seed=1))
    assert result(tmp_path / "one") == result(tmp_path / "two")
    assert result(tmp_path / "one")[0] != result(tmp_path / "other")[0]


def test_the_callers_state_is_untouched(tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        )

    before = state()
    run(small(tmp_path, steps=3))
    assert state() == before
    with pytest.raises(DivergedError):
        run(small(tmp_path / "x", steps=3, lr=3e38, normalise=False))
    assert state() == before


def test_the_training_set_is_untouched(tmp_path: Path) -> None:
    data, copy = easy_data(), easy_data()
    train(small(tmp_path, steps=3), data, progress=False)
    for name in ("images", "classes", "weights"):
        np.testing.assert_array_equal(getattr(data, name), getattr(copy, name))


def test_progress_is_shown_on_request_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)  # else a line a minute, where there is no terminal
    run(small(tmp_path / "a", steps=2))
    assert capsys.readouterr() == ("", "")
    train(small(tmp_path / "b", steps=2), easy_data(), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 of 2 step (100 %)" in captured.err


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_arithmetic_and_layout_change_little(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(small(tmp_path / "plain", steps=3, log_every=1))
    model = run(small(tmp_path / "other", steps=3, log_every=1, **changes))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    plain, other = (log_of(tmp_path / name) for name in ("plain", "other"))
    for one, two in zip(plain, other, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=0.05)
    assert load_model(tmp_path / "other" / WEIGHTS).config == model.config
