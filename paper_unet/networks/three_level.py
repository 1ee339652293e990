"""A popular three-level U-Net of valid convolutions with batch normalisation after the ReLU."""

from __future__ import annotations

from torch import Tensor, nn

from paper_unet.geometry import Context
from paper_unet.networks.blocks import block
from paper_unet.networks.well_known import KnownUNet


class ThreeLevelUNet(KnownUNet):
    """Three contracting steps of valid convolutions, (convolution, ReLU, batch norm) twice.

    Departures from the paper:

    - three contracting steps in place of four; batch normalisation after each ReLU;
    - up by transposed convolutions of 3x3, stride 2, padding 1 and output padding 1: the last row
      and column of each up-sampled map lack a neighbour and take a zero for it;
    - the head is a 3x3 convolution padded by 1, with a ReLU and batch normalisation on the scores;
    - no drop-out, no border weights, PyTorch's own initial weights; SGD at a rate of 0.01.

    Kept: the skip is cropped, [up, skip], softmax and cross-entropy, momentum 0.99.

    Open in its description, and chosen here: both convolutions of the bottleneck give 512
    channels, and each up-convolution halves the channels.

    Inputs are 8k + 60, outputs 88 smaller. The paddings reach 1 pixel into the scores from the top
    and left and 8 from the bottom and right; prediction drops these, so its tiles are exact.
    """

    variant = "three_level"
    levels = 3
    context = Context(8, before=45, after=52, lost=44, base=60, smallest=92, padded=False)
    initial = "pytorch"

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks."""

        def double(i: int, o: int) -> nn.Sequential:
            return block(i, o, "conv relu norm conv relu norm")

        def up(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1))

        self.down0 = double(in_channels, w)
        self.down1 = double(w, 2 * w)
        self.down2 = double(2 * w, 4 * w)
        self.down3 = double(4 * w, 8 * w)
        self.upconv2, self.up2 = up(8 * w, 4 * w), double(8 * w, 4 * w)
        self.upconv1, self.up1 = up(4 * w, 2 * w), double(4 * w, 2 * w)
        self.upconv0, self.up0 = up(2 * w, w), double(2 * w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=3, padding=1)
        self.behind_head = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(out_channels))

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores, which are normalised here."""
        scores: Tensor = self.behind_head(super().forward(image))
        return scores
