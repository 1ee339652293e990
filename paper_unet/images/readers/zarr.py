"""Zarr arrays, version 2 and 3, and OME-Zarr images, 0.1 to 0.5, as one grey stack."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.axes import stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.inside import ZIP_SUFFIXES, file_of, split_zip
from paper_unet.images.readers.chunk_keys import COUNTED
from paper_unet.images.readers.chunked import (
    ChunkedStack,
    ChunkRows,
    check_chunk,
    digest_of_chunks,
    read_as,
)
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.origin import origin_note
from paper_unet.images.readers.zarr_images import Along, Image, axes_of, ome_image
from paper_unet.images.readers.zarr_levels import places_above
from paper_unet.images.readers.zarr_names import DOCUMENTS, joined
from paper_unet.images.stack import Span
from paper_unet.system.address import Address

if TYPE_CHECKING:
    from paper_unet.images.readers.zarr_store import Files

DOCUMENTS_AND_ATTRIBUTES = (*DOCUMENTS, ".zattrs")

OBJECTS = 2**20
"""Bytes, at most, of zarr's tasks and objects while it reads a row of chunks."""


class ZarrStack(ChunkedStack):
    """A stack in a Zarr store: an array, or the full resolution of an OME-Zarr image."""

    format = "ZarrStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether a folder or a ZIP file holds what describes a Zarr, or is called one."""
        if path.is_dir():
            return _is_zarr(path) or path.suffix.lower() == ".zarr"
        return file_of(path).suffix.lower() in ZIP_SUFFIXES and _is_zipped(path)

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
        missing: str = "fail",
        chosen: Choice = WHOLE,
    ) -> None:
        super().__init__(path, channels=channels, labels=labels, chosen=chosen)
        _check_store(path, channels)
        from paper_unet.images.readers.zarr_rows import rows_of
        from paper_unet.images.readers.zarr_store import bounded, check_layout

        self._files, self._root = self._open_files()
        try:
            image = _open_with_codecs(path, self._files, self._root)
            self._array, self._of_labels = image.array, image.labels
            self.dtype, self.own_range = read_as(path, self._array.dtype, labels)
            check_layout(path, self._array, self.budget)
            self._find_axes(image, axes)
            check_chunk(path, self._array.chunks, self.dtype)
            self._find_chunks(missing)
            with _reading(path, "the store"):
                self._array = bounded(path, self._array, self.budget)
                self._direct = rows_of(self._array, self._axes)
        except BaseException:
            self._files.close()
            raise
        row = self._tall * self.shape[2] * self.dtype.itemsize
        chunk = 1, self._tall, self._wide
        self._rows = ChunkRows(self.shape, chunk, self.dtype.itemsize, self._read_chunks)
        self.cache_bytes = self._rows.room + self._on_the_way(row)

    def _open_files(self) -> tuple[Files, str]:
        """Open what holds the store; return it, and where in it the image, or array, lies."""
        from paper_unet.images.readers.zarr_store import open_files

        self._source, inside = split_zip(self.path)
        files = open_files(self._source, self.budget)
        return files, joined(files.top, inside)

    @property
    def says_labels(self) -> bool:
        """Whether it is a label image of OME-Zarr."""
        return self._of_labels

    def _find_axes(self, image: Image, given: str | None) -> None:
        self._axes = stack_axes(
            self.path, image.axes, self._array.shape, given,
            chosen=self.chosen, names=image.channels,
        )  # fmt: skip
        self.shape, self.taken = self._axes.shape, self._axes.taken
        self.letters = given.upper() if given else image.axes
        if image.along:  # by position: another letter may stand for Z
            places = self._axes.z, self._axes.y, self._axes.x
            along = [Along() if k is None else image.along[k] for k in places]
            z, y, x = (one.size for one in along)
            self.pixel_size = z, y, x
            starts, units = [one.start for one in along], [one.unit for one in along]
            aside = ", but for labels that lie in it" if self._array.path != self._root else ""
            self.notes += origin_note(self.path, starts, units, aside)
        self._tall, self._wide = (self._array.chunks[k] for k in (self._axes.y, self._axes.x))

    def _find_chunks(self, missing: str) -> None:
        """Refuse a store without its chunks, unless it is to be filled; take them as named."""
        from paper_unet.images.readers.zarr_chunks import as_named, layout_of, present

        count = self.shape[0]
        self.budget.allow(COUNTED * count, self.path, f"counts the chunks of {count} sections")
        with _reading(self.path, "the chunks"):
            found = present(
                self._files, self._array, self._axes.z, self.taken,
                unwritten=self.unfinished(self._source),
            )  # fmt: skip
            declared = layout_of(self._array.metadata)
            if found.layout != declared:
                self._array = as_named(self._array, found.layout)
                self.notes += (
                    f"{self.path}: its chunks are named {found.layout}, its metadata say "
                    f"{declared}; they are read by the names that they have",
                )
        value = 0 if self._array.fill_value is None else self._array.fill_value
        self.notes += found.check(self.path, self.shape[0], value, missing)

    def _on_the_way(self, row: int) -> int:
        """Bytes, at most, that zarr holds of chunks, encoded and decoded, while it reads a row."""
        import zarr

        chunk: int = math.prod(self._array.chunks) * self.dtype.itemsize
        across: int = math.ceil(self.shape[2] / self._wide)
        at_once = int(zarr.config.get("async.concurrency") or across)
        if self._array.shards is not None:
            return 2 * min(across, at_once**2) * chunk + row + OBJECTS
        return 2 * min(across, at_once) * chunk + OBJECTS

    @property
    def files(self) -> tuple[Path, ...]:
        """The store, and wherever links in what is read of it lead: levels, chunks, documents."""
        if self._source.is_file():
            return (self._source,)
        documents = [self.path / name for name in DOCUMENTS_AND_ATTRIBUTES]
        linked = [file.resolve() for file in documents if file.is_symlink()]
        return self.path, *linked, *self._files.links(self._array.path)

    def lies_in(self, place: Any) -> bool:
        """Whether its pixels lie in another store, too; see `Stack.lies_in`."""
        from paper_unet.images.readers.zarr_known import lies_in

        if self._files.whole():  # a file holds them all
            return False
        with _reading(self.path, "the store"):
            return lies_in(place, self.path, self._files, self._array, dict(self.taken))

    def close(self) -> None:
        """Forget what is decoded, and close a store in one file."""
        self._rows.clear()
        self._files.close()

    @property
    def _file_shape(self) -> tuple[int, ...]:
        """Pixels of a file of the store: a chunk, or a shard of several."""
        shape: tuple[int, ...] = self._array.shards or self._array.chunks
        return shape

    def _stamp(self) -> dict[str, Any]:
        """Digest the documents that describe the store, and the times of files of chunks."""
        digest = hashlib.sha256()
        for folder in {self._root: 0, self._array.path: 0}:
            for name in DOCUMENTS_AND_ATTRIBUTES:
                key = joined(folder, name)
                if (stamp := self._files.stamp(key)) is not None:
                    digest.update(f"{name} {stamp}\n".encode())
                    digest.update(self._files.read(key) or b"")
        whole = self._files.whole()
        more = {"file": whole, "inside": self._array.path} if whole else {}
        return {"metadata": digest.hexdigest(), "chunks": self._stamp_chunks(), **more}

    def _stamp_chunks(self) -> str:
        """Digest size and time of chunks, by the names that they have."""
        pairs = zip(self._array.shape, self._file_shape, strict=True)

        def stamp(index: tuple[int, ...]) -> tuple[str, dict[str, int] | None]:
            key: str = self._array.metadata.encode_chunk_key(index)
            return key, self._files.stamp(joined(self._array.path, key))

        return digest_of_chunks(tuple(math.ceil(length / size) for length, size in pairs), stamp)

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        return self._rows.window(z, rows, columns)

    def _read_chunks(self, sections: range, down: int, across: Span) -> NDArray[Any]:
        z = sections[0]
        if self._direct is not None:
            with _reading(self.path, f"slice {z}"):
                return self._direct.read(z, down, across, self.dtype)[None]
        top = down * self._tall
        where: list[Any] = [0] * self._array.ndim
        for axis, number in self.taken:
            where[axis] = number
        if self._axes.z is not None:
            where[self._axes.z] = z
        where[self._axes.y] = slice(top, min(top + self._tall, self.shape[1]))
        where[self._axes.x] = slice(*across)
        with _reading(self.path, f"slice {z}"):
            part = np.asarray(self._array[tuple(where)], self.dtype)
            return (part if self._axes.y < self._axes.x else part.T)[None]


