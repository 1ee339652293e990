"""Writing a stack as OME-Zarr with its pyramid, file by file, by any number of processes.

Each chunk is a file of its own; or, where there are very many, a shard is: chunks of one section,
which one piece writes at once. A file is there as a whole or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from paper_unet.errors import InputError
from paper_unet.images.ome_metadata import check_ome, ome_attributes
from paper_unet.images.outputs.chunk_files import ChunkFiles
from paper_unet.images.outputs.pyramid_output import OpenedPyramid, PyramidOutput
from paper_unet.images.outputs.zarr_labels import places_in, register
from paper_unet.images.outputs.zarr_shards import check_shard, files_of, side_for
from paper_unet.images.readers.damage import NO_DAMAGE
from paper_unet.images.readers.zarr_store import RegularFiles
from paper_unet.images.stack import Span, Stack

if TYPE_CHECKING:
    from paper_unet.images.remote.store import RemoteStore

VERSIONS = ("0.5", "0.4")
CHUNK = 512
ZSTD_LEVEL = 3
METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


class ZarrOutput(PyramidOutput):
    """One OME-Zarr image, a folder; see `Output`.

    Chunks of 1 x 512 x 512, compressed with zstd; every chunk has its file, one of zeros too, or
    its place in a shard that is one. The levels of the pyramid are the arrays ``0``, ``1``, ... of
    the group. With channels they are (C, Z, Y, X).

    Attributes
    ----------
    version : str
        ``0.5`` (Zarr v3) or ``0.4`` (Zarr v2).
    """

    alignment = (CHUNK, CHUNK)
    called = "Zarr folder"
    holds_channels = True
    shards = True

    def __init__(self, *given: Any, shard: int | None = 0, **more: Any) -> None:
        self.shard = shard or 0
        super().__init__(*given, **more)
        self.use_shards(side_for(self, CHUNK) if shard is None else shard)

    def refuse_input(self, stack: Stack) -> None:
        """Refuse to replace what is read, also over a network or through another mount."""
        super().refuse_input(stack)
        if self.path.is_dir():
            self._refuse_input(stack, RegularFiles(self.path, read_only=True))

    def _refuse_input(self, stack: Stack, place: RegularFiles | RemoteStore) -> None:
        if stack.lies_in(place):
            raise InputError(
                f"{self.place}: holds the pixels of the input {stack.path}, so it is the input "
                "under another address, or a copy of it; choose another output"
            )

    def use_shards(self, shard: int) -> None:
        """Write shards of so many pixels a side; 0: a file for each chunk. Before `prepare`."""
        check_shard(self.place, shard, CHUNK, self.version)
        self.shard = shard
        self.alignment = (shard, shard) if shard else type(self).alignment
        self.tasks_at_once = 1 if shard else None  # each takes the memory of a shard

    def _check(self) -> None:
        if self.version not in VERSIONS:
            raise InputError(
                f"OME-Zarr version {self.version!r}; accepted are {', '.join(VERSIONS)}"
            )
        super()._check()

    def _is_ours(self, folder: Path) -> bool:
        return any((folder / name).is_file() for name in METADATA)

    def _announce(self) -> None:
        if self.labels:
            register(self.path)

    def _size(self) -> int:
        """Return the bytes of all levels uncompressed: 4/3 of the pixels, and 0.5 % for the rest.

        Assumed: zstd makes no chunk larger by more than that, and the padding of chunks at the
        edge takes no room.
        """
        pixels = sum(math.prod(shape) for shape in self.levels) * max(1, len(self.channels))
        return math.ceil(pixels * self.dtype.itemsize * 1.005)

    def _arrays(self) -> Sequence[Any]:
        """Return the array of each level, opened for this process."""
        return self._opened().arrays

    def _open(self) -> OpenedPyramid:
        try:
            group = self._group()
            arrays: list[Any] = [group[str(level)] for level in range(len(self.levels))]
        except FileNotFoundError:
            raise self.nothing_left("is gone") from None
        except (KeyError, ValueError, TypeError) as error:
            raise self.nothing_left("cannot be read") from error
        found = [(array.shape, array.dtype, array.chunks) for array in arrays]
        chunk = (*self._before, 1, CHUNK, CHUNK)
        if found != [(shape, self.dtype, chunk) for shape in self._shapes()]:
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.full_shape}")
        if {array.shards for array in arrays} != {self._shards}:
            raise self.nothing_left(f"has not a file for {files_of(self.shard)}")
        if group.metadata.zarr_format != self._format:
            raise self.nothing_left(f"is not OME-Zarr {self.version}")
        try:
            files = [self._chunks_of(k, one) for k, one in enumerate(arrays)]
        except ValueError as error:
            raise self.nothing_left(f"is not as it was made: {error}") from error
        arrays = [self._with_pixels(k, one) for k, one in enumerate(arrays)]
        return OpenedPyramid(files, self._growing(), arrays)

    @property
    def _shards(self) -> tuple[int, ...] | None:
        return (*self._before, 1, self.shard, self.shard) if self.shard else None

    # where documents and chunks are

    def _group(self) -> Any:
        """Open the group by its documents."""
        self._check_folder()
        return zarr.open_group(self.partial, mode="r")

    def _chunks_of(self, level: int, array: Any) -> ChunkFiles:
        return ChunkFiles(self.partial / str(level), array)

    def _with_pixels(self, level: int, array: Any) -> Any:
        """Return the array of a level that reads its chunks."""
        return array

    @property
    def _format(self) -> int:
        return 2 if self.version == "0.4" else 3

    def _create(self) -> None:
        old = self._format == 2
        attributes = ome_attributes(
            self.version, len(self.levels), self.pixel_size, labels=self.labels,
            channels=self.channels, dtype=self.dtype, places=self._places,
        )  # fmt: skip
        if self.about:
            attributes["paper_unet"] = self.about
        group = zarr.create_group(self.partial, zarr_format=2 if old else 3, attributes=attributes)
        for level, shape in enumerate(self._shapes()):
            group.create_array(
                str(level),
                shape=shape,
                dtype=self.dtype,
                chunks=(*self._before, 1, CHUNK, CHUNK),
                shards=self._shards,
                compressors=Zstd(ZSTD_LEVEL) if old else ZstdCodec(level=ZSTD_LEVEL),
                fill_value=0,
                chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
                dimension_names=None if old else tuple("czyx"[-len(shape) :]),
            )
        check_ome(self.partial, self.version, labels=self.labels)

    @property
    def _places(self) -> list[tuple[float, float]] | None:
        """Where pixels lie, if another image says it: of its labels."""
        return places_in(self.path, self.pixel_size) if self.labels else None

    @property
    def _before(self) -> tuple[int, ...]:
        """The length of a chunk along the axes before Z, Y, X."""
        return (1,) if self.channels else ()

    def _shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of the array of each level."""
        before = (len(self.channels),) if self.channels else ()
        return [(*before, *shape) for shape in self.levels]

    def _decoded(self, level: int, plane: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of a level; what of it lies beyond the image is left out."""
        channel, z = divmod(plane, self.shape[0])
        at = (channel, z) if self.channels else (z,)
        try:
            window: NDArray[Any] = self._arrays()[level][(*at, slice(*rows), slice(*columns))]
        except (*NO_DAMAGE, OSError):
            raise
        except Exception as error:  # damage raises errors of many types
            raise self._undecodable(level, z, error) from error
        return window

    def _metadata(self) -> Iterator[Path]:
        for folder in (self.partial, *(self.partial / str(k) for k in range(len(self.levels)))):
            yield from (folder / name for name in METADATA if (folder / name).exists())
