"""Networks that do not stream: tile after tile through their own forward pass.

What they cost is measured from the shapes of their layers, on tensors without memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paper_unet.errors import InputError
from paper_unet.geometry import Context
from paper_unet.inference.layers import PRECISIONS, Layers, Precision
from paper_unet.model import UNet
from paper_unet.networks.one_choice import BatchNormUNet


class ForwardPass:
    """A network that predicts by its own forward pass.

    Parameters
    ----------
    model : UNet
        Copied, in evaluation mode, in the precision asked for, on its device.
    precision : {"float32", "bfloat16", "float16"}
        Of weights and maps. The scores always leave as float32.

    Attributes
    ----------
    config : UNetConfig
    variant : str
    context : Context
        What a tile needs around the pixels that are kept.
    sigmoid : bool
        Whether the one score is a logit.
    device : torch.device
    """

    def __init__(self, model: UNet, precision: Precision = "float32") -> None:
        self.context: Context = model.context
        self.config, self.variant, self.sigmoid = model.config, model.variant, model.sigmoid
        self.device, self.dtype = model.head.weight.device, PRECISIONS[precision]
        self._centre = model.centre
        network = copy.deepcopy(model).eval().to(self.dtype)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, window: Tensor) -> Tensor:
        """Return the scores (K, h, w), float32, on the CPU, of a window (C, H, W) in [0, 1]."""
        image = window[None].to(self.device) - self._centre
        image = image.to(self.dtype, memory_format=torch.channels_last)
        scores: Tensor = self._network(image)[0]
        return scores.float().cpu()


Prepared = Layers | ForwardPass
"""A network that is ready to predict."""


def streams(model: UNet) -> bool:
    """Whether rows can flow through it: the paper's network, the release, a folded batch norm."""
    return model.variant in (UNet.variant, BatchNormUNet.variant)


def prepared(model: UNet, precision: Precision = "float32") -> Prepared:
    """Return a network ready to predict: streaming if it can, else by its own forward pass.

    Raises
    ------
    InputError
        If the precision is none of the three.
    """
    if precision not in PRECISIONS:
        accepted = ", ".join(PRECISIONS)
        raise InputError(f"precision is {precision!r}; accepted are {accepted}")
    if isinstance(model, BatchNormUNet):
        model = model.folded()
    return Layers(model, precision) if streams(model) else ForwardPass(model, precision)


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


def cost(model: UNet, side: int) -> Cost:
    """Measure a pass over a square tile of ``side`` pixels from the shapes of the layers.

    Nothing is computed: the network is built anew on PyTorch's ``meta`` device.
    """
    with torch.device("meta"):
        shadow = type(model).from_config(model.config).eval()
        image = torch.empty(1, model.config.in_channels, side, side)
    work: list[int] = []
    sizes: list[int] = []
    with _watched(shadow, work, sizes), torch.no_grad():
        scores = shadow(image)
    skips = [f"down{level}" for level in range(16) if hasattr(shadow, f"down{level + 1}")]
    kept = sum(_kept(shadow, skips, image))
    parameters = sum(value.numel() for value in model.parameters())
    return Cost(sum(work), int(scores.shape[-1]), kept + 3 * max(sizes), parameters)


def _kept(shadow: UNet, skips: list[str], image: Tensor) -> Iterator[int]:
    """Values of each map that waits for the expanding path."""
    maps = image
    for name in skips:
        maps = shadow.get_submodule(name)(maps)
        yield maps.numel()
        maps = shadow.pool(maps)


@contextmanager
def _watched(network: nn.Module, work: list[int], sizes: list[int]) -> Iterator[None]:
    """Note the multiply-accumulates and the size of the map of every convolution in a pass."""

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        every = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        work.append(layer.weight.numel() * every.shape[-2] * every.shape[-1])
        sizes.append(output.numel() + inputs[0].numel())

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
