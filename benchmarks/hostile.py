"""Memory and time of the hostile files: the worst of each kind, as docs/faults.md has them.

    python benchmarks/hostile.py

Runs ``tests/hostile``, each case in a process of its own, and prints a table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the cases and print the worst of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = {**os.environ, "HOSTILE_REPORT": str(report)}
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "tests/hostile"]
        run = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603
        cases = [json.loads(line) for line in report.read_text().splitlines()]
    print("| kind | cases | most memory | longest |\n|---|---|---|---|")
    for kind in dict.fromkeys(case["kind"] for case in cases):
        print(_row(kind, [case for case in cases if case["kind"] == kind]))
    return run.returncode


def _row(kind: str, cases: list[dict[str, Any]]) -> str:
    large = max(cases, key=lambda case: case["mb"])
    long = max(cases, key=lambda case: case["seconds"])
    return (
        f"| {kind} | {len(cases)} | {large['mb']} MB, {large['case']} | "
        f"{long['seconds']:.1f} s, {long['case']} |"
    )


if __name__ == "__main__":
    sys.exit(main())
