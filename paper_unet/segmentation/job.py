"""All that a process must know to work on any block of a segmentation; small, and can be sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paper_unet.segmentation.blocks import Blocks, Box, Triple
from paper_unet.segmentation.foreground import Scale
from paper_unet.segmentation.parts import neighbourhood
from paper_unet.system.address import Address


@dataclass(frozen=True)
class Job:
    """A segmentation, wherever its blocks are worked on.

    Attributes
    ----------
    source : Path or Address
    labels, axes, series, channel, time, missing, memory
        As `paper_unet.images.open_stack` takes them; memory in bytes.
    first : int
        Section of the source that is section 0 here.
    scale : Scale
    threshold : float
    blocks : Blocks
    method, dims, connectivity, seeds, seed_distance, seed_threshold, context
        As in `SegmentConfig`.
    sampling : tuple of float, (z, y, x)
        Sides of a voxel, in those along x.
    run : str
        In the journal's header: which run of this output it is.
    """

    source: Path | Address
    labels: bool
    axes: str | None
    series: int | None
    channel: str | int | None
    time: int | None
    missing: Literal["fail", "fill"]
    memory: int | None
    first: int
    scale: Scale
    threshold: float
    blocks: Blocks
    method: Literal["components", "watershed"]
    dims: int
    connectivity: int
    seeds: Literal["distance", "probability"]
    seed_distance: float
    seed_threshold: float
    context: int
    sampling: tuple[float, float, float]
    run: str

    @property
    def structure(self) -> NDArray[np.bool_]:
        """Which voxels are neighbours."""
        return neighbourhood(self.dims, self.connectivity)

    @property
    def halo(self) -> Triple:
        """Voxels that a block sees below its lower sides, to know what goes on in others."""
        return (int(self.dims == 3), 1, 1)

    @property
    def by_distance(self) -> bool:
        """Whether the sides of a voxel count."""
        return self.method == "watershed" and self.seeds == "distance"

    @property
    def margin(self) -> Triple:
        """Voxels around a block from which seeds are known exactly."""
        if not self.by_distance:
            return (0, 0, 0)
        z, y, x = (math.ceil(self.seed_distance / step) + 1 for step in self.sampling)
        return (z if self.dims == 3 else 0, y, x)

    @property
    def around(self) -> Triple:
        """Voxels on each side of a block that its watershed sees, too."""
        return (self.context if self.dims == 3 else 0, self.context, self.context)

    def seen(self, index: int) -> Box:
        """Return a block with the voxels below its lower sides."""
        return self.blocks.grown(index, self.halo, (0, 0, 0))

    def flooded(self, index: int) -> Box:
        """Return a block with its context."""
        return self.blocks.grown(index, self.around, self.around)

    def needed(self) -> int:
        """Return the bytes that work on a block takes, at most: measured, see `VOXEL`."""
        item = self.scale.dtype.itemsize
        if self.method == "components":
            return (VOXEL["components"] + item) * self._voxels((1, 1, 1))
        margin = tuple(more + 1 for more in self.margin)
        seeds = VOXEL[self.seeds] + item
        flood = VOXEL["flood"] + item
        return max(
            seeds * self._voxels((margin[0], margin[1], margin[2])),
            flood * self._voxels(self.around),
        )

    @property
    def largest_block(self) -> int:
        """Voxels of the largest block."""
        return self._voxels((0, 0, 0))

    def _voxels(self, around: Triple) -> int:
        sides = zip(self.blocks.block, self.blocks.shape, around, strict=True)
        return math.prod(min(step + 2 * more, size) for step, size, more in sides)


VOXEL = {"components": 45, "distance": 80, "probability": 55, "flood": 75}
"""Bytes for each voxel of a block and what it sees, beside its values as stored. Measured: 38 for
the parts of noise of single voxels, the worst there is; 51 for distances, 35 for a flood."""
