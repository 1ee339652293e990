"""The files of a store that is a folder on this disk."""

from __future__ import annotations

import os
from pathlib import Path

from paper_unet.errors import InputError, shown
from paper_unet.images.readers.chunked import stamp_of
from paper_unet.images.readers.zarr_names import Entry
from paper_unet.system.names import where_links_lead


class LocalFiles:
    """A folder, of which nothing is read that is not in it.

    Attributes
    ----------
    root : Path
    top : str
        Where in it the store begins.
    """

    root: Path
    top = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def listed(self, folder: str) -> list[Entry]:
        """Return what lies in a folder; nothing if it is not there."""
        try:
            with os.scandir(self.place(folder)) as entries:
                return [Entry(one.name, _kind_of(one)) for one in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def named(self, key: str) -> str:
        """Return what a message calls a file."""
        return str(self.root / key)

    def stamp(self, key: str) -> dict[str, int] | None:
        """Return size and time of a file; None if it is not there."""
        return stamp_of(self.place(key))

    def whole(self) -> dict[str, int]:
        """Return what tells the whole store from another; nothing short of all its files does."""
        return {}

    def links(self, folder: str) -> tuple[Path, ...]:
        """Return wherever links lead in a folder, and the folder itself without links."""
        place = self.place(folder)
        return place.resolve(), *where_links_lead(place)

    def place(self, key: str) -> Path:
        """Return where a file is."""
        if ".." in key.split("/") or key.startswith("/"):
            raise InputError(
                f"{self.root}: names {shown(key)}, which leads out of it; copy or export it again"
            )
        return self.root / key


def _kind_of(entry: os.DirEntry[str]) -> str:
    if entry.is_dir():
        return "folder"
    if entry.is_file():
        return "file"
    return "other" if Path(entry.path).exists() else "nothing"  # a link that leads nowhere
