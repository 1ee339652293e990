"""Time the five ISBI 2012 metrics on a stack of 30 slices of 512 x 512 pixels.

Run `python benchmarks/metrics.py`, or with `--out FILE` to write the table to a file as well. The
labels are those of the challenge if `train-labels.tif` lies in `$PAPER_UNET_DATA/isbi2012`, in
`../shared/data/isbi2012` or under `--labels`; else they are made up.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from paper_unet.cli import script
from paper_unet.metrics import isbi2012_scores
from paper_unet.metrics._loops import pixel_loops
from paper_unet.metrics._slices import pixel_counts, region_scores, warping_counts, x_first

SHAPE = (30, 512, 512)
Stack = tuple[np.ndarray, np.ndarray]


def find_labels() -> Path | None:
    """Path of the challenge's labels, if they are here."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("PAPER_UNET_DATA") or beside) / "isbi2012" / "train-labels.tif"
    return path if path.exists() else None


def made_up_labels() -> np.ndarray:
    """Cells around random points, parted by membranes about four pixels wide."""
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for piece in labels:
        seeds = np.ones(SHAPE[1:], dtype=bool)
        seeds[rng.integers(0, SHAPE[1], 250), rng.integers(0, SHAPE[2], 250)] = False
        y, x = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
        cell = y * SHAPE[2] + x
        edges = ndimage.maximum_filter(cell, 4) != ndimage.minimum_filter(cell, 4)
        piece[~edges] = 255
    return labels


def predictions(labels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Give an easy and a hard case for the warp."""
    cells = (labels > 0).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=labels.shape).astype(np.float32)
    yield "blurred labels", ndimage.gaussian_filter(cells, (0, 2, 2))
    rough = ndimage.gaussian_filter(cells + noise, (0, 1.5, 1.5))
    low, high = np.percentile(rough, (1, 99))
    yield "naive predictor", np.clip((rough - low) / (high - low), 0, 1)


def image_predictor(image: np.ndarray) -> np.ndarray:
    """Smoothed intensity, stretched to [0, 1]: membranes are dark."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, 2, 2))
    low, high = np.percentile(smooth, (1, 99))
    stretched: np.ndarray = np.clip((smooth - low) / (high - low), 0, 1)
    return stretched


def seconds(task: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def over_slices(stack: Stack, count: Callable[..., object], *more: object) -> float:
    """Wall time of one metric over all slices, in this process."""
    slices = [x_first(*pair) for pair in zip(*stack, strict=True)]
    return seconds(lambda: [count(*pair, *more) for pair in slices])


def row(name: str, stack: Stack, compiled: bool) -> str:
    """One line of the table."""
    loops = pixel_loops(compiled)  # compiled, or read from numba's cache, before the clock starts
    pixel = over_slices(stack, pixel_counts)
    rand = over_slices(stack, partial(region_scores, thinned=False), loops)
    thin = over_slices(stack, region_scores, loops)
    warping = over_slices(stack, warping_counts, loops)
    totals = [
        seconds(partial(isbi2012_scores, *stack, workers=workers, compiled=compiled))
        for workers in (1, 2)
    ]
    path = "numba" if compiled else "plain"
    times = [pixel, rand, thin, warping, *totals]
    return f"| {name} | {path} | " + " | ".join(f"{t:.1f}" for t in times) + " |"


def processor() -> str:
    """Model and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {model}"


def circumstances(source: str) -> str:
    """Say what the times depend on."""
    packages = [name for name in ("numpy", "scipy", "numba") if find_spec(name)]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = f"; load before the start {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    command = shlex.join(["python", "benchmarks/metrics.py"])
    return (
        f"Wall time in seconds, {SHAPE[0]} slices of {SHAPE[1]} x {SHAPE[2]}, {source}. "
        f"{datetime.now(UTC):%Y-%m-%d}; {processor()}{load}; Python {platform.python_version()}, "
        f"{versions}; `{command}`."
    )


def table(labels_path: Path | None) -> Iterator[str]:
    """Give the lines of the table as they are measured."""
    labels = made_up_labels() if labels_path is None else tifffile.imread(labels_path)
    source = "made-up labels" if labels_path is None else "labels of the challenge's training set"
    cases = dict(predictions(labels))
    volume = labels_path and labels_path.with_name("train-volume.tif")
    if volume and volume.exists():
        cases["naive predictor"] = image_predictor(tifffile.imread(volume))
    yield circumstances(source)
    yield ""
    yield (
        "| prediction | loops | pixel | Rand | Rand, V_rand and V_info | warping "
        "| all five, 1 worker | all five, 2 workers |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, interior in cases.items():
        stack = (labels > 0, interior.astype(np.float32))
        for compiled in (True, False) if find_spec("numba") else (False,):
            yield row(name, stack, compiled)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, default=find_labels(), help="TIFF stack of labels")
    parser.add_argument("--out", type=script.new_file, help="also write the table to this file")
    options = parser.parse_args()
    lines = []
    for line in table(options.labels):
        print(line)
        sys.stdout.flush()
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    script.run(main)
