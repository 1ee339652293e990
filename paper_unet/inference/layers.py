"""The layers of a trained network, prepared for prediction: precision, memory format, fused ReLU.

The values are those of `paper_unet.model` up to rounding. What is done here was measured, see
docs/large_stacks.md: channels-last maps, on a CPU convolution and ReLU in one oneDNN call with the
weights packed once, up-convolutions as one matrix product, and freed memory kept by the process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from paper_unet.errors import InputError
from paper_unet.geometry import DEPTH
from paper_unet.inference.bounds import cannot_overflow
from paper_unet.inference.settings import Precision
from paper_unet.networks.base import Network
from paper_unet.system.device import deterministic

PRECISIONS: Final[dict[Precision, torch.dtype]] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

GROUP: Final = 256
"""Input channels that the fused convolution takes at once; measured, see docs/large_stacks.md."""

_VALID: Final = ([0, 0], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
_CUDNN_VALID: Final = ([1, 1], [0, 0], [1, 1], 1)  # stride, padding, dilation, groups

HEAD: Final = 8
"""Scores that a GPU computes at least: its matrix products take no fewer."""

# mallopt's numbers for its settings, from malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_MAX = -1, -4


class Convolution:
    """A valid 3x3 convolution and its ReLU, on maps of one precision.

    Both are one call where that is there: of cuDNN on a GPU, of oneDNN on a CPU. There the input
    channels are taken in groups whose results add up: a long sum over channels falls out of the
    processor's cache.

    Parameters
    ----------
    layer : nn.Conv2d
        Its weights are copied when they are needed.
    dtype : torch.dtype
        Of the maps and of the copy.
    bounded : bool
        Whether no sum can overflow: the fused ReLU would turn what is no number into 0.

    Attributes
    ----------
    groups : list of slice
        The input channels of each map that a call takes.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype, bounded: bool) -> None:
        self._layer, self._dtype = layer, dtype
        kind = layer.weight.device.type
        self.fused = kind == "cpu" and can_fuse(dtype)
        self.cudnn = kind == "cuda" and bounded and hasattr(torch, "cudnn_convolution_relu")
        self.relu = "relu" if bounded else "none"
        channels = layer.in_channels
        size = GROUP if self.fused else channels
        self.groups = [slice(k, min(k + size, channels)) for k in range(0, channels, size)]

    @cached_property
    def bias(self) -> Tensor | None:
        """In the dtype of the maps."""
        bias = self._layer.bias
        return None if bias is None else bias.detach().to(self._dtype, copy=True)

    @cached_property
    def weights(self) -> list[Tensor]:
        """Of each group of channels; made when the first maps come, while a GPU is at those."""
        weight = self._layer.weight.detach()
        parts = [
            weight[:, group].to(self._dtype, memory_format=torch.channels_last, copy=True)
            for group in self.groups
        ]
        if not self.fused:
            return parts
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        return [reorder(part, *_VALID) for part in parts]

    def __call__(self, maps: list[Tensor]) -> Tensor:
        """Map one (1, c, h, w), channels-last, for each group to (1, C', h - 2, w - 2)."""
        if self.cudnn:
            return torch.cudnn_convolution_relu(maps[0], self.weights[0], self.bias, *_CUDNN_VALID)
        if not self.fused:
            return F.conv2d(maps[0], self.weights[0], self.bias).relu_()
        last = len(maps) - 1
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps[0], self.weights[0], self.bias, *_VALID, "none" if last else self.relu, [], ""
        )
        for k in range(1, last + 1):
            result = torch.ops.mkldnn._convolution_pointwise_.binary(
                result, maps[k], self.weights[k], None, *_VALID, "add", 1.0,
                "relu" if k == last and self.relu == "relu" else None, [], None,
            )  # fmt: skip
        return result if self.relu == "relu" else result.relu_()


