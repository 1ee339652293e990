"""The loss on held-out sections while a network is trained; the paper reports none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from paper_unet.augment import Augmentation
from paper_unet.networks.base import Network
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet
from paper_unet.training.tiles import Sample, TileSampler, energy


class HeldOut:
    """Sections that a network does not learn from, cut into tiles as they are, without a change.

    Parameters
    ----------
    data : TrainingSet
        Weighed as the training data are: by its own map of Eq. 2, or every pixel alike.
    config : TrainConfig
        Of the training; its tiles are as large.
    output : int
        Side of the labels of a tile, pixels.
    device : torch.device
    """

    def __init__(
        self, data: TrainingSet, config: TrainConfig, output: int, device: torch.device
    ) -> None:
        data = data if config.weighted else data.unweighted()
        settings = replace(config.augmentation, grey=0.0)
        self.sampler = TileSampler(data, config.input_side, settings, 0, device, output)
        self.centre = config.centre

    def tiles(self) -> Iterator[Sample]:
        """Yield tiles whose labels cover every section; neighbours may overlap."""
        count, _, *size = self.sampler.images.shape
        ys, xs = (_centres(side, self.sampler.output) for side in size)
        still = np.zeros((2, self.sampler.settings.grid, self.sampler.settings.grid))
        for z in range(count):
            for y in ys:
                for x in xs:
                    yield self.sampler.tile_at(z, Augmentation((y, x), 0.0, False, still))

    @torch.no_grad()
    def loss(self, model: Network) -> float:
        """Return the loss of Eq. 1 over the sum of the weights; drop-out off, nothing learnt.

        Parameters
        ----------
        model : Network
            Left in the mode it came in.

        Returns
        -------
        float
            0 where nothing is annotated.
        """
        training, total, weights = model.training, 0.0, 0.0
        model.eval()
        for tile in self.tiles():
            total += float(energy(model, model(tile.image - self.centre), tile, normalise=False))
            counted = tile.labels < max(model.config.out_channels, 2)
            weights += float(torch.where(counted, tile.weights, 0.0).sum())
        model.train(training)
        return total / weights if weights else 0.0


def _centres(side: int, output: int) -> list[float]:
    """Return the centres of the fewest tiles that cover a side, evenly spaced, pixels."""
    count = -(-side // output)
    room = side - output
    starts = [room // 2] if count == 1 else np.rint(np.linspace(0, room, count)).tolist()
    return [start + (output - 1) / 2 for start in starts]  # a tile's pixels fall on pixels
