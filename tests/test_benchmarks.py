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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("metrics.py --labels none.tif", "none.tif"),
        ("metrics.py --out none/table.txt", "--out: none: no such folder"),
        ("precision.py --data none", "none/isbi2012: has no train-volume.tif"),
        ("inference.py --device none", "device is 'none'"),
        ("inference.py --threads 0", "--threads: 0: give 1 or more"),
        ("training.py --tile 100", "an input side of 100 pixels"),
        ("verification.py none", "none: fatal"),
        ("weight_map.py --side 9", "unrecognized arguments: --side 9"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, words: str, said: str) -> None:
    script, *options = words.split()
    command = [sys.executable, str(BENCHMARKS / script), *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode in (1, 2)
    assert said in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
