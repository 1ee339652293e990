"""The paper's sizes with batch normalisation, as it was trained on ISBI 2012 by others."""

from __future__ import annotations

from torch import nn

from paper_unet.geometry import HALO, SMALLEST_INPUT, STRIDE, Context
from paper_unet.networks.blocks import block, transposed
from paper_unet.networks.well_known import KnownUNet


class ValidBatchNormUNet(KnownUNet):
    """The paper's sizes, 572 to 388, with (convolution, batch norm, ReLU) twice.

    Departures from the paper:

    - batch normalisation between each 3x3 convolution and its ReLU;
    - drop-out of 0.5 at the end of the fourth contracting block alone, its skip included;
    - concatenation [skip, up];
    - one score and a sigmoid, no border weights, PyTorch's own initial weights;
    - batches of four for 100 epochs over 24 sections of ISBI 2012, six held out. Inputs were of
      512 pixels, outputs of 324 against labels cropped to their centre.

    Kept: no padding, the centre crop, transposed 2x2 convolutions, channels from 64 to 1024.

    Open in its description, and chosen here: the convolutions have a bias, the loss is the binary
    cross-entropy.

    512 is no legal side (sec. 2: each pool must see an even one). The network takes it: the third
    pool sees 121 rows and drops the last, so the crops are no longer of the centre, the skips
    lie up to two pixels off the up-sampled maps, and so does the middle of the labels. What comes
    out is not what the same pixels give in a legal tile. Training and prediction here take legal
    sides alone, 16k + 60. Mirrored borders and overlapping tiles, which its author left as future
    work, are those of the paper's network.
    """

    variant = "valid_batchnorm"
    context = Context(
        STRIDE, before=HALO, after=HALO, lost=HALO, base=60, smallest=SMALLEST_INPUT, padded=False
    )
    initial = "pytorch"
    outputs = 1
    skip_first = True
    floors = True
    authors_side = 512

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks."""

        def double(i: int, o: int, end: str = "") -> nn.Sequential:
            return block(i, o, f"conv norm relu conv norm relu {end}", dropout=dropout)

        self.down0 = double(in_channels, w)
        self.down1 = double(w, 2 * w)
        self.down2 = double(2 * w, 4 * w)
        self.down3 = double(4 * w, 8 * w, end="drop")
        self.down4 = double(8 * w, 16 * w)
        self.upconv3, self.up3 = transposed(16 * w, 8 * w), double(16 * w, 8 * w)
        self.upconv2, self.up2 = transposed(8 * w, 4 * w), double(8 * w, 4 * w)
        self.upconv1, self.up1 = transposed(4 * w, 2 * w), double(4 * w, 2 * w)
        self.upconv0, self.up0 = transposed(2 * w, w), double(2 * w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=1)
