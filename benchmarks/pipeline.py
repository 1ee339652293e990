"""The host's share of a prediction: everything but what is done where the network is.

    python benchmarks/pipeline.py --out pipeline.json              # about three minutes
    python benchmarks/pipeline.py --against ../before              # beside another checkout
    python benchmarks/pipeline.py --side 512 --repeats 1           # small, for CI

The device is replaced by one that takes grey values as they are stored and gives rows of zeros in
the output's dtype at once: what is left is reading, cutting, handing over, putting together and
writing. Beside it, with the CPU as the device, only the network is replaced, by one that gives
scores of zero: scaling, mirroring, softmax and rounding are left. ``disk`` is what writing and
syncing the same bytes takes without any of it, and ``disk_files`` what making and syncing as many
files as a Zarr has takes, of a few bytes each, one by one. An output is new each time. Where
another checkout is given, its network is replaced likewise, in turn with this one's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from pipeline_cases import CASES, DISK, OPERATIONS, measure


def child(case: str, side: int, threads: int, checkout: Path | None) -> float:
    """Measure a case in a process of its own, with the package of a checkout."""
    command = [sys.executable, __file__, "--case", case, "--side", str(side)]
    command += ["--threads", str(threads)]
    paths = [str(checkout)] if checkout else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else None
    run = subprocess.run(  # noqa: S603  (itself)
        command, capture_output=True, text=True, check=False, env=environment
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    return float(run.stdout.splitlines()[-1])


Rates = dict[str, tuple[list[float], list[float]]]


def rates_of(side: int, threads: int, repeats: int, against: Path | None) -> Rates:
    """Return the rates of each case, here and in the other checkout: all cases, again and again.

    What else the machine does comes and goes within minutes: so each case has its share of it.
    """
    rates: Rates = {case: ([], []) for case in (*CASES, *DISK)}
    for _ in range(repeats):
        for case, (here, there) in rates.items():
            here.append(child(case, side, threads, None))
            if against and case not in DISK:
                there.append(child(case, side, threads, against))
    return rates


def said(rates: list[float]) -> str:
    """Return the median, and from where to where they go."""
    return f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=8192, help="of the section, pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="processes for each case, in turn")
    parser.add_argument("--against", type=Path, help="a checkout of another version")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", choices=[*CASES, *OPERATIONS, *DISK], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        torch.set_num_threads(options.threads)
        print(measure(options.case, options.side))
        return
    from paper_unet.system.environment import environment

    found: dict[str, Any] = {"environment": environment(), "side": options.side}
    found["threads"] = options.threads
    print("\n".join(f"{key}: {value}" for key, value in found["environment"].items()))
    print(f"threads: {options.threads}; one section of {options.side} x {options.side}, uint8\n")
    rates = rates_of(options.side, options.threads, options.repeats, options.against)
    print("| case | Mpx/s: median (range) of the processes | the other checkout | ratio |")
    print("|---|---|---|---|")
    for case, (here, there) in rates.items():
        found[f"{case}_mpx_s"], found[f"{case}_mpx_s_of_each"] = statistics.median(here), here
        cells = [said(here), "", ""]
        if there:
            found[f"{case}_mpx_s_against"] = statistics.median(there)
            found[f"{case}_mpx_s_of_each_against"] = there
            ratio = found[f"{case}_mpx_s"] / found[f"{case}_mpx_s_against"]
            cells[1:] = said(there), f"{ratio:.1f}"
        print(f"| {case} | {' | '.join(cells)} |")
    for name in OPERATIONS:
        found[name] = child(name, 1024, 1, None)
        print(f"{name.replace('_', ' ')} for a band in the steady state: {found[name]:.0f}")
    if options.against:
        found["operations_against"] = child("operations", 1024, 1, options.against)
        print(f"operations of the other checkout: {found['operations_against']:.0f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
