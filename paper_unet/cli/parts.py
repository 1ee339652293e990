"""``paper-unet predict`` in parts: ``--part``, ``--join`` and ``--print-sbatch``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_unet.errors import InputError, shown, without_secrets
from paper_unet.large.config import PredictConfig
from paper_unet.settings import FLAGS, PERCENTILE
from paper_unet.settings import options as settings_of

if TYPE_CHECKING:
    from paper_unet.large.report import Report


def add_parts(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument(
        "--part",
        metavar="K/N",
        help="compute part K of N alone, from 1, on any machine that sees the files; the same "
        "command goes on",
    )
    command.add_argument(
        "--join", action="store_true", help="make one output of all parts, once they are finished"
    )
    command.add_argument(
        "--print-sbatch",
        metavar="N",
        help="print a script for SLURM: a job array of N parts, and a job that joins them",
    )


def has_parts(options: argparse.Namespace) -> bool:
    """Whether one of the options is given; refuses what does not go together.

    Raises
    ------
    InputError
        If several are, or one with an option that means another way to compute.
    """
    given = {
        "--part": options.part is not None,
        "--join": options.join,
        "--print-sbatch": options.print_sbatch is not None,
    }
    chosen = [flag for flag, is_given in given.items() if is_given]
    others = {"--dask": options.dask is not None, "--release": options.release}
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} are given; give one of them")
    for flag, is_given in others.items():
        if chosen and is_given:
            raise InputError(f"{chosen[0]} and {flag} do not go together; leave one of them out")
    return bool(chosen)


def run_parts(options: argparse.Namespace, config: PredictConfig, report: Report) -> None:
    """Do what was asked for."""
    if options.print_sbatch is not None:
        print(_script(options, config), end="")
        return
    if options.join:
        from paper_unet.large.join import join_parts

        join_parts(config, overwrite=options.overwrite, verify=options.verify, report=report)
        print(f"wrote {Path(config.out)}: joined")
        return
    from paper_unet.large.parts import Part, predict_part

    part = Part.parse(options.part)
    predict_part(
        config, options.part, overwrite=options.overwrite, verify=options.verify, report=report
    )
    print(f"finished {part} of {Path(config.out)}; when all are, add --join in place of --part")


def _script(options: argparse.Namespace, config: PredictConfig) -> str:
    from paper_unet.cli.batch import CORES, sbatch_script
    from paper_unet.images import file_of
    from paper_unet.large.parts import refuse_bucket

    refuse_bucket(config)
    if without_secrets(config.source) != config.source:
        raise InputError(
            f"{config.source}: what is secret in an address would stand in the script; give it "
            "without, or write the script by hand"
        )
    if re.fullmatch("[0-9]{1,9}", options.print_sbatch, re.ASCII) is None:
        raise InputError(
            f'print_sbatch is "{shown(options.print_sbatch)}"; give the number of parts'
        )
    cores = config.threads or CORES
    more = [f"--{name}" for name in ("overwrite", "verify") if getattr(options, name)]
    command = [sys.executable, "-m", "paper_unet", *_words(replace(config, threads=cores)), *more]
    return sbatch_script(
        command, str(file_of(config.out)), int(options.print_sbatch), folder=Path.cwd(),
        memory=config.memory, cores=cores,
    )  # fmt: skip


def _words(config: PredictConfig) -> Iterator[str]:
    """Yield the words of a command that says what a configuration does."""
    source = config.source
    yield from ("predict", f"./{source}" if source.startswith("-") else source)
    for option in settings_of(PredictConfig):
        value: Any = getattr(config, option.name)
        if option.name == "source" or value == option.default:
            continue
        if option.name == "percentiles":
            yield from (FLAGS["value_range"], PERCENTILE + ",".join(map(repr, value)))
            continue
        if option.kind is bool:
            yield option.flag if value else option.flag.replace("--", "--no-", 1)
        elif option.kind is tuple:
            yield from (option.flag, *map(repr, value))
        else:
            yield f"{option.flag}={value}"
