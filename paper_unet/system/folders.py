"""Folders that are known without being named."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder of what is fetched: $PAPER_UNET_DATA, or ``data`` in the current folder."""
    return Path(os.environ.get("PAPER_UNET_DATA") or "data")
