"""What the experiment scripts share: their options, the ISBI 2012 split, jobs, and results."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_unet.checkpoint import load_model
from paper_unet.config import TrainConfig
from paper_unet.datasets import load_isbi2012
from paper_unet.device import pick_device
from paper_unet.environment import environment
from paper_unet.images import read_stack
from paper_unet.layers import keep_freed_memory
from paper_unet.model import UNet
from paper_unet.regions import Average
from paper_unet.run_folder import LOG, WEIGHTS, comparable
from paper_unet.samples import TrainingSet, instances_from_membranes, training_set
from paper_unet.scoring import score_sections
from paper_unet.synthetic import synthetic_stack
from paper_unet.train import train

TRAINING, HELD_OUT = slice(0, 24), slice(24, 30)
"""Sections of the ISBI 2012 training volume: neighbours of one stack, so a little optimistic."""

METRICS = ("v_rand", "v_info", "pixel_error", "rand_error", "warping_error")

PAPERS_RECIPE = "the paper's recipe"
FINISH_LR = 3e-4

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sections:
    """Annotated sections and where they are from; uint8 (Z, Y, X), labels 0 = membrane."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    source: str

    def __getitem__(self, part: slice) -> Sections:
        return Sections(self.images[part], self.labels[part], self.source)


def parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """Return the options that every experiment has."""
    options = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    results = Path(__file__).parent / "results" / name
    options.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    options.add_argument("--out", type=Path, default=results, help="folder for the results")
    options.add_argument("--work", type=Path, default=Path("runs") / name, help="checkpoints")
    options.add_argument("--quick", action="store_true", help="minutes on a CPU; for CI")
    options.add_argument("--device", default="auto")
    options.add_argument("--seed", type=int, default=0)
    return options


def add_training_options(
    options: argparse.ArgumentParser, *, width: int, steps: int, tile: int, lr: float
) -> None:
    """Add the options of experiments that train, with the defaults of a CPU."""
    options.add_argument("--width", type=int, default=width)
    options.add_argument("--steps", type=int, default=steps)
    options.add_argument("--tile", type=int, default=tile)
    options.add_argument("--lr", type=float, default=lr)
    options.add_argument("--precision", default="float32")
    options.add_argument("--jobs", type=int, default=1, help="runs at once, a thread each on a CPU")


def add_recipe_options(options: argparse.ArgumentParser) -> None:
    """Add what trains faster than the paper's recipe, for processors that cannot wait for it."""
    options.add_argument(
        "--network", default="paper", choices=["paper", "release", "batch_norm"],
        help="batch_norm trains with batch normalisation, which is then folded into the weights",
    )  # fmt: skip
    options.add_argument("--optimizer", default="sgd", choices=["sgd", "adam", "rmsprop"])
    options.add_argument(
        "--finish", type=int, default=0, metavar="STEPS",
        help="that every run goes on for, without batch normalisation, from its weights",
    )  # fmt: skip
    options.add_argument("--finish-lr", type=float, help=f"default: {FINISH_LR}")
    options.add_argument(
        "--finish-balance", type=float, metavar="POWER",
        help="of the inverse frequency of the classes, by which they then weigh, if that is less",
    )  # fmt: skip


