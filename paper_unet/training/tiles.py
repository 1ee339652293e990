"""The n-th tile that a run learns from, and its loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paper_unet.augment import (
    Augmentation,
    centre_crop,
    coordinates_of,
    draw_augmentation,
    grey_changed_by,
    numbers_of,
    sample,
)
from paper_unet.geometry import output_size
from paper_unet.loss import weighted_binary_cross_entropy, weighted_cross_entropy
from paper_unet.networks.base import Network
from paper_unet.settings import AugmentSettings
from paper_unet.training.data import TrainingSet


class Sample(NamedTuple):
    """One tile with a batch axis: image (1, C, t, t), labels and weights (1, t - 184, t - 184)."""

    image: Tensor
    labels: Tensor
    weights: Tensor


class TileSampler:
    """The endless sequence of training tiles of a run; the n-th depends on (seed, n) alone.

    Parameters
    ----------
    data : TrainingSet
    tile : int
        Input side, pixels, 16k + 60.
    settings : AugmentSettings
    seed : int
    device : torch.device
        Where the sections are kept and the tiles are made.
    output : int, optional
        Side of labels and weights, pixels; default: what the paper's network gives for the tile.
    """

    def __init__(
        self,
        data: TrainingSet,
        tile: int,
        settings: AugmentSettings,
        seed: int,
        device: torch.device,
        output: int | None = None,
    ) -> None:
        self.tile, self.settings, self.seed = tile, settings, seed
        self.output = output_size(tile) if output is None else output
        self.images = torch.from_numpy(data.images).to(device)
        self.classes = torch.from_numpy(data.classes).to(device)
        self.weights = torch.from_numpy(data.weights).to(device)

    def __getitem__(self, n: int) -> Sample:
        """Make the n-th tile."""
        return self.made_of(torch.from_numpy(self.numbers(n)).to(self.images.device))

    def numbers(self, n: int) -> NDArray[np.float64]:
        """Draw what the n-th tile is made of: the section, and the numbers of the look at it."""
        rng = np.random.default_rng((self.seed, n))
        z = int(rng.integers(len(self.images)))
        rows, columns = self.images.shape[2:]
        look = draw_augmentation(rng, (rows, columns), self.settings, margin=self.output / 4)
        return _numbers(z, look)

    def tile_at(self, z: int, look: Augmentation) -> Sample:
        """Make the tile that a look at a section gives."""
        return self.made_of(torch.from_numpy(_numbers(z, look)).to(self.images.device))

    def made_of(self, numbers: Tensor) -> Sample:
        """Make a tile of its `numbers`, on the device of the sections; nothing waits for them."""
        z, look = numbers[:1].long(), numbers[1:]
        where = coordinates_of(look, self.tile)
        inner = centre_crop(where, self.output)
        extrapolation = self.settings.extrapolation
        image = sample(self.images.index_select(0, z)[0], where, "bicubic", extrapolation)
        image = grey_changed_by(look, image) if self.settings.grey else image
        classes = self.classes.index_select(0, z).float()
        labels = sample(classes, inner, "nearest").round().long()
        weights = sample(self.weights.index_select(0, z), inner, "bilinear", extrapolation)
        return Sample(image[None], labels, weights)


def _numbers(z: int, look: Augmentation) -> NDArray[np.float64]:
    return np.concatenate([[float(z)], numbers_of(look)])


def energy(model: Network, scores: Tensor, tile: Sample, *, normalise: bool) -> Tensor:
    """Return the loss of a tile: Eq. 1, or its binary form for a network of one logit."""
    loss = weighted_binary_cross_entropy if model.sigmoid else weighted_cross_entropy
    return loss(scores, tile.labels, tile.weights, normalise=normalise)
