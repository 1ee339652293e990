"""Training: the update and the schedule written out, crashes survived, settings refused."""

import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from paper_unet import TrainConfig, load_model, predict_image, separate_touching, train
from paper_unet.checkpoint import read_tensors, write_tensors
from paper_unet.config import learning_rate
from paper_unet.device import pick_device
from paper_unet.errors import DivergedError, InputError
from paper_unet.run_folder import CHECKPOINT, CONFIG, LOG, WEIGHTS
from paper_unet.samples import TileSampler, TrainingSet, training_set
from paper_unet.start import absorb_shift, new_network
from paper_unet.stop import Stopped
from paper_unet.train import read_training_set

# `paper_unet.train` is the function
train_module = importlib.import_module("paper_unet.train")
CPU = torch.device("cpu")


def blobs(sections: int = 2, side: int = 90) -> NDArray[np.bool_]:
    """Cells of about 15 pixels."""
    waves = np.random.default_rng(0).normal(size=(sections, side, side))
    return np.array([ndimage.gaussian_filter(wave, 6) > 0 for wave in waves])


def easy_data(channels: int = 1) -> TrainingSet:
    """Cells are bright, background is dark."""
    cells = blobs()
    images = np.where(cells, 0.7, 0.3) + np.random.default_rng(1).normal(0, 0.05, cells.shape)
    instances = np.stack([ndimage.label(section)[0] for section in cells])
    stacked = np.repeat(images[:, None].astype(np.float32), channels, axis=1)
    return training_set(stacked, instances)


def small(out: Path, **changes: Any) -> TrainConfig:
    """A run of a second."""
    settings: dict[str, Any] = {
        "width": 2, "tile": 188, "steps": 13, "warmup": 5, "lr": 1e-3, "device": "cpu",
        "log_every": 3, "checkpoint_every": 4,
    }  # fmt: skip
    return TrainConfig(out=str(out), **{**settings, **changes})


def run(config: TrainConfig, **options: Any) -> Any:
    return train(config, easy_data(), progress=False, **options)


