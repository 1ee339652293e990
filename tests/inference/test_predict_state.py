"""Modes, the state of PyTorch and the network are left as they were."""

import numpy as np
import pytest
import torch
from predict_helpers import SECTIONS, random_network

from paper_unet import predict_image
from paper_unet.errors import InputError
from paper_unet.inference.settings import Engine
from paper_unet.training.initial_weights import absorb_shift


def test_modes_are_put_back_and_dropout_is_off_meanwhile() -> None:
    model = random_network(2)
    expected = predict_image(model, SECTIONS[0])
    model.train()
    assert np.array_equal(predict_image(model, SECTIONS[0]), expected)
    assert all(module.training for module in model.modules())
    with pytest.raises(InputError):
        predict_image(model, SECTIONS[0], average="all")  # type: ignore[arg-type]
    assert all(module.training for module in model.modules())
    model.eval()
    predict_image(model, SECTIONS[0])
    assert not any(module.training for module in model.modules())


def test_the_mode_of_each_part_is_put_back() -> None:
    model = random_network(2).eval()
    model.dropout.train()
    predict_image(model, SECTIONS[0])
    assert [name for name, module in model.named_modules() if module.training] == ["dropout"]


def torch_state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.random.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        torch.backends.mkldnn.enabled,
    )


@pytest.mark.parametrize("average", ["none", "flips", "rotations"])
def test_the_state_of_torch_and_of_the_network_is_untouched(average: str) -> None:
    model, image = random_network(2), SECTIONS[0].copy()
    parameters = [p.detach().clone() for p in model.parameters()]
    before = torch_state()
    predict_image(model, image, average=average)  # type: ignore[arg-type]
    assert torch_state() == before
    for parameter, old in zip(model.parameters(), parameters, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.requires_grad
        assert parameter.grad is None
    assert np.array_equal(image, SECTIONS[0])


@pytest.mark.parametrize("engine", ["stream", "tiles"])
def test_a_centre_that_was_not_moved_into_the_biases_is_subtracted(engine: Engine) -> None:
    model, moved = random_network(2), random_network(2)
    model.centre = 0.375
    absorb_shift(moved, 0.375)
    found = predict_image(model, SECTIONS[0], engine=engine)
    expected = predict_image(moved, SECTIONS[0], engine=engine)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    without = predict_image(random_network(2), SECTIONS[0], engine=engine)
    assert np.abs(found - without).max() > 1e-3
