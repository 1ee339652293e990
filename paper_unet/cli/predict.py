"""``paper-unet predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paper_unet.cli.common import Commands, add_command, named, progress


def add(commands: Commands) -> None:
    """Add the command."""
    text = "segment a stack: write the probability of the cell class at every pixel"
    command = add_command(commands, "predict", text, _run)
    command.add_argument("input", type=Path, metavar="IN.tif", help="grey image or stack, any size")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.tif")
    command.add_argument("--weights", type=Path, help="default: the bundled ones (ISBI 2012)")
    command.add_argument("--slices", help="such as 24:30; default: all")
    command.add_argument("--tile", type=int, default=572, help="largest input side, 16k + 60")
    command.add_argument(
        "--tiling",
        choices=("exact", "abutting"),
        default="exact",
        help="exact: equal to one pass over the whole image; abutting: the paper's grid",
    )
    command.add_argument(
        "--average",
        choices=("none", "flips", "rotations"),
        default="none",
        help="mean over the four flips (the authors' release) or seven rotations (sec. 4)",
    )
    command.add_argument("--dtype", choices=("float32", "uint8"), default="float32")
    command.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="grey values that mean 0 and 1; needed for uint16 unless the weights know it",
    )
    command.add_argument("--axes", help="of the file, such as ZYX; wins over what it says itself")
    command.add_argument("--series", type=int, help="of a file that has several")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--overwrite", action="store_true", help="replace the output")


def _run(options: argparse.Namespace) -> None:
    from paper_unet.checkpoint import load_model
    from paper_unet.device import pick_device
    from paper_unet.geometry import output_size
    from paper_unet.images import create_tiff, open_stack, parse_slices, refuse_same_file
    from paper_unet.predict import predict_image

    refuse_same_file(options.input, options.out)
    output_size(options.tile)
    device = pick_device(options.device)
    with open_stack(options.input, axes=options.axes, series=options.series) as stack:
        chosen = parse_slices(options.slices, len(stack))
        shape = (len(chosen), *stack.shape[1:])
        dtype = np.dtype(options.dtype)
        with create_tiff(options.out, shape, dtype, overwrite=options.overwrite) as writer:
            model = load_model(options.weights, device)
            for k, z in enumerate(progress(chosen, "section")):
                section = named(
                    f"{options.input}, section {z}",
                    predict_image,
                    model,
                    stack[z],
                    tile=options.tile,
                    tiling=options.tiling,
                    average=options.average,
                    value_range=tuple(options.range) if options.range else None,
                )
                writer[k] = section if dtype == np.float32 else to_uint8(section)
    print(f"wrote {options.out}: probability of the cell class, {dtype}, {shape} (Z, Y, X)")


def to_uint8(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return round(255 p), computed in float32."""
    grey: NDArray[np.uint8] = np.rint(probability * np.float32(255)).astype(np.uint8)
    return grey