class UpConvolution:
    """A 2x2 up-convolution of stride 2 as one matrix product, with a ReLU where there is one."""

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype) -> None:
        layer = layers[0]
        if not isinstance(layer, nn.ConvTranspose2d) or layer.bias is None:
            raise InputError("the network's up-convolutions must be 2x2 layers with a bias")
        self.channels, self.relu = layer.out_channels, len(layers) > 1
        self._layer, self._dtype = layer, dtype

    @cached_property
    def weight(self) -> Tensor:
        """Shape (in, 4 * out), the four pixels of a block one after the other."""
        weight = self._layer.weight.detach().to(self._dtype, copy=True).permute(0, 2, 3, 1)
        return weight.reshape(self._layer.in_channels, -1)

    @cached_property
    def bias(self) -> Tensor:
        """Of the four pixels."""
        bias = self._layer.bias
        if bias is None:
            raise RuntimeError("a bias was there before")
        return bias.detach().to(self._dtype).repeat(4)

    def __call__(self, maps: Tensor) -> Tensor:
        """Map (1, C, h, w), channels-last, to (h, w, 2, 2, C'): each pixel's block of 2 x 2."""
        height, width = maps.shape[2:]
        pixels = maps.permute(0, 2, 3, 1).reshape(height * width, -1)
        product = torch.addmm(self.bias, pixels, self.weight)
        if self.relu:
            product.relu_()
        return product.view(height, width, 2, 2, self.channels)


class Layers:
    """All layers of a network in the paper's order, ready for `paper_unet.inference.streaming`.

    Parameters
    ----------
    model : Network
        One whose rows can stream. Its weights are copied in the precision asked for, on its device.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of weights and maps. The scores always leave as float32.

    Attributes
    ----------
    down, up : list of (Convolution, Convolution)
        ``down[l]`` and ``up[l]`` are the double convolutions of level l, 0 at full resolution.
    upconv : list of UpConvolution
        ``upconv[l]`` leads from level l + 1 to level l.
    config : NetworkConfig
    context : Context
        Of its tiles.
    sigmoid : bool
        False: the paper's scores are those of a softmax.
    centre : float
        What is subtracted from the input; 0 where it was moved into the first biases.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        The argument above.
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(self, model: Network, precision: Precision = "float32") -> None:
        check_precision(precision)
        if not model.streams:
            raise InputError(
                f"the network is {model.variant}; rows stream through the paper's network and the "
                "release's only, since others have no valid convolutions to carry on"
            )
        self.config, self.sigmoid, self.context = model.config, model.sigmoid, model.context
        self.precision, self.dtype = precision, PRECISIONS[precision]
        self.centre = model.centre
        self.device = model.head.weight.device
        self._bounded = cannot_overflow(model, self.dtype)
        self.down = [self._double(getattr(model, f"down{k}")) for k in range(DEPTH + 1)]
        self.up = [self._double(getattr(model, f"up{k}")) for k in range(DEPTH)]
        self.upconv = [
            UpConvolution(getattr(model, f"upconv{k}"), self.dtype) for k in range(DEPTH)
        ]
        head = model.head
        self._classes = head.out_channels
        self._head = head.weight.detach()[:, :, 0, 0].t().to(self.dtype)
        if self.device.type == "cuda" and self._classes < HEAD:
            self._head = F.pad(self._head, (0, HEAD - self._classes))
        self._head_bias = None if head.bias is None else head.bias.detach().float()

    def _double(self, layers: nn.Sequential) -> tuple[Convolution, Convolution]:
        first, second = (layer for layer in layers if isinstance(layer, nn.Conv2d))
        return (
            Convolution(first, self.dtype, self._bounded),
            Convolution(second, self.dtype, self._bounded),
        )

    def head(self, maps: Tensor) -> Tensor:
        """Return the scores (K, h, w), float32, of maps (1, C, h, w)."""
        scores = (maps[0].permute(1, 2, 0) @ self._head)[..., : self._classes].float()
        if self._head_bias is not None:
            scores += self._head_bias
        return scores.permute(2, 0, 1)


def check_precision(precision: str) -> None:
    """Raise InputError if the precision is none of `PRECISIONS`."""
    if precision not in PRECISIONS:
        accepted = ", ".join(PRECISIONS)
        raise InputError(f"precision is {precision!r}; accepted are {accepted}")


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the fused CPU convolution, and this CPU computes in ``dtype``.

    The operator is what PyTorch's own compiler uses; it has no public name, so a build without it
    falls back to the two public calls, which give the same values up to rounding.
    """
    name = "_convolution_pointwise"
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not hasattr(torch.ops.mkldnn, name):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next maps.

    By default the GNU C library gives every large block back to the system, which then clears each
    page anew for the next layer. For the programs of this package; a library call never does it,
    since it holds for the whole process.

    Returns
    -------
    bool
        Whether it was done: on Linux with the GNU C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    library: Any = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def exact_arithmetic(precision: Precision = "float32") -> Iterator[None]:
    """Compute without gradients, the same way each time; in true float32, but for ``tf32``."""
    with torch.inference_mode(), deterministic(tf32=precision == "tf32"):
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate a network with `exact_arithmetic`; everything is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with exact_arithmetic():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
