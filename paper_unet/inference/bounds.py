"""How large the values in a network can become, from its weights alone.

The fused convolution and ReLU of a CPU turns a value that is no number into 0, which then looks
like any other. Finite weights make such a value only by way of infinity: a sum that overflows. So a
bound on every map is computed layer by layer: where it is below what the arithmetic can hold,
nothing overflows, whatever the image; where it is not, the ReLU is left to an operation that keeps
what is no number until the scores, which are checked.
"""

from __future__ import annotations

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
    return all(top < most for top in largest_sums(model))  # NaN is not


@torch.no_grad()
def largest_sums(model: Network) -> list[float]:
    """Return a bound on the absolute values that each layer computes, in the network's order."""
    largest = torch.full((model.config.in_channels,), INPUT, dtype=torch.float64)
    skips: list[Tensor] = []
    tops: list[float] = []
    for level in range(DEPTH + 1):
        largest = _through(model.get_submodule(f"down{level}"), largest, tops)
        skips.append(largest)
    for level in reversed(range(DEPTH)):
        up = _through(model.get_submodule(f"upconv{level}"), largest, tops)
        joined = torch.cat([up, skips[level]])
        largest = _through(model.get_submodule(f"up{level}"), joined, tops)
    _through(nn.Sequential(model.head), largest, tops)
    return tops


def _through(layers: nn.Module, largest: Tensor, tops: list[float]) -> Tensor:
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
        largest = through.to("cpu", torch.float64) @ largest
        if layer.bias is not None:
            largest = largest + layer.bias.detach().abs().to("cpu", torch.float64)
        tops.append(float(largest.max()))
    return largest
