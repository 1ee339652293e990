"""What readers and outputs share of HDF5: the library, and how the size of a pixel is written.

Two attributes of a data set are in use: ``element_size_um`` (ilastik, Fiji) in micrometres, and
``resolution`` (CREMI) in nanometres. Both are in the order of the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.system.libraries import needed

SIZE_ATTRIBUTES = {"element_size_um": "um", "resolution": "nm"}
"""Attributes that have the size of a pixel, and their unit; the first one that is there wins."""

AXES_ATTRIBUTES = ("axistags", "axis_tags", "axes", "DIMENSION_LABELS")
"""Attributes that name the axes."""


def library(path: Path) -> Any:
    """Return h5py; raise InputError if it is not installed, or its HDF5 is too old."""
    h5py = needed("h5py", f"{path}: HDF5", "hdf5")
    if not hasattr(h5py.h5d.DatasetID, "chunk_iter"):
        raise InputError(
            f"{path}: h5py is built with HDF5 {h5py.version.hdf5_version}; 1.14 or later is "
            "needed: install a later h5py"
        )
    return h5py


def size_attributes(pixel_size: Sequence[float | None]) -> dict[str, list[float]]:
    """Return the attributes that say the size of a pixel, (z, y, x) in micrometres.

    What is not known is NaN in ``element_size_um``; ``resolution`` is left out then.
    """
    if all(size is None for size in pixel_size):
        return {}
    sizes = [float("nan") if size is None else float(size) for size in pixel_size]
    about = {"element_size_um": sizes}
    if None not in pixel_size:
        about["resolution"] = [1e3 * size for size in sizes]
    return about
