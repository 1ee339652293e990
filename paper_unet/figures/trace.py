"""Every map of one forward pass, as the network made it: the table behind Fig. 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paper_unet.model import UNet

Operation = Literal["input", "conv 3x3", "conv 1x1", "max pool 2x2", "up-conv 2x2", "copy and crop"]

KERNEL: dict[Operation, int] = {"conv 3x3": 9, "conv 1x1": 1, "up-conv 2x2": 1}
"""Products for each value of a map and each channel that it is made from; an up-convolution's
stride is the side of its kernel."""


@dataclass(frozen=True)
class FeatureMap:
    """A map and the operation that made it.

    Attributes
    ----------
    operation : str
        ``input``, ``conv 3x3``, ``conv 1x1``, ``max pool 2x2``, ``up-conv 2x2`` or
        ``copy and crop``.
    level : int
        Pools minus up-convolutions on the way here; 0 is full resolution.
    from_channels : int
        Channels that the operation was given; behind a concatenation those of both parts.
    channels : int
        Channels of the map.
    side : int
        Height and width, pixels.
    relu, dropout : bool
        Whether a ReLU, or a drop-out layer, was applied to the map.
    """

    operation: Operation
    level: int
    from_channels: int
    channels: int
    side: int
    relu: bool = False
    dropout: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the operation."""
        return KERNEL.get(self.operation, 0) * self.from_channels * self.values

    @property
    def values(self) -> int:
        """Numbers in the map."""
        return self.channels * self.side**2


@dataclass(frozen=True)
class Trace:
    """All maps of one forward pass in the order in which they were made.

    Attributes
    ----------
    maps : tuple of FeatureMap
    parameters : int
        Trainable numbers of the network.
    width : int
        Channels of its first level.
    """

    maps: tuple[FeatureMap, ...]
    parameters: int
    width: int

    @property
    def convolutions(self) -> int:
        """Layers with weights: 3x3, up- and 1x1 convolutions (sec. 2: 23)."""
        return sum(made.macs > 0 for made in self.maps)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the pass."""
        return sum(made.macs for made in self.maps)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "maps": [{**asdict(made), "macs": made.macs} for made in self.maps],
            "parameters": self.parameters,
            "convolutional_layers": self.convolutions,
            "multiply_accumulates": self.macs,
            "values_of_convolutions": sum(made.values for made in self.maps if made.macs),
        }


def trace(model: UNet, side: int) -> Trace:
    """Run a square tile through a network and write down every map.

    Parameters
    ----------
    model : UNet
        On any device. On PyTorch's ``meta`` device the pass goes through the same code and tensors
        of the same shapes, without their values, in no time.
    side : int
        Side of the tile, pixels, 16k + 60.

    Returns
    -------
    Trace

    Raises
    ------
    InputError
        If the side does not fit the network.
    """
    tile = torch.empty(1, model.config.in_channels, side, side, device=model.head.weight.device)
    recorder = _Recorder(tile.zero_())
    hooks = [module.register_forward_hook(recorder.made_by) for module in _leaves(model)]
    try:
        with torch.no_grad(), recorder:
            model(tile)
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(
        tuple(recorder.maps), sum(p.numel() for p in model.parameters()), model.config.width
    )


def _leaves(model: nn.Module) -> Iterable[nn.Module]:
    return (module for module in model.modules() if not list(module.children()))


class _Recorder(TorchFunctionMode):
    """Writes down what layers return, and what is concatenated between them."""

    def __init__(self, tile: Tensor) -> None:
        super().__init__()
        self.maps = [_map("input", 0, tile, tile)]
        self.latest = tile

    def made_by(self, layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        """Take the output of a layer; PyTorch calls this after each."""
        level, last = self.maps[-1].level, self.maps[-1]
        if isinstance(layer, nn.ConvTranspose2d):
            self.maps.append(_map("up-conv 2x2", level - 1, given[0], made))
        elif isinstance(layer, nn.Conv2d):
            point = layer.kernel_size == (1, 1)
            self.maps.append(_map("conv 1x1" if point else "conv 3x3", level, given[0], made))
        elif isinstance(layer, nn.MaxPool2d):
            self.maps.append(_map("max pool 2x2", level + 1, given[0], made))
        elif isinstance(layer, nn.ReLU):
            self.maps[-1] = replace(last, relu=True)
        elif isinstance(layer, nn.Dropout):
            self.maps[-1] = replace(last, dropout=layer.p > 0)
        self.latest = made

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """See a concatenation: what is not the newest map is the copied one."""
        if function is torch.cat:
            for part in args[0]:
                if part is not self.latest:
                    copied = _map("copy and crop", self.maps[-1].level, part, part)
                    self.maps.append(copied)
        return function(*args, **(kwargs or {}))


def _map(operation: Operation, level: int, given: Tensor, made: Tensor) -> FeatureMap:
    return FeatureMap(operation, level, given.shape[1], made.shape[1], made.shape[2])
