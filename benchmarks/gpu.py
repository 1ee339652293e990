"""Prediction and training on one card, side by side in one run with what people write today.

    python benchmarks/gpu.py --out gpu.json           # about two minutes on one card
    python benchmarks/gpu.py --width 4 --sides 128 --large 256 --tile 188 --steps 4   # on a CPU

Random weights, noise as input. Shares are of the rate of a large matrix product in the same
process. MONAI's sliding window (extra ``benchmark``) has the same weights with zero padding, in
bfloat16 autocast, four windows at a time. Prints Markdown tables, writes everything as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_cases import monai_window, plain_call, plain_loop

from paper_unet import UNet, predict_image
from paper_unet.cli import script
from paper_unet.geometry import PAPER_TILE, input_size
from paper_unet.images import create_output
from paper_unet.inference.averaging import image_scores, region_scores
from paper_unet.inference.intake import Intake
from paper_unet.inference.layers import PRECISIONS, exact_arithmetic
from paper_unet.inference.pipeline import one_pass
from paper_unet.inference.predict import engine_for
from paper_unet.inference.section import whole
from paper_unet.inference.settings import InferenceSettings, Plan, Precision
from paper_unet.inference.streaming import Streaming, multiply_accumulates
from paper_unet.inference.transfer import link_to
from paper_unet.large import PredictConfig
from paper_unet.large.report import Report
from paper_unet.large.run import predict_file
from paper_unet.networks.fused import fused
from paper_unet.networks.weights_file import save_model
from paper_unet.system.device import pick_device
from paper_unet.system.environment import environment
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import training_set
from paper_unet.training.initial_weights import new_network
from paper_unet.training.step import Trainer, new_optimizer, reproducible
from paper_unet.training.tiles import TileSampler

Row = dict[str, Any]


@dataclass
class Bench:
    """What the parts share: the network, the clock, and what was found."""

    options: argparse.Namespace
    device: torch.device
    model: UNet
    product: dict[Precision, float] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def wait(self) -> None:
        """Wait for the card."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def milliseconds(self, call: Callable[[], object], repeats: int = 7, warm: int = 3) -> float:
        """Return the median time of a call, after some that do not count."""
        times = []
        for k in range(warm + repeats):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            if k >= warm:
                times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times)

    def share(self, side: int, milliseconds: float, precision: Precision) -> float:
        """Return the rate of the network's arithmetic over that of the matrix product."""
        operations = 2 * multiply_accumulates(self.model.config, side, side)
        return operations / milliseconds / 1e9 / self.product[precision]

    def table(self, name: str, rows: list[Row]) -> None:
        """Print rows and keep them."""
        self.found[name] = rows
        print(f"\n## {name}\n")
        columns = list(rows[0])
        print("| " + " | ".join(columns) + " |")
        print("|" + "---|" * len(columns))
        for row in rows:
            print("| " + " | ".join(_text(row[column]) for column in columns) + " |")
        print(flush=True)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def products(bench: Bench) -> None:
    """Measure large matrix products: the ceilings."""
    card = bench.device.type == "cuda"
    side = 8192 if card else 1024
    for precision, dtype in PRECISIONS.items():
        if not card and dtype == torch.float16:
            continue
        factor = torch.randn(side, side, dtype=dtype, device=bench.device)
        with exact_arithmetic(precision):
            seconds = bench.milliseconds(partial(torch.matmul, factor, factor)) / 1000
        bench.product[precision] = 2 * side**3 / seconds / 1e12
    rows = [{"precision": name, "TFLOP/s": rate} for name, rate in bench.product.items()]
    bench.table("large matrix product", rows)


def prediction(bench: Bench) -> None:
    """Compare sections in memory, uint8 to uint8, with what people write."""
    for side in bench.options.sides:
        compare(bench, side)


