"""Rows of channels-last maps put together, pooled and copied: on a GPU in words of 16 bytes.

PyTorch's GPU kernels for these move one value at a time; the values that arrive are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (its usual name)

WORD = torch.complex128
"""A dtype of 16 bytes, which is all that is used of it."""


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return maps (1, C, h, w) below one another, channels-last."""
    first = parts[0]
    if first.device.type == "cpu":
        return torch.cat(list(parts), dim=2)
    height = sum(part.shape[2] for part in parts)
    result = torch.empty(
        (1, first.shape[1], height, first.shape[3]),
        dtype=first.dtype, device=first.device, memory_format=torch.channels_last,
    )  # fmt: skip
    start = 0
    for part in parts:
        copy_into(result[:, :, start : start + part.shape[2]], part)
        start += part.shape[2]
    return result


def copy_into(target: Tensor, source: Tensor) -> None:
    """Copy maps (1, c, h, w), both channels-last or parts of such."""
    copy_pixels(target.permute(0, 2, 3, 1), source.permute(0, 2, 3, 1))


def copy_pixels(target: Tensor, source: Tensor) -> None:
    """Copy maps whose last axis is the channels."""
    if target.device.type != "cpu" and _in_words(target) and _in_words(source):
        target, source = target.view(WORD), source.view(WORD)
    target.copy_(source)


def _in_words(maps: Tensor) -> bool:
    ratio = WORD.itemsize // maps.dtype.itemsize
    others = [*maps.stride()[:-1], maps.shape[-1], maps.storage_offset()]
    aligned = maps.untyped_storage().data_ptr() % WORD.itemsize == 0
    return maps.stride(-1) == 1 and aligned and all(step % ratio == 0 for step in others)


def pooled(maps: Tensor) -> Tensor:
    """Return the largest of each 2 x 2 pixels of maps (1, C, h, w) of even sides."""
    if maps.device.type == "cpu":
        return F.max_pool2d(maps, 2)
    rows = torch.maximum(maps[:, :, 0::2], maps[:, :, 1::2])
    return torch.maximum(rows[:, :, :, 0::2], rows[:, :, :, 1::2])
