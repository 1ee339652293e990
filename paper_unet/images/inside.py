"""What lies inside a file, named as if it were a path: ``volume.h5:/volumes/raw``, ``a.ozx/0``."""

from __future__ import annotations

import os
import re
from pathlib import Path

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
"""How the name of an HDF5 file ends; .hdf may be HDF4, too."""

ZIP_SUFFIXES = (".zip", ".ozx")
"""How the name of a ZIP file ends; a Zarr may lie in it."""

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


def split_zip(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the ZIP file that a path leads into, and the way inside it.

    Parameters
    ----------
    path : str or Path
        ``FILE.ozx/A/1/0``, or the path of a file or folder, which is that.

    Returns
    -------
    Path, str
        The way without slashes around it; "" where there is none.
    """
    path = Path(path)
    if os.path.lexists(path):
        return path, ""
    for above in path.parents:
        if above.suffix.lower() in ZIP_SUFFIXES and above.is_file():
            return above, path.relative_to(above).as_posix()
    return path, ""


def file_of(path: str | os.PathLike[str]) -> Path:
    """Return the file or folder that a path names, without what is named inside it."""
    file, inside = split_inside(path)
    return file if inside is not None else split_zip(path)[0]