def bits(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    tensors, about = read_tensors(path)
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, about


REPORTING = ("out", "log_every", "checkpoint_every")


def result(out: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What a run leaves for use, less where it lay and how it reported."""
    tensors, about = bits(out / WEIGHTS)
    for name in REPORTING:
        about["record"]["config"].pop(name, None)
    return tensors, about


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def without_time(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in log]


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


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
    config = small(tmp_path / "deep" / "run")
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


# --- schedule and update -----------------------------------------------------------------------


def test_the_schedule() -> None:
    """1000 steps: 100 up to 0.01, then level, the last 400 a cosine."""
    config = TrainConfig(steps=1000, lr=0.01, warmup=100, decay=0.4)
    for step in range(1000):
        if step < 100:
            expected = 0.01 * (step + 1) / 100
        elif step <= 600:
            expected = 0.01
        else:
            expected = 0.01 * (1 + math.cos(math.pi * (step - 600) / 400)) / 2
        assert learning_rate(step, config) == pytest.approx(expected, rel=1e-12)
    assert 0 < learning_rate(999, config) < 1e-6
    assert learning_rate(1000, config) == pytest.approx(0, abs=1e-15)


def test_schedules_without_warmup_or_decay() -> None:
    level = TrainConfig(steps=50, lr=0.1, warmup=0, decay=0)
    assert {learning_rate(step, level) for step in range(50)} == {0.1}
    falling = TrainConfig(steps=50, lr=0.1, warmup=0, decay=1)
    rates = [learning_rate(step, falling) for step in range(50)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert rates[25] == pytest.approx(0.05)


def absorbed(bias: Tensor, weight: Tensor, centre: float) -> Tensor:
    return bias - centre * weight.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_update_is_gradient_descent_with_momentum(tmp_path: Path, normalise: bool) -> None:
    """v <- 0.99 v + gradient, w <- w - rate v; on the n-th tile, grey values around 0."""
    config = small(
        tmp_path, steps=6, dropout=0.0, normalise=normalise, lr=1e-2 if normalise else 1e-4
    )
    data = easy_data()
    trained = train(config, data, progress=False)

    model = new_network(config)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    tiles = TileSampler(data, config.tile, config.augmentation, config.seed, CPU)
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for step in range(config.steps):
        tile = tiles[step]
        log_p = functional.log_softmax(model(tile.image - 0.5), dim=1)
        energy = (tile.weights * functional.nll_loss(log_p, tile.labels, reduction="none")).sum()
        if normalise:
            energy = energy / tile.weights.sum()
        gradients = torch.autograd.grad(energy, list(model.parameters()))
        with torch.no_grad():
            for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
                velocity[name] = 0.99 * velocity[name] + gradient
                p -= learning_rate(step, config) * velocity[name]
    expected = model.state_dict()
    for name, value in expected.items():
        moved = (value - start[name]).abs().max()
        if name == "down0.0.bias":
            value = absorbed(value, expected["down0.0.weight"], 0.5)
        difference = (trained.state_dict()[name] - value).abs().max()
        assert difference <= 1e-3 * moved + 1e-7
        assert moved > 1e-5


def test_weight_decay_reaches_the_optimiser(tmp_path: Path) -> None:
    plain, decayed = run(small(tmp_path / "a")), run(small(tmp_path / "b", weight_decay=5.0))
    size = [sum(p.square().sum() for p in model.parameters()) for model in (plain, decayed)]
    assert size[1] < size[0]


@torch.inference_mode()
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shift_moves_into_the_first_biases(channels: int) -> None:
    model = new_network(TrainConfig(width=3, seed=4), channels).eval()
    image = torch.rand(1, channels, 204, 204)
    expected = model(image - 0.5)
    assert not torch.allclose(model(image), expected, atol=1e-2)
    absorb_shift(model, 0.5)
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)


def test_the_network_of_a_configuration() -> None:
    paper = new_network(TrainConfig(width=4))
    release = new_network(TrainConfig(width=4, network="release"))
    assert (paper.config.up_relu, paper.config.last_up_width) == (False, None)
    assert (release.config.up_relu, release.config.last_up_width) == (True, 8)
    assert new_network(TrainConfig(width=4, dropout=0.2)).config.dropout == 0.2
    again, other = (new_network(TrainConfig(width=4, seed=seed)) for seed in (0, 1))
    assert torch.equal(again.head.weight, paper.head.weight)
    assert not torch.equal(other.head.weight, paper.head.weight)


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small(tmp_path / "a", steps=2))
    assert capsys.readouterr() == ("", "")
    train(small(tmp_path / "b", steps=2), easy_data(), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2" in captured.err


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_arithmetic_and_layout_change_little(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(small(tmp_path / "plain", steps=3, log_every=1))
    model = run(small(tmp_path / "other", steps=3, log_every=1, **changes))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    plain, other = (log_of(tmp_path / name) for name in ("plain", "other"))
    for one, two in zip(plain, other, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=0.05)
    assert load_model(tmp_path / "other" / WEIGHTS).config == model.config


# --- crashes and going on ----------------------------------------------------------------------


class PowerCutError(BaseException):
    """Nothing catches it."""


def interrupted(
    config: TrainConfig, at: int, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    """Run until the step of this number begins."""
    step_of_old = train_module.train_step

    def step_or_cut(model: Any, optimizer: Any, sampler: Any, step: int, settings: Any) -> Tensor:
        if step == at:
            raise PowerCutError
        return step_of_old(model, optimizer, sampler, step, settings)

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train_step", step_or_cut)
        with pytest.raises(PowerCutError):
            run(config, **options)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"channels_last": True, "network": "release"}, {"optimizer": "adam"},
        {"network": "batch_norm"}, {"network": "same_padding", "tile": 192},
    ],
)  # fmt: skip
def test_a_run_that_was_cut_twice_is_the_run_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole, cut = small(tmp_path / "whole", **changes), small(tmp_path / "cut", **changes)
    run(whole)
    interrupted(cut, 2, monkeypatch)  # before the first checkpoint
    interrupted(cut, 7, monkeypatch, resume=True)
    assert read_tensors(tmp_path / "cut" / CHECKPOINT)[1]["step"] == 4
    interrupted(cut, 12, monkeypatch, resume=True)
    with (tmp_path / "cut" / LOG).open("a") as log:
        log.write('{"step": 13, "lo')  # torn by the crash
    model = run(cut, resume=True)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
    assert bits(tmp_path / "cut" / CHECKPOINT) == bits(tmp_path / "whole" / CHECKPOINT)
    logs = (without_time(log_of(tmp_path / name)) for name in ("cut", "whole"))
    assert next(logs) == next(logs)
    assert not model.training


def test_going_on_with_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run(small(tmp_path))
    before = bits(tmp_path / WEIGHTS), (tmp_path / LOG).read_bytes()
    model = run(small(tmp_path), resume=True)
    assert (bits(tmp_path / WEIGHTS), (tmp_path / LOG).read_bytes()) == before
    again = load_model(tmp_path / WEIGHTS)
    assert torch.equal(model.down0[0].bias, again.down0[0].bias)


CHILD = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
from test_train import long_run, run
run(long_run(Path(sys.argv[3])), resume=True)
"""


def long_run(out: Path) -> TrainConfig:
    return small(out, steps=240, log_every=3, checkpoint_every=10)


def train_and_kill(out: Path, lines: int) -> None:
    """Train in a process of its own; kill -9 as soon as its log has so many lines."""
    here, threads = str(Path(__file__).parent), str(torch.get_num_threads())
    command = [sys.executable, "-c", CHILD, here, threads, str(out)]
    child = subprocess.Popen(command)
    try:
        until = time.monotonic() + 300
        while not (out / LOG).exists() or (out / LOG).read_text().count("\n") < lines:
            assert child.poll() is None, "the child ended by itself"
            assert time.monotonic() < until, "the child does not train"
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        code = child.wait()
    assert code == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_kill_9_and_resume_is_bit_equal_to_a_run_without(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    run(long_run(whole))
    train_and_kill(killed, 15)
    first = read_tensors(killed / CHECKPOINT)[1]["step"]
    train_and_kill(killed, 55)
    second = read_tensors(killed / CHECKPOINT)[1]["step"]
    assert 0 < first < second < 240
    assert not (killed / WEIGHTS).exists()
    run(long_run(killed), resume=True)
    assert result(killed) == result(whole)
    assert without_time(log_of(killed)) == without_time(log_of(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Ctrl-C, and the batch system that wants its node back: nothing is lost."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(small(whole))
    step = train_module.train_step

    def then_signal(*arguments: Any) -> Any:
        if arguments[3] == 6:
            os.kill(os.getpid(), number)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train_step", then_signal)
        with pytest.raises(Stopped) as caught:
            run(small(stopped))
    assert caught.value.signal == number
    assert read_tensors(stopped / CHECKPOINT)[1]["step"] == 7
    assert not (stopped / WEIGHTS).exists()
    run(small(stopped), resume=True)
    assert result(stopped) == result(whole)


def test_what_a_killed_run_was_writing_is_swept(tmp_path: Path) -> None:
    partial = tmp_path / f".{CHECKPOINT}.0123abcd.partial"
    partial.write_bytes(b"half a checkpoint")
    run(small(tmp_path))
    assert not partial.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 2e-3}, {"seed": 1}, {"width": 3}, {"steps": 14}, {"tile": 204}, {"elastic": 5.0},
        {"dropout": 0.4}, {"w0": 5.0}, {"network": "release"}, {"value_range": (0.0, 9.0)},
        {"optimizer": "adam"}, {"init": "pytorch"}, {"extrapolation": "zero"},
    ],
)  # fmt: skip
def test_going_on_with_another_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    interrupted(small(tmp_path), 9, monkeypatch)
    before = files_of(tmp_path)
    (name, value), *_ = changes.items()
    old = getattr(small(tmp_path), name)
    with pytest.raises(InputError) as refusal:
        run(small(tmp_path, **changes), resume=True)
    shown = list(value) if isinstance(value, tuple) else value
    assert f"was trained with {name} = {old!r}, now {shown!r}" in str(refusal.value)
    assert files_of(tmp_path) == before


def test_going_on_with_other_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is half of one data set and half of another is neither."""
    interrupted(small(tmp_path), 9, monkeypatch)
    before = files_of(tmp_path)
    data = easy_data()
    data.images[0, 0, 5, 5] += 0.25
    with pytest.raises(InputError, match="data"):
        train(small(tmp_path), data, progress=False, resume=True)
    assert files_of(tmp_path) == before


def test_a_run_from_before_a_setting_was_there_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not written down had its default."""
    run(small(tmp_path / "whole"))
    interrupted(small(tmp_path / "older"), 9, monkeypatch)
    tensors, about = read_tensors(tmp_path / "older" / CHECKPOINT)
    del about["config"]["extrapolation"]
    write_tensors(tmp_path / "older" / CHECKPOINT, tensors, about)
    with pytest.raises(InputError, match="trained with extrapolation = 'mirror', now 'zero'"):
        run(small(tmp_path / "older", extrapolation="zero"), resume=True)
    run(small(tmp_path / "older"), resume=True)
    assert result(tmp_path / "older") == result(tmp_path / "whole")


def test_how_it_reports_and_where_it_lies_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tmp_path / "whole"))
    interrupted(small(tmp_path / "cut"), 9, monkeypatch)
    (tmp_path / "cut").rename(tmp_path / "moved")
    run(small(tmp_path / "moved", log_every=1, checkpoint_every=2), resume=True)
    assert result(tmp_path / "moved") == result(tmp_path / "whole")


