"""Zarr stores on a network, through obstore (extra ``remote``): connected to, read and written."""

from __future__ import annotations

from paper_unet.system.address import Address
from paper_unet.system.libraries import require


def require_obstore(address: Address) -> None:
    """Raise InputError unless what connects to a network is installed."""
    require("obstore", f"{address}: a Zarr on a network", "remote")
