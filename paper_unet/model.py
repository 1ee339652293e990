"""The network of Fig. 1, read from top to bottom in the paper's order (sec. 2)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from paper_unet.geometry import PAPER, output_size
from paper_unet.networks.base import Network, NetworkConfig


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two unpadded 3x3 convolutions, each followed by a ReLU (sec. 2)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3),  # -2 pixels per axis
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=3),  # -2 pixels per axis
        nn.ReLU(inplace=True),
    )


def up_conv(in_channels: int, out_channels: int, relu: bool) -> nn.Sequential:
    """Return the 2x2 up-convolution, stride 2: twice the pixels per axis (sec. 2)."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def copy_and_crop(skip: Tensor, up: Tensor) -> Tensor:
    """Crop the contracting map to the centre and put it behind the up-sampled one (sec. 2)."""
    rows, columns = (skip.shape[axis] - up.shape[axis] for axis in (2, 3))
    top, left = rows // 2, columns // 2
    cropped = skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]
    return torch.cat([up, cropped], dim=1)


class UNet(Network):
    """The U-Net of Ronneberger, Fischer and Brox (2015): 23 convolutional layers, all valid.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    out_channels : int
        Classes K.
    width : int
        Channels of the first level; they double at each of the four contracting steps.
    dropout : float
        Rate of the two drop-out layers at the end of the contracting path (sec. 3.1), active in
        training mode only.
    up_relu : bool
        A ReLU after each up-convolution, as in the authors' release; the paper names none.
    last_up_width : int, optional
        Channels of the last up-convolution; ``width`` in the paper.

    Notes
    -----
    Weights start as Gaussians of standard deviation sqrt(2 / N), N the incoming nodes of a neuron
    (sec. 3), biases at zero. For the up-convolutions N is counted as in the authors' software
    (4 times the outgoing channels).
    """

    variant: ClassVar[str] = "paper"
    context = PAPER
    streams: ClassVar[bool] = True
    least_outputs = 2  # a softmax (sec. 3) over one class would say nothing

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 64,
        *,
        dropout: float = 0.5,
        up_relu: bool = False,
        last_up_width: int | None = None,
    ) -> None:
        super().__init__(
            NetworkConfig(in_channels, out_channels, width, dropout, up_relu, last_up_width)
        )
        w, last = width, width if last_up_width is None else last_up_width
        # contracting path
        self.down0 = double_conv(in_channels, w)
        self.down1 = double_conv(w, 2 * w)
        self.down2 = double_conv(2 * w, 4 * w)
        self.down3 = double_conv(4 * w, 8 * w)
        self.down4 = double_conv(8 * w, 16 * w)
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.dropout = nn.Dropout(dropout)
        # expanding path
        self.upconv3 = up_conv(16 * w, 8 * w, up_relu)
        self.up3 = double_conv(16 * w, 8 * w)
        self.upconv2 = up_conv(8 * w, 4 * w, up_relu)
        self.up2 = double_conv(8 * w, 4 * w)
        self.upconv1 = up_conv(4 * w, 2 * w, up_relu)
        self.up1 = double_conv(4 * w, 2 * w)
        self.upconv0 = up_conv(2 * w, last, up_relu)
        self.up0 = double_conv(last + w, w)
        self.head = nn.Conv2d(w, out_channels, kernel_size=1)
        self.reset_parameters()

    @classmethod
    def release(
        cls,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 64,
        *,
        dropout: float = 0.5,
    ) -> UNet:
        """Return the network that the authors released in 2015 (``phseg_v5``), untrained.

        It has a ReLU after each up-convolution and twice the channels out of the last one.
        """
        return cls(
            in_channels,
            out_channels,
            width,
            dropout=dropout,
            up_relu=True,
            last_up_width=2 * width,
        )

    @classmethod
    def output_side(cls, side: int) -> int:
        """Return the side of the scores of a square image of ``side`` pixels."""
        return output_size(side)

    @property
    def sigmoid(self) -> bool:
        """False: the paper's scores are those of a softmax (sec. 3)."""
        return False

    def forward(self, image: Tensor) -> Tensor:
        """Return the raw scores a_k(x) of the pixels whose context lies inside the image.

        Parameters
        ----------
        image : Tensor, shape (N, C, H, W)
            Grey values in [0, 1]. H and W are of the form 16k + 60.

        Returns
        -------
        Tensor, shape (N, K, H - 184, W - 184)
            Scores before the softmax.

        Raises
        ------
        InputError
            If the shape does not fit; the message names the nearest legal sides.
        """
        self._check(image)  # shapes below: the 572 example of Fig. 1, width 64
        d0 = self.down0(image)  # N 64 568 568
        d1 = self.down1(self.pool(d0))  # N 128 280 280
        d2 = self.down2(self.pool(d1))  # N 256 136 136
        d3 = self.dropout(self.down3(self.pool(d2)))  # N 512 64 64; its skip is dropped too
        d4 = self.dropout(self.down4(self.pool(d3)))  # N 1024 28 28

        u3 = self.up3(copy_and_crop(d3, self.upconv3(d4)))  # 56: N 1024 56 56 -> N 512 52 52
        u2 = self.up2(copy_and_crop(d2, self.upconv2(u3)))  # N 512 104 104 -> N 256 100 100
        u1 = self.up1(copy_and_crop(d1, self.upconv1(u2)))  # N 256 200 200 -> N 128 196 196
        u0 = self.up0(copy_and_crop(d0, self.upconv0(u1)))  # N 128 392 392 -> N 64 388 388
        return self.head(u0)  # type: ignore[no-any-return]  # N K 388 388
