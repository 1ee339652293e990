"""Time of the border weight map: it should go with the area, not with the number of cells.

python benchmarks/weight_map.py

Cells that tile 2048 x 2048 pixels with gaps of 4, each row in turn in one run; the brute force
(one distance transform of the whole image per cell) is timed on a few cells and scaled up.
"""

from __future__ import annotations

import json
import time

import numpy as np
from scipy import ndimage

from paper_unet import border_weight_map
from paper_unet.environment import environment

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
    print("| cells | seconds | of the time for 50 |")
    print("|---|---|---|")
    reference = None
    for count in (50, 500, 5000):
        measured = seconds(tiled_cells(count))
        reference = reference or measured
        print(f"| {count} | {measured:.2f} | {measured / reference:.2f} |")
    started = time.process_time()
    ndimage.distance_transform_edt(tiled_cells(50) != 1)
    brute = 5000 * (time.process_time() - started)
    print(f"| 5000, brute force (extrapolated) | {brute:.0f} | {brute / reference:.0f} |")
    print(json.dumps(environment()))


if __name__ == "__main__":
    main()