def test_a_damaged_checkpoint_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(small(tmp_path), 9, monkeypatch)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[-1] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        run(small(tmp_path), resume=True)
    assert files_of(tmp_path) == before


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    run(small(tmp_path))
    before = files_of(tmp_path)
    for name in (CHECKPOINT, WEIGHTS, CONFIG, LOG):
        advice = f"already holds a run .{name}.; use --resume, --overwrite or another folder"
        with pytest.raises(InputError, match=advice):
            run(small(tmp_path, seed=1))
        assert files_of(tmp_path) == before
        (tmp_path / name).unlink()  # what is left is worth as much
        del before[name]


def test_weights_without_a_checkpoint_cannot_go_on(tmp_path: Path) -> None:
    run(small(tmp_path))
    (tmp_path / CHECKPOINT).unlink()
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint.safetensors to go on from"):
        run(small(tmp_path), resume=True)
    with pytest.raises(InputError, match="exclude each other"):
        run(small(tmp_path), resume=True, overwrite=True)
    assert files_of(tmp_path) == before


def test_two_processes_in_one_folder_are_refused(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    run(small(tmp_path))
    before = files_of(tmp_path)
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training there"):
            run(small(tmp_path, seed=1), overwrite=True)
    assert files_of(tmp_path) == before
    run(small(tmp_path, seed=1), overwrite=True)


def test_an_overwritten_run_that_was_cut_leaves_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tmp_path))
    interrupted(small(tmp_path, seed=1), 2, monkeypatch, overwrite=True)
    assert not (tmp_path / WEIGHTS).exists()
    assert not (tmp_path / CHECKPOINT).exists()
    run(small(tmp_path, seed=1), resume=True)
    run(small(tmp_path / "fresh", seed=1))
    assert result(tmp_path) == result(tmp_path / "fresh")