def _is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / name).exists() for name in DOCUMENTS)


def _is_zipped(path: Path) -> bool:
    """Whether a ZIP file, or a path in one, is to be read as a Zarr."""
    file, inside = split_zip(path)
    if inside or file.suffix.lower() == ".ozx" or file.stem.lower().endswith(".zarr"):
        return True
    from paper_unet.images.readers.zarr_zip import holds_zarr

    return holds_zarr(file)


def _check_store(path: Path | Address, channels: int) -> None:
    if not isinstance(path, Address) and path.is_dir() and not _is_zarr(path):
        raise InputError(
            f"{path}: a folder without Zarr metadata (zarr.json, .zarray or .zgroup); copy or "
            "export it again"
        )
    if channels != 1:
        raise InputError(
            f"{path}: a Zarr is read as grey, the network takes {channels} channels; give a TIFF, "
            "or a folder of PNG or JPEG files"
        )


def _open_with_codecs(path: Path, files: Files, root: str) -> Image:
    """Open the image; ask imagecodecs for a codec that is not known without it."""
    import zarr

    try:
        return _open_image(path, files, root)
    except InputError as error:
        if (name := _unknown_codec(error.__cause__)) is None:
            raise
    try:
        from imagecodecs.numcodecs import register_codecs
    except ImportError:
        remedy = "install more of them (pip install imagecodecs), or "
    else:
        register_codecs()
        remedy = ""
        try:
            return _open_image(path, files, root)
        except InputError as error:
            if (name := _unknown_codec(error.__cause__)) is None:
                raise
    raise InputError(
        f"{path}: is compressed by the codec {name}, which neither zarr {zarr.__version__} nor "
        f"what is installed beside it knows; {remedy}save it with another, such as zstd"
    )


def _open_image(path: Path, files: Files, root: str) -> Image:
    import zarr

    if root and not any(files.stamp(joined(root, name)) for name in DOCUMENTS):
        raise InputError(f"{path}: there is nothing of this name in {file_of(path).name}")
    with _reading(path, "the store"):
        # an array's own document: copies of it in that of a group may be older
        opened = zarr.open(files, path=root, mode="r", use_consolidated=False)
    if isinstance(opened, zarr.Group):
        with _reading(path, "the OME-Zarr metadata"):
            return ome_image(path, opened)
    return Image(opened, axes_of(opened), places_above(path, files, root, opened.ndim))


def _unknown_codec(error: BaseException | None) -> str | None:
    """Return the name of the codec that an error of zarr or numcodecs says it does not know."""
    said = "codec not available|[Uu]nknown codec|implementation for codec"
    known = re.search(rf"(?:{said})\W+([\w.-]+)", str(error))
    return known[1] if known else None


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Read without zarr's warnings of files that it does not know; they do no harm."""
    with (
        reading(path, what, "the store is damaged or unfinished"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
