"""``paper-unet import-caffe``."""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_unet.cli.common import Commands, add_command
from paper_unet.errors import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    text = "convert the network that the authors released in 2015"
    command = add_command(commands, "import-caffe", text, _run)
    command.add_argument(
        "source", type=Path, metavar="IN", help="phseg_v5.caffemodel of the release"
    )
    command.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT", help="ends in .safetensors"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the output")


def _run(options: argparse.Namespace) -> None:
    from paper_unet.networks.weights_file import save_model
    from paper_unet.release.caffe import PARTS, import_caffe

    _check_output(options)
    model = import_caffe(options.source)
    save_model(options.out, model, overwrite=options.overwrite)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.source}: {len(PARTS)} layers, width {model.config.width}, {count} parameters")
    print(f"terms: {model.record['terms']}")
    print(f"wrote {options.out}: use it with predict --release --weights {options.out}")


def _check_output(options: argparse.Namespace) -> None:
    from paper_unet.system.files import check_free_name, refuse_same_file, require_folder

    out: Path = options.out
    if out.suffix.lower() != ".safetensors":
        raise InputError(f"{out}: weights are written as .safetensors; end the name in that")
    require_folder(out)
    if options.source.is_file():  # what else it may be, the reader says
        refuse_same_file(options.source, out)
    check_free_name(out, overwrite=options.overwrite, folders=False)
