"""What one pass of any network over one tile takes, measured on tensors without memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paper_unet.inference.settings import rounded_up
from paper_unet.networks.base import Network


@dataclass(frozen=True)
class Cost:
    """What one pass over one tile takes.

    Attributes
    ----------
    multiply_accumulates : int
        Of all convolutions, the products with padded zeros included.
    output : int
        Side of the scores, pixels.
    maps : int
        Values of the feature maps that are alive at once, at most, about.
    parameters : int
        Trained numbers.
    """

    multiply_accumulates: int
    output: int
    maps: int
    parameters: int


def cost(network: Network, side: int) -> Cost:
    """Measure a pass over a square tile of ``side`` pixels from the shapes of the layers.

    Nothing is computed: the network is built anew on PyTorch's ``meta`` device.
    """
    with torch.device("meta"):
        shadow = type(network).from_config(network.config).eval()
        image = torch.empty(1, network.config.in_channels, side, side)
    work: list[int] = []
    sizes: list[int] = []
    blocks: list[int] = []
    with _watched(shadow, work, sizes, blocks), torch.no_grad():
        scores = shadow(image)
    skips = [f"down{level}" for level in range(16) if hasattr(shadow, f"down{level + 1}")]
    kept = sum(_kept(shadow, skips, image))
    parameters = sum(value.numel() for value in network.parameters())
    return Cost(sum(work), int(scores.shape[-1]), kept + 2 * max(sizes) + max(blocks), parameters)


def _kept(shadow: Network, skips: list[str], image: Tensor) -> Iterator[int]:
    """Values of each map that waits for the expanding path."""
    maps = image
    for name in skips:
        maps = shadow.get_submodule(name)(maps)
        yield maps.numel()
        maps = shadow.get_submodule("pool")(maps)


def _blocked(maps: Tensor) -> int:
    """Values of a map as oneDNN has it while it convolves: channels in blocks of 16."""
    return rounded_up(maps.shape[1], 16) * maps.shape[2] * maps.shape[3]


@contextmanager
def _watched(
    network: nn.Module, work: list[int], sizes: list[int], blocks: list[int]
) -> Iterator[None]:
    """Note the multiply-accumulates and the size of the map of every convolution in a pass."""

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        every = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        work.append(layer.weight.numel() * every.shape[-2] * every.shape[-1])
        sizes.append(output.numel() + inputs[0].numel())
        blocks.append(_blocked(output) + _blocked(inputs[0]))

    hooks = [
        layer.register_forward_hook(note)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