def parsed(options: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments of an experiment that has the options of a recipe."""
    found = options.parse_args()
    if not found.finish and (found.finish_lr, found.finish_balance) != (None, None):
        options.error("--finish-lr and --finish-balance are of --finish STEPS; give it, too")
    if found.quick:
        found.finish = min(found.finish, 4)
    return found


def recipe(options: argparse.Namespace) -> str:
    """Return the recipe in words."""
    names = {"batch_norm": "batch normalisation", "release": "the release's network"}
    optimizers = {"adam": "Adam", "rmsprop": "RMSprop"}
    words = [names.get(options.network, ""), optimizers.get(options.optimizer, "")]
    if options.finish:
        weaker = options.finish_balance
        balance = "" if weaker is None else f" with class balance to the power {weaker:g}"
        without = " without normalisation" if options.network == "batch_norm" else ""
        words.append(f"then {options.finish} steps{without}{balance}")
    return ", ".join(filter(None, words)) or PAPERS_RECIPE


def recipe_name(options: argparse.Namespace) -> str:
    """Return what the folder of a run adds to its name where the recipe is not the paper's."""
    choices = [(options.network, "paper"), (options.optimizer, "sgd")]
    return "".join(f"-{value}" for value, paper in choices if value != paper)


def train_config(options: argparse.Namespace, run: str, seed: int, **changes: Any) -> TrainConfig:
    """Return the configuration of one run of an experiment, in its own folder of ``--work``."""
    settings: dict[str, Any] = {
        "out": str(options.work / run),
        "width": options.width,
        "steps": options.steps,
        "tile": options.tile,
        "lr": options.lr,
        "device": options.device,
        "precision": options.precision,
        "channels_last": True,
        "checkpoint_every": 250,
        "seed": seed,
    }
    for name in ("network", "optimizer"):
        if hasattr(options, name):
            settings[name] = getattr(options, name)
    return TrainConfig(**settings | changes)


def stages(options: argparse.Namespace, config: TrainConfig) -> tuple[TrainConfig, ...]:
    """Return the run and, with ``--finish``, the run that goes on from it without normalisation.

    A tile normalised by its own statistics, as while training, is not what the folded network
    sees: it has to learn to do without. It begins with the tiles that the first run began with.
    """
    if not options.finish:
        return (config,)
    weaker = 1.0 if options.finish_balance is None else options.finish_balance
    balance = min(config.balance, weaker)
    other = "" if balance == config.balance else f"-balance{balance:g}"
    last = replace(
        config,
        out=f"{config.out}-finished{other}",
        balance=balance,
        network="paper" if config.network == "batch_norm" else config.network,
        start=str(Path(config.out) / WEIGHTS),
        steps=options.finish,
        lr=options.finish_lr or FINISH_LR,
    )
    return config, last


def train_stages(
    configs: Iterable[TrainConfig], data: Callable[[TrainConfig], TrainingSet]
) -> tuple[UNet, float]:
    """Train one run after the other, or go on; return the last network and the seconds of all.

    A run that has ended stays as it is.
    """
    models: list[UNet] = []
    seconds = 0.0
    for config in configs:
        models.append(finished(config) or train(config, data(config), resume=True, progress=False))
        seconds += logged_seconds(config)
    return models[-1], round(seconds, 1)


def finished(config: TrainConfig) -> UNet | None:
    """Return the network of a run that has ended with these very settings."""
    weights = Path(config.out) / WEIGHTS
    if not weights.exists():
        return None
    model = load_model(weights, pick_device(config.device)).eval()
    return model if model.record.get("config") == comparable(config) else None


def be_one_of_several() -> None:
    """Use one thread on a CPU, whatever runs beside, so that runs can be repeated bit by bit."""
    torch.set_num_threads(1)
    keep_freed_memory()


def logged_seconds(config: TrainConfig) -> float:
    """Return how long a run trained, over all its pieces."""
    lines = [json.loads(line) for line in (Path(config.out) / LOG).read_text().splitlines()]
    pieces, last = 0.0, 0.0
    for line in lines:
        if line["seconds"] < last:  # the clock starts again when a run goes on
            pieces += last
        last = line["seconds"]
    return round(pieces + last, 1)


def isbi2012(data: Path, quick: bool = False) -> Sections:
    """Read the annotated ISBI 2012 sections, or make synthetic ones where they are absent.

    Quick runs get a corner of each section.
    """
    corner = (slice(None), slice(0, 128), slice(0, 128)) if quick else ()
    folder = data / "isbi2012"
    if (folder / "train-volume.tif").exists():
        real = load_isbi2012(folder)
        return Sections(real.images[corner], real.labels[corner], "ISBI 2012")
    print(f"no ISBI 2012 in {folder}: synthetic sections instead")
    made = synthetic_stack(sections=30, side=128 if quick else 512, seed=0)
    return Sections(made.images, made.labels, "synthetic")


def isbi2012_test(data: Path, quick: bool = False) -> Sections | None:
    """Read the test volume, and its labels where they lie beside it; None where it is absent.

    A quick run gets two small made-up sections.
    """
    folder = data / "isbi2012"
    if quick:
        images = synthetic_stack(sections=2, side=64, seed=1).images
        return Sections(images, np.empty(0, np.uint8), "synthetic")
    if not (folder / "test-volume.tif").exists():
        return None
    labels = folder / "test-labels.tif"
    truth = read_stack(labels) if labels.exists() else np.empty(0, np.uint8)
    return Sections(read_stack(folder / "test-volume.tif"), (truth > 0).astype(np.uint8), "test")


def membrane_training_set(sections: Sections, config: TrainConfig) -> TrainingSet:
    """Return training data of sections with membrane labels, weighted as a run asks for."""
    images = sections.images.astype(np.float32) / np.float32(255)
    return training_set(
        images,
        instances_from_membranes(sections.labels),
        w0=config.w0,
        sigma=config.sigma,
        balance=config.balance,
        separate=False,
    )


def held_out_scores(model: Any, sections: Sections, average: Average = "none") -> dict[str, Any]:
    """Return the five metrics and their thresholds."""
    scores = score_sections(model, sections.images, sections.labels, average)
    everything = scores.to_dict()
    return {name: everything[name] for name in (*METRICS, "thresholds")}


def run_jobs(run: Callable[[Job], Result], jobs: Iterable[Job], at_once: int) -> list[Result]:
    """Run jobs in processes of their own, several at once, in order; errors come through."""
    if at_once == 1:
        return [run(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        return list(pool.map(run, jobs))


@contextmanager
def recorded(options: argparse.Namespace) -> Iterator[None]:
    """Write config.json and environment.json, and keep what is printed meanwhile in log.txt."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    settings = {name: _plain(value) for name, value in sorted(vars(options).items())}
    _write_json(out / "config.json", {"command": _command(), **settings})
    _write_json(out / "environment.json", environment())
    with (out / "log.txt").open("w") as log, redirect_stdout(_Tee(sys.stdout, log)):
        yield


class _Tee(TextIOBase):
    """Writes everything twice."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)


def save_figure(figure: Figure, out: Path, name: str) -> None:
    """Save a figure as PNG and PDF, without the date, so that the same figure is the same file."""
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.png", dpi=150)
    figure.savefig(out / f"{name}.pdf", dpi=150, metadata={"CreationDate": None})
    print(f"wrote {_plain(out / name)}.png and .pdf")


def write_results(out: Path, results: dict[str, Any], started: float) -> None:
    """Write metrics.json with the command, the wall time and the environment."""
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "command": _command(),
        **results,
        "wall_seconds": round(time.time() - started, 1),
        "environment": environment(),
    }
    _write_json(out / "metrics.json", document)
    print(f"wrote {_plain(out / 'metrics.json')}")


def _command() -> str:
    return " ".join([f"python experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it; a path below the current folder is relative to it."""
    if not isinstance(value, Path):
        return value
    here = Path.cwd()
    return str(value.relative_to(here)) if value.is_relative_to(here) else str(value)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
