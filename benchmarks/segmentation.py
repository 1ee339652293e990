"""Numbers of cells in blocks: time and memory of a large volume, what a context is worth, scores.

    python benchmarks/segmentation.py large                # 512 x 2048 x 2048, 2 GB; takes minutes
    python benchmarks/segmentation.py large --sections 64
    python benchmarks/segmentation.py context              # watershed in blocks against the whole
    python benchmarks/segmentation.py scores --data data   # the demo's stack, ISBI sections 24-29

Each segmentation is a process of its own, whose largest resident memory the system reports. The
whole volume at a time is scikit-image's `label` in memory, in a process of its own, too. Prints
Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.cli import script
from paper_unet.images import create_output, create_tiff, read_stack
from paper_unet.metrics import cell_scores
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.environment import environment

MAIN = "import sys; from paper_unet.cli import main; sys.exit(main())"
WHOLE = """
import sys, tifffile, skimage.measure
labels = skimage.measure.label(tifffile.imread(sys.argv[1]) > 127.5, connectivity=1)
print(labels.max())
"""
PATTERN = (16, 512)  # sections and side of the made-up stack that a large volume repeats


def main() -> None:
    """Print the tables of a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("large", "context", "scores"))
    parser.add_argument("--sections", type=script.count, default=512)
    parser.add_argument("--side", type=script.count, default=2048)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", nargs="+", default=["cells.tif", "cells.zarr"])
    parser.add_argument("--no-whole", action="store_true", help="leave scikit-image out")
    options = parser.parse_args()
    print("\n".join(f"{key}: {value}" for key, value in environment().items()), "\n", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        {"large": large, "context": context, "scores": scores}[options.part](Path(folder), options)


def large(folder: Path, options: argparse.Namespace) -> None:
    """Segment a made-up volume in blocks and as a whole."""
    shape = options.sections, options.side, options.side
    write_volume(folder / "p.tif", shape)
    print("| volume | how | peak memory | seconds | CPU seconds | cells |")
    print("|---|---|---|---|---|---|")
    size = " x ".join(map(str, shape))
    for name in options.out:
        out, peak, seconds, cpu = command(folder, "segment", "p.tif", "-o", name, "--memory", "2GB")
        cells = out.split(": ")[1].split()[0]
        row(size, f"paper-unet segment, {name}", peak, seconds, cpu, cells)
    if not options.no_whole:
        out, peak, seconds, cpu = python(folder, WHOLE, "p.tif")
        row(size, "skimage.measure.label", peak, seconds, cpu, out.strip())


def row(*values: Any) -> None:
    """Print a row of the table of large volumes."""
    size, how, peak, seconds, cpu, cells = values
    print(
        f"| {size} | {how} | {peak / 1e9:.2f} GB | {seconds:.0f} | {cpu:.0f} | {cells} |",
        flush=True,
    )


def context(folder: Path, options: argparse.Namespace) -> None:
    """Compare watersheds in blocks with that of the whole volume, by how far each block sees."""
    side = min(options.side, 1024)
    sections = min(options.sections, 8)
    save(folder / "p.tif", probability(synthetic_stack(sections, side, seed=1).labels))
    print("| context | voxels that differ | adapted Rand error | VOI split | VOI merge | cells |")
    print("|---|---|---|---|---|---|")
    more = ("segment", "p.tif", "--method", "watershed", "--threshold", "0.4")
    command(folder, *more, "-o", "whole.tif", "--block", f"{sections}x{side}x{side}")
    whole = read_stack(folder / "whole.tif", labels=True)
    print(f"| the whole volume | | | | | {whole.max()} |")
    for voxels in (0, 4, 8, 16, 32):
        name = f"c{voxels}.tif"
        block = ("--block", f"{max(1, sections // 2)}x512x512")
        command(folder, *more, "-o", name, *block, "--context", str(voxels))
        found = read_stack(folder / name, labels=True)
        score = cell_scores(whole, found)
        print(
            f"| {voxels} | {100 * differing(whole, found):.3f} % | {score.adapted_rand_error:.5f} "
            f"| {score.voi_split:.5f} | {score.voi_merge:.5f} | {found.max()} |",
            flush=True,
        )


def differing(whole: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the share of the cells' voxels that are not in the cell that overlaps theirs most."""
    inside = whole > 0
    pairs, counts = np.unique(np.stack([whole[inside], found[inside]]), axis=1, return_counts=True)
    best = np.zeros(int(whole.max()) + 1, np.int64)
    np.maximum.at(best, pairs[0], counts)
    return float(1 - best.sum() / counts.sum())


def scores(folder: Path, options: argparse.Namespace) -> None:
    """Score components and watershed on a stack as the demo's and on ISBI sections 24-29."""
    print("| stack | method | threshold | adapted Rand | CREMI's | VOI split | VOI merge | cells |")
    print("|---|---|---|---|---|---|---|---|")
    demo = synthetic_stack(6, 512, seed=0)
    save(folder / "demo.tif", demo.images)
    save(folder / "demo-labels.tif", demo.labels)
    save(folder / "demo-3d.tif", demo.instances.astype(np.uint32))
    isbi = options.data / "isbi2012"
    for name, kept in (("volume", "isbi.tif"), ("labels", "isbi-labels.tif")):
        save(folder / kept, read_stack(isbi / f"train-{name}.tif", labels=True)[24:30])
    for stack in ("demo", "isbi"):
        command(folder, "predict", f"{stack}.tif", "-o", f"{stack}-p.tif", "--threads", "1")
        labels = f"{stack}-labels.tif"
        found, *_ = command(folder, "evaluate", labels, f"{stack}-p.tif", "--json")
        (folder / "scores.json").write_text(found)
        command(folder, "segment", labels, "-o", f"{stack}-2d.tif", "--dims", "2")
        for dims in ("2", "3") if stack == "demo" else ("2",):
            for method in ("components", "watershed"):
                for threshold in ("0.5", "from:scores.json"):
                    score_row(folder, stack, dims, method, threshold)


def score_row(folder: Path, stack: str, dims: str, method: str, threshold: str) -> None:
    """Segment a stack and print how well."""
    name = f"{stack}-{dims}-{method}-{threshold == '0.5'}.tif"
    how = ("--dims", dims, "--method", method, "--threshold", threshold)
    command(folder, "segment", f"{stack}-p.tif", "-o", name, *how)
    found, *_ = command(folder, "evaluate", f"{stack}-{dims}d.tif", name, "--labels", "--json")
    got = json.loads(found)
    best = json.loads((folder / "scores.json").read_text())["thresholds"]["v_rand"]
    told = "0.5" if threshold == "0.5" else f"{best:.1f}, best for V_rand"
    print(
        f"| {stack}, {dims}-D | {method} | {told} | {got['adapted_rand_error']:.4f} | "
        f"{got['cremi_adapted_rand_error']:.4f} | {got['voi_split']:.4f} | "
        f"{got['voi_merge']:.4f} | {got['found_cells']} of {got['true_cells']} |",
        flush=True,
    )


def command(folder: Path, *words: str) -> tuple[str, int, float, float]:
    """Run the command line; see `python`."""
    return python(folder, MAIN, *words)


def python(folder: Path, code: str, *words: str) -> tuple[str, int, float, float]:
    """Run code; return what it printed, its largest memory, seconds, and those of the CPU."""
    start = time.perf_counter()
    with (folder / "said").open("wb") as said, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603  (itself)
            [sys.executable, "-c", code, *words], stdout=said, stderr=errors, cwd=folder
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "errors").read_text())
    seconds = time.perf_counter() - start
    printed = (folder / "said").read_text()
    return printed, used.ru_maxrss * 1024, seconds, used.ru_utime + used.ru_stime


