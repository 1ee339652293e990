"""The network of Fig. 1, read from top to bottom in the paper's order (sec. 2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER, Context, output_size


@dataclass(frozen=True)
class UNetConfig:
    """What defines a network; stored with its weights.

    The defaults are the paper's network.
    """

    in_channels: int = 1  # Fig. 1
    out_channels: int = 2  # Fig. 1
    width: int = 64  # Fig. 1: channels of the first level, doubled at every contracting step
    dropout: float = 0.5  # not in the paper: the rate; sec. 3.1 only says that there is drop-out
    up_relu: bool = False  # not in the paper: the release has a ReLU after each up-convolution
    last_up_width: int | None = None  # the release widens the last up-convolution to 2 * width

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.last_up_width is not None and self.last_up_width < 1:
            raise InputError(f"last_up_width is {self.last_up_width}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}; it must be in [0, 1)")


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


class UNet(nn.Module):
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

    Attributes
    ----------
    config : UNetConfig
        The arguments above.
    grey_ranges : dict of str to (float, float)
        For a dtype name, the grey values that mean 0 and 1 to the network, as in training.
    centre : float
        What training subtracted from the input and prediction has to subtract too; 0 where it
        could be moved into the first biases.
    record : dict
        What is known about the weights: data, recipe, scores. Empty for a new network.

    Notes
    -----
    Weights start as Gaussians of standard deviation sqrt(2 / N), N the incoming nodes of a neuron
    (sec. 3), biases at zero. For the up-convolutions N is counted as in the authors' software
    (4 times the outgoing channels).
    """

    variant: ClassVar[str] = "paper"
    """Which class of `paper_unet.networks.table` a file of weights is to be read by."""

    context: ClassVar[Context] = PAPER
    """What a tile needs around the pixels that are kept, see `paper_unet.geometry`."""

    padded: ClassVar[bool] = False
    """Whether convolutions pad by zeros, so that no constant can be moved into the biases."""

    initial: ClassVar[Literal["gaussian", "pytorch", "glorot"]] = "gaussian"
    """The rule of its initial weights, see `paper_unet.networks.blocks`."""

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
        super().__init__()
        self._describe(
            UNetConfig(in_channels, out_channels, width, dropout, up_relu, last_up_width)
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

    def _describe(self, config: UNetConfig) -> None:
        """Set what is stored beside the weights."""
        self.config = config
        self.grey_ranges: dict[str, tuple[float, float]] = {"uint8": (0.0, 255.0)}
        self.centre = 0.0
        self.record: dict[str, object] = {}

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
    def from_config(cls, config: UNetConfig) -> Self:
        """Return an untrained network of this configuration."""
        return cls(**asdict(config))

    @staticmethod
    def output_side(side: int) -> int:
        """Return the side of the scores of a square image of ``side`` pixels."""
        return output_size(side)

    @property
    def sigmoid(self) -> bool:
        """Whether the scores are one logit; the paper's are of two classes or more (sec. 3)."""
        return False

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights from N(0, 2 / N) and set the biases to zero (sec. 3)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

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

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.config.in_channels:
            raise InputError(
                f"the network was given shape {tuple(image.shape)}; it takes (N, "
                f"{self.config.in_channels}, H, W)"
            )
        for side in image.shape[2:]:
            self.output_side(int(side))
