"""What the well-known variants share: the way through the U, and a table of what may differ."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from paper_unet.errors import InputError
from paper_unet.networks.base import Network, NetworkConfig
from paper_unet.networks.blocks import crop_to


class KnownUNet(Network):
    """A U-Net as it is found elsewhere: down, across, up, in the paper's order.

    A variant names its blocks in ``__init__``: ``down0`` ..., ``upconv0`` ..., ``up0`` ... and
    ``head``, level 0 being the full resolution. What comes out of `forward` are raw scores: of one
    class a logit, whose probability is the sigmoid; of several, their softmax.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    out_channels : int, optional
        Scores; default: what the variant's author used.
    width : int
        Channels of the first level.
    dropout : float
        Rate, where the variant has drop-out.

    Notes
    -----
    `centre` is not subtracted here but by training and prediction.
    """

    levels: ClassVar[int] = 4
    """Contracting steps."""

    weighted = False
    outputs: ClassVar[int] = 2
    """Scores, unless told otherwise."""

    skip_first: ClassVar[bool] = False
    """Whether the contracting map comes before the up-sampled one (the paper: after it)."""

    floors: ClassVar[bool] = False
    """Whether `forward` also takes sides whose pools drop an odd row."""

    authors_side: ClassVar[int | None] = None
    """Input side that its author used, pixels, where that is no legal one."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int | None = None,
        width: int = 64,
        *,
        dropout: float = 0.5,
    ) -> None:
        outputs = self.outputs if out_channels is None else out_channels
        super().__init__(NetworkConfig(in_channels, outputs, width, dropout))
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.build(in_channels, outputs, width, dropout)
        self.reset_parameters()

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks; ``w`` is the width."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: NetworkConfig) -> Self:
        """Return an untrained network of this configuration."""
        if config.up_relu or config.last_up_width is not None:
            raise InputError(f"the network {cls.variant} has no variant of the release")
        return cls(config.in_channels, config.out_channels, config.width, dropout=config.dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Return the raw scores.

        Parameters
        ----------
        image : Tensor, shape (N, C, H, W)
            Grey values or colours, minus `centre`.

        Returns
        -------
        Tensor, shape (N, K, h, w)
            Before the sigmoid or softmax; h and w by `output_side`.

        Raises
        ------
        InputError
            If the shape does not fit.
        """
        self._check(image)
        skips, x = [], image
        for level in range(self.levels):
            skips.append(self.get_submodule(f"down{level}")(x))
            x = self.pool(skips[-1])
        x = self.get_submodule(f"down{self.levels}")(x)
        for level in reversed(range(self.levels)):
            up = self.get_submodule(f"upconv{level}")(x)
            x = self.get_submodule(f"up{level}")(self.join(skips[level], up))
        return self.head(x)  # type: ignore[no-any-return]

    def _check(self, image: Tensor) -> None:
        fits = image.ndim == 4 and image.shape[1] == self.config.in_channels
        if not (self.floors and fits and min(image.shape[2:]) >= self.context.smallest):
            super()._check(image)
        least = 2 ** (self.levels + 1)
        single = self.training and len(image) == 1 and max(image.shape[2:]) < least
        if single and any(isinstance(layer, nn.BatchNorm2d) for layer in self.modules()):
            raise InputError(
                f"{image.shape[3]} x {image.shape[2]} pixels are one at the bottom of the network "
                f"{self.variant}, too few for batch normalisation to learn from: use {least} or "
                "more"
            )

    def join(self, skip: Tensor, up: Tensor) -> Tensor:
        """Put the contracting map, cropped to the centre, beside the up-sampled one."""
        skip = crop_to(skip, up)
        return torch.cat([skip, up] if self.skip_first else [up, skip], dim=1)
