"""The cases that ``gpu.py`` compares with, as people write them, in bfloat16 autocast."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from inference_cases import SamePadded, device_of
from numpy.typing import NDArray
from torch import Tensor

from paper_unet import UNet
from paper_unet.geometry import HALO, PAPER_TILE, input_size, mirror_window
from paper_unet.inference.layers import evaluating


def _unit(model: UNet, image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).to(device_of(model))[None, None].float() / 255


def plain_call(model: UNet, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad, call the network once, softmax, round."""
    side = image.shape[0]
    reach = (-HALO, input_size(side) - HALO)
    padded = np.ascontiguousarray(mirror_window(image, reach, reach))
    with evaluating(model), torch.autocast(device_of(model).type, torch.bfloat16):
        scores = model(_unit(model, padded))
        found = (255 * scores.float().softmax(1)[0, 1]).round().to(torch.uint8)
    result: NDArray[np.uint8] = found[:side, :side].cpu().numpy()
    return result


def plain_loop(model: UNet, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut 572 windows 388 apart, call the network for each, paste the outputs side by side."""
    side, out = image.shape[0], PAPER_TILE - 2 * HALO
    count = -(-side // out)
    padded = np.pad(image, (HALO, count * out - side + HALO), mode="symmetric")
    result = np.zeros((count * out, count * out), np.uint8)
    with evaluating(model), torch.autocast(device_of(model).type, torch.bfloat16):
        for y in range(0, count * out, out):
            for x in range(0, count * out, out):
                window = np.ascontiguousarray(padded[y : y + PAPER_TILE, x : x + PAPER_TILE])
                scores = model(_unit(model, window))
                found = (255 * scores.float().softmax(1)[0, 1]).round().to(torch.uint8)
                result[y : y + out, x : x + out] = found.cpu().numpy()
    return result[:side, :side]


def monai_window(
    model: UNet, image: NDArray[np.uint8], overlap: float, channels_last: bool
) -> Callable[[], object] | None:
    """Return MONAI's sliding window over the zero-padded network; None where it is missing."""
    try:
        from monai.inferers.inferer import SlidingWindowInferer
    except ImportError:
        return None
    side = min(512, image.shape[0])
    inferer = SlidingWindowInferer((side, side), sw_batch_size=4, overlap=overlap)
    padded = SamePadded(model).eval()
    same: torch.nn.Module = padded
    if not channels_last:
        same = padded.model
        same.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def call() -> NDArray[np.uint8]:
        with torch.inference_mode(), torch.autocast(device_of(model).type, torch.bfloat16):
            scores = inferer(_unit(model, image), same)
            found = (255 * scores.float().softmax(1)[0, 1]).round().to(torch.uint8)
        result: NDArray[np.uint8] = found.cpu().numpy()
        return result

    return call
