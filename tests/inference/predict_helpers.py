"""What the tests of prediction share."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paper_unet import UNet, input_size, output_size
from paper_unet.geometry import PAPER, Tiling
from paper_unet.inference.layers import evaluating
from paper_unet.inference.mosaic import Mosaic
from paper_unet.inference.section import Canvas
from paper_unet.networks.base import NetworkConfig

Image = NDArray[np.float32]


def random_network(
    width: int, in_channels: int = 1, out_channels: int = 2, **options: object
) -> UNet:
    """Evaluation mode; with biases, so that no pixel is silent."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        model = UNet(in_channels, out_channels, width, **options)  # type: ignore[arg-type]
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.3)
    return model.eval()


def noise(seed: int, *shape: int) -> Image:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def one_pass(model: nn.Module, image: Image) -> NDArray[np.floating]:
    """The scores of the whole image at once, its context mirrored by numpy."""
    rows, columns = image.shape[1:]
    height, width = (input_size(-(-side // 16) * 16) for side in (rows, columns))
    margins = [(0, 0), (92, height - rows - 92), (92, width - columns - 92)]
    everything = np.pad(image, margins, mode="reflect")
    with evaluating(model):
        scores = model(torch.from_numpy(everything[None]))[0]
    result: NDArray[np.floating] = scores[:, :rows, :columns].numpy()
    return result


def mosaic(model: nn.Module, image: Image, tile: int, tiling: Tiling = "exact") -> Tensor:
    """The scores of a whole image, tile by tile."""
    return stitched(lambda window: model(window[None])[0], image, tile, tiling)


def stitched(
    network: Callable[[Tensor], Tensor], image: Image, tile: int, tiling: Tiling = "exact"
) -> Tensor:
    source = Canvas(torch.from_numpy(image))
    grids = [PAPER.tiles(side, tile, tiling) for side in image.shape[1:]]
    tiles = Mosaic(*grids, *source.everything)
    return torch.cat(list(tiles.stitched(network, source.images(tiles.windows()))), dim=1)


class Window(nn.Module):
    """Returns one part of its input as scores: the middle, or another one of the same size."""

    def __init__(self, top: int = 92, left: int = 92) -> None:
        super().__init__()
        self.top, self.left = top, left
        self.inputs: list[tuple[int, ...]] = []
        self.config = NetworkConfig()
        self.grey_ranges: dict[str, tuple[float, float]] = {}

    def forward(self, image: Tensor) -> Tensor:
        self.inputs.append(tuple(image.shape))
        rows, columns = (output_size(int(side)) for side in image.shape[2:])
        return image[:, :, self.top : self.top + rows, self.left : self.left + columns]


def probability_of_the_last(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax, literally."""
    e = np.exp(scores.astype(np.float64))
    result: NDArray[np.float64] = e[-1] / e.sum(axis=0)
    return result


NARROW = random_network(2)
SECTIONS = np.random.default_rng(1).integers(0, 256, (3, 20, 31), dtype=np.uint8)
