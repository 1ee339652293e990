"""What names a file or a folder: a path, an address of this machine, or what lies inside a file.

Neuroglancer and its tools write ``precomputed://file:///data/volume`` where a folder is meant; what
lies inside a file is named as if it were a path: ``volume.h5:/volumes/raw``, ``a.ozx/0``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from paper_unet.system.address import Address, address_of

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
"""How the name of an HDF5 file ends; .hdf may be HDF4, too."""

ZIP_SUFFIXES = (".zip", ".ozx")
"""How the name of a ZIP file ends; a Zarr may lie in it."""

_INSIDE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, HDF5_SUFFIXES))})):[/\\]*(.*)", re.I | re.S)

# one slash is enough: a path has no two of them
_LOCAL = re.compile(
    r"(?:(?:precomputed|n5|zarr[23]?|hdf5):/{1,2})?file:(?:/{1,2}localhost|/{0,2})(/.*?)"
    r"(?:/?\|[a-z0-9-]+:/?)?",
    re.I | re.S,
)
_OF_FORMAT = re.compile(r"(?:precomputed|n5|zarr[23]?):/{0,2}(/(?!/|[a-z0-9]+:/).*)", re.I | re.S)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file or folder of this machine that is named by an address.

    Parameters
    ----------
    path : str or Path
        Such as ``precomputed://file:///data/volume``, ``n5://file:///data/a.n5/raw``,
        ``file:///data/a.zarr``; or any path, which is returned as it is. What exists under the
        whole name is that.

    Returns
    -------
    Path
    """
    text = os.fspath(path)
    found = _LOCAL.fullmatch(text) or _OF_FORMAT.fullmatch(text)
    if found is None or os.path.lexists(path):
        return Path(path)
    plain = Path("/" + found[1].lstrip("/"))
    return plain if os.path.lexists(plain) else Path(unquote(str(plain)))


def place_of(path: str | os.PathLike[str]) -> Path | Address:
    """Return the address on a network that a text is, or else the path; see `local_path`."""
    return address_of(path) or local_path(path)


def absolute(path: str | os.PathLike[str]) -> Path | Address:
    """Return the same with the whole of a path: what another process can use."""
    place = place_of(path)
    return place.absolute() if isinstance(place, Path) else place


def split_inside(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Return the file that a path names, and the data set inside it.

    Parameters
    ----------
    path : str or Path
        ``FILE:/DATASET``, where FILE ends as HDF5 files do, or the path of a file or folder, or
        its address; see `local_path`. What exists under the whole name is that.

    Returns
    -------
    Path, str or None
        The data set without slashes around it, "" if the path ends in the colon; None if it names
        a file or folder alone.
    """
    place = local_path(path)
    # a path made of the text has lost what may be wrong in the name of a data set
    text = os.fspath(path) if place == Path(path) else os.fspath(place)
    found = _INSIDE.fullmatch(text)
    if found is None or os.path.lexists(place):
        return place, None
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
