"""Time and memory of a training step, for each arithmetic and memory layout, side by side.

python benchmarks/training.py [--width 64] [--tile 572] [--steps 30] [--out FILE.json]

Made-up sections (noise), so no data are needed. Ratios are to the first row. A step is one tile:
augmentation, forward, backward, update.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from paper_unet.cli import script
from paper_unet.networks.fused import fused
from paper_unet.system.device import pick_device
from paper_unet.system.environment import environment
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import training_set
from paper_unet.training.initial_weights import new_network
from paper_unet.training.step import Trainer, new_optimizer, reproducible
from paper_unet.training.tiles import TileSampler

ARITHMETIC = {"cuda": ("float32", "tf32", "bfloat16"), "cpu": ("float32", "bfloat16")}


def time_steps(config: TrainConfig, device: torch.device, steps: int) -> tuple[float, float | None]:
    """Return the median milliseconds of a step and the peak memory on the device, in GiB."""
    rng = np.random.default_rng(config.seed)
    images = rng.random((2, 512, 512), dtype=np.float32)
    data = training_set(images, rng.integers(0, 2, images.shape))
    model = new_network(config).to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = new_optimizer(model, config)
    sampler = TileSampler(data, config.input_side, config.augmentation, config.seed, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    model.train()
    with (
        reproducible(config.precision, device),
        fused(model) if device.type == "cuda" else nullcontext(),
        closing(Trainer(model, optimizer, sampler, config)) as trainer,
    ):
        for step in range(-max(2, steps // 5), steps):
            started = time.perf_counter()
            trainer(abs(step)).tolist()  # which waits
            if step >= 0:
                seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return 1000 * statistics.median(seconds), peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=script.count, nargs="+", default=[64])
    parser.add_argument("--tile", type=script.count, default=572)
    parser.add_argument("--steps", type=script.count, default=30)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=script.new_file)
    options = parser.parse_args()
    device = pick_device(options.device)
    rows: list[dict[str, object]] = []
    print("| width | arithmetic | layout | ms per step | speed | peak GiB |")
    print("|---|---|---|---|---|---|")
    for width in options.width:
        base = TrainConfig(width=width, tile=options.tile, warmup=1)
        reference = None
        for precision, channels_last in itertools.product(ARITHMETIC[device.type], (False, True)):
            changes: dict[str, Any] = {"precision": precision, "channels_last": channels_last}
            config = replace(base, **changes)
            ms, peak_gib = time_steps(config, device, options.steps)
            reference = reference or ms
            layout = "channels last" if channels_last else "NCHW"
            peak = "-" if peak_gib is None else f"{peak_gib:.2f}"
            print(
                f"| {width} | {precision} | {layout} | {ms:.1f} | {reference / ms:.2f} | {peak} |",
                flush=True,
            )
            measured = {"milliseconds": ms, "peak_gib": peak_gib}
            rows.append({"width": width, "precision": precision, "layout": layout, **measured})
    result = {"tile": options.tile, "environment": environment(), "rows": rows}
    print(json.dumps(result["environment"]))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    script.run(main)
