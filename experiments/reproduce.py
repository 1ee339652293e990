r"""Reproduce the paper's results, as many rows as the time allows, the most important first.

python experiments/reproduce.py --data data --minutes 9 [--only table1 ...] [--quick]

Every experiment is a set of rows (see `row_files`); finished rows are small files in the results
folder, and the next call, on any machine, goes on with those that are missing. No row is begun
that cannot end in time. ``--plan gpu`` has the paper's width and tile, ``--plan cpu`` a quarter of
the width, by default as the machine is. ``--minutes 0`` says what is missing.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import entry
import row_files
import torch
from common import add_folders

from paper_unet.cli import script
from paper_unet.errors import InputError
from paper_unet.reproduce import run_script
from paper_unet.system.folders import data_folder

HERE = Path(__file__).parent
LEAST_SECONDS = 10.0
"""With less than that a script is not started: it has to read its data first."""


@dataclass(frozen=True)
class Part:
    """An experiment: its name here, script, options, folder of results and data sets."""

    name: str
    script: str
    options: str
    results: str
    sets: tuple[str, ...] = ("isbi2012",)


CELL_SETS = ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
ALL_SETS = ("isbi2012", *CELL_SETS)
FULL = "--width 64 --tile 572 --precision bfloat16"
SMALL = "--width 16 --tile 380 --precision bfloat16"
FAST = "--network paper_batch_norm --optimizer adam"
"""What learns cells in minutes; see docs/fidelity.md."""
CELLS = (
    f"{FAST} --warmup 100 --steps 2500 "
    "--finish 3000 --finish-balance 0.5 --finish-sets PhC-C2DH-U373"
)
"""Frames that are mostly background have other statistics than the tiles; see docs/training.md."""
COMPARED = (
    Part(
        "ablation", "ablation",
        "--width 16 --tile 572 --precision bfloat16 --sets 'ISBI 2012' --steps 5000 --seeds 3",
        "ablation_width16",
    ),
    Part(
        "learning_curve", "learning_curve",
        "--width 16 --tile 572 --precision bfloat16 --steps 5000 --seeds 3",
        "learning_curve_width16",
    ),
    Part(
        "ablation_cells", "ablation",
        f"{SMALL} {FAST} --warmup 100 --sets DIC-C2DH-HeLa --cell-steps 2500 --seeds 3",
        "ablation_cells_width16", ("DIC-C2DH-HeLa",),
    ),
)  # fmt: skip
"""Runs that are compared with one another: many, narrow, and the same on every machine."""
PLANS = {
    "gpu": (
        Part("table1", "table1_isbi2012", f"{FULL} --steps 15000 --seeds 3", "table1_width64"),
        Part(
            "table2", "table2_cell_tracking", f"{FULL} {CELLS}", "table2_width64", CELL_SETS,
        ),
        Part(
            "bundled", "bundled_weights",
            "--width 32 --tile 572 --precision bfloat16 --steps 15000", "bundled_width32",
        ),
        Part("rates", "learning_rate", f"{FULL} --steps 1600", "learning_rate_width64", ALL_SETS),
        *COMPARED,
    ),
    "cpu": (
        Part("table1", "table1_isbi2012", SMALL, "table1_isbi2012"),
        Part(
            "table2", "table2_cell_tracking", f"{SMALL} {CELLS} --seeds 2", "table2_cell_tracking",
            CELL_SETS,
        ),
        Part("bundled", "bundled_weights", SMALL, "bundled_weights"),
        Part("rates", "learning_rate", f"{SMALL} --steps 1600", "learning_rate_width16", ALL_SETS),
        *COMPARED,
    ),
}  # fmt: skip
NAMES = tuple(dict.fromkeys(part.name for plan in PLANS.values() for part in plan))


def command(part: Part, options: argparse.Namespace, minutes: float) -> list[str]:
    """Return how the script of a part is called."""
    words = shlex.split(part.options)
    words += ["--data", str(options.data), "--out", str(options.out / part.results)]
    words += ["--work", str(options.work / part.results), "--device", options.device]
    words += ["--jobs", str(options.jobs), "--minutes", f"{max(minutes, 0):.3f}"]
    words = quickly(words) if options.quick else words
    return [sys.executable, str(HERE / f"{part.script}.py"), *words]


SIZES = ("--width", "--tile", "--steps", "--cell-steps", "--seeds")
"""What a quick run of a script has its own of, where its command does not say."""


def quickly(words: list[str]) -> list[str]:
    """Return the words of a command without its sizes, for tiny networks."""
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word not in SIZES and before not in SIZES
    ]
    return [*kept, *(["--finish", "4"] if "--finish" in kept else []), "--quick"]


def run(words: list[str]) -> tuple[int, list[str]]:
    """Run a script; return how it ended, and the rows that it could not make."""
    missing = []

    def each(line: str) -> None:
        print(line, end="", flush=True)
        if line.startswith("missing: "):
            missing.append(line.removeprefix("missing: ").strip())

    return run_script(words, each), missing


def plan_of(options: argparse.Namespace) -> tuple[Part, ...]:
    """Return the parts that are asked for."""
    name = options.plan
    if name == "auto":
        card = options.device.startswith("cuda") or (
            options.device == "auto" and torch.cuda.is_available()
        )
        name = "gpu" if card else "cpu"
    return tuple(part for part in PLANS[name] if not options.only or part.name in options.only)


def refuse_absent(options: argparse.Namespace) -> None:
    """Say which data sets are not there; hours on made-up sections are of no use to anybody.

    Raises
    ------
    InputError
        If one is absent that what is asked for learns from.
    """
    wanted = dict.fromkeys(name for part in plan_of(options) for name in part.sets)
    if absent := [name for name in wanted if not (options.data / name).is_dir()]:
        raise InputError(
            f"{options.data} has no {' and no '.join(absent)}: fetch them (`paper-unet fetch "
            f"{absent[0]}`), give --data, or take other parts with --only"
        )


def main() -> None:
    """Make rows until the time is over; say what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=script.minutes, required=True, help="that there are, in all"
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="PART", help=", ".join(NAMES))
    parser.add_argument("--plan", default="auto", choices=["auto", *PLANS])
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the data sets")
    add_folders(parser)
    parser.add_argument("--device", default="auto")
    row_files.add_jobs(parser)
    options = parser.parse_args()
    if not options.quick:
        refuse_absent(options)
    end = time.monotonic() + 60 * options.minutes
    only_list = not options.minutes
    missing: dict[str, int] = {}
    failed, unseen = [], []
    for part in plan_of(options):
        left = end - time.monotonic()
        if left < LEAST_SECONDS and not only_list:
            unseen.append(part.name)
            continue
        print(f"{part.name}: {max(left, 0) / 60:.1f} minutes are left", flush=True)
        code, those = run(command(part, options, left / 60))
        missing[part.name] = len(those)
        failed += [part.name] if code else []
    for name, count in missing.items():
        if name not in failed:
            print(f"{name}: {f'{count} rows are missing' if count else 'complete'}")
    for name in unseen:
        print(f"{name}: not looked at, the time is over")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; what was printed above says why")


if __name__ == "__main__":
    entry.run(main)
