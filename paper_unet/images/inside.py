"""A data set inside a file, named as if it were a path: ``volume.h5:/volumes/raw``."""

from __future__ import annotations

import os
import re
from pathlib import Path

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
"""How the name of an HDF5 file ends; .hdf may be HDF4, too."""

_INSIDE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, HDF5_SUFFIXES))})):[/\\]*(.*)", re.I | re.S)


def split_inside(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the file that a path names, and the data set inside it.

    Parameters
    ----------
    path : str or Path
        ``FILE:/DATASET``, where FILE ends as HDF5 files do, or the path of a file or folder. What
        exists under the whole name is that.

    Returns
    -------
    Path, str or None
        The data set without slashes around it, "" if the path ends in the colon; None if it names
        a file or folder alone.
    """
    found = _INSIDE.fullmatch(os.fspath(path))
    if found is None or os.path.lexists(path):
        return Path(path), None
    return Path(found[1]), found[2].replace("\\", "/").strip("/")


def file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file or folder that a path names, without the data set inside it."""
    return split_inside(path)[0]
