"""The overlap-tile strategy (Fig. 2): which tiles a region needs, and their scores put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from paper_unet.geometry import Tile
from paper_unet.inference.section import Span, Window


@dataclass(frozen=True)
class Mosaic:
    """The tiles of a section that a region needs (Fig. 2).

    Attributes
    ----------
    down, across : list of Tile
        Of the whole section, from top to bottom and from left to right.
    rows, columns : (int, int)
        The region.
    """

    down: list[Tile]
    across: list[Tile]
    rows: Span
    columns: Span

    def windows(self) -> Iterator[Window]:
        """Yield the input of each tile, row by row."""
        for row, _ in _kept(self.down, self.rows):
            for column, _ in _kept(self.across, self.columns):
                yield Window((row.low, row.high), (column.low, column.high))

    def stitched(
        self, network: Callable[[Tensor], Tensor], images: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the scores of the region, one row of tiles after the other.

        Parameters
        ----------
        network : callable
            Maps the input (C, H, W) of a tile to its scores (K, h, w).
        images : iterator of Tensor
            What the `windows` show.

        Yields
        ------
        Tensor of float32, shape (K, n, columns)
        """
        for _, y in _kept(self.down, self.rows):
            parts = []
            for _, x in _kept(self.across, self.columns):
                parts.append(network(next(images))[:, y, x].float().clone())
            yield torch.cat(parts, dim=2)


def _kept(tiles: list[Tile], region: Span) -> Iterator[tuple[Tile, slice]]:
    """Yield the tiles that a region needs, and which of their scores."""
    for tile in tiles:
        start, stop = max(tile.start, region[0]), min(tile.start + tile.core, region[1])
        if start < stop:
            first = start - tile.start + tile.skip
            yield tile, slice(first, first + stop - start)
