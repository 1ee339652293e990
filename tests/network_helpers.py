"""A network from outside the package, of next to no depth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from paper_unet.geometry import Context
from paper_unet.networks.base import Network, NetworkConfig


class Dummy(Network):
    """One padded convolution and a head."""

    variant = "dummy"
    context = Context(16, before=16, after=16)

    def __init__(
        self, in_channels: int = 1, out_channels: int = 2, width: int = 4, *,
        dropout: float = 0.5, **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(NetworkConfig(in_channels, out_channels, width, dropout))
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Conv2d(width, out_channels, 1)
        self.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        """Return scores as large as the image."""
        self._check(image)
        scores: Tensor = self.head(torch.relu(self.first(image)))
        return scores
