"""``paper-unet reproduce``."""

from __future__ import annotations

import argparse
import sys

from paper_unet.cli.common import Commands, add_command
from paper_unet.reproduce import ALL, EXPERIMENTS, reproduce


def add(commands: Commands) -> None:
    """Add the command."""
    text = "make a figure or a table of the paper, or what it leaves open"
    command = add_command(commands, "reproduce", text, _run)
    command.add_argument(
        "name",
        choices=[*EXPERIMENTS, ALL],
        metavar="NAME",
        help=f"{', '.join(EXPERIMENTS)}; {ALL}: the paper's figures and tables in turn",
    )
    command.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="of the experiment: --quick (minutes on a CPU, tiny networks), --data, --out, --work, "
        "--device, --seed; paper-unet reproduce NAME --help shows all of them",
    )


def _run(options: argparse.Namespace) -> None:
    sys.stdout.flush()  # what the script prints comes behind
    code = reproduce(options.name, options.options)
    if code:
        sys.exit(code if code > 0 else 128 - code)
