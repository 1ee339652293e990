"""The blocks that the networks are built from, each written as the list of its layers."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

KERAS_NORM: Final = {"eps": 1e-3, "momentum": 0.01}
"""Keras' defaults; its momentum of 0.99 is PyTorch's 0.01."""


def block(
    in_channels: int,
    out_channels: int,
    layers: str,
    *,
    padding: int = 0,
    bias: bool = True,
    middle: int | None = None,
    dropout: float = 0.0,
    norm: dict[str, float] | None = None,
) -> nn.Sequential:
    """Return the layers that a string names, in its order.

    Parameters
    ----------
    in_channels, out_channels : int
    layers : str
        Of the words ``conv`` (3x3), ``relu``, ``norm`` (batch normalisation) and ``drop``.
    padding : int
        Zeros around each convolution's input, pixels.
    bias : bool
        Of the convolutions.
    middle : int, optional
        Channels between the two convolutions; default: as many as come out.
    dropout : float
        Rate of ``drop``.
    norm : dict, optional
        Settings of the batch normalisation; default: PyTorch's.

    Returns
    -------
    nn.Sequential
        The paper's own block is ``conv relu conv relu`` without padding.
    """
    names = layers.split()
    channels, missing = in_channels, names.count("conv")
    made: list[nn.Module] = []
    for name in names:
        if name == "conv":
            missing -= 1
            wide = middle if middle is not None and missing else out_channels
            made.append(nn.Conv2d(channels, wide, 3, padding=padding, bias=bias))
            channels = wide
        elif name == "norm":
            made.append(nn.BatchNorm2d(channels, **(norm or {})))  # type: ignore[arg-type]
        else:
            made.append({"relu": nn.ReLU(inplace=True), "drop": nn.Dropout(dropout)}[name])
    return nn.Sequential(*made)


def transposed(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return the paper's up-convolution: transposed, 2x2, stride 2."""
    return nn.Sequential(nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2))


def nearest_then_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return nearest up-sampling and a padded 2x2 convolution with ReLU.

    The one zero of an even kernel goes below and to the right, as in Keras.
    """
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(in_channels, out_channels, 2),
        nn.ReLU(inplace=True),
    )


def crop_to(skip: Tensor, up: Tensor) -> Tensor:
    """Cut the centre of the contracting map, of the size of the up-sampled one."""
    top, left = ((skip.shape[axis] - up.shape[axis]) // 2 for axis in (2, 3))
    return skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]


def pad_to(up: Tensor, skip: Tensor) -> Tensor:
    """Put zeros around the up-sampled map until it has the size of the contracting one."""
    rows, columns = (skip.shape[axis] - up.shape[axis] for axis in (2, 3))
    return F.pad(up, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
