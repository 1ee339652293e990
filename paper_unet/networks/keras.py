"""A popular Keras U-Net: padded, one batch normalisation a block, up-sampling by repetition."""

from __future__ import annotations

from torch import nn

from paper_unet.geometry import Context
from paper_unet.networks.blocks import KERAS_NORM, block, nearest_then_conv
from paper_unet.networks.well_known import KnownUNet


class KerasUNet(KnownUNet):
    """The Keras U-Net: block of convolution and ReLU, then convolution, batch norm and ReLU.

    Departures from the paper:

    - every convolution is padded; sides are multiples of 16;
    - one batch normalisation in each block, with Keras' settings (epsilon 0.001, momentum 0.99);
    - up by nearest up-sampling and a padded 2x2 convolution with ReLU, whose one zero goes below
      and to the right;
    - concatenation [skip, up];
    - one score and a sigmoid, binary cross-entropy without border weights, Adam at a rate of
      0.001, Keras' own initial weights (uniform by Glorot, biases 0).

    Kept: drop-out of 0.5 after the fourth and the fifth block, channels from 64 to 1024.

    Open in its description, and chosen here: the skip of the fourth block carries its drop-out, as
    in the paper's release, and the expanding blocks are of the same form as the contracting ones.
    Its author follows training and validation loss by epochs; here ``--validate`` with
    ``--validate-every`` follows the loss of held-out sections beside the training loss.
    """

    variant = "keras"
    context = Context(16, before=128, after=128)
    initial = "glorot"
    outputs = 1
    skip_first = True

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks."""

        def double(i: int, o: int, end: str = "") -> nn.Sequential:
            layers = f"conv relu conv norm relu {end}"
            return block(i, o, layers, padding=1, dropout=dropout, norm=KERAS_NORM)

        self.down0 = double(in_channels, w)
        self.down1 = double(w, 2 * w)
        self.down2 = double(2 * w, 4 * w)
        self.down3 = double(4 * w, 8 * w, end="drop")
        self.down4 = double(8 * w, 16 * w, end="drop")
        self.upconv3, self.up3 = nearest_then_conv(16 * w, 8 * w), double(16 * w, 8 * w)
        self.upconv2, self.up2 = nearest_then_conv(8 * w, 4 * w), double(8 * w, 4 * w)
        self.upconv1, self.up1 = nearest_then_conv(4 * w, 2 * w), double(4 * w, 2 * w)
        self.upconv0, self.up0 = nearest_then_conv(2 * w, w), double(2 * w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=1)
