"""How large the values in a network can become, from its weights alone.

The fused convolution and ReLU of a CPU turns a value that is no number into 0, which then looks
like any other; that of a GPU may. Finite weights make such a value only by way of infinity: a sum
that overflows. So a bound on every map is computed layer by layer: where it is below what the
arithmetic can hold, nothing overflows, whatever the image; where it is not, the ReLU is left to an
operation that keeps what is no number until the scores, which are checked.
"""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from paper_unet.geometry import DEPTH
from paper_unet.networks.base import Network

MARGIN = 4.0
"""Of the bound to the largest number of the arithmetic: rounding makes sums a little larger."""

INPUT = 2.0
"""Largest absolute value that enters a network: grey values in [0, 1], minus a centre."""


def cannot_overflow(model: Network, dtype: torch.dtype) -> bool:
    """Whether no value in a network of Fig. 1 can leave the range of an arithmetic.

    Parameters
    ----------
    model : Network
        One whose rows stream: 3x3 convolutions with ReLU, 2x2 up-convolutions, one head.
    dtype : torch.dtype
        Of weights and maps.

    Returns
    -------
    bool
        True only if that is proven; False also for weights that are not finite.
    """
    most = torch.finfo(dtype).max / MARGIN
    return _largest_sum(model) < most  # NaN is not


_KNOWN: WeakKeyDictionary[Network, tuple[Hashable, float]] = WeakKeyDictionary()


def _largest_sum(model: Network) -> float:
    """Return the largest of all bounds; NaN if one is. Asked of a GPU once for some weights."""
    now = tuple(
        (value.data_ptr(), 0 if value.is_inference() else value._version)
        for value in model.parameters()
    )
    then, largest = _KNOWN.get(model, (None, 0.0))
    if then != now:
        sums = torch.tensor(largest_sums(model), dtype=torch.float64)
        largest = float(sums.max())  # NaN if one is
        _KNOWN[model] = now, largest
    return largest


@torch.no_grad()
def largest_sums(model: Network) -> list[float]:
    """Return a bound on the absolute values that each layer computes, in the network's order."""
    device, channels = model.head.weight.device, model.config.in_channels
    largest = torch.full((channels,), INPUT, dtype=torch.float64, device=device)
    skips: list[Tensor] = []
    tops: list[Tensor] = []
    for level in range(DEPTH + 1):
        largest = _through(model.get_submodule(f"down{level}"), largest, tops)
        skips.append(largest)
    for level in reversed(range(DEPTH)):
        up = _through(model.get_submodule(f"upconv{level}"), largest, tops)
        joined = torch.cat([up, skips[level]])
        largest = _through(model.get_submodule(f"up{level}"), joined, tops)
    _through(nn.Sequential(model.head), largest, tops)
    found: list[float] = torch.stack(tops).tolist()
    return found


def _through(layers: nn.Module, largest: Tensor, tops: list[Tensor]) -> Tensor:
    """Return the largest absolute value of each channel behind some layers; note those between."""
    for layer in layers.children():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        weight = layer.weight.detach().abs()
        if isinstance(layer, nn.ConvTranspose2d):
            # stride 2: one place of the kernel for each pixel, the largest of the four
            through = weight.amax(dim=(2, 3)).t()
        else:
            through = weight.sum(dim=(2, 3))
        largest = through.double() @ largest
        if layer.bias is not None:
            largest = largest + layer.bias.detach().abs().double()
        tops.append(largest.max())
    return largest
