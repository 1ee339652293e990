"""``paper-unet predict``: its options are the fields of `PredictConfig`."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from paper_unet.cli.common import Commands, add_command, add_settings, given_settings, go_on_with
from paper_unet.large.config import PredictConfig


def add(commands: Commands) -> None:
    """Add the command."""
    text = "segment a stack of any size: write the probability of the cell class at every pixel"
    command = add_command(commands, "predict", text, _run)
    command.add_argument(
        "source",
        metavar="IN",
        help="grey image or stack: TIFF, PNG, a folder of sections, Zarr, OME-Zarr",
    )
    command.add_argument(
        "-o", "--out", required=True, metavar="OUT",
        help="ends in .tif, .btf (BigTIFF), .ome.tif or .zarr (OME-Zarr)",
    )  # fmt: skip
    add_settings(command, PredictConfig)
    command.add_argument(
        "--dask", metavar="ADDRESS", help="compute on a dask scheduler; local:N for N workers here"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the output")


def _run(options: argparse.Namespace) -> None:
    from paper_unet.large.run import Report, predict_file
    from paper_unet.layers import keep_freed_memory
    from paper_unet.stop import Stopped

    config = PredictConfig(**given_settings(options, PredictConfig))
    keep_freed_memory()
    report = Report(say=lambda line: print(line, file=sys.stderr), progress=True)
    try:
        with _executor(options.dask, config) as executor:
            predict_file(config, overwrite=options.overwrite, executor=executor, report=report)
    except Stopped:
        go_on_with(sys.argv[1:])
        raise
    print(f"wrote {Path(config.out)}: probability of the cell class, {config.dtype}")


def _executor(dask: str | None, config: PredictConfig):  # type: ignore[no-untyped-def]
    if dask is None:
        return nullcontext()
    from paper_unet.large.cluster import connect

    return connect(dask, config.threads)
