"""The networks by name: the paper's, it with one choice changed, and those that people know.

A new one is a subclass of `paper_unet.networks.base.Network` and a line in `NETWORKS`; from
outside the package, ``NETWORKS["name"] = "my_module:MyNetwork"``. Nothing is imported until it is
asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from paper_unet.errors import InputError

if TYPE_CHECKING:
    from paper_unet.networks.base import Network

NETWORKS: Final[dict[str, str]] = {
    "paper": "paper_unet.model:UNet",
    "release": "paper_unet.model:UNet.release",
    "same_padding": "paper_unet.networks.one_choice:SamePaddingUNet",
    "paper_batch_norm": "paper_unet.networks.one_choice:BatchNormUNet",
    "annotated": "paper_unet.networks.annotated:AnnotatedUNet",
    "popular": "paper_unet.networks.popular:PopularUNet",
    "popular_bilinear": "paper_unet.networks.popular:BilinearUNet",
    "three_level": "paper_unet.networks.three_level:ThreeLevelUNet",
    "keras": "paper_unet.networks.keras:KerasUNet",
    "valid_batchnorm": "paper_unet.networks.valid_batchnorm:ValidBatchNormUNet",
}
"""Where each is, by the name in the setting ``network``: a class, or what makes one."""

RENAMED: Final = {
    "batch_norm": "paper_batch_norm",
    "batchnorm": "popular",
    "batchnorm_bilinear": "popular_bilinear",
}
"""Names of version 0.1.0.dev0, one underscore apart; still read from files and options."""


def network_names() -> tuple[str, ...]:
    """Return the names that the setting ``network`` takes now."""
    return tuple(NETWORKS)


def first_name(name: str) -> str:
    """Return the name that journals know a network by: its first one."""
    return next((old for old, new in RENAMED.items() if new == name), name)


def network_class(name: str) -> type[Network]:
    """Return the class behind a name in the setting ``network``, or that a file declares.

    Raises
    ------
    InputError
        If there is no network of this name.
    """
    found = _found(name)
    kind: type[Network] = found if isinstance(found, type) else found.__self__  # type: ignore[attr-defined]
    return kind


def make_network(
    name: str, in_channels: int, out_channels: int | None, width: int, dropout: float
) -> Network:
    """Return an untrained network by the name that the setting ``network`` has.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    in_channels : int
    out_channels : int or None
        Scores; None for what its authors used.
    width : int
    dropout : float
        As in `UNet`.

    Returns
    -------
    Network

    Raises
    ------
    InputError
        If there is no network of this name.
    """
    outputs = {} if out_channels is None else {"out_channels": out_channels}
    network: Network = _found(name)(in_channels, width=width, dropout=dropout, **outputs)
    return network


def _found(name: str) -> Callable[..., Any]:
    name = RENAMED.get(name, name)
    if name not in NETWORKS:
        raise InputError(f"no network is called {name!r}; accepted are {', '.join(NETWORKS)}")
    maker: Callable[..., Any] = resolve_name(NETWORKS[name])
    return maker
