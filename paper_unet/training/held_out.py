"""The loss on held-out sections while a network is trained; the paper reports none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.augment import Augmentation, centre_crop
from paper_unet.geometry import STRIDE
from paper_unet.networks.base import Network
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet
from paper_unet.training.tiles import Sample, TileSampler, energy


@dataclass(frozen=True)
class SectionFound:
    """A section, and what a network finds there; all (Y, X), the image (C, Y, X) in [0, 1].

    The probability is that of the last class, as `paper_unet.predict_image` gives it; annotated is
    where the labels count.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.int64]
    annotated: NDArray[np.bool_]
    found: NDArray[np.int64]
    probability: NDArray[np.float32]


class HeldOut:
    """Sections that a network does not learn from, cut into tiles as they are, without a change.

    Parameters
    ----------
    data : TrainingSet
        Weighed as the training data are: by its own map of Eq. 2, or every pixel alike.
    config : TrainConfig
        Of the training; its tiles are as large, or larger where they are little but border.
    output_side : callable
        Gives the side of the labels of a tile for that of the tile, pixels: `Network.output_side`.
    device : torch.device
    """

    def __init__(
        self,
        data: TrainingSet,
        config: TrainConfig,
        output_side: Callable[[int], int],
        device: torch.device,
    ) -> None:
        data = data if config.weighted else data.unweighted()
        settings = replace(config.augmentation, grey=0.0)
        side = _side(config.input_side, output_side, min(data.images.shape[2:]))
        self.sampler = TileSampler(data, side, settings, 0, device, output_side(side))
        self.centre = config.centre

    def tiles(self) -> Iterator[Sample]:
        """Yield tiles whose labels cover every section.

        Neighbours may overlap, and a tile may be larger than a section: what another tile before
        it has, or no section, weighs 0, so that every pixel counts once.
        """
        count, _, *size = self.sampler.images.shape
        ys, xs = (_centres_and_own(side, self.sampler.output) for side in size)
        for z in range(count):
            for y, rows in ys:
                for x, columns in xs:
                    tile = self._still(z, y, x)
                    weights = torch.zeros_like(tile.weights)
                    weights[:, rows, columns] = tile.weights[:, rows, columns]
                    yield tile._replace(weights=weights)

    def _still(self, z: int, y: float, x: float) -> Sample:
        """Return the tile around a place as it is."""
        grid = self.sampler.settings.grid
        look = Augmentation((y, x), 0.0, False, np.zeros((2, grid, grid)))
        return self.sampler.tile_at(z, look)

    @torch.no_grad()
    def loss(self, model: Network, stop: Callable[[], bool] = lambda: False) -> float | None:
        """Return the loss of Eq. 1 over the sum of the weights; drop-out off, nothing learnt.

        Parameters
        ----------
        model : Network
            Left in the mode it came in.
        stop : callable
            Asked before every tile.

        Returns
        -------
        float, or None if it was stopped
            0 where nothing is annotated.
        """
        training, total, weights = model.training, 0.0, 0.0
        model.eval()
        for tile in self.tiles():
            if stop():
                break
            total += float(energy(model, model(tile.image - self.centre), tile, normalise=False))
            counted = tile.labels < max(model.config.out_channels, 2)
            weights += float(torch.where(counted, tile.weights, 0.0).sum())
        model.train(training)
        if stop():
            return None
        return total / weights if weights else 0.0

    @torch.no_grad()
    def section(self, model: Network) -> SectionFound:
        """Return what a network finds in the first section; it is left in the mode it came in."""
        _, channels, rows, columns = self.sampler.images.shape
        output, classes = self.sampler.output, max(model.config.out_channels, 2)
        training = model.training
        model.eval()
        size = (rows + output, columns + output)  # of a section that is smaller than a tile
        image = np.zeros((channels, *size), np.float32)
        labels, found = np.zeros(size, np.int64), np.zeros(size, np.int64)
        probability = np.zeros(size, np.float32)
        ys, xs = _centres(rows, output), _centres(columns, output)
        top, left = (max(0, -round(side[0] - (output - 1) / 2)) for side in (ys, xs))
        for y in ys:
            for x in xs:
                tile = self._still(0, y, x)
                of_classes = _of_classes(model, model(tile.image - self.centre))
                row, column = (
                    round(centre - (output - 1) / 2) + more
                    for centre, more in ((y, top), (x, left))
                )
                place = np.s_[row : row + output, column : column + output]
                image[:, *place] = _array(centre_crop(tile.image[0], output))
                labels[place] = _array(tile.labels[0])
                found[place] = _array(of_classes.argmax(0))
                probability[place] = _array(of_classes[-1])
        model.train(training)
        inside = np.s_[top : top + rows, left : left + columns]
        true = labels[inside]
        return SectionFound(
            image[:, *inside], true, true < classes, found[inside], probability[inside]
        )


def _side(side: int, output_side: Callable[[int], int], section: int) -> int:
    """Return the side of the tiles, pixels.

    Of a tile of 188 pixels a network of Fig. 1 labels 4 x 4: a section would be thousands of them.
    So a tile grows while less than half of its side is labelled and a section has room for more.
    """
    while 2 * output_side(side) < side and output_side(side + STRIDE) <= section:
        side += STRIDE
    return side


def _of_classes(model: Network, scores: Tensor) -> Tensor:
    """Return the probability of each class, (K, Y, X); of one logit those of both."""
    if model.sigmoid:
        cell = torch.sigmoid(scores[0, 0].float())
        return torch.stack([1 - cell, cell])
    return torch.softmax(scores[0].float(), 0)


def _array(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.cpu().numpy()
    return found


def _centres(side: int, output: int) -> list[float]:
    """Return the centres of the fewest tiles that cover a side, evenly spaced, pixels."""
    count = -(-side // output)
    room = side - output
    starts = [room // 2] if count == 1 else np.rint(np.linspace(0, room, count)).tolist()
    return [start + (output - 1) / 2 for start in starts]  # a tile's pixels fall on pixels


def _centres_and_own(side: int, output: int) -> list[tuple[float, slice]]:
    """Return the centre of each tile, and which of its pixels are a section's and no tile's yet."""
    found, seen = [], 0
    for centre in _centres(side, output):
        start = round(centre - (output - 1) / 2)
        found.append((centre, slice(seen - start, min(side - start, output))))
        seen = start + output
    return found
