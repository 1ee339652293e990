"""Time of the border weight map: it should go with the area, not with the number of cells.

python benchmarks/weight_map.py

2048 x 2048 pixels, each row in turn in one run: cells that fill the area with gaps of 4 pixels, and
discs of radius 8 at random, which leave it empty when they are few. The brute force (one distance
transform of the whole image per cell) is timed for one cell and scaled up.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy import ndimage

from paper_unet import border_weight_map
from paper_unet.cli import script
from paper_unet.system.environment import environment

SIDE, GAP = 2048, 4


def tiled_cells(count: int) -> np.ndarray:
    """Return ``count`` square cells on a grid that fills the image."""
    grid = int(np.ceil(np.sqrt(count)))
    pitch = SIDE / grid
    cells = np.zeros((SIDE, SIDE), np.int32)
    for k in range(count):
        y, x = (int(pitch * index) for index in divmod(k, grid))
        extent = int(pitch) - GAP
        cells[y : y + extent, x : x + extent] = k + 1
    return cells


def scattered_discs(count: int) -> np.ndarray:
    """Return ``count`` discs of radius 8 at random places; the later one wins an overlap."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-8:9, -8:9]
    disc = y**2 + x**2 <= 64
    cells = np.zeros((SIDE, SIDE), np.int32)
    for k, (top, left) in enumerate(rng.integers(0, SIDE - 17, (count, 2)), start=1):
        cells[top : top + 17, left : left + 17][disc] = k
    return cells


def seconds(cells: np.ndarray) -> float:
    """Return the least processor time of three runs."""
    times = []
    for _ in range(3):
        started = time.process_time()
        border_weight_map(cells)
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| layout | cells | seconds | of the time for 50 |")
    print("|---|---|---|---|")
    for name, make in (("filling", tiled_cells), ("discs", scattered_discs)):
        reference = None
        for count in (50, 500, 5000):
            measured = seconds(make(count))
            reference = reference or measured
            print(f"| {name} | {count} | {measured:.2f} | {measured / reference:.1f} |")
    started = time.process_time()
    ndimage.distance_transform_edt(tiled_cells(50) != 1)
    brute = 5000 * (time.process_time() - started)
    print(f"| brute force (extrapolated) | 5000 | {brute:.0f} | - |")
    print(json.dumps(environment()))


if __name__ == "__main__":
    script.run(main)
