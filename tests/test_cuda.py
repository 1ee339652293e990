"""What a GPU computes: the values of a CPU up to rounding, and its own bits again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rounding_helpers import within_rounding
from torch import Tensor

from paper_unet import UNet, load_model, predict_image, predict_stack
from paper_unet.errors import InputError
from paper_unet.geometry import HALO, input_size
from paper_unet.inference.averaging import image_scores
from paper_unet.inference.layers import exact_arithmetic
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.networks.fused import fused
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet, training_set
from paper_unet.training.initial_weights import new_network
from paper_unet.training.loop import train
from paper_unet.training.step import WARM_UP, Trainer, new_optimizer, reproducible
from paper_unet.training.tiles import TileSampler

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")
CARD = torch.device("cuda", 0)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "off"),
    [
        ({}, 1e-6), ({"precision": "tf32"}, 2e-3), ({"precision": "bfloat16"}, 0.03),
        ({"precision": "float16"}, 5e-3), ({"engine": "tiles", "tile": 252}, 1e-6),
        ({"average": "flips"}, 1e-6), ({"average": "rotations"}, 1e-5),
        ({"engine": "tiles", "tiling": "abutting"}, 1e-6),
    ],
    ids=str,
)  # fmt: skip
def test_the_values_are_those_of_the_cpu(given: dict[str, Any], off: float) -> None:
    section = image(331, 457)
    plain = {name: value for name, value in given.items() if name != "precision"}
    expected = predict_image(load_model(), section, **plain)
    found = predict_image(load_model(None, CARD), section, **given)
    np.testing.assert_allclose(found, expected, rtol=0, atol=off)
    for dtype, step in (("uint8", 255), ("uint16", 65535)):
        steps = predict_image(load_model(None, CARD), section, dtype=dtype, **given)  # type: ignore[arg-type]
        np.testing.assert_array_equal(steps, np.rint(found * np.float32(step)).astype(dtype))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float16", "float32", "float64"])
def test_grey_values_of_every_kind(dtype: str) -> None:
    whole = np.dtype(dtype).kind in "ui"
    section = (np.random.default_rng(1).random((70, 90)) * (3e4 if whole else 1)).astype(dtype)
    value_range = (0.0, 3e4) if whole else None
    found = predict_image(load_model(None, CARD), section, value_range=value_range)
    expected = predict_image(load_model(), section, value_range=value_range)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.5])
def test_what_is_wrong_with_a_value_comes_back(bad: float) -> None:
    section = np.random.default_rng(2).random((300, 200)).astype(np.float32)
    section[250, 3] = bad
    with pytest.raises(InputError):
        predict_image(load_model(None, CARD), section)


def test_what_is_recorded_gives_the_bits_of_the_calls() -> None:
    model, stack = load_model(None, CARD), image(7, 300, 310)
    together = predict_stack(model, stack)
    one_by_one = np.stack([predict_image(model, section) for section in stack])
    np.testing.assert_array_equal(together, one_by_one)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_steady_state_and_a_second_run_have_the_same_bits(precision: Any) -> None:
    model = load_model(None, CARD)
    unit = image(1, 2600, 300).astype(np.float32) / np.float32(255)
    with exact_arithmetic(precision):
        engine = engine_for(model, InferenceSettings(), precision, 64)
        first, second = (image_scores(engine, unit) for _ in range(2))  # the second one replayed
    assert torch.equal(first, second)


def test_bands_are_equal_within_the_bound_of_rounding() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UNet(width=8).eval()
    unit = image(1, 260, 150).astype(np.float32) / np.float32(255)
    sides = [(HALO, input_size(side) - side - HALO) for side in unit.shape[1:]]
    context = torch.from_numpy(np.pad(unit, [(0, 0), *sides], mode="reflect"))
    with exact_arithmetic():
        one, other = (
            image_scores(engine_for(model.to(CARD), InferenceSettings(), "float32", band), unit)
            for band in (64, 512)
        )
    assert within_rounding(model.cpu(), context[None], one[None], other[None])


def test_peaks_are_within_the_model() -> None:
    model = UNet(width=32).eval().to(CARD)
    for band in (64, 512):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
        engine = engine_for(model, InferenceSettings(), "float32", band)
        unit = np.zeros((1, 6 * band, 2000), np.float32)
        with exact_arithmetic():
            image_scores(engine, unit)
        peak = torch.cuda.max_memory_allocated() - base
        assert peak <= engine.peak_bytes(Plan(band, 2000, len(unit[0])), unit.shape[1:])


# --- training -----------------------------------------------------------------------------------


def made_up() -> TrainingSet:
    rng = np.random.default_rng(3)
    images = rng.random((2, 300, 300), dtype=np.float32)
    return training_set(images, rng.integers(0, 2, images.shape))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_the_graph_of_a_step_has_the_bits_of_the_calls(optimizer: Any) -> None:
    found: list[list[Tensor]] = []
    for record in (False, True):
        config = TrainConfig(width=8, tile=188, warmup=2, optimizer=optimizer, lr=1e-4).on(CARD)
        model = new_network(config).to(CARD, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        sampler = TileSampler(made_up(), 188, config.augmentation, 0, CARD)
        with reproducible(config.precision, CARD), fused(model):
            trainer = Trainer(model, new_optimizer(model, config), sampler, config, record=record)
            losses = [trainer(step) for step in range(WARM_UP + 8)]
            trainer.close()
        found.append([*losses, *(parameter.detach() for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_goes_on_has_the_bits_of_one_in_one_go(tmp_path: Path, optimizer: Any) -> None:
    def run(name: str, steps: int, resume: bool = False) -> list[Tensor]:
        config = TrainConfig(
            out=str(tmp_path / name), width=8, tile=188, steps=30, warmup=2, decay=0,
            checkpoint_every=10, device="cuda", optimizer=optimizer, lr=1e-4,
        )  # fmt: skip
        if steps < config.steps:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("paper_unet.training.loop.train_step", _ending(steps))
                with pytest.raises(KeyboardInterrupt):
                    train(config, made_up(), progress=False)
            return []
        model = train(config, made_up(), progress=False, resume=resume)
        return [parameter.detach().cpu() for parameter in model.parameters()]

    whole = run("whole", 30)
    run("parts", 17)
    for one, other in zip(run("parts", 30, resume=True), whole, strict=True):
        assert torch.equal(one, other)


def _ending(steps: int) -> Any:
    def step(trainer: Trainer, number: int) -> Tensor:
        if number == steps:
            raise KeyboardInterrupt
        return trainer(number)

    return step
