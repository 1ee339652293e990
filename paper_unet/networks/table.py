"""Networks beside the paper's: it with one choice changed, and the well-known variants of it."""

from __future__ import annotations

from typing import Final

from paper_unet.errors import InputError
from paper_unet.model import UNet
from paper_unet.networks.annotated import AnnotatedUNet
from paper_unet.networks.blocks import initialise
from paper_unet.networks.keras import KerasUNet
from paper_unet.networks.one_choice import BatchNormUNet, SamePaddingUNet
from paper_unet.networks.popular import BilinearUNet, PopularUNet
from paper_unet.networks.three_level import ThreeLevelUNet
from paper_unet.networks.valid_batchnorm import ValidBatchNormUNet
from paper_unet.networks.well_known import KnownUNet

__all__ = [
    "KNOWN",
    "NETWORKS",
    "AnnotatedUNet",
    "BatchNormUNet",
    "BilinearUNet",
    "KerasUNet",
    "KnownUNet",
    "PopularUNet",
    "SamePaddingUNet",
    "ThreeLevelUNet",
    "ValidBatchNormUNet",
    "initialise",
    "network_class",
    "new_variant",
]

KNOWN: Final[dict[str, type[KnownUNet]]] = {
    kind.variant: kind
    for kind in (
        AnnotatedUNet, PopularUNet, BilinearUNet, ThreeLevelUNet, KerasUNet, ValidBatchNormUNet,
    )
}  # fmt: skip
"""The well-known variants, by the name that ``--network`` takes."""

NETWORKS: Final[dict[str, type[UNet]]] = {
    UNet.variant: UNet,
    SamePaddingUNet.variant: SamePaddingUNet,
    BatchNormUNet.variant: BatchNormUNet,
    **KNOWN,
}
"""What a file of weights may hold, by the name that it declares."""


def new_variant(
    name: str, in_channels: int, out_channels: int | None, width: int, dropout: float
) -> UNet:
    """Return an untrained network by the name that ``--network`` takes.

    Parameters
    ----------
    name : str
        One of `NETWORKS`, or ``release`` for the variant of the authors' software.
    in_channels : int
    out_channels : int or None
        Scores; None for what its authors used.
    width : int
    dropout : float
        As in `UNet`.

    Returns
    -------
    UNet

    Raises
    ------
    InputError
        If there is no network of this name.
    """
    if name == "release":
        return UNet.release(in_channels, out_channels or 2, width, dropout=dropout)
    kind = network_class(name)
    if out_channels is None:
        return kind(in_channels, width=width, dropout=dropout)
    return kind(in_channels, out_channels, width, dropout=dropout)


def network_class(name: str) -> type[UNet]:
    """Return the class behind a name that ``--network`` takes."""
    if name == "release":
        return UNet
    if name not in NETWORKS:
        raise InputError(
            f"no network is called {name!r}; accepted are release, {', '.join(NETWORKS)}"
        )
    return NETWORKS[name]
