"""What the tests of segmentation share."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.images import read_stack
from paper_unet.segmentation import SegmentConfig
from paper_unet.segmentation.executor import LocalExecutor
from paper_unet.system.stop import Stop

METHODS: dict[str, dict[str, Any]] = {
    "components": {"block": "3x16x32"},
    "watershed": {"block": "3x16x32", "method": "watershed", "context": 4, "seed_distance": 1.5},
}
SMALL = 16
"""Side of the chunks of a Zarr in these tests."""


def smooth(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.float32]:
    """Probabilities that rise and fall over a few pixels, from 0 to 1."""
    noise = np.random.default_rng(seed).random(shape)
    found = ndimage.gaussian_filter(noise, (1, 2, 2))
    return np.asarray((found - found.min()) / np.ptp(found), np.float32)


def write(path: Path, volume: NDArray[Any]) -> Path:
    tifffile.imwrite(path, volume, photometric="minisblack", metadata={"axes": "ZYX"})
    return path


def settings(folder: Path, name: str = "out.tif", **given: Any) -> SegmentConfig:
    """A segmentation in a folder that holds ``p.tif``."""
    return SegmentConfig(str(folder / "p.tif"), str(folder / name), **given)


def labels_of(path: str | Path) -> NDArray[Any]:
    return read_stack(path, labels=True)


def renumbered(labels: NDArray[Any]) -> NDArray[Any]:
    """Number from 1 in the order of the first voxels; a plain loop, to compare with."""
    numbers: dict[int, int] = {0: 0}
    flat = [numbers.setdefault(int(value), len(numbers)) for value in labels.reshape(-1)]
    return np.array(flat).reshape(labels.shape)


def touching(dims: int, connectivity: int) -> NDArray[np.bool_]:
    """Which voxels are neighbours, written out."""
    structure = np.zeros((3, 3, 3), bool)
    for z, y, x in np.ndindex(3, 3, 3):
        steps = abs(z - 1) + abs(y - 1) + abs(x - 1)
        structure[z, y, x] = steps <= connectivity and (dims == 3 or z == 1)
    return structure


def content(path: Path) -> str:
    """The SHA-256 of a file, or of all names and bytes of a folder."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path) if path.is_dir() else ""
        digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


class Fails(Exception):  # noqa: N818
    """Ends a segmentation as a crash would."""


class Crashing(LocalExecutor):
    """Works here, and fails after some blocks, of whatever stage."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks
        self.done: list[tuple[str, int]] = []

    def map(
        self, call: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], stop: Stop
    ) -> Iterator[Any]:
        for result in super().map(call, jobs, stop):
            if not self.left:
                raise Fails
            self.left -= 1
            self.done.append((call.__name__, result[0]))
            yield result
