"""``paper-unet predict``: its options are the fields of `PredictConfig`."""

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
from paper_unet.cli.parts import add_parts, has_parts, run_parts
from paper_unet.errors import InputError
from paper_unet.large.config import PredictConfig
from paper_unet.release.settings import ReleaseSettings
from paper_unet.settings import options as settings_of

if TYPE_CHECKING:
    from paper_unet.large.executor import Executor


def add(commands: Commands) -> None:
    """Add the command."""
    text = "segment a stack of any size: write the probability of the cell class at every pixel"
    command = add_command(commands, "predict", text, _run)
    command.add_argument(
        "source",
        metavar="IN",
        help="grey image or stack: TIFF, PNG, a folder of sections, HDF5 (FILE.h5:/DATASET), MRC, "
        "Zarr, OME-Zarr, which may be at https://, s3:// or gs://, N5 (STORE.n5/DATASET), "
        "precomputed; in colour, as the network takes it: TIFF, PNG, JPEG, a folder of these, N5, "
        "precomputed, "
        "HDF5",
    )
    command.add_argument(
        "-o", "--out", required=True, metavar="OUT",
        help="ends in .tif, .btf (BigTIFF), .ome.tif, .h5 (HDF5; FILE.h5:/DATASET names the data "
        "set), .zarr (OME-Zarr; may be at s3:// or gs://) or .precomputed (Neuroglancer); of "
        "--release: .tif, or a folder for maskTTT.tif",
    )  # fmt: skip
    add_settings(command, PredictConfig)
    command.add_argument(
        "--dask", metavar="ADDRESS", help="compute on a dask scheduler; local:N for N workers here"
    )
    add_parts(command)
    command.add_argument(
        "--overwrite", action="store_true",
        help="replace the output, which stays until the new one is complete; in a bucket it is "
        "removed first",
    )  # fmt: skip
    command.add_argument(
        "--verify",
        action="store_true",
        help="when going on: read all that is finished and compare it with what was written, not "
        "only a share of it",
    )
    command.add_argument(
        "--release",
        action="store_true",
        help="write a number for each cell, by the procedure of the authors' driver of 2015",
    )
    add_settings(command, ReleaseSettings)


def _run(options: argparse.Namespace) -> None:
    from paper_unet.inference.layers import keep_freed_memory
    from paper_unet.large.report import Report
    from paper_unet.large.run import predict_file
    from paper_unet.release.predict import predict_release
    from paper_unet.system.stop import Stopped

    config = given_settings(options, PredictConfig)
    settings = given_settings(options, ReleaseSettings)
    in_parts = has_parts(options)
    keep_freed_memory()
    report = Report(say=saying(options.command), progress=True)
    if options.release:
        if options.dask is not None:
            raise InputError("--release computes in this process; leave --dask out")
        if options.verify:
            raise InputError("--release leaves nothing to go on with; leave --verify out")
        frames = predict_release(config, settings, overwrite=options.overwrite, report=report)
        print(f"wrote {config.out}: {frames} frames, a number for each cell, uint16")
        return
    if settings != ReleaseSettings():
        names = ", ".join(option.flag for option in settings_of(ReleaseSettings))
        raise InputError(f"{names} are of --release; add it or leave them out")
    try:
        if in_parts:
            run_parts(options, config, report)
            return
        with _executor(options.dask, config) as executor:
            place = predict_file(
                config, overwrite=options.overwrite, verify=options.verify, executor=executor,
                report=report,
            )  # fmt: skip
    except Stopped:
        go_on_with(sys.argv[1:])
        raise
    print(f"wrote {place}: {_what(config)}, {config.stored}")


def _what(config: PredictConfig) -> str:
    """Say what an output holds."""
    if config.argmax:
        return "number of the most probable class"
    if config.all_classes:
        return "probability of each class, a channel for each"
    kind = "the cell class" if config.of_class is None else f"class {config.of_class}"
    return f"probability of {kind}"


def _executor(dask: str | None, config: PredictConfig) -> AbstractContextManager[Executor | None]:
    if dask is None:
        return nullcontext()
    from paper_unet.large.cluster import connect

    return connect(dask, config.threads)
