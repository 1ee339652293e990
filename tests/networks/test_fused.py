"""Training's fused layers: the scores and the gradients of the network as it is written."""

import copy

import pytest
import torch
from torch import Tensor

from paper_unet.networks.base import Network
from paper_unet.networks.fused import fused
from paper_unet.networks.table import make_network, network_names


def network(name: str, width: int = 3) -> Network:
    torch.manual_seed(0)
    made = make_network(name, 1, None, width, 0.0).double()
    for parameter in made.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return made.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]


def gradients(model: Network, image: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    scores = model(image)
    (scores * target[..., : scores.shape[2], : scores.shape[3]]).sum().backward()
    found = [parameter.grad for parameter in model.parameters()]
    return scores.detach(), [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("name", network_names())
def test_the_scores_and_gradients_are_those_of_the_network(name: str) -> None:
    model = network(name)
    side = 188 if not model.context.padded else 64
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 1, side, side, generator=generator, dtype=torch.float64)
    image = image.contiguous(memory_format=torch.channels_last)
    target = torch.randn(1, 1, side, side, generator=generator, dtype=torch.float64)
    plain = copy.deepcopy(model)
    expected, theirs = gradients(plain, image, target)
    with fused(model):
        found, ours = gradients(model, image, target)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert len(ours) == len(theirs) == len(list(model.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    # and it is as before afterwards
    assert "forward" not in vars(model)
    assert not any("forward" in vars(module) for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(image), plain(image))


def test_autocast_and_dropout_are_kept() -> None:
    model = network("paper", 4).float()
    model.dropout.p = 0.5  # type: ignore[union-attr, assignment]
    image = torch.rand(1, 1, 188, 188).contiguous(memory_format=torch.channels_last)
    with fused(model), torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(3)
        first = model(image)
        second = model(image)
        torch.manual_seed(3)
        again = model(image)
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
