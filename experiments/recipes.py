"""How the networks of the experiments are trained: options, stages, and runs that go on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import row_files

from paper_unet.cli import script
from paper_unet.errors import DivergedError, InputError, naming
from paper_unet.networks.base import Network
from paper_unet.networks.table import RENAMED
from paper_unet.networks.weights_file import load_model
from paper_unet.system.device import pick_device
from paper_unet.training.checkpoint import WEIGHTS, as_of_today, comparable
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet
from paper_unet.training.log import LOG
from paper_unet.training.loop import train
from paper_unet.training.run_folder import start_digest

PAPERS_RECIPE = "the paper's recipe"
FINISH_LR = 3e-4
FINISH_WARM_UP = 100


def add_training_options(
    options: argparse.ArgumentParser,
    *,
    width: int,
    steps: int,
    tile: int,
    sweep: bool = False,
) -> None:
    """Add the options of experiments that train, with the defaults of a CPU; a sweep has rates."""
    options.add_argument("--width", type=int, default=width)
    options.add_argument("--steps", type=int, default=steps)
    options.add_argument("--tile", type=int, default=tile)
    if not sweep:
        options.add_argument("--lr", type=float, help="default: as `paper-unet train`")
        options.add_argument(
            "--warmup", type=int, metavar="STEPS",
            help="of linear warm-up; default: as `paper-unet train`",
        )  # fmt: skip
    options.add_argument(
        "--decay", type=float, default=TrainConfig.decay, help="last share of the steps, a cosine"
    )
    options.add_argument("--precision", default="auto")
    row_files.add_options(options)


def add_recipe_options(options: argparse.ArgumentParser) -> None:
    """Add what trains faster than the paper's recipe, for processors that cannot wait for it."""
    options.add_argument(
        "--network", default="paper", choices=["paper", "release", "paper_batch_norm"],
        type=lambda name: RENAMED.get(name, name),
        help="paper_batch_norm trains with batch normalisation, then folded into the weights",
    )  # fmt: skip
    options.add_argument("--optimizer", default="sgd", choices=["sgd", "adam", "rmsprop"])
    options.add_argument(
        "--finish", type=script.count_or_none, default=0, metavar="STEPS",
        help="that every run goes on for, without batch normalisation, from its weights",
    )  # fmt: skip
    options.add_argument("--finish-lr", type=float, help=f"default: {FINISH_LR}")
    options.add_argument(
        "--finish-balance", type=float, metavar="POWER",
        help="of the inverse frequency of the classes, by which they then weigh, if that is less",
    )  # fmt: skip
    options.add_argument(
        "--validate-every", type=int, default=0, metavar="STEPS",
        help="log the loss of the sections that are scored; it chooses nothing",
    )  # fmt: skip


SETTINGS = {
    "finish_lr": "lr", "finish_balance": "balance", "gap": "gap", "balance": "balance",
    "cell_steps": "steps", "adam_lr": "lr", "rates": "lr", "warmups": "warmup", "centres": "centre",
}  # fmt: skip
"""Options of some experiments, and the setting of a training that each gives."""


def parsed(options: argparse.ArgumentParser, **quick: Any) -> argparse.Namespace:
    """Return the arguments of an experiment that trains; what no training takes ends the script.

    The settings of a quick run are as in `common.parsed`.
    """
    found = common.parsed(options, **quick)
    of_finish = (getattr(found, "finish_lr", None), getattr(found, "finish_balance", None))
    if of_finish != (None, None) and not found.finish:
        options.error("--finish-lr and --finish-balance are of --finish STEPS; give it, too")
    try:
        train_config(found, "", found.seed)
        for name, setting in SETTINGS.items():
            given = getattr(found, name, None)
            for value in given if isinstance(given, list) else [given]:
                if value is not None:
                    with naming(f"--{name.replace('_', '-')}"):
                        train_config(found, "", found.seed, **{setting: value})
    except InputError as error:
        options.error(str(error))
    return found


def recipe(options: argparse.Namespace) -> str:
    """Return the recipe in words."""
    names = {"paper_batch_norm": "batch normalisation", "release": "the release's network"}
    optimizers = {"adam": "Adam", "rmsprop": "RMSprop"}
    words = [names.get(options.network, ""), optimizers.get(options.optimizer, "")]
    if options.finish:
        weaker = options.finish_balance
        balance = "" if weaker is None else f" with class balance to the power {weaker:g}"
        without = " without normalisation" if options.network == "paper_batch_norm" else ""
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
        "device": options.device,
        "precision": options.precision,
        "seed": seed,
        "channels_last": True,
    }
    for name in ("lr", "warmup", "decay", "network", "optimizer", "validate_every"):
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
        network="paper" if config.network == "paper_batch_norm" else config.network,
        start=str(Path(config.out) / WEIGHTS),
        steps=options.finish,
        lr=options.finish_lr or FINISH_LR,
        warmup=FINISH_WARM_UP,
    )
    return config, last


Weighed = Callable[[TrainConfig], TrainingSet]
"""Weighs sections as a run asks for."""


def train_stages(
    configs: Iterable[TrainConfig], data: Weighed, scored: Weighed | None = None
) -> tuple[Network, float]:
    """Train one run after the other, or go on; return the last network and the seconds of all.

    A run that has ended stays as it is. With ``--validate-every`` the loss of what is scored is
    logged.
    """
    models: list[Network] = []
    seconds = 0.0
    for config in configs:
        model = finished(config)
        if model is None:
            unseen = scored(config) if scored and config.validate_every else None
            model = train(config, data(config), held_out=unseen, resume=True, progress=False)
        models.append(model)
        seconds += logged_seconds(config)
    return models[-1], round(seconds, 1)


def train_row(
    row: dict[str, Any],
    configs: Iterable[TrainConfig],
    data: Weighed,
    scored: Weighed | None = None,
) -> Network | None:
    """Train as `train_stages` does; the row gets the seconds, or that the training diverged."""
    try:
        model, row["training_seconds"] = train_stages(configs, data, scored)
    except DivergedError as error:
        row["diverged"] = str(error)
        print(row, flush=True)
        return None
    return model


def finished(config: TrainConfig) -> Network | None:
    """Return the network of a run that has ended with these very settings and first weights."""
    weights = Path(config.out) / WEIGHTS
    if not weights.exists():
        return None
    device = pick_device(config.device)
    model, config = load_model(weights, device).eval(), config.on(device)
    stored: Any = model.record.get("config", {})
    found = (as_of_today(stored), model.record.get("start_sha256", ""))
    return model if found == (comparable(config), start_digest(config)) else None


def logged_seconds(config: TrainConfig) -> float:
    """Return how long a run trained, over all its pieces."""
    lines = [json.loads(line) for line in (Path(config.out) / LOG).read_text().splitlines()]
    pieces, last = 0.0, 0.0
    for line in lines:
        if line["seconds"] < last:  # the clock starts again when a run goes on
            pieces += last
        last = line["seconds"]
    return round(pieces + last, 1)
