"""The layers of a network in training with fewer passes over memory.

A GPU spends most of a training step outside its products: adding biases, rectifying, cropping and
putting maps together, summing the gradients of biases. Here convolution, bias and ReLU are one
call, an up-convolution and the crop of its partner write where they are needed, and sums over
pixels are products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from paper_unet.geometry import DEPTH
from paper_unet.networks.base import Network
from paper_unet.networks.moves import copy_into, copy_pixels

Pair = tuple[int, int]


class _ConvolutionReLU(torch.autograd.Function):
    """A convolution of stride 1 with its bias, and the ReLU behind it."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, padding: Pair) -> Tensor:
        if maps.device.type == "cuda":
            result = torch.cudnn_convolution_relu(maps, weight, bias, (1, 1), padding, (1, 1), 1)
        else:
            result = F.conv2d(maps, weight, bias, padding=padding).relu_()
        ctx.save_for_backward(maps, weight, result)
        ctx.padding = padding
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        maps, weight, result = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
        of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, maps, weight, None, (1, 1), ctx.padding, (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0], True, False),
        )  # fmt: skip
        return of_maps, of_weight, _sum_over_pixels(gradient.permute(0, 2, 3, 1)), None


class _UpAndCrop(torch.autograd.Function):
    """The 2x2 up-convolution, and the crop of the contracting map behind it (sec. 2)."""

    @staticmethod
    def forward(
        ctx: Any, below: Tensor, skip: Tensor, weight: Tensor, bias: Tensor, rectify: bool
    ) -> Tensor:
        count, channels, height, width = below.shape
        outgoing = weight.shape[1]
        factor = weight.permute(0, 2, 3, 1).reshape(channels, 4 * outgoing)
        pixels = below.permute(0, 2, 3, 1).reshape(-1, channels)
        product = torch.addmm(bias.repeat(4), pixels, factor)
        if rectify:
            product.relu_()
        merged = torch.empty(
            (count, outgoing + skip.shape[1], 2 * height, 2 * width),
            dtype=below.dtype, device=below.device, memory_format=torch.channels_last,
        )  # fmt: skip
        copy_pixels(
            _blocks(merged[:, :outgoing]),
            product.view(count, height, width, 2, 2, outgoing).permute(0, 1, 3, 2, 4, 5),
        )
        copy_into(merged[:, outgoing:], skip[(..., *_centre(skip, merged))])
        ctx.save_for_backward(pixels, factor, product if rectify else None)
        ctx.shapes = below.shape, skip.shape, weight.shape
        return merged

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        pixels, factor, product = ctx.saved_tensors
        (count, channels, height, width), skip, (_, outgoing, *_) = ctx.shapes
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_product = gradient.new_empty((count, height, width, 2, 2, outgoing))
        copy_pixels(of_product.permute(0, 1, 3, 2, 4, 5), _blocks(gradient[:, :outgoing]))
        of_product = of_product.view(-1, 4 * outgoing)
        if product is not None:
            of_product = torch.ops.aten.threshold_backward(of_product, product, 0)
        of_below = (of_product @ factor.t()).view(count, height, width, channels)
        of_factor = (pixels.t() @ of_product).view(channels, 2, 2, outgoing)
        of_bias = _sum_over_pixels(of_product).view(4, outgoing).sum(0)
        of_skip = torch.zeros(skip, dtype=gradient.dtype, device=gradient.device).contiguous(
            memory_format=torch.channels_last
        )
        copy_into(of_skip[(..., *_centre(of_skip, gradient))], gradient[:, outgoing:])
        return of_below.permute(0, 3, 1, 2), of_skip, of_factor.permute(0, 3, 1, 2), of_bias, None


def _blocks(maps: Tensor) -> Tensor:
    """View maps (N, C, 2h, 2w), channels-last, as (N, h, 2, w, 2, C)."""
    count, channels, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).view(count, height // 2, 2, width // 2, 2, channels)


def _centre(large: Tensor, small: Tensor) -> tuple[slice, slice]:
    """Return where the centre crop of sec. 2 lies."""
    starts = [(a - b) // 2 for a, b in zip(large.shape[2:], small.shape[2:], strict=True)]
    rows, columns = (slice(k, k + n) for k, n in zip(starts, small.shape[2:], strict=True))
    return rows, columns


def _sum_over_pixels(maps: Tensor) -> Tensor:
    """Sum maps (..., C) over all but the channels, as a product."""
    flat = maps.reshape(-1, maps.shape[-1])
    return (flat.new_ones(1, len(flat)) @ flat)[0]


def _now(*tensors: Tensor) -> list[Tensor]:
    """Return tensors in the dtype that autocast asks for, if it does."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


def _convolved(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    if layer.bias is None:
        raise ValueError("a convolution without a bias is computed as it is")
    maps, weight, bias = _now(maps, layer.weight, layer.bias)
    result: Tensor = _ConvolutionReLU.apply(  # type: ignore[no-untyped-call]
        maps, weight, bias, layer.padding
    )
    return result


def _is_pair(first: nn.Module, second: nn.Module) -> bool:
    """Whether two layers are a convolution that `_ConvolutionReLU` can do, and its ReLU."""
    return (
        isinstance(first, nn.Conv2d)
        and isinstance(second, nn.ReLU)
        and first.bias is not None
        and first.stride == first.dilation == (1, 1)
        and first.groups == 1
        and not isinstance(first.padding, str)
        and first.padding_mode == "zeros"
    )


def _through(layers: nn.Sequential, maps: Tensor) -> Tensor:
    """Return what layers make of maps, the pairs of convolution and ReLU at once."""
    coming = list(layers)
    while coming:
        layer = coming.pop(0)
        if coming and _is_pair(layer, coming[0]):
            coming.pop(0)
            maps = _convolved(layer, maps)  # type: ignore[arg-type]
        else:
            maps = layer(maps)
    return maps


def _paper_forward(model: Network, image: Tensor) -> Tensor:
    """`paper_unet.model.UNet.forward`, level by level."""
    model._check(image)
    part: Callable[[str], Any] = model.get_submodule
    skips: list[Tensor] = []
    maps = image
    for level in range(DEPTH + 1):
        maps = _through(part(f"down{level}"), part("pool")(maps) if level else maps)
        maps = part("dropout")(maps) if level >= DEPTH - 1 else maps
        skips.append(maps)
    maps = skips.pop()
    for level in reversed(range(DEPTH)):
        layers = part(f"upconv{level}")
        below, skip, weight, bias = _now(maps, skips.pop(), layers[0].weight, layers[0].bias)
        maps = _UpAndCrop.apply(  # type: ignore[no-untyped-call]
            below, skip, weight, bias, len(layers) > 1
        )
        maps = _through(part(f"up{level}"), maps)
    scores: Tensor = model.head(maps)
    return scores


@contextmanager
def fused(model: Network) -> Iterator[None]:
    """Compute a network with fewer passes over memory; it is as before afterwards.

    For maps that are channels-last. Without a GPU there is nothing to gain.
    """
    if model.streams:
        changed: list[tuple[nn.Module, Callable[..., Tensor]]] = [
            (model, partial(_paper_forward, model))
        ]
    else:
        changed = [
            (module, partial(_through, module))
            for module in model.modules()
            if isinstance(module, nn.Sequential)
        ]
    for module, forward in changed:
        module.forward = forward
    try:
        yield
    finally:
        for module, _ in changed:
            del module.forward
