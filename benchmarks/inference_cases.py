"""The cases of ``inference.py``: streaming, tiles, MONAI's sliding window, a plain loop."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from paper_unet import UNet
from paper_unet.geometry import HALO, PAPER, PAPER_TILE, Tiling, input_size, mirror_window
from paper_unet.inference.averaging import image_scores
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import BAND, InferenceSettings, Precision
from paper_unet.inference.streaming import Streaming, multiply_accumulates
from paper_unet.inference.tiled import Tiled

LARGE = 1212
ROI = 512
Case = Callable[[UNet, np.ndarray], tuple[Tensor, float]]
"""Gives the scores (K, Y, X) of an image (1, Y, X) and the multiply-accumulates they took."""


def device_of(model: UNet) -> torch.device:
    """Where the weights are."""
    return model.head.weight.device


def at_once(model: UNet, image: np.ndarray) -> tuple[Tensor, float]:
    """One call of the network over the whole mirrored section."""
    side = image.shape[1]
    reach = (-HALO, input_size(side) - HALO)
    window = torch.from_numpy(np.ascontiguousarray(mirror_window(image, reach, reach)))
    scores = model(window[None].to(device_of(model)))[0, :, :side, :side]
    return scores, multiply_accumulates(model.config, side, side)


@functools.cache
def prepared(
    model: UNet, settings: InferenceSettings, precision: Precision, band: int = BAND
) -> Streaming | Tiled:
    """Return the packed weights; once for a process, as in a run over many sections."""
    return engine_for(model, settings, precision, band)


def streamed(precision: Precision, band: int = BAND) -> Case:
    """Row streaming."""

    def run(model: UNet, image: np.ndarray) -> tuple[Tensor, float]:
        side = image.shape[1]
        scores = image_scores(prepared(model, InferenceSettings(), precision, band), image)
        return scores, multiply_accumulates(model.config, side, side)

    return run


def tiles(tile: int, precision: Precision = "float32", tiling: Tiling = "exact") -> Case:
    """Tiles with the same arithmetic as streaming."""

    def run(model: UNet, image: np.ndarray) -> tuple[Tensor, float]:
        settings = InferenceSettings(engine="tiles", tile=tile, tiling=tiling)
        scores = image_scores(prepared(model, settings, precision), image)
        return scores, float(sum(tile_macs(model, image.shape[1], tile, tiling)))

    return run


def tile_macs(model: UNet, side: int, tile: int, tiling: Tiling) -> Iterator[int]:
    """Yield the multiply-accumulates of every tile."""
    for row in PAPER.tiles(side, tile, tiling):
        for column in PAPER.tiles(side, tile, tiling):
            yield multiply_accumulates(model.config, row.side - 184, column.side - 184)


def as_people_write_it(model: UNet, image: np.ndarray) -> tuple[Tensor, float]:
    """Pad the whole image, cut 572 windows 388 apart, paste 388 outputs side by side."""
    side, tile, out = image.shape[1], PAPER_TILE, PAPER_TILE - 2 * HALO
    count = -(-side // out)
    after = count * out - side + HALO
    padded = np.pad(image, ((0, 0), (HALO, after), (HALO, after)), mode="reflect")
    result = np.zeros((model.config.out_channels, count * out, count * out), np.float32)
    for y in range(0, count * out, out):
        for x in range(0, count * out, out):
            window = torch.from_numpy(padded[None, :, y : y + tile, x : x + tile].copy())
            scores = model(window.to(device_of(model)))
            result[:, y : y + out, x : x + out] = scores[0].cpu().numpy()
    macs = count**2 * multiply_accumulates(model.config, out, out)
    return torch.from_numpy(result[:, :side, :side]), macs


class SamePadded(nn.Module):
    """The same weights with zero padding, as most re-implementations have it."""

    def __init__(self, model: UNet) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for layer in self.model.modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.padding = (1, 1)
        self.model._check = lambda image: None  # type: ignore[method-assign]
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, K, H, W)."""
        result: Tensor = self.model(image.contiguous(memory_format=torch.channels_last))
        return result


def monai(overlap: float) -> Case:
    """MONAI's sliding window over the zero-padded network, channels-last."""

    def run(model: UNet, image: np.ndarray) -> tuple[Tensor, float]:
        from monai.inferers.inferer import SlidingWindowInferer

        inferer = SlidingWindowInferer((ROI, ROI), sw_batch_size=1, overlap=overlap)
        calls: list[int] = []
        same = SamePadded(model)

        def counted(window: Tensor) -> Tensor:
            calls.append(1)
            scores: Tensor = same(window)
            return scores

        scores: Tensor = inferer(torch.from_numpy(image)[None].to(device_of(model)), counted)[0]
        return scores, len(calls) * same_macs(model, ROI)

    return run


def same_macs(model: UNet, side: int) -> float:
    """Multiply-accumulates of the zero-padded network: those per pixel without any halo."""
    far = 2**16
    return multiply_accumulates(model.config, far, far) / far**2 * side**2


def seam_of(case: str, model: UNet, image: np.ndarray, scores: Tensor) -> str:
    """For MONAI's cases: how far its mosaic is from one pass of the same zero-padded network."""
    if not case.startswith("MONAI"):
        return ""
    at_one_go = SamePadded(model)(torch.from_numpy(image)[None].to(device_of(model)))[0].cpu()
    seam = (scores - at_one_go).abs().max() / (at_one_go.max() - at_one_go.min())
    return f" (seams against its own one pass: {seam:.1e})"


CASES: dict[str, Case] = {
    f"tiles of {PAPER_TILE}": tiles(PAPER_TILE, tiling="abutting"),
    f"tiles up to {PAPER_TILE}, cut equal": tiles(PAPER_TILE),
    f"tiles up to {LARGE}, cut equal": tiles(LARGE),
    "streaming": streamed("float32"),
    "streaming, bands of 16 rows": streamed("float32", 16),
    "streaming, bands of 256 rows": streamed("float32", 256),
    "streaming, bfloat16": streamed("bfloat16"),
    "MONAI sliding window, overlap 0.25": monai(0.25),
    "MONAI sliding window, overlap 0.5": monai(0.5),
    "a loop as people write it": as_people_write_it,
}
AS_IT_IS = ("one pass", "a loop as people write it")
