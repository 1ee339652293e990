"""What the experiment scripts share: their options, the ISBI 2012 split, jobs, and results."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from paper_unet.datasets import load_isbi2012
from paper_unet.environment import environment
from paper_unet.samples import TrainingSet, instances_from_membranes, training_set
from paper_unet.scoring import score_sections
from paper_unet.synthetic import synthetic_stack

TRAINING, HELD_OUT = slice(0, 24), slice(24, 30)
"""Sections of the ISBI 2012 training volume: neighbours of one stack, so a little optimistic."""

METRICS = ("v_rand", "v_info", "pixel_error", "rand_error", "warping_error")

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


def membrane_training_set(sections: Sections, w0: float = 10.0, sigma: float = 5.0) -> TrainingSet:
    """Return training data of sections with membrane labels."""
    images = sections.images.astype(np.float32) / np.float32(255)
    return training_set(
        images, instances_from_membranes(sections.labels), w0=w0, sigma=sigma, separate=False
    )


def held_out_scores(model: Any, sections: Sections, average: str = "none") -> dict[str, Any]:
    """Return the five metrics and their thresholds."""
    scores = score_sections(model, sections.images, sections.labels, average)  # type: ignore[arg-type]
    everything = scores.to_dict()
    return {name: everything[name] for name in (*METRICS, "thresholds")}


def run_jobs(run: Callable[[Job], Result], jobs: Iterable[Job], at_once: int) -> list[Result]:
    """Run jobs in processes of their own, several at once, in order; errors come through."""
    if at_once == 1:
        return [run(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        return list(pool.map(run, jobs))


def write_results(out: Path, results: dict[str, Any], started: float) -> None:
    """Write metrics.json with the command, the wall time and the environment."""
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "command": " ".join([f"python experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        **results,
        "wall_seconds": round(time.time() - started, 1),
        "environment": environment(),
    }
    (out / "metrics.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"wrote {out / 'metrics.json'}")
