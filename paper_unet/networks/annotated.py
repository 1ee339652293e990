"""The U-Net of labml's annotated papers."""

from __future__ import annotations

from torch import nn

from paper_unet.geometry import Context
from paper_unet.networks.blocks import block, transposed
from paper_unet.networks.well_known import KnownUNet


class AnnotatedUNet(KnownUNet):
    """The annotated U-Net: the paper's layers and channels, with zero padding.

    Departures from the paper:

    - every 3x3 convolution is padded by 1, so scores and image agree in size, the centre crop does
      nothing where the sides are multiples of 16, and the border sees zeros in place of mirrored
      tissue;
    - no drop-out, no border weights, PyTorch's own initial weights;
    - one score and a sigmoid, binary cross-entropy (taught on Carvana: photographs of three
      channels, masks of one);
    - Adam at a rate of 2.5e-4, and no augmentation.

    Kept: no normalisation, ReLU after each convolution, transposed 2x2 convolutions, [up, skip].
    """

    variant = "annotated"
    context = Context(16, before=112, after=112)
    initial = "pytorch"
    outputs = 1

    def build(self, in_channels: int, out_channels: int, w: int, dropout: float) -> None:
        """Make the blocks."""

        def double(i: int, o: int) -> nn.Sequential:
            return block(i, o, "conv relu conv relu", padding=1)

        self.down0 = double(in_channels, w)
        self.down1 = double(w, 2 * w)
        self.down2 = double(2 * w, 4 * w)
        self.down3 = double(4 * w, 8 * w)
        self.down4 = double(8 * w, 16 * w)
        self.upconv3, self.up3 = transposed(16 * w, 8 * w), double(16 * w, 8 * w)
        self.upconv2, self.up2 = transposed(8 * w, 4 * w), double(8 * w, 4 * w)
        self.upconv1, self.up1 = transposed(4 * w, 2 * w), double(4 * w, 2 * w)
        self.upconv0, self.up0 = transposed(2 * w, w), double(2 * w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=1)
