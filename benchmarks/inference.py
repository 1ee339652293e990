"""Prediction side by side in one run: streaming, tiles, MONAI's sliding window, a plain loop.

    python benchmarks/inference.py                   # everything: about ten minutes on two cores
    python benchmarks/inference.py --widths 64 --side 2048 --cases "tiles of 572" streaming
    python benchmarks/inference.py --widths 16 --side 512 --repeats 1

Each case runs in a process of its own, so that its peak memory is its own. The rate of a large
matrix product, measured in the same process just before and after, is the ceiling that shares refer
to. Where the machine changes its speed between cases, compare at equal matrix rate.
Needs the extra ``benchmark`` (MONAI). Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_cases import AS_IT_IS, CASES, at_once, seam_of
from torch import Tensor

from paper_unet import UNet
from paper_unet.cli import script
from paper_unet.geometry import PAPER_TILE
from paper_unet.inference.layers import Layers, evaluating, keep_freed_memory
from paper_unet.inference.pipeline import one_pass
from paper_unet.inference.streaming import multiply_accumulates
from paper_unet.system.device import pick_device
from paper_unet.system.environment import environment


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=script.count, nargs="+", default=[64, 16])
    parser.add_argument(
        "--side", type=script.count, help="of the image; default 1024, and 2048 at width 16"
    )
    parser.add_argument("--threads", type=script.count, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=script.count, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pick_device(options.device)
    torch.set_num_threads(options.threads)
    if options.case:
        measure(options)
        return
    print("\n".join(f"{key}: {value}" for key, value in environment().items()))
    print(f"threads: {options.threads}; weights: random, seed 0; input: uniform noise, seed 0\n")
    for width in options.widths:
        side = options.side or (2048 if width <= 16 else 1024)
        compare(width, side, options)
    if options.cases == list(CASES):
        tile_arithmetic(options.widths[0], options)


def compare(width: int, side: int, options: argparse.Namespace) -> None:
    """Run every case at one width and print its row."""
    print(f"## width {width}, one section of {side} x {side}\n")
    print(
        "| case | seconds | kilopixels/s | times tiles of 572 | the same at equal matrix rate | "
        "peak memory added | share of the matrix product | kMAC per pixel | "
        "from one pass, of the spread |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        base: dict[str, Any] = {}
        reference = Path(folder) / "one_pass.npy"
        for case in ["one pass", *options.cases]:
            found = child(case, width, side, options, reference)
            if "error" in found:
                print(f"| {case} | {found['error']} |")
                continue
            if case == f"tiles of {PAPER_TILE}":
                base = found
            times = base.get("seconds", math.nan) / found["seconds"]
            work = base.get("macs", math.nan) / found["macs"]
            equal = work * found["share"] / base.get("share", math.nan)
            print(
                f"| {case} | {found['seconds']:.2f} | {side**2 / found['seconds'] / 1e3:.1f} | "
                f"{times:.2f} | {equal:.2f} | {found['memory'] / 1e6:.0f} MB | "
                f"{found['share']:.0%} | {found['macs'] / side**2 / 1e3:.0f} | "
                f"{found['difference']} |",
                flush=True,
            )
    print()


def child(
    case: str, width: int, side: int, options: argparse.Namespace, reference: Path
) -> dict[str, Any]:
    """Run one case in a process of its own."""
    command = [
        sys.executable, __file__, "--case", case, "--widths", str(width), "--side", str(side),
        "--threads", str(options.threads), "--repeats", str(options.repeats),
        "--device", options.device, "--reference", str(reference),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (itself)
    if run.returncode:
        return {"error": (run.stderr.strip().splitlines() or ["failed"])[-1]}
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> None:
    """Run one case, in this process; print its numbers as JSON."""
    width, side = options.widths[0], options.side
    model = network(width).to(options.device)
    image = np.random.default_rng(0).random((1, side, side), dtype=np.float32)
    if options.case not in AS_IT_IS:
        keep_freed_memory()
    if options.case.startswith("MONAI"):
        import monai.inferers  # noqa: F401  (so that its import is not timed)
    dtype = torch.bfloat16 if "bfloat16" in options.case else torch.float32
    base = current_memory(options.device)
    times, rates = [], []
    with evaluating(model):
        for _ in range(1 if options.case == "one pass" else options.repeats):
            before = matrix_rate(dtype, options.device)
            start = time.perf_counter()
            scores, macs = ({"one pass": at_once} | CASES)[options.case](model, image)
            scores = scores.cpu()  # waits for a GPU
            times.append(time.perf_counter() - start)
            rates.append((before + matrix_rate(dtype, options.device)) / 2)
        memory = peak_memory(options.device) - base
        seams = seam_of(options.case, model, image, scores)
    if options.case == "one pass":
        np.save(options.reference, scores.numpy())
    exact = np.load(options.reference)
    off = np.abs(scores.numpy() - exact).max() / np.ptp(exact)
    seconds = min(times)
    share = 2 * macs / seconds / rates[times.index(seconds)]
    numbers = {"seconds": seconds, "memory": memory, "macs": macs, "share": share}
    print(json.dumps({**numbers, "difference": f"{off:.1e}{seams}"}))


def network(width: int) -> UNet:
    """Return a network of random weights."""
    torch.manual_seed(0)
    return UNet(width=width).eval()


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """Operations per second of a large matrix product: the ceiling."""
    side = 2048 if device == "cpu" else 8192
    factor = torch.randn(side, side, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        (factor @ factor)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def current_memory(device: str) -> int:
    """Return the bytes of memory that this process takes."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_memory(device: str) -> int:
    """Return the most that this process has taken, bytes."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# the arithmetic of one tile


def tile_arithmetic(width: int, options: argparse.Namespace) -> None:
    """Print what each choice brings for one 572 tile, in this process, one after the other."""
    device = options.device
    model = network(width).to(device)
    tile = torch.rand(1, PAPER_TILE, PAPER_TILE, generator=torch.Generator().manual_seed(0))
    tile = tile.to(device)
    operations = 2 * multiply_accumulates(model.config, 388, 388)
    ceiling = matrix_rate(torch.float32, device)
    print(f"## one 572 tile, width {width}: {operations / 1e9:.0f} GFLOP; matrix product "
          f"{ceiling / 1e9:.0f} GFLOP/s in float32\n")  # fmt: skip
    print("| arithmetic | seconds | share of the float32 matrix product |")
    print("|---|---|---|")
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def row(name: str, call: Callable[[], Tensor]) -> None:
        call()
        times = []
        for _ in range(max(options.repeats, 3)):
            start = time.perf_counter()
            call().cpu()
            times.append(time.perf_counter() - start)
        share = operations / min(times) / ceiling
        print(f"| {name} | {min(times):.2f} | {share:.0%} |", flush=True)

    with evaluating(model):
        row("PyTorch, NCHW", lambda: model(tile[None]))
        window = tile[None].contiguous(memory_format=torch.channels_last)
        row("channels-last", lambda: last(window))
        keep_freed_memory()
        row("+ freed memory kept", lambda: last(window))
        import paper_unet.inference.layers as layers_module

        for group, name in (
            (4096, "+ fused convolution and ReLU, packed weights"),
            (layers_module.GROUP, "+ channels in groups: what is used"),
        ):
            layers_module.GROUP = group  # type: ignore[misc]
            layers = Layers(model)
            row(name, partial(one_pass, layers, tile))
        low = Layers(model, "bfloat16")
        row(f"the same in bfloat16 (matrix product {matrix_rate(torch.bfloat16, device) / 1e9:.0f} "
            "GFLOP/s)", lambda: one_pass(low, tile))  # fmt: skip


if __name__ == "__main__":
    script.run(main)
