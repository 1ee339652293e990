"""Files of weights that earlier code wrote give the networks and the probabilities they gave."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from old_files_helpers import BOUND, FILES, SAVED, WEIGHTS, deep_image, image

from paper_unet import load_model, predict_image, predict_stack
from paper_unet.networks.table import RENAMED

ABOUT: dict[str, Any] = json.loads((FILES / "weights.json").read_text())


def recorded(name: str) -> NDArray[np.float32]:
    with np.load(FILES / "probabilities.npz") as file:
        found: NDArray[np.float32] = file[name]
    return found


def test_every_network_has_its_file() -> None:
    names = {path.stem for path in WEIGHTS.glob("*.safetensors")}
    assert names == set(SAVED) == set(ABOUT)


@pytest.mark.parametrize("name", SAVED)
def test_what_a_file_says_of_its_network(name: str) -> None:
    model, then = load_model(WEIGHTS / f"{name}.safetensors"), ABOUT[name]
    assert not model.training
    variant = RENAMED.get(then["variant"], then["variant"])
    assert (model.variant, model.centre) == (variant, then["centre"])
    assert {key: list(values) for key, values in model.grey_ranges.items()} == then["grey_ranges"]
    assert model.record == then["record"]
    assert asdict(model.config).items() >= then["config"].items()
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", SAVED)
def test_a_network_predicts_what_it_did(name: str) -> None:
    model, then = load_model(WEIGHTS / f"{name}.safetensors"), recorded(name)
    assert then.std() > 0.2  # so that a wrong weight would show
    found = predict_image(model, image())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, then, rtol=0, atol=BOUND)
    (section,) = predict_stack(model, image()[None])  # type: ignore[misc]
    np.testing.assert_array_equal(section, found)


DEEP = [name for name in SAVED if "uint16" in ABOUT[name]["grey_ranges"]]


@pytest.mark.parametrize("name", DEEP)
def test_grey_values_of_16_bits_mean_what_they_did(name: str) -> None:
    model, then = load_model(WEIGHTS / f"{name}.safetensors"), recorded(f"{name}.uint16")
    assert np.abs(then - recorded(name)).max() > 20 * BOUND
    found = predict_image(model, deep_image())
    np.testing.assert_allclose(found, then, rtol=0, atol=BOUND)


def test_folded_and_as_it_was_trained() -> None:
    assert ABOUT["batch_norm"]["variant"] != ABOUT["batch_norm_folded"]["variant"]
    pair = recorded("batch_norm"), recorded("batch_norm_folded")
    np.testing.assert_allclose(*pair, rtol=0, atol=BOUND)
