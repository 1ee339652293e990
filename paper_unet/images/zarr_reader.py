"""Zarr arrays, version 2 and 3, and OME-Zarr images, 0.4 and 0.5, as one grey stack."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import grey_stack_axes
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.stack import Span, Stack
from paper_unet.images.tiff_reader import DTYPES

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup")
"""Files by which a folder is known to be a Zarr."""


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / name).exists() for name in DOCUMENTS)


class ZarrStack(Stack):
    """A stack in a Zarr store: an array, or the full resolution of an OME-Zarr image."""

    def __init__(self, path: Path, *, axes: str | None) -> None:
        self.path = path
        if any(part.endswith(".partial") for part in path.parts):
            raise InputError(f"{path}: is the partial output of a run; let it finish first")
        with _reading(path, "the store"):
            opened = zarr.open(path, mode="r")
        found: str | None = None
        scale: list[float | None] = []
        if isinstance(opened, zarr.Group):
            self._array, found, scale = _ome_image(path, opened)
        else:
            self._array = opened
        if self._array.dtype.name not in DTYPES:
            raise InputError(
                f"{path}: values of {self._array.dtype.name}; accepted are {', '.join(DTYPES)}: "
                "convert it, masks to uint8"
            )
        self.dtype = self._array.dtype.newbyteorder("=")
        found = found or _axes_of(self._array)
        self._axis, self.shape = grey_stack_axes(path, found, self._array.shape, axes)
        size = dict(zip(found, scale, strict=False))
        self.pixel_size = (size.get("Z"), size.get("Y"), size.get("X"))
        self._tall, wide = self._array.chunks[-2:]
        depth = math.prod(self._array.chunks[:-2])
        self.cache_bytes = self.dtype.itemsize * (
            2 * self._tall * self.shape[2] + 2 * depth * self._tall * wide
        )
        self._kept: dict[tuple[int, int, Span], NDArray[Any]] = {}

    def close(self) -> None:
        """Forget what is decoded."""
        self._kept = {}

    def _stamp(self) -> dict[str, Any]:
        """Digest the documents that describe the store; chunks are probed by their pixels."""
        digest = hashlib.sha256()
        for name in sorted(p for p in self.path.iterdir() if p.name in (*DOCUMENTS, ".zattrs")):
            digest.update(name.read_bytes())
        digest.update(str(self._array.metadata.to_dict()).encode())
        return {"metadata": digest.hexdigest()}

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read whole rows of chunks and keep them: bands are much lower than chunks."""
        wide = self._array.chunks[-1]
        left = columns[0] // wide * wide
        across = (left, min(-(-columns[1] // wide) * wide, self.shape[2]))
        needed, parts = {}, []
        for down in range(rows[0] // self._tall, -(-rows[1] // self._tall)):
            key = (z, down, across)
            part = self._kept.get(key)
            needed[key] = self._read_chunks(*key) if part is None else part
            top = down * self._tall
            y = slice(max(rows[0] - top, 0), min(rows[1] - top, self._tall))
            parts.append(needed[key][y, columns[0] - left : columns[1] - left])
        self._kept = needed
        return np.concatenate(parts)

    def _read_chunks(self, z: int, down: int, across: Span) -> NDArray[Any]:
        top = down * self._tall
        where: list[Any] = [0] * (self._array.ndim - 2)
        if self._axis is not None:
            where[self._axis] = z
        where += [slice(top, min(top + self._tall, self.shape[1])), slice(*across)]
        with _reading(self.path, f"slice {z}"):
            return np.asarray(self._array[tuple(where)], self.dtype)


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Name store and slice in whatever a codec or the metadata raise: each has its own types."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: {what} cannot be read ({reason}); the store is damaged or unfinished: "
            "copy or export it again"
        ) from error


def _axes_of(array: Any) -> str:
    """Return the axes of a plain array: its dimension names, or the last ones of Z, Y and X."""
    names = getattr(array.metadata, "dimension_names", None)
    if names and all(names):
        return "".join(str(name)[0].upper() for name in names)
    return "".join(("Q", "I")[k % 2] for k in range(array.ndim - 3)) + "ZYX"[-array.ndim :]


def _ome_image(path: Path, group: Any) -> tuple[Any, str, list[float | None]]:
    """Return the full-resolution array of an OME-Zarr image, its axes and its scale."""
    attributes = dict(group.attrs)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        raise InputError(f"{path}: a Zarr group and no OME-Zarr image; {_arrays(group)}")
    with _reading(path, "the OME-Zarr metadata"):
        image = multiscales[0]
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image["axes"]]
        dataset = image["datasets"][0]
        array = group[dataset["path"]]
        scale = np.ones(len(axes))
        for owner in (dataset, image):
            for transform in owner.get("coordinateTransformations") or []:
                if transform["type"] == "scale":
                    scale = scale * np.asarray(transform["scale"], float)
        size = [
            micrometres(length, axis.get("unit")) for length, axis in zip(scale, axes, strict=True)
        ]
        return array, "".join(str(axis["name"])[0].upper() for axis in axes), size


def _arrays(group: Any) -> str:
    names = [name for name, member in group.members(max_depth=3) if isinstance(member, zarr.Array)]
    if not names:
        return "it holds no array"
    more = ", ..." if len(names) > 8 else ""
    return f"give the path of one of its arrays: {', '.join(sorted(names)[:8])}{more}"
