"""``paper-unet fetch`` and ``paper-unet size``."""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_unet.cli.common import Commands, add_command
from paper_unet.datasets import DATA_SETS


def add(commands: Commands) -> None:
    """Add the command."""
    text = "fetch a data set, or weights, and verify what they hold"
    command = add_command(commands, "fetch", text, _fetch)
    command.add_argument("name", choices=sorted(DATA_SETS))
    command.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="take it from the files or the archive there instead; of weights also a file",
    )
    command.add_argument(
        "--to", type=Path, metavar="FOLDER", help="default: $PAPER_UNET_DATA, else data/"
    )
    text = "say which sizes fit the network, and what comes out"
    command = add_command(commands, "size", text, _size)
    command.add_argument("side", type=int, help="pixels")


def _fetch(options: argparse.Namespace) -> None:
    from paper_unet.datasets import data_set, fetch

    wanted = data_set(options.name)
    folder = fetch(wanted, options.to, options.source, progress=True)
    print(wanted.terms)
    print(f"verified: {folder}")


def _size(options: argparse.Namespace) -> None:
    from paper_unet.geometry import input_size, is_input_size, nearest_input_sizes, output_size

    side = options.side
    needed = input_size(side)
    if is_input_size(side):
        print(f"an input of {side} pixels gives an output of {output_size(side)}")
    else:
        below, above = nearest_input_sizes(side)
        nearest = f"{below}" if below == above else f"{below} and {above}"
        print(f"{side} is no legal input; nearest: {nearest} (16k + 60, from 188)")
    print(f"an output of at least {side} needs an input of {needed} (gives {output_size(needed)})")