def probability(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels as a network shows them: soft at the membranes."""
    return np.stack([ndimage.gaussian_filter(section, 1.5) for section in labels])


def save(path: Path, pixels: NDArray[Any]) -> None:
    """Write a stack as a TIFF file."""
    with create_tiff(path, pixels.shape, pixels.dtype) as writer:
        for z, section in enumerate(pixels):
            writer[z] = section


def write_volume(path: Path, shape: tuple[int, int, int]) -> None:
    """Repeat a made-up stack over a large volume, mirrored so that cells go on."""
    bodies = synthetic_stack(*PATTERN, seed=0).instances
    inside = (bodies > 0) & (bodies == np.roll(bodies, 1, axis=0))  # nothing goes on in another
    block = probability(np.where(inside, 255, 0).astype(np.uint8))
    turned = np.concatenate([block, block[::-1]])
    output = create_output(path, shape, "uint8")
    output.prepare(resume=False)
    side = 2 * PATTERN[1]
    repeats = -(-shape[1] // side), -(-shape[2] // side)
    for z in range(shape[0]):
        tile = turned[z % len(turned)]
        wide = np.concatenate([tile, tile[:, ::-1]], axis=1)
        section = np.tile(np.concatenate([wide, wide[::-1]]), repeats)[: shape[1], : shape[2]]
        output.write(z, 0, 0, section)
    output.finish()


if __name__ == "__main__":
    script.run(main)
