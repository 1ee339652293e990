"""The benchmark of millions of pieces runs, and the page quotes what it says."""

import json
from pathlib import Path

import pytest
from process_helpers import run_python

ROOT = Path(__file__).parents[2]
SCRIPT, PAGE = ROOT / "benchmarks" / "scale.py", ROOT / "docs" / "large_stacks.md"


def test_the_page_has_the_tables_of_what_a_cubic_millimetre_costs(tmp_path: Path) -> None:
    run = run_python(str(SCRIPT), "--paper", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    rates, files = run.stdout.strip().split("\n\n")
    page = PAGE.read_text()
    assert len(rates.splitlines()) == 5 and rates in page
    assert len(files.splitlines()) == 10 and files in page


@pytest.mark.slow
def test_a_simulated_run_is_recorded_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    run = run_python(str(SCRIPT), "--pieces", "4000", "--out", str(out), cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    begun, gone_on = found["processes"]["begin"], found["processes"]["go_on"]
    sections, height, width = found["shape"]
    assert (height, width) == (250_000, 250_000)
    assert found["pieces"] % (489 * sections) == 0  # rows of 512
    assert begun["recorded"] == gone_on["found"] == found["pieces"] - 1000
    assert gone_on["tasks"] == sections * (245 + 123 + 62 + 31 + 16 + 8 + 4 + 2 + 1)
    assert found["journal_bytes"] > 60 * begun["recorded"]
    assert found["peak_bytes"] >= max(begun["peak_bytes"], gone_on["peak_bytes"])
    assert f"| {found['pieces']:,} pieces |" in run.stdout
