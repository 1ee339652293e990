"""What the experiment scripts share: their options, the ISBI 2012 split, scores and jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.datasets import load_isbi2012
from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.inference.layers import keep_freed_memory
from paper_unet.inference.scoring import score_sections
from paper_unet.inference.settings import Average
from paper_unet.metrics.table import headline
from paper_unet.networks.base import Network
from paper_unet.networks.weights_file import load_model
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.device import pick_device
from paper_unet.system.folders import data_folder
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import TrainingSet, instances_from_membranes, training_set

TRAINING, HELD_OUT = slice(0, 24), slice(24, 30)
"""Sections of the ISBI 2012 training volume: neighbours of one stack, so a little optimistic."""

LOOKS: dict[Average, int] = {"none": 1, "flips": 4, "rotations": 7}
"""Ways of averaging, and how often each looks at a section."""


@dataclass(frozen=True)
class Sections:
    """Annotated sections and where they are from; uint8 (Z, Y, X), labels 0 = membrane."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    source: str

    def __getitem__(self, part: slice) -> Sections:
        return Sections(self.images[part], self.labels[part], self.source)

    @property
    def facts(self) -> dict[str, Any]:
        """What a row is known by: the source and the size, which a quick run has smaller."""
        return {"data": self.source, "shape": list(self.images.shape)}


def results_folder() -> Path:
    """Return where results go: beside the scripts in a checkout, else into the current folder."""
    here = Path(__file__).parent
    return (here if here.name == "experiments" else Path()) / "results"


def parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """Return the options that every experiment has."""
    options = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--data",
        type=Path,
        default=data_folder(),
        help="folder of the data sets, default: $PAPER_UNET_DATA, else data/",
    )
    add_folders(options, name)
    options.add_argument("--device", default="auto")
    options.add_argument("--seed", type=int, default=0)
    return options


def add_folders(options: argparse.ArgumentParser, name: str = "") -> None:
    """Add where results and checkpoints go, and `--quick`, by which they go elsewhere."""
    results, runs = results_folder(), Path("runs")
    options.add_argument("--out", type=Path, default=results / name, help="folder of the results")
    options.add_argument("--work", type=Path, default=runs / name, help="folder of checkpoints")
    options.add_argument(
        "--quick", action=Quick, nargs=0, default=False,
        folders={"out": results / "quick" / name, "work": runs / "quick" / name},
        help="tiny networks, minutes on a CPU; folders named quick; what else is given holds",
    )  # fmt: skip


class Quick(argparse.Action):
    """The option of a quick run, which replaces nothing that is worth keeping.

    Parameters
    ----------
    folders : dict of str to Path
        What these options are with it, unless they are given.
    """

    def __init__(self, *args: Any, folders: dict[str, Path], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._folders = folders

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any
    ) -> None:
        """Set it, and the folders."""
        namespace.quick = True
        for name, folder in self._folders.items():
            if getattr(namespace, name) is parser.get_default(name):
                setattr(namespace, name, folder)


def parsed(options: argparse.ArgumentParser, **quick: Any) -> argparse.Namespace:
    """Return the arguments; a quick run has these settings but for those that the command gives.

    Raises
    ------
    InputError
        If the device is not there; what rows are missing can be listed elsewhere.
    """
    found = options.parse_args()
    if getattr(found, "minutes", None) != 0:
        pick_device(found.device)
    if found.quick:
        unsaid = object()
        said = options.parse_args(namespace=argparse.Namespace(**dict.fromkeys(quick, unsaid)))
        vars(found).update({k: v for k, v in quick.items() if getattr(said, k) is unsaid})
    return found


def be_one_of_several() -> None:
    """Use one thread on a CPU, whatever runs beside, so that runs can be repeated bit by bit."""
    torch.set_num_threads(1)
    keep_freed_memory()


def note(text: str) -> None:
    """Say what is no result."""
    print(text, file=sys.stderr)


def isbi2012(data: Path, quick: bool = False) -> Sections:
    """Read the annotated ISBI 2012 sections, or make synthetic ones where they are absent.

    Quick runs get a corner of each section, and four sections to score.
    """
    corner = (slice(0, 28), slice(0, 128), slice(0, 128)) if quick else ()
    folder = data / "isbi2012"
    if (folder / "train-volume.tif").exists():
        real = load_isbi2012(folder)
        return Sections(real.images[corner], real.labels[corner], "ISBI 2012")
    note(f"no ISBI 2012 in {folder}: synthetic sections instead")
    made = synthetic_stack(sections=30, side=128 if quick else 512, seed=0)
    return Sections(made.images[corner], made.labels[corner], "synthetic")


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
    truth = read_stack(labels, labels=True) if labels.exists() else np.empty(0, np.uint8)
    return Sections(read_stack(folder / "test-volume.tif"), (truth > 0).astype(np.uint8), "test")


def grey_network(weights: Path | None, device: str = "cpu") -> Network:
    """Load the network of these weights, the bundled ones by default; refuse one of colours."""
    model = load_model(weights, pick_device(device))
    if (channels := model.config.in_channels) != 1:
        raise InputError(f"{weights}: takes {channels} channels; sections have one, of grey values")
    return model


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


def collapsed(rows: Sequence[dict[str, Any]], before: str = "; ") -> str:
    """Return what a title says of runs that a figure cannot show."""
    lost = sum("diverged" in row for row in rows)
    return f"{before}{lost} of {len(rows)} runs collapsed or diverged" if lost else ""


def held_out_scores(model: Any, sections: Sections, average: Average = "none") -> dict[str, Any]:
    """Return the five metrics and their thresholds."""
    return headline(score_sections(model, sections.images, sections.labels, average))


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and standard deviation; one run has no deviation, and none has no mean."""
    return {
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }
