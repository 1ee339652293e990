"""The files of the chunks of a Zarr that is being written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from paper_unet.images.outputs.stored import Stored, stored_bytes


class Chunks(LocalStore):
    """Knows of each chunk of level 0 what its bytes are, encoded as they go to the disk.

    Attributes
    ----------
    written : dict of str to Stored
        By their names in the store; whoever asks for one takes it out.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.written: dict[str, Stored] = {}

    async def set(self, key: str, value: Any) -> None:
        """Write a file; see zarr's own documentation."""
        if key.startswith("0/"):
            self.written[key] = stored_bytes([value.as_numpy_array()])
        await super().set(key, value)
