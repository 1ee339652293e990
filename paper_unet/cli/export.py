"""``paper-unet export``: its options are the fields of `ExportSettings`."""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_unet.cli.common import Commands, add_command, add_settings, given_settings, say
from paper_unet.export.settings import ExportSettings
from paper_unet.networks.known_weights import weights_help


def add(commands: Commands) -> None:
    """Add the command."""
    text = "write a network for other software: ONNX, torch.export, BioImage.IO"
    command = add_command(commands, "export", text, _run)
    command.add_argument("weights", metavar="WEIGHTS", help=weights_help("none", "bundled, or "))
    command.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT",
        help="ends in .onnx, .pt2 (torch.export) or .bioimage.zip (a package of BioImage.IO)",
    )  # fmt: skip
    add_settings(command, ExportSettings)
    command.add_argument("--overwrite", action="store_true", help="replace the output")


def _run(options: argparse.Namespace) -> None:
    from paper_unet.export.run import export_file

    settings = given_settings(options, ExportSettings)
    done = export_file(options.weights, options.out, settings, overwrite=options.overwrite)
    for note in done.notes:
        say(note)
    print(f"wrote {done.path}: sides {done.sides} pixels")
    print(f"largest difference from the network, on a small image: {done.difference:.1g}")
