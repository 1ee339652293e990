"""The two ways to compare sums of unknown order, `rounding_helpers`, hold what they promise."""

import copy
from collections.abc import Callable

import pytest
import torch
from rounding_helpers import convolutions_of, exact_network, rounding_bound, within_rounding
from torch import Tensor, nn

from paper_unet import UNet, load_model


def scores(model: UNet, image: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(image)
    return found


def random_network(width: int) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        model = UNet(width=width).eval()
        for layer in convolutions_of(model):
            nn.init.normal_(layer.bias, std=0.3)  # type: ignore[arg-type]
    return model


@pytest.fixture
def random_net() -> UNet:
    return random_network(4)


@pytest.mark.exact
def test_an_exact_network_gives_the_same_bits_whatever_computes_it(
    random_net: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exact_network(random_net, terms=2, largest=1)
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 2, (1, 1, 252, 220), generator=generator).float()
    expected = scores(copy.deepcopy(model).double(), image.double())
    assert len(expected.unique()) > 100 and torch.equal(expected, expected.round())
    assert torch.equal(scores(model, image).double(), expected)
    turned = image.to(memory_format=torch.channels_last)
    assert torch.equal(scores(model, turned).double(), expected)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert torch.equal(scores(model, image).double(), expected)


def test_integers_that_float32_cannot_hold_are_refused(random_net: UNet) -> None:
    with pytest.raises(AssertionError):
        exact_network(random_net, terms=3, largest=255)
    exact_network(random_net.double(), terms=3, largest=255)


@pytest.mark.exact
def test_float32_is_within_its_bound_and_other_weights_are_not_within_that_of_float64(
    random_net: UNet,
) -> None:
    image = torch.rand(1, 1, 204, 204, generator=torch.Generator().manual_seed(2))
    exact = scores(copy.deepcopy(random_net).double(), image.double())
    single = scores(random_net, image).double()
    bound = rounding_bound(random_net, image, (0, 0, 10, 10), torch.float32)
    assert 0 < (single - exact).abs()[0, 0, 10, 10] <= bound
    # rounded to float32 is far from rounded to float64, and so is a weight moved by a millionth
    assert not within_rounding(random_net, image, single, exact)
    moved = copy.deepcopy(random_net).double()
    moved.down2[0].weight.data *= 1 + 1e-6
    assert not within_rounding(random_net, image, scores(moved, image.double()), exact)


@pytest.mark.parametrize("width", [2, 8, None], ids=str)
def test_how_large_the_bound_is(
    width: int | None, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The table of docs/large_stacks.md, in the report of --junitxml."""
    model = load_model().eval() if width is None else random_network(width)
    image = torch.rand(1, 1, 220, 220, generator=torch.Generator().manual_seed(0))
    exact = scores(copy.deepcopy(model).double(), image.double())
    difference = (scores(model, image).double() - exact).abs()
    _, k, y, x = (int(i) for i in torch.unravel_index(difference.argmax(), exact.shape))
    single, double = (
        rounding_bound(model, image, (0, k, y, x), dtype)
        for dtype in (torch.float32, torch.float64)
    )
    found, spread = float(difference.max()), float(exact.max() - exact.min())
    for name, value in {"found": found, "float32": single, "float64": double}.items():
        record_testsuite_property(f"rounding-width-{width}-{name}-of-spread", value / spread)
    assert 0 < found <= single < 0.1 * spread
    assert double < 1e-9 * spread
