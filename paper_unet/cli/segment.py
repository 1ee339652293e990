"""``paper-unet segment``: its options are the fields of `SegmentConfig`."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from paper_unet.cli.common import (
    Commands,
    add_command,
    add_settings,
    given_settings,
    go_on_with,
    saying,
)
from paper_unet.segmentation.config import SegmentConfig

if TYPE_CHECKING:
    from paper_unet.segmentation.executor import Executor


def add(commands: Commands) -> None:
    """Add the command."""
    text = "give every cell of a volume of probabilities a number, whatever its size"
    command = add_command(commands, "segment", text, _run)
    command.add_argument(
        "source",
        metavar="PROBABILITY",
        help="volume of P(cell), as paper-unet predict writes it, or labels of 0 and 255: TIFF, "
        "PNG, a folder of sections, Zarr, OME-Zarr, HDF5 (FILE.h5:/DATASET), N5, precomputed",
    )
    command.add_argument(
        "-o", "--out", required=True, metavar="LABELS",
        help="ends in .tif, .btf (BigTIFF), .ome.tif, .h5 (HDF5), .zarr (OME-Zarr), .precomputed; "
        "or "
        "IMAGE.zarr/labels/NAME: labels of that image",
    )  # fmt: skip
    add_settings(command, SegmentConfig)
    command.add_argument(
        "--dask", metavar="ADDRESS", help="compute on a dask scheduler; local:N for N workers here"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the output")
    command.add_argument(
        "--verify",
        action="store_true",
        help="when going on: read all that is finished and compare it with what was written, not "
        "only a share of it",
    )


def _run(options: argparse.Namespace) -> None:
    from paper_unet.large.report import Report
    from paper_unet.segmentation.run import segment_file
    from paper_unet.system.stop import Stopped

    config = given_settings(options, SegmentConfig)
    report = Report(say=saying(options.command), progress=True)
    try:
        with _executor(options.dask) as executor:
            done = segment_file(
                config, overwrite=options.overwrite, verify=options.verify, executor=executor,
                report=report,
            )  # fmt: skip
    except Stopped:
        go_on_with(sys.argv[1:])
        raise
    count = "numbers of cells" if done.cells is None else f"{done.cells} cells"
    print(f"wrote {done.path}: {count}, {done.dtype}")


def _executor(dask: str | None) -> AbstractContextManager[Executor | None]:
    if dask is None:
        return nullcontext()
    from paper_unet.large.cluster import connect

    return connect(dask, None)
