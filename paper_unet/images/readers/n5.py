"""Data sets of N5 stores as one stack."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.readers.chunk_keys import COUNTED, Layout, Sought, count_files
from paper_unet.images.readers.chunked import (
    DAMAGED,
    ChunkedStack,
    ChunkRows,
    InOrder,
    check_chunk,
    digest_of_chunks,
    read_as,
)
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.local_files import LocalFiles
from paper_unet.images.readers.n5_attributes import (
    DOCUMENT,
    MOST_PIXELS,
    axes_of,
    find_data_set,
    is_n5,
    pixel_size_of,
    starts_of,
)
from paper_unet.images.readers.n5_blocks import N5Blocks, compression_of
from paper_unet.images.readers.origin import origin_note
from paper_unet.images.stack import Span
from paper_unet.system.files import file_stamp
from paper_unet.system.names import where_links_lead


class N5Stack(ChunkedStack):
    """A stack in a data set of an N5 store, ``STORE.n5/DATASET``; see `open_stack`."""

    format = "N5Stack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether a folder is an N5 store, or in one."""
        return is_n5(path)

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
        found = find_data_set(path)
        self._folder = found.folder
        if found.folder != path:
            self.notes += (f"{path}: its data set {found.folder.relative_to(path)} is read",)
        if math.prod(found.shape) > MOST_PIXELS:
            raise InputError(
                f"{path}: a data set of shape {shown(found.shape)}, more than any disk holds; copy "
                "or export it again"
            )
        self.dtype, self.own_range = read_as(path, found.dtype, labels)
        ordered = stack_axes(path, axes_of(found), found.shape, axes, channels, chosen)
        self.shape, self.taken = ordered.shape, ordered.taken
        if channels == 1:  # journals of colour have none
            self.pixel_size = pixel_size_of(found, ordered)
        self.notes += origin_note(path, *starts_of(found, ordered))
        check_chunk(path, found.block, self.dtype)
        kind = compression_of(path, found.attributes)
        self._blocks = N5Blocks(path, found.folder, found.shape, found.block, self.dtype, kind)
        self.budget.allow(self._blocks.held, path, f"blocks of shape {found.block}")
        self._find_blocks(ordered.z, missing)
        chunks = InOrder(ordered, found.block, channels, self.dtype, self._blocks.read)
        item = channels * self.dtype.itemsize
        self._rows = ChunkRows(self.shape, chunks.grain, item, chunks.rows)
        self.cache_bytes = self._rows.room + self._blocks.held

    def _find_blocks(self, z: int | None, missing: str) -> None:
        """Refuse a data set without its blocks, unless it is to be filled."""
        grid = self._blocks.grid
        self.budget.allow(
            COUNTED * self.shape[0], self.path, f"counts the blocks of {self.shape[0]} sections"
        )
        with reading(self.path, "the blocks", DAMAGED):
            last = len(grid) - 1  # names have the axes in reverse
            only = {last - axis: k // self._blocks.block[axis] for axis, k in self.taken}
            sought = Sought(LocalFiles(self._folder), "", grid[::-1], Layout("/"), only)
            found = count_files(sought, None if z is None else last - z)
        if found.folders:
            raise InputError(
                f"{self._folder / found.folders[0]}: a folder where a block should be, a file; "
                "copy or export the store again"
            )
        if not found.there:
            raise InputError(
                f"{self.path}: has no block of its {found.missing}: its pixels were never "
                "written, or not copied with it; copy or export it again"
            )
        found.deep = 1 if z is None else self._blocks.block[z]
        self.notes += found.check(self.path, self.shape[0], 0, missing)

    @property
    def files(self) -> tuple[Path, ...]:
        """The data set, and wherever links in it lead."""
        return self.path, self._folder, *where_links_lead(self._folder)

    def close(self) -> None:
        """Forget what is decoded."""
        self._rows.clear()

    def _stamp(self) -> dict[str, Any]:
        document = self._folder / DOCUMENT
        digest = hashlib.sha256(f"{file_stamp(document)}\n".encode())
        digest.update(document.read_bytes())
        chunks = digest_of_chunks(self._blocks.grid, self._blocks.stamp)
        return {"metadata": digest.hexdigest(), "chunks": chunks}

    def _sections(self) -> list[Path]:
        return [self._folder / DOCUMENT]

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with reading(self.path, f"slice {z}", DAMAGED):
            return self._rows.window(z, rows, columns)