def compare(bench: Bench, side: int) -> None:
    """Compare a section of one size."""
    image = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    rows: list[Row] = []

    def row(
        name: str, precision: Precision, call: Callable[[], object], exact: bool = True
    ) -> None:
        took = bench.milliseconds(call, 5, 3)
        share = bench.share(side, took, precision) if exact else None
        rows.append({"case": name, "ms": took, "Mpx/s": side**2 / took / 1e3, "share": share})

    for precision in bench.product:
        row(
            f"predict_image, {precision}", precision,
            partial(predict_image, bench.model, image, precision=precision, dtype="uint8"),
        )  # fmt: skip
    for name, plain in (
        ("one plain call, bfloat16 autocast", plain_call),
        ("plain loop of 572 tiles, bfloat16 autocast", plain_loop),
    ):
        row(name, "bfloat16", partial(plain, bench.model, image))
    for overlap in (0.25, 0.5):
        for channels_last in (False, True):
            call = monai_window(bench.model, image, overlap, channels_last)
            if call is not None:
                layout = ", channels-last" if channels_last else ""
                name = f"MONAI sliding window, overlap {overlap}, bfloat16 autocast{layout}"
                row(name, "bfloat16", call, exact=False)
    bench.table(f"prediction of {side} x {side}, uint8 to uint8 in memory", rows)


def engine(bench: Bench) -> None:
    """Time the network alone, rows being on the device already, for each band."""
    side = max(bench.options.sides)
    rows: list[Row] = []
    image = torch.rand(1, input_size(side), input_size(side), device=bench.device)
    for precision in bench.product:
        for band in (64, 256, 1024):
            if band > side:
                continue
            scorer = engine_for(bench.model, InferenceSettings(), precision, band)
            section = whole(
                np.zeros((1, side, side), np.uint8),
                Intake(np.dtype("uint8"), link=link_to(bench.device)),
            )

            def stream(scorer: Any = scorer, section: Any = section) -> None:
                for _ in region_scores(scorer, section, *section.everything):
                    pass

            with exact_arithmetic(precision):
                took = bench.milliseconds(stream, 5, 4)
            rows.append(_engine_row(bench, side, precision, f"bands of {band} rows", took))
        layers = engine_for(bench.model, InferenceSettings(), precision)
        if isinstance(layers, Streaming):
            with exact_arithmetic(precision):
                took = bench.milliseconds(partial(one_pass, layers.layers, image), 5, 2)
            rows.append(_engine_row(bench, side, precision, "all rows at once", took))
    bench.table(f"the network alone, {side} x {side}", rows)


def _engine_row(bench: Bench, side: int, precision: Precision, how: str, took: float) -> Row:
    share = bench.share(side, took, precision)
    return {"precision": precision, "how": how, "ms": took, "share": share}


def memory(bench: Bench) -> None:
    """Compare the peak on the card with the memory model."""
    side = max(bench.options.sides)
    if bench.device.type != "cuda":
        return
    rows: list[Row] = []
    for precision in bench.product:
        for band in (64, 256, 1024):
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            base = torch.cuda.memory_allocated()
            scorer = engine_for(bench.model, InferenceSettings(), precision, band)
            height = 6 * band
            section = whole(
                np.zeros((1, height, side), np.uint8),
                Intake(np.dtype("uint8"), link=link_to(bench.device)),
            )
            with exact_arithmetic(precision):
                for _ in region_scores(scorer, section, *section.everything):
                    pass
            peak = torch.cuda.max_memory_allocated() - base
            model = scorer.peak_bytes(Plan(band, side, height), (height, side))
            rows.append(
                {
                    "precision": precision, "band": band, "peak MB": round(peak / 1e6),
                    "model MB": round(model / 1e6), "within": peak <= model,
                }
            )  # fmt: skip
    bench.table(f"peak memory of bands of {side} columns", rows)


