"""What lies where in a Zarr store, whatever holds it: a folder, or a file."""

from __future__ import annotations

from typing import NamedTuple

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
"""Files by which a folder is known to be a Zarr."""


class Entry(NamedTuple):
    """What has a name in a folder of a store.

    Attributes
    ----------
    name : str
    kind : str
        "file", "folder", or what else it is.
    """

    name: str
    kind: str


def joined(*parts: str) -> str:
    """Return the key of what lies in folders of a store."""
    return "/".join(part for part in parts if part)
