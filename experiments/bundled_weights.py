r"""Train the weights that come with the package, and score them on sections they have not seen.

python experiments/bundled_weights.py --data data --work runs/table1_isbi2012/width16-seed0

Sections 0-23 of the ISBI 2012 training volume; scored on 24-29. They are the network of table 1 at
width 16, in whose folder nothing is trained again. Wider networks are stored in float16 to stay
below 16 MB. The scores are those of the stored weights, in float32 arithmetic.

Twice the channels, on a GPU:

python experiments/bundled_weights.py --data data --device cuda --width 32 --tile 572 \
    --out experiments/results/bundled_width32 --work runs/bundled_width32
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import entry
import recipes
import records
import row_files
import torch

from paper_unet.errors import InputError
from paper_unet.networks.weights_file import load_model, save_model
from paper_unet.system.device import pick_device
from paper_unet.training.config import TrainConfig

LARGEST_IN_FLOAT32 = 16


@dataclass(frozen=True)
class Job:
    """The network to train, and where its weights go."""

    stages: tuple[TrainConfig, ...]
    sections: common.Sections
    out: Path

    @property
    def weights(self) -> Path:
        """The file that is bundled."""
        width = self.stages[0].width
        suffix = "" if width == LARGEST_IN_FLOAT32 else f"-width{width}"
        return self.out / f"isbi2012{suffix}.safetensors"

    @property
    def name(self) -> str:
        """See `row_files.Job`."""
        return f"width{self.stages[0].width}-seed{self.stages[0].seed}"

    @property
    def facts(self) -> dict[str, Any]:
        """See `row_files.Job`; the file is what the row is for."""
        return {**self.sections.facts, "weights": self.weights.name}

    @property
    def pixels(self) -> int:
        """See `row_files.Job`."""
        return int(self.sections[common.HELD_OUT].images.size) * sum(common.LOOKS.values())


def run(job: Job) -> dict[str, Any]:
    """Train, or go on training; store, and score what is stored."""
    common.be_one_of_several()
    (config,), sections = job.stages, job.sections
    training, scored = (
        partial(common.membrane_training_set, sections[part])
        for part in (common.TRAINING, common.HELD_OUT)
    )
    model, seconds = recipes.train_stages(job.stages, training, scored)
    dtype = torch.float32 if config.width <= LARGEST_IN_FLOAT32 else torch.float16
    job.out.mkdir(parents=True, exist_ok=True)
    save_model(job.weights, model, dtype=dtype)
    stored = load_model(job.weights, pick_device(config.device))
    scores = {
        average: common.held_out_scores(stored, sections[common.HELD_OUT], average)
        for average in common.LOOKS
    }
    stored.record |= {"data": f"{sections.source}, sections 0-23", "held_out_24_29": scores}
    save_model(job.weights, stored, dtype=dtype)
    for average, row in scores.items():
        print(average, {k: v for k, v in row.items() if k != "thresholds"}, flush=True)
    return {"config": asdict(config), "training_seconds": seconds, "scores": scores}


def main() -> None:
    """Train, store, score."""
    parser = common.parser("bundled_weights", __doc__)
    recipes.add_training_options(parser, width=16, steps=24_000, tile=380)
    options = recipes.parsed(parser, width=2, steps=5, tile=252)
    started = time.time()
    with records.recorded(options):
        sections = common.isbi2012(options.data, options.quick)
        if sections.source != "ISBI 2012" and not options.quick:
            raise InputError("the bundled weights are of ISBI 2012: fetch it, or give --data")
        config = recipes.train_config(options, ".", options.seed)
        job = Job((config,), sections, options.out)
        for row in row_files.run_rows(run, [job], options):
            records.write_results(options.out, {"source": sections.source, **row}, started)


if __name__ == "__main__":
    entry.run(main)
