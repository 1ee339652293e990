"""Neuroglancer precomputed volumes as one stack: a scale, in chunks or in shards."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import stack_axes
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.images.precomputed import DOCUMENT
from paper_unet.images.readers.chunk_keys import COUNTED
from paper_unet.images.readers.chunked import (
    DAMAGED,
    ChunkedStack,
    ChunkRows,
    InOrder,
    Present,
    check_chunk,
    read_as,
)
from paper_unet.images.readers.damage import reading
from paper_unet.images.readers.precomputed_chunks import (
    ChunkFiles,
    ChunkSource,
    PrecomputedChunks,
)
from paper_unet.images.readers.precomputed_info import (
    MOST_NAMED,
    Triple,
    find_scale,
    is_precomputed,
)
from paper_unet.images.readers.precomputed_shards import ShardFiles
from paper_unet.images.stack import Span
from paper_unet.system.files import file_stamp
from paper_unet.system.names import where_links_lead


class PrecomputedStack(ChunkedStack):
    """The first scale of a precomputed volume, or that of a folder ``VOLUME/KEY``."""

    format = "PrecomputedStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether a folder is a precomputed volume, or that of one of its scales."""
        return is_precomputed(path)

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
        scale = self._scale = find_scale(path)
        self._say_scale()
        if labels and scale.encoding == "jpeg":
            raise InputError(
                f"{path}: JPEG changes values, so it cannot hold labels; save them as raw or "
                "compressed_segmentation"
            )
        self.dtype, self.own_range = read_as(path, scale.dtype, labels)
        ordered = stack_axes(path, scale.axes, scale.shape, axes, channels, chosen)
        self.shape, self.taken = ordered.shape, ordered.taken
        if channels == 1:  # journals of colour have none
            self.pixel_size = scale.pixel_size(ordered)
        self.budget.allow(
            COUNTED * max(scale.size), path, f"counts the chunks of {max(scale.size)} sections"
        )
        with reading(path, "the chunks", DAMAGED):
            chunk, self._source, found = self._find_chunks()
        if not found.there and not self.unfinished(path):
            raise InputError(
                f"{path}: scale {shown(scale.key)} has no chunk of its {found.missing}: its pixels "
                "were never written, or not copied with it; copy or export it again"
            )
        self.notes += found.check(path, scale.size[2], 0, missing)
        chunks = PrecomputedChunks(scale, chunk, self._source)
        in_order = InOrder(ordered, chunks.shape, channels, self.dtype, chunks.read)
        item = channels * self.dtype.itemsize
        self._rows = ChunkRows(self.shape, in_order.grain, item, in_order.rows)
        decoded = math.prod(chunks.shape) * self.dtype.itemsize
        self.cache_bytes = self._rows.room + self._source.held + 3 * decoded

    def _say_scale(self) -> None:
        scale = self._scale
        if scale.others and scale.volume == self.path:
            more = ", ..." if len(scale.others) > MOST_NAMED else ""
            names = shown(", ".join(scale.others[:MOST_NAMED]), 300) + more
            self.notes += (
                f"{self.path}: scale {shown(scale.key)} is read; others are folders in it: {names}",
            )
        if any(scale.offset):
            self.notes += (
                f"{self.path}: begins at voxel {scale.offset} (x, y, z) of a larger volume; what "
                "is written from it begins at (0, 0, 0)",
            )

    def _find_chunks(self) -> tuple[Triple, ChunkSource, Present]:
        """Return the size of the chunks, of those declared the first one that is there."""
        scale, first = self._scale, None
        for chunk in scale.chunks:
            check_chunk(self.path, (*chunk, scale.channels), scale.dtype)
            source: ChunkSource
            if scale.sharding is None:
                source = ChunkFiles(self.path, scale, chunk)
            else:
                source = ShardFiles(self.path, scale, chunk, scale.sharding, self.budget)
            self.budget.allow(source.held, self.path, f"chunks of {chunk} voxels")
            found = source.present()
            if not found.missing:
                return chunk, source, found
            if first is None or found.there > first[2].there:
                first = chunk, source, found
        assert first is not None  # noqa: S101  (there is one size at least)
        return first

    @property
    def says_labels(self) -> bool:
        """Whether the volume is a segmentation."""
        return self._scale.segmentation

    @property
    def files(self) -> tuple[Path, ...]:
        """The volume, and wherever links in the scale lead."""
        return self.path, self._scale.volume, *where_links_lead(self._scale.folder)

    def close(self) -> None:
        """Forget what is decoded."""
        self._rows.clear()

    def _stamp(self) -> dict[str, Any]:
        document = self._scale.volume / DOCUMENT
        digest = hashlib.sha256(f"{self._scale.key} {file_stamp(document)}\n".encode())
        digest.update(document.read_bytes())
        return {"metadata": digest.hexdigest(), "chunks": self._source.digest()}

    def _sections(self) -> list[Path]:
        return [self._scale.volume / DOCUMENT]

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        with reading(self.path, f"slice {z}", DAMAGED):
            return self._rows.window(z, rows, columns)
