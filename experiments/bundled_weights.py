"""Train the weights that come with the package, and score them on sections they have not seen.

python experiments/bundled_weights.py --data data --threads 1

Sections 0-23 of the ISBI 2012 training volume; scored on 24-29. The width and the length are what
a CPU core does in an hour and a half; wider networks are stored in float16 to stay below 16 MB. The
scores are those of the stored weights, in float32 arithmetic.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import asdict

import common
import records
import torch

from paper_unet.networks.weights_file import load_model, save_model
from paper_unet.system.device import pick_device
from paper_unet.training.config import TrainConfig
from paper_unet.training.log import LOG
from paper_unet.training.loop import train

NAME = "isbi2012.safetensors"


def main() -> None:
    """Train, store, score."""
    parser = common.parser("bundled_weights", __doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--tile", type=int, default=380)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, help="of the CPU; their number changes last bits")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(vars(argparse.Namespace(width=2, steps=5, tile=252)))
    if options.threads:
        torch.set_num_threads(options.threads)
    started = time.time()
    sections = common.isbi2012(options.data, options.quick)
    if sections.source != "ISBI 2012" and not options.quick:
        raise SystemExit("the bundled weights are trained on ISBI 2012: fetch it, or give --data")
    config = TrainConfig(
        out=str(options.work),
        slices="0:24",
        width=options.width,
        steps=options.steps,
        tile=options.tile,
        lr=options.lr,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        channels_last=True,
        checkpoint_every=250,
    )
    data = common.membrane_training_set(sections[common.TRAINING], config)
    model = train(config, data, resume=options.resume, overwrite=not options.resume)
    seconds = time.time() - started
    options.out.mkdir(parents=True, exist_ok=True)
    dtype = torch.float32 if config.width <= 16 else torch.float16
    save_model(options.out / NAME, model, dtype=dtype)
    stored = load_model(options.out / NAME, pick_device(options.device))
    scores = {
        average: common.held_out_scores(stored, sections[common.HELD_OUT], average)
        for average in ("none", "flips", "rotations")
    }
    stored.record |= {"data": f"{sections.source}, sections 0-23", "held_out_24_29": scores}
    save_model(options.out / NAME, stored, dtype=dtype)
    shutil.copy(options.work / LOG, options.out / LOG)
    for average, row in scores.items():
        print(average, {k: v for k, v in row.items() if k != "thresholds"})
    results = {"config": asdict(config), "training_seconds": round(seconds, 1), "scores": scores}
    records.write_results(options.out, {"source": sections.source, **results}, started)


if __name__ == "__main__":
    main()
