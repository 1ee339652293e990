"""What the low precisions change: the bundled network on held-out sections of ISBI 2012.

    python benchmarks/precision.py --data data          # after: paper-unet fetch isbi2012

Compares scores and probabilities with those of float32 and scores both against the labels. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from paper_unet import load_model
from paper_unet.cli import script
from paper_unet.datasets import load_isbi2012
from paper_unet.images import to_unit_range
from paper_unet.inference.averaging import image_scores
from paper_unet.inference.layers import PRECISIONS, evaluating
from paper_unet.inference.predict import engine_for
from paper_unet.inference.readout import probability
from paper_unet.inference.settings import InferenceSettings
from paper_unet.metrics import isbi2012_scores
from paper_unet.system.environment import environment

HELD_OUT = slice(24, 30)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds isbi2012/")
    parser.add_argument("--threads", type=script.count, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("\n".join(f"{key}: {value}" for key, value in environment().items()))
    data = load_isbi2012(options.data / "isbi2012" if options.data else None)
    images, labels = data.images[HELD_OUT], data.labels[HELD_OUT]
    model = load_model()
    print(
        "\n| precision | largest difference of a score, of the spread | mean | largest difference "
        "of a probability | pixels that change class | V_rand | V_info | pixel error |"
    )
    print("|---|---|---|---|---|---|---|---|")
    exact: list[torch.Tensor] = []
    for name in PRECISIONS:
        with evaluating(model):
            engine = engine_for(model, InferenceSettings(), name)
            scores = [image_scores(engine, to_unit_range(image)[None]) for image in images]
        exact = exact or scores
        print(row(name, scores, exact, labels), flush=True)


def row(
    name: str, scores: list[torch.Tensor], exact: list[torch.Tensor], labels: np.ndarray
) -> str:
    """Compare the scores of all sections with those of float32."""
    off = torch.stack(scores) - torch.stack(exact)
    spread = float(torch.stack(exact).max() - torch.stack(exact).min())
    now = np.stack([probability(s) for s in scores])
    then = np.stack([probability(s) for s in exact])
    found = isbi2012_scores(labels, now)
    return (
        f"| {name} | {float(off.abs().max()) / spread:.1e} | {float(off.abs().mean()) / spread:.1e}"
        f" | {np.abs(now - then).max():.3f} | {np.mean((now > 0.5) != (then > 0.5)):.4%} | "
        f"{found.v_rand:.4f} | {found.v_info:.4f} | {found.pixel_error:.4f} |"
    )


if __name__ == "__main__":
    script.run(main)
