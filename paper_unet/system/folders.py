"""Folders that are known without being named."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder of what is fetched: $PAPER_UNET_DATA, or ``data`` in the current folder."""
    return Path(os.environ.get("PAPER_UNET_DATA") or "data")


def state_folder() -> Path:
    """Return the folder of the journals of outputs that are not on this machine.

    $PAPER_UNET_STATE, or ``paper-unet`` in the folder that the system has for such things.
    """
    if given := os.environ.get("PAPER_UNET_STATE"):
        return Path(given).absolute()
    if os.name == "nt":
        above = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        above = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return above / "paper-unet"
