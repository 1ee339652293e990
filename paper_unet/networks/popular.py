"""The popular PyTorch U-Net with batch normalisation, with and without bilinear up-sampling."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from paper_unet.geometry import Context
from paper_unet.networks.blocks import block, pad_to, transposed
from paper_unet.networks.well_known import KnownUNet


class PopularUNet(KnownUNet):
    """The popular PyTorch U-Net: (convolution, batch norm, ReLU) twice, up by 2x2 transposed.

    Departures from the paper:

    - every 3x3 convolution is padded by 1 and has no bias, since batch normalisation follows;
    - the up-sampled map is padded by zeros to the skip (no crop), so that any side of 16 pixels or
      more goes through; concatenation [skip, up];
    - no drop-out, no border weights, PyTorch's own initial weights;
    - RMSprop at a rate of 1e-5, momentum 0.999. Its author adds a Dice term to the cross-entropy;
      here it is the cross-entropy alone.

    Open in its description, and chosen here: two scores and a softmax (one score and a sigmoid
    with ``out_channels=1``). The 1x1 head has a bias.
    """

    variant = "popular"
    context = Context(16, before=112, after=112)
    initial = "pytorch"
    skip_first = True
    floors = True
    bilinear: ClassVar[bool] = False

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks."""
        f = 2 if self.bilinear else 1
        self.down0 = double(in_channels, w)
        self.down1 = double(w, 2 * w)
        self.down2 = double(2 * w, 4 * w)
        self.down3 = double(4 * w, 8 * w)
        self.down4 = double(8 * w, 16 * w // f)
        self.upconv3, self.up3 = self.up(16 * w, 8 * w // f)
        self.upconv2, self.up2 = self.up(8 * w, 4 * w // f)
        self.upconv1, self.up1 = self.up(4 * w, 2 * w // f)
        self.upconv0, self.up0 = self.up(2 * w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=1)

    def up(self, joined: int, out_channels: int) -> tuple[nn.Sequential, nn.Sequential]:
        """Return how a level is reached from below, and its block over ``joined`` channels."""
        return transposed(joined, joined // 2), double(joined, out_channels)

    def join(self, skip: Tensor, up: Tensor) -> Tensor:
        """Put the contracting map before the up-sampled one, which is padded to its size."""
        return torch.cat([skip, pad_to(up, skip)], dim=1)


class BilinearUNet(PopularUNet):
    """The popular PyTorch U-Net with bilinear up-sampling in place of learnt up-convolutions.

    Departures from the paper, beside those of `PopularUNet`:

    - bilinear up-sampling whose corners are aligned: no weights, and a sampling grid that depends
      on the size of the map, so the network does not commute with any shift and no tiling equals
      one pass;
    - half the channels at the bottom and out of each expanding block (factor 2), and a first
      convolution there that keeps half of the joined channels.
    """

    variant = "popular_bilinear"
    tiles = False
    context = Context(16, before=144, after=144)
    bilinear = True

    def up(self, joined: int, out_channels: int) -> tuple[nn.Sequential, nn.Sequential]:
        """Return how a level is reached from below, and its block over ``joined`` channels."""
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        return nn.Sequential(upsample), double(joined, out_channels, middle=joined // 2)


def double(i: int, o: int, middle: int | None = None) -> nn.Sequential:
    """Return the block of this network."""
    return block(i, o, "conv norm relu conv norm relu", padding=1, bias=False, middle=middle)
