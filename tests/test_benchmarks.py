"""The benchmarks of the pipeline and of a GPU run on any machine, and write what they say."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

pytestmark = pytest.mark.slow


def ran(tmp_path: Path, script: str, *options: str) -> tuple[dict[str, Any], str]:
    out = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / script), *options, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(out.read_text()), run.stdout


def test_the_share_of_the_host(tmp_path: Path) -> None:
    options = ("--side", "256", "--repeats", "1", "--threads", "1")
    found, said = ran(tmp_path, "pipeline.py", *options)
    for case in ("memory", "tiff", "zarr", "cpu_arithmetic", "disk"):
        rate = found[f"{case}_mpx_s"]
        assert math.isfinite(rate)
        assert rate > 0
        assert found[f"{case}_mpx_s_of_each"] == [rate]  # one process
        assert f"| {case} |" in said
    assert 20 < found["operations"] < 200
    assert found["replayed_operations"] < found["operations"] / 2


def test_a_card_or_none(tmp_path: Path) -> None:
    small = ("--width", "2", "--sides", "64", "--large", "64", "--tile", "188", "--steps", "1")
    found, said = ran(tmp_path, "gpu.py", *small, "--device", "cpu", "--sections", "1")
    tables = [rows for rows in found.values() if isinstance(rows, list)]
    assert len(tables) == 6
    assert all(rows for rows in tables)
    assert all(f"## {name}" in said for name, rows in found.items() if isinstance(rows, list))
    assert all(row["two runs bit-equal"] for row in found["the same bits"])
