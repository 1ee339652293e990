"""What lies where in a store, whatever holds it: a folder, or a file."""

from __future__ import annotations

from pathlib import Path
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


def inside(name: object) -> str | None:
    """Return the path of what a document or an archive names as a part of the store.

    Returns
    -------
    str or None
        Parts with ``/`` between them; those that stand for the folder they are in are left out.
        None if it is no name, or leads out of the store.
    """
    text = str(name).replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    outside = text.startswith("/") or ".." in parts or Path(text).is_absolute() or "\0" in text
    return "/".join(parts) if isinstance(name, str) and not outside else None
