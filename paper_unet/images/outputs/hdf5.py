"""Writing a stack as an uncompressed data set of an HDF5 file, window by window in any order.

HDF5 keeps what it knows of a file in memory until it is closed, and a kill in between can leave a
file that nothing opens. So the library writes the file once, without pixels: their room is taken
as one block, and the file closed. From then on pixels are written to their places in the block and
nothing else is touched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paper_unet.errors import InputError, shown
from paper_unet.images.hdf5 import library, size_attributes
from paper_unet.images.outputs.block import BlockOutput
from paper_unet.images.said import SAID
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize
from paper_unet.system.names import kind_of

DATA_SET = "data"
"""What the data set is called unless it is named."""

HEADER, BYTES_PER_GROUP = 2**13, 2**11
"""Bytes, at most, of all but the pixels, and more for each part of the data set's name."""

LONGEST_NAME = 1000


class Hdf5Output(BlockOutput):
    """One HDF5 file with one data set, in one block (contiguous); see `Output`.

    Parameters
    ----------
    path : Path
        Of the file.
    inside : str, optional
        Of the data set; groups are made for what stands before a slash.

    Notes
    -----
    The data set has the attributes ``element_size_um`` and ``resolution`` where the size of a pixel
    is known, ``axes``, ``channels`` where a pixel has several values, and
    ``paper_unet`` where more is said of them, such as that they are labels.
    """

    kind = "an HDF5 file"

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        pixel_size: PixelSize = UNKNOWN_SIZE,
        *,
        inside: str | None = None,
        **choices: Any,
    ) -> None:
        library(path)
        self.inside = DATA_SET if inside is None else inside
        parts = self.inside.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in self.inside or len(self.inside) > LONGEST_NAME:
            raise InputError(
                f"{path}: {shown(repr(self.inside))} is no name for a data set; give one such as "
                f"{path.name}:/volumes/prediction"
            )
        super().__init__(path, shape, dtype, pixel_size, **choices)

    def _size(self) -> int:
        names = sum(len(name) * 4 + 32 for name in self.channels)
        said = HEADER + names if self.channels or self.said else 0
        return self._pixel_bytes + said + HEADER + BYTES_PER_GROUP * (self.inside.count("/") + 1)

    def _check(self) -> None:
        super()._check()
        if kind_of(self.path) == "file" and not self._is_alone_in(self.path):
            raise InputError(
                f"{self.path}: exists and holds something else than /{self.inside}, so it is not "
                "replaced; an output is a file of its own: choose another name"
            )

    def _is_alone_in(self, path: Path) -> bool:
        """Whether a file holds a data set of this name and nothing else, so may be replaced."""
        h5py = library(path)
        group: Any
        try:
            with h5py.File(path, "r", locking=False) as group:
                for part in self.inside.split("/"):
                    if list(group) != [part]:
                        return False
                    link = group.get(part, getlink=True)
                    group = group[part] if isinstance(link, h5py.HardLink) else None
                return isinstance(group, h5py.Dataset)
        except Exception:  # what is no HDF5 file, or damaged, raises errors of many types
            return False

    def _write_header(self, file: BinaryIO) -> None:
        h5py = library(self.partial)
        self._reserve(file, self._size())  # a full disk shows here: HDF5 would hide the reason
        file.truncate(0)
        # a fixed version, and no times: the same pixels shall give the same bytes
        with h5py.File(file, "w", libver="earliest") as made:
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_layout(h5py.h5d.CONTIGUOUS)
            settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            settings.set_obj_track_times(False)
            group, _, name = self.inside.rpartition("/")
            parent = made.require_group(group) if group else made
            space = h5py.h5s.create_simple(self.full_shape)
            kind = h5py.h5t.py_create(self.dtype.newbyteorder("<"))
            made_set = h5py.h5d.create(parent.id, name.encode(), kind, space, settings)
            about = h5py.Dataset(made_set).attrs
            about["axes"] = np.bytes_("czyx" if self.channels else "zyx")
            if self.said:
                about[SAID] = json.dumps(self.said)
            if self.channels:
                about["channels"] = list(self.channels)
            for attribute, sizes in size_attributes(self.pixel_size).items():
                about[attribute] = sizes

    def _find_pixels(self) -> int:
        """Read the header; raise InputError if it is not the one of this output."""
        self._require_file()
        if kind_of(self.partial) is None:
            raise self.nothing_left("is gone")
        h5py = library(self.partial)
        size = self.partial.stat().st_size
        try:
            with h5py.File(self.partial, "r", locking=False) as file:
                found = file.get(self.inside)
                if not isinstance(found, h5py.Dataset):
                    raise self.nothing_left(f"has no data set /{self.inside}")
                offset = int(found.id.get_offset() or 0)
                same = (
                    found.dtype == self.dtype.newbyteorder("<") and found.shape == self.full_shape
                )
        except InputError:
            raise
        except Exception as error:  # a damaged header raises errors of many types
            raise self.nothing_left("cannot be read") from error
        if not (same and 0 < offset <= size - self._pixel_bytes):
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape}")
        return offset