def files(bench: Bench) -> None:
    """Predict a Zarr to a Zarr, uint8 to uint8."""
    side, count = bench.options.large, bench.options.sections
    rng = np.random.default_rng(0)
    pattern = rng.integers(0, 256, (256, 256), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = create_output(folder / "in.zarr", (count, side, side), "uint8")
        source.prepare(resume=False)
        step = source.alignment[0] * -(-512 // source.alignment[0])
        for z in range(count):
            for top in range(0, side, step):
                rows = min(step, side - top)
                tiles = np.tile(pattern, (-(-rows // 256), -(-side // 256)))[:rows, :side]
                source.write(z, top, 0, np.ascontiguousarray(tiles))
                source.sync(z, (top, top + rows), (0, side))
        for tasks in source.stages():
            for task in tasks:
                source.run(task)
        source.finish()
        save_model(folder / "net.safetensors", bench.model)
        lines: list[str] = []
        rows_found: list[Row] = []
        for attempt in ("first", "again"):
            start = time.perf_counter()
            config = PredictConfig(
                str(folder / "in.zarr"), str(folder / f"{attempt}.zarr"),
                weights=str(folder / "net.safetensors"), precision="bfloat16", dtype="uint8",
                device=bench.device.type, timings=True,
            )  # fmt: skip
            predict_file(config, report=Report(say=lines.append))
            seconds = time.perf_counter() - start
            rate = count * side**2 / seconds / 1e6
            stages = next(line for line in reversed(lines) if line.startswith("stages"))
            rows_found.append({"run": attempt, "seconds": seconds, "Mpx/s": rate, "stages": stages})
    bench.table(f"file to file, {count} sections of {side} x {side}, bfloat16", rows_found)


def training(bench: Bench) -> None:
    """Time a training step: as it is called, and as it is."""
    options = bench.options
    rng = np.random.default_rng(0)
    images = rng.random((2, 512, 512), dtype=np.float32)
    data = training_set(images, rng.integers(0, 2, images.shape))
    rows: list[Row] = []
    card = bench.device.type == "cuda"
    for precision in ("float32", "tf32", "bfloat16") if card else ("float32",):
        for how in ("called", "as it is"):
            if how == "called" and precision != "bfloat16":
                continue
            config = TrainConfig(
                width=options.width, tile=options.tile, warmup=1, precision=precision
            ).on(bench.device)  # fmt: skip
            model = new_network(config).to(bench.device).train()
            if config.channels_last:
                model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            sampler = TileSampler(data, config.input_side, config.augmentation, 0, bench.device)
            optimizer = new_optimizer(model, config)
            plain = how == "called" or not card
            with (
                reproducible(config.precision, bench.device),
                nullcontext() if plain else fused(model),
            ):
                trainer = Trainer(model, optimizer, sampler, config, record=not plain)
                for step in range(6 if card else 1):
                    trainer(step)
                bench.wait()
                start = time.perf_counter()
                for step in range(options.steps):
                    found = trainer(6 + step)
                bench.wait()
                took = 1000 * (time.perf_counter() - start) / options.steps
                trainer.close()
            rows.append({"precision": precision, "how": how, "ms": took, "loss": float(found[0])})
    bench.table(f"a training step, tile {options.tile}", rows)


def equalities(bench: Bench) -> None:
    """Whether runs are bit-equal, and how far bands are from one another."""
    side = min(max(bench.options.sides), 1500)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side), dtype=np.uint8)
    rows: list[Row] = []
    for precision in bench.product:
        first, second = (predict_image(bench.model, image, precision=precision) for _ in range(2))
        scores = {}
        unit = (image[None] / np.float32(255)).astype(np.float32)
        for band in (256, 1024):
            with exact_arithmetic(precision):
                scorer = engine_for(bench.model, InferenceSettings(), precision, band)
                scores[band] = image_scores(scorer, unit)
        off = float((scores[256] - scores[1024]).abs().max())
        spread = float(scores[256].max() - scores[256].min())
        rows.append(
            {
                "precision": precision, "two runs bit-equal": bool(np.array_equal(first, second)),
                "bands of 256 and 1024 bit-equal": torch.equal(scores[256], scores[1024]),
                "largest difference of the scores over their spread": off / spread,
            }
        )  # fmt: skip
    bench.table("the same bits", rows)


PARTS: dict[str, Callable[[Bench], None]] = {
    "prediction": prediction,
    "engine": engine,
    "memory": memory,
    "equalities": equalities,
    "training": training,
    "files": files,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=script.count, default=64)
    parser.add_argument("--sides", type=script.count, nargs="+", default=[512, 2048])
    parser.add_argument(
        "--large", type=script.count, default=8192, help="side of the section in files"
    )
    parser.add_argument("--tile", type=script.count, default=PAPER_TILE)
    parser.add_argument("--steps", type=script.count, default=200)
    parser.add_argument("--sections", type=script.count, default=8, help="of the stack in files")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=script.new_file)
    options = parser.parse_args()
    device = pick_device(options.device)
    torch.manual_seed(0)
    model = UNet(width=options.width).eval().to(device)
    bench = Bench(options, device, model)
    bench.found["environment"] = environment()
    bench.found["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print("\n".join(f"{key}: {value}" for key, value in bench.found["environment"].items()))
    print(f"device: {bench.found['device']}; width {options.width}; weights and input: random, 0")
    products(bench)
    for part in options.only:
        PARTS[part](bench)
    if options.out:
        options.out.write_text(json.dumps(bench.found, indent=1) + "\n")


if __name__ == "__main__":
    script.run(main)