def test_overwriting_begins_anew(tmp_path: Path) -> None:
    run(small(tmp_path / "fresh", seed=1))
    run(small(tmp_path / "used", steps=20))
    run(small(tmp_path / "used", seed=1), overwrite=True)
    assert result(tmp_path / "used") == result(tmp_path / "fresh")
    logs = (without_time(log_of(tmp_path / name)) for name in ("used", "fresh"))
    assert next(logs) == next(logs)


# --- divergence --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    run(small(tmp_path / "good", steps=13))
    config = small(tmp_path / "bad run", steps=13)
    loss_of_old, calls = train_module.energy, 0

    def turns_bad(*args: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return loss_of_old(*args, **options) * (bad if calls == 11 else 1.0)

    monkeypatch.setattr(train_module, "energy", turns_bad)
    with pytest.raises(DivergedError) as stop:
        run(config)
    rate = f"{learning_rate(10, config):.3g}"
    assert f"became {bad} at step 11 with learning rate {rate}" in str(stop.value)
    assert calls <= 12  # the next look at the losses
    tensors, about = read_tensors(tmp_path / "bad run" / CHECKPOINT)
    assert about["step"] == 8
    assert all(value.isfinite().all() for value in tensors.values())
    assert not (tmp_path / "bad run" / WEIGHTS).exists()
    steps = [entry["step"] for entry in log_of(tmp_path / "bad run")]
    assert steps == [3, 4, 6, 8, 9]


@pytest.mark.parametrize("lr", [1e6, 1e20])
def test_a_learning_rate_that_is_much_too_large(tmp_path: Path, lr: float) -> None:
    config = small(tmp_path, lr=lr, warmup=0, checkpoint_every=1, steps=50, width=4, centre=0.0)
    with pytest.raises(DivergedError, match=rf"at step \d+ with .* {re.escape(f'{lr:.3g}')};"):
        run(config)
    assert not (tmp_path / WEIGHTS).exists()
    # "the last good checkpoint": a step may end in infinity though its loss was finite
    if (tmp_path / CHECKPOINT).exists():
        tensors, _ = read_tensors(tmp_path / CHECKPOINT)
        assert all(value.isfinite().all() for value in tensors.values())


def test_weights_that_are_not_finite_are_never_left(tmp_path: Path) -> None:
    """The loss of the only step is finite, the network after it is not."""
    with pytest.raises(DivergedError):
        run(small(tmp_path, steps=1, warmup=0, decay=0, lr=3e38, normalise=False))
    assert not (tmp_path / WEIGHTS).exists()


# --- devices and settings ----------------------------------------------------------------------


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    count = torch.cuda.device_count()
    with pytest.raises(InputError, match=f"'cuda:{count}'.*sees {count} CUDA devices"):
        pick_device(f"cuda:{count}")
    for name in ("gpu", "", "cuda:x", "cpu cuda"):
        with pytest.raises(InputError, match="it must be auto, cpu, cuda or cuda:N"):
            pick_device(name)


def test_devices_that_are_no_place_to_train_are_refused() -> None:
    with pytest.raises(InputError, match="it must be auto, cpu, cuda or cuda:N"):
        pick_device("meta")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 512}, "use 508 or 524"),
        ({"width": 0}, "width is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"log_every": 0}, "log_every is 0"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"decay": 1.1}, "decay is 1.1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr": math.nan}, "lr is nan"),
        ({"w0": -1.0}, "w0 is -1.0"),
        ({"centre": math.nan}, "centre is nan"),
        ({"warmup": -1}, "warmup is -1"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"precision": "half"}, "precision is 'half'.*float32, tf32, bfloat16"),
        ({"label_kind": "cells"}, "label_kind is 'cells'.*membrane, instance"),
    ],
)
def test_settings_that_make_no_run_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"grid": 1}, {"elastic": -1.0}, {"seed": -1}, {"weight_decay": -1.0}, {"sigma": 0.0}],
)
def test_settings_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    images, labels = write_stacks(tmp_path)
    (name, value), *_ = changes.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        train(small(tmp_path / "run", images=images, labels=labels, **changes), progress=False)
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_those_of_the_paper() -> None:
    config = TrainConfig()
    assert (config.momentum, config.tile, config.width) == (0.99, 572, 64)
    assert (config.w0, config.sigma) == (10, 5)
    assert (config.grid, config.elastic) == (3, 10)
    assert (config.label_kind, config.network) == ("membrane", "paper")
    assert config.augmentation.rotate
    assert config.augmentation.elastic == 10


