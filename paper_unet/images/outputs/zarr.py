"""Writing a stack as OME-Zarr with its pyramid, chunk by chunk, by any number of processes.

Each chunk is a file of its own; shards, which put many in one file, are not written: only whole
shards can be written without reading them again, and a stack of 10^6 chunks still works without.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from paper_unet.errors import InputError
from paper_unet.images.ome_metadata import check_ome, ome_attributes
from paper_unet.images.outputs.chunk_files import ChunkFiles
from paper_unet.images.outputs.pyramid_output import OpenedPyramid, PyramidOutput
from paper_unet.images.outputs.zarr_labels import register
from paper_unet.images.stack import Span

VERSIONS = ("0.5", "0.4")
CHUNK = 512
ZSTD_LEVEL = 3
METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


class ZarrOutput(PyramidOutput):
    """One OME-Zarr image, a folder; see `Output`.

    Chunks of 1 x 512 x 512, compressed with zstd; every chunk has its file, one of zeros too. The
    levels of the pyramid are the arrays ``0``, ``1``, ... of the group.

    Attributes
    ----------
    version : str
        ``0.5`` (Zarr v3) or ``0.4`` (Zarr v2).
    """

    alignment = (CHUNK, CHUNK)
    called = "Zarr folder"

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether the chunks of a window are there and can be decoded."""
        if not all(path.is_file() for path in self._files(z, rows, columns)):
            return False
        try:
            self._arrays()[0][z, slice(*rows), slice(*columns)]
        except Exception:  # damage raises errors of many types
            return False
        return True

    def _announce(self) -> None:
        if self.labels:
            register(self.path)

    def _check(self) -> None:
        if self.version not in VERSIONS:
            raise InputError(
                f"OME-Zarr version {self.version!r}; accepted are {', '.join(VERSIONS)}"
            )
        super()._check()

    def _is_ours(self, folder: Path) -> bool:
        return any((folder / name).is_file() for name in METADATA)

    def _size(self) -> int:
        """Return the bytes of all levels uncompressed: 4/3 of the pixels, and 0.5 % for the rest.

        Assumed: zstd makes no chunk larger by more than that, and the padding of chunks at the
        edge takes no room.
        """
        pixels = sum(math.prod(shape) for shape in self.levels)
        return math.ceil(pixels * self.dtype.itemsize * 1.005)

    def _arrays(self) -> Sequence[Any]:
        """Return the array of each level, opened for this process."""
        return self._opened().arrays

    def _open(self) -> OpenedPyramid:
        try:
            group = zarr.open_group(self.partial, mode="r")
            arrays: list[Any] = [group[str(level)] for level in range(len(self.levels))]
        except FileNotFoundError:
            raise self.nothing_left("is gone") from None
        except (KeyError, ValueError, TypeError) as error:
            raise self.nothing_left("cannot be read") from error
        found = [(array.shape, array.dtype, array.chunks) for array in arrays]
        if found != [(shape, self.dtype, (1, CHUNK, CHUNK)) for shape in self.levels]:
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape}")
        if group.metadata.zarr_format != self._format:
            raise self.nothing_left(f"is not OME-Zarr {self.version}")
        try:
            files = [ChunkFiles(self.partial / str(k), one) for k, one in enumerate(arrays)]
        except ValueError as error:
            raise self.nothing_left(f"is not as it was made: {error}") from error
        return OpenedPyramid(files, self._growing(), arrays)

    @property
    def _format(self) -> int:
        return 2 if self.version == "0.4" else 3

    def _create(self) -> None:
        old = self._format == 2
        attributes = ome_attributes(
            self.version, len(self.levels), self.pixel_size, labels=self.labels
        )
        group = zarr.create_group(self.partial, zarr_format=2 if old else 3, attributes=attributes)
        for level, shape in enumerate(self.levels):
            group.create_array(
                str(level),
                shape=shape,
                dtype=self.dtype,
                chunks=(1, CHUNK, CHUNK),
                compressors=Zstd(ZSTD_LEVEL) if old else ZstdCodec(level=ZSTD_LEVEL),
                fill_value=0,
                chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
                dimension_names=None if old else ("z", "y", "x"),
            )
        check_ome(self.partial, self.version, labels=self.labels)

    def _decoded(self, level: int, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of a level; what of it lies beyond the image is left out."""
        try:
            window: NDArray[Any] = self._arrays()[level][z, slice(*rows), slice(*columns)]
        except (InputError, OSError):
            raise
        except Exception as error:  # damage raises errors of many types
            raise self._undecodable(level, z, error) from error
        return window

    def _metadata(self) -> Iterator[Path]:
        for folder in (self.partial, *(self.partial / str(k) for k in range(len(self.levels)))):
            yield from (folder / name for name in METADATA if (folder / name).exists())
