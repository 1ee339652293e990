"""Zarr stores on a network, through obstore (extra ``remote``): connected to, read and written."""

from __future__ import annotations

from importlib.util import find_spec

from paper_unet.errors import InputError
from paper_unet.system.address import Address


def require_obstore(address: Address) -> None:
    """Raise InputError unless what connects to a network is installed."""
    if find_spec("obstore") is None:
        raise InputError(
            f'{address}: a Zarr on a network needs obstore: pip install "paper-unet[remote]"'
        )