# --- from files --------------------------------------------------------------------------------


def write_stacks(
    folder: Path, dtype: type[np.generic] = np.uint8, **changes: NDArray[Any]
) -> tuple[str, str]:
    cells = blobs(sections=4)
    grey = np.where(cells, 150, 80) + np.arange(90)
    stacks = {"images": grey.astype(dtype), "labels": (255 * cells).astype(np.uint8), **changes}
    paths = []
    for name in ("images", "labels"):
        paths.append(str(folder / f"{name}.tif"))
        tifffile.imwrite(
            paths[-1], stacks[name], photometric="minisblack", metadata={"axes": "ZYX"}
        )
    return paths[0], paths[1]


def test_stacks_are_read_scaled_chosen_and_weighed(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    config = small(tmp_path, images=images, labels=labels, slices="1:3", w0=4.0, sigma=3.0)
    data = read_training_set(config)
    cells = blobs(sections=4)[1:3]
    grey = (np.where(cells, 150, 80) + np.arange(90)) / 255
    np.testing.assert_allclose(data.images[:, 0], grey, rtol=1e-6)
    np.testing.assert_array_equal(data.classes, cells)
    instances = np.stack([ndimage.label(section)[0] for section in cells])
    expected = training_set(data.images, instances, w0=4.0, sigma=3.0, separate=False)
    np.testing.assert_array_equal(data.weights, expected.weights)
    assert len(read_training_set(replace(config, slices="")).images) == 4


def test_instance_labels_get_their_gaps(tmp_path: Path) -> None:
    numbered = np.zeros((4, 90, 90), np.uint16)
    numbered[:, 10:40, 10:40], numbered[:, 10:40, 40:70] = 300, 7
    images, labels = write_stacks(tmp_path, labels=numbered)
    data = read_training_set(small(tmp_path, images=images, labels=labels, label_kind="instance"))
    np.testing.assert_array_equal(data.classes, separate_touching(numbered) != 0)
    assert data.classes.sum() < (numbered != 0).sum()
    with pytest.raises(InputError, match="values 0, 7, 300"):
        read_training_set(small(tmp_path, images=images, labels=labels))


def test_the_scale_of_other_types_is_stored_and_used(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path, np.uint16)
    config = small(tmp_path / "run", images=images, labels=labels, steps=1)
    with pytest.raises(InputError, match="uint16 has no scale of its own"):
        train(config, progress=False)
    config = replace(config, value_range=(50.0, 300.0))
    train(config, progress=False)
    model = load_model(tmp_path / "run" / WEIGHTS)
    assert model.grey_ranges == {"uint8": (0.0, 255.0), "uint16": (50.0, 300.0)}
    image = tifffile.imread(images)[0]
    unit = ((image - 50.0) / 250).astype(np.float32)
    np.testing.assert_array_equal(predict_image(model, image), predict_image(model, unit))
    # and kept through a crash
    assert read_tensors(tmp_path / "run" / CHECKPOINT)[1]["grey_ranges"]["uint16"] == [50, 300]


def test_a_range_for_uint8_wins_over_255(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    config = small(
        tmp_path / "run", images=images, labels=labels, steps=1, value_range=(50.0, 300.0)
    )
    np.testing.assert_allclose(
        read_training_set(config).images[:, 0], (tifffile.imread(images) - 50.0) / 250, atol=1e-6
    )
    model = train(config, progress=False)
    assert model.grey_ranges["uint8"] == (50.0, 300.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((4, 90, 91), np.uint8)}, r"\(4, 90, 90\).*\(4, 90, 91\)"),
        ({"labels": np.zeros((3, 90, 90), np.uint8)}, r"\(4, 90, 90\).*\(3, 90, 90\)"),
        ({"labels": np.zeros((4, 90, 90), np.float32)}, "labels are float32; integers are needed"),
        (
            {"labels": np.full((4, 90, 90), [0, 127, 255] * 30, np.uint8)},
            "hold the values 0, 127, 255",
        ),
    ],
)
def test_stacks_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, NDArray[Any]], message: str
) -> None:
    images, labels = write_stacks(tmp_path, **changes)
    config = small(tmp_path / "run", images=images, labels=labels)
    with pytest.raises(InputError, match=message):
        train(config, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", [train, read_training_set])
def test_a_missing_stack_is_refused(tmp_path: Path, call: Callable[..., object]) -> None:
    images, _ = write_stacks(tmp_path)
    with pytest.raises(InputError, match=r"nowhere.tif: no such file"):
        call(small(tmp_path / "run", images=images, labels=str(tmp_path / "nowhere.tif")))
    assert not (tmp_path / "run").exists()
