"""Peak memory of the command line: sections four times as high, and one of 20,000 x 20,000.

    python benchmarks/large_section.py                     # about ten minutes on two cores
    python benchmarks/large_section.py --side 4000

Sections are a synthetic one, repeated; the network is the bundled one (width 16). Each prediction
is a process of its own, whose largest resident memory the system reports. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from paper_unet.cli import script
from paper_unet.images import create_output
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.environment import environment

PATTERN = 1000
MAIN = "import sys; from paper_unet.cli import main; sys.exit(main())"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=script.count, default=20_000)
    parser.add_argument("--threads", type=script.count, default=os.cpu_count())
    options = parser.parse_args()
    print("\n".join(f"{key}: {value}" for key, value in environment().items()))
    print(f"threads: {options.threads}\n")
    print("| section | output | --memory | peak memory | seconds | kilopixels/s |")
    print("|---|---|---|---|---|---|")
    width = 2048
    cases = [
        ((width, width), "out.tif", None),
        ((4 * width, width), "out.tif", None),
        ((width, width), "out.zarr", None),
        ((4 * width, width), "out.zarr", None),
        ((options.side, options.side), "out.zarr", "2GB"),
    ]
    for shape, name, memory in cases:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), shape, name, memory, options.threads)


def measure(
    folder: Path, shape: tuple[int, int], name: str, memory: str | None, threads: int
) -> None:
    """Predict one section in a process of its own and print its row."""
    write_section(folder / "in.tif", shape)
    command = [
        sys.executable, "-c", MAIN, "predict", str(folder / "in.tif"), "-o", str(folder / name),
        "--dtype", "uint8", "--threads", str(threads), *(["--memory", memory] if memory else []),
    ]  # fmt: skip
    start = time.perf_counter()
    with (folder / "messages").open("wb") as messages:
        process = subprocess.Popen(command, stdout=messages, stderr=messages)  # noqa: S603  (itself)
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit((folder / "messages").read_text())
    peak = used.ru_maxrss * 1024
    rate = shape[0] * shape[1] / seconds / 1e3
    print(
        f"| {shape[1]} wide, {shape[0]} high | {name} | {memory or ''} | {peak / 1e6:.0f} MB | "
        f"{seconds:.0f} | {rate:.0f} |",
        flush=True,
    )


def write_section(path: Path, shape: tuple[int, int]) -> None:
    """Repeat a synthetic section over a large one, rows at a time."""
    pattern = synthetic_stack(1, PATTERN, seed=0).images[0]
    repeats = -(-shape[1] // PATTERN)
    rows = np.concatenate([pattern, pattern[:, ::-1]] * repeats, axis=1)[:, : shape[1]]
    output = create_output(path, (1, *shape), "uint8")
    output.prepare(resume=False)
    for top in range(0, shape[0], PATTERN):
        output.write(0, top, 0, rows[: min(PATTERN, shape[0] - top)])
    output.finish()


if __name__ == "__main__":
    script.run(main)
