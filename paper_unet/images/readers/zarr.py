"""Zarr arrays, version 2 and 3, and OME-Zarr images, 0.4 and 0.5, as one grey stack."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import stack_axes
from paper_unet.images.cache import ChunkCache
from paper_unet.images.grey_values import DTYPES
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.stack import Span, Stack
from paper_unet.system.files import file_stamp

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
"""Files by which a folder is known to be a Zarr."""

AXIS_TYPES = {"channel": "C", "time": "T"}
STAMPED = 10_000
"""Files of chunks, at most, whose size and time are part of the identity."""

LARGEST_CHUNK = 2**30
"""Bytes that a chunk may decode to."""

OBJECTS = 2**20
"""Bytes, at most, of zarr's tasks and objects while it reads a row of chunks."""


class ZarrStack(Stack):
    """A stack in a Zarr store: an array, or the full resolution of an OME-Zarr image."""

    format = "ZarrStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether a folder holds what describes a Zarr, or is called one."""
        return path.is_dir() and (_is_zarr(path) or path.suffix.lower() == ".zarr")

    @classmethod
    def unfinished(cls, path: Path) -> bool:
        """Whether it is the partial output of a run, or an array in one."""
        return any(name.endswith(".partial") for name in path.parts)

    def __init__(
        self, path: Path, *, axes: str | None = None, series: int | None = None, channels: int = 1
    ) -> None:
        super().__init__(path, channels=channels)
        import zarr

        _check_store(path, channels)
        from paper_unet.images.readers.zarr_store import RegularFiles, bounded, check_layout

        with _reading(path, "the store"):
            opened = zarr.open(RegularFiles(path, read_only=True), mode="r")
        size: list[float | None] = []
        if isinstance(opened, zarr.Group):
            self._array, found, size = _ome_image(path, opened)
        else:
            self._array, found = opened, _axes_of(opened)
        if self._array.dtype.name not in DTYPES:
            raise InputError(
                f"{path}: values of {self._array.dtype.name}; accepted are {', '.join(DTYPES)}: "
                "convert it, masks to uint8"
            )
        check_layout(path, self._array, self.budget)
        with _reading(path, "the store"):
            self._array = bounded(path, self._array, self.budget)
        self.dtype = self._array.dtype.newbyteorder("=")
        self._axes = stack_axes(path, found, self._array.shape, axes)
        self.shape = self._axes.shape
        if size:  # by position: another letter may stand for Z
            z, y, x = self._axes.z, self._axes.y, self._axes.x
            self.pixel_size = None if z is None else size[z], size[y], size[x]
        self._tall, self._wide = (self._array.chunks[k] for k in (self._axes.y, self._axes.x))
        _check_chunk(path, self._array.chunks, self.dtype)
        row = self._tall * self.shape[2] * self.dtype.itemsize
        self._cache = ChunkCache(row, math.ceil(self.shape[1] / self._tall) * row)
        self.cache_bytes = self._cache.room + self._on_the_way(row)

    def _on_the_way(self, row: int) -> int:
        """Bytes, at most, that zarr holds of chunks, encoded and decoded, while it reads a row."""
        import zarr

        chunk: int = math.prod(self._array.chunks) * self.dtype.itemsize
        across: int = math.ceil(self.shape[2] / self._wide)
        at_once = int(zarr.config.get("async.concurrency") or across)
        if self._array.shards is not None:
            return 2 * min(across, at_once**2) * chunk + row + OBJECTS
        return 2 * min(across, at_once) * chunk + OBJECTS

    def close(self) -> None:
        """Forget what is decoded."""
        self._cache.clear()

    @property
    def _file_shape(self) -> tuple[int, ...]:
        """Pixels of a file of the store: a chunk, or a shard of several."""
        shape: tuple[int, ...] = self._array.shards or self._array.chunks
        return shape

    def _stamp(self) -> dict[str, Any]:
        """Digest the documents that describe the store, and the times of files of chunks."""
        digest = hashlib.sha256()
        for folder in {self.path: 0, self.path / self._array.path: 0}:
            for file in (folder / name for name in (*DOCUMENTS, ".zattrs")):
                if file.exists():
                    digest.update(f"{file.name} {file_stamp(file)}\n".encode())
                    digest.update(file.read_bytes())
        return {"metadata": digest.hexdigest(), "chunks": self._stamp_chunks()}

    def _stamp_chunks(self) -> str:
        """Digest size and time of chunks: of all, or of as many as `STAMPED`, evenly spread."""
        pairs = zip(self._array.shape, self._file_shape, strict=True)
        grid = tuple(math.ceil(length / size) for length, size in pairs)
        count = math.prod(grid)
        looked = min(count, STAMPED)
        digest = hashlib.sha256()
        for k in range(looked):
            index = np.unravel_index(k * (count - 1) // max(looked - 1, 1), grid)
            key = self._array.metadata.encode_chunk_key(tuple(map(int, index)))
            file = self.path / self._array.path / key
            digest.update(f"{key} {file_stamp(file) if file.exists() else None}\n".encode())
        return digest.hexdigest()

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read whole rows of chunks and keep them: bands are much lower than chunks."""
        left = columns[0] // self._wide * self._wide
        across = left, min(-(-columns[1] // self._wide) * self._wide, self.shape[2])
        size = self._tall * (across[1] - left) * self.dtype.itemsize
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self.dtype)
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            key = z, down, across
            part = self._cache.get(key, size, partial(self._read_chunks, *key))
            top = down * self._tall
            first, last = max(rows[0], top), min(rows[1], top + self._tall)
            out[first - rows[0] : last - rows[0]] = part[
                first - top : last - top, columns[0] - left : columns[1] - left
            ]
        return out

    def _read_chunks(self, z: int, down: int, across: Span) -> NDArray[Any]:
        top = down * self._tall
        where: list[Any] = [0] * self._array.ndim
        if self._axes.z is not None:
            where[self._axes.z] = z
        where[self._axes.y] = slice(top, min(top + self._tall, self.shape[1]))
        where[self._axes.x] = slice(*across)
        with _reading(self.path, f"slice {z}"):
            return np.asarray(self._array[tuple(where)], self.dtype)


def _is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / name).exists() for name in DOCUMENTS)


def _check_store(path: Path, channels: int) -> None:
    if not _is_zarr(path):
        raise InputError(
            f"{path}: a folder without Zarr metadata (zarr.json, .zarray or .zgroup); copy or "
            "export it again"
        )
    if channels != 1:
        raise InputError(
            f"{path}: a Zarr is read as grey, the network takes {channels} channels; give a TIFF, "
            "or a folder of PNG or JPEG files"
        )


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Name store and slice in whatever a codec or the metadata raise: each has its own types."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that zarr does not know; they do no harm
            yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: {what} cannot be read ({reason}); the store is damaged or unfinished: "
            "copy or export it again"
        ) from error


def _check_chunk(path: Path, chunk: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    size = math.prod(chunk) * dtype.itemsize
    if size > LARGEST_CHUNK:
        raise InputError(
            f"{path}: chunks of {size / 1e9:.1f} GB, each of which must be decoded at once; "
            "convert it to smaller ones"
        )


def _axes_of(array: Any) -> str:
    """Return the axes of a plain array: as it names them, else the last ones of Z, Y and X."""
    names = getattr(array.metadata, "dimension_names", None)  # version 3
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")  # xarray's convention for version 2
    if isinstance(names, list | tuple) and len(names) == array.ndim and all(names):
        return "".join(str(name)[0].upper() for name in names)
    count: int = array.ndim
    return ("QI" * count)[: max(count - 3, 0)] + "ZYX"[max(3 - count, 0) :]


def _ome_image(path: Path, group: Any) -> tuple[Any, str, list[float | None]]:
    """Return the full-resolution array of an OME-Zarr image, its axes and its pixel size."""
    with _reading(path, "the OME-Zarr metadata"):
        images = group.attrs.get("ome", group.attrs).get("multiscales")
        if not images:
            raise InputError(f"{path}: a Zarr group and no OME-Zarr image; {_arrays(group)}")
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in images[0]["axes"]]
        dataset = images[0]["datasets"][0]
        array = group[dataset["path"]]
        if array.ndim != len(axes):
            raise ValueError(f"{len(axes)} axes for an array of shape {array.shape}")
        letters = [AXIS_TYPES.get(str(axis.get("type"))) or str(axis["name"])[0].upper()
                   for axis in axes]  # fmt: skip
        return array, "".join(letters), _pixel_size(axes, (dataset, images[0]))


def _pixel_size(axes: list[dict[str, Any]], owners: tuple[Any, ...]) -> list[float | None]:
    """Multiply the scales of a level and of the whole image, micrometres; none if damaged."""
    scale = np.ones(len(axes))
    try:
        for owner in owners:
            for transform in owner.get("coordinateTransformations") or []:
                if transform["type"] == "scale":
                    for k, factor in zip(range(len(axes)), transform["scale"], strict=True):
                        scale[k] *= float(factor)
    except (ValueError, TypeError, LookupError, AttributeError):
        return [None] * len(axes)
    return [micrometres(length, axis.get("unit")) for length, axis in zip(scale, axes, strict=True)]


def _arrays(group: Any) -> str:
    import zarr

    names = [name for name, member in group.members(max_depth=3) if isinstance(member, zarr.Array)]
    if not names:
        return "it holds no array"
    more = ", ..." if len(names) > 8 else ""
    return f"give the path of one of its arrays: {', '.join(sorted(names)[:8])}{more}"
