"""``paper-unet demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_unet.cli.common import Commands, add_command, print_scores
from paper_unet.metrics.table import headline


def add(commands: Commands) -> None:
    """Add the command."""
    text = "segment a synthetic EM stack with the bundled weights, score it and draw it"
    command = add_command(commands, "demo", text, _run)
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results")
    command.add_argument("--sections", type=int, default=6)
    command.add_argument("--side", type=int, default=512, help="pixels")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--overwrite", action="store_true", help="replace an earlier demo")


def _run(options: argparse.Namespace) -> None:
    from paper_unet.demo import run_demo

    demo = run_demo(
        options.out,
        sections=options.sections,
        side=options.side,
        seed=options.seed,
        overwrite=options.overwrite,
    )
    print(f"synthetic stack, {options.sections} sections of {options.side} x {options.side} pixels")
    print_scores(headline(demo.scores))
    for path in demo.files:
        print(f"wrote {path}")
