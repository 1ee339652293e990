"""Draw figures again from the metrics.json of their results; nothing is trained, no number changes.

python experiments/redraw.py [experiments/results/NAME ...]

Without folders: every one of experiments/results whose figure shows nothing but metrics. Figures 1
to 4 show images: run their scripts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablation
import cells_study
import entry
import headline
import learning_curve
import learning_rate
import records
import table1_isbi2012
import table2_cell_tracking
import variants_table
from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "ablation": lambda found: ablation.draw(found["table"], found["rows"], found["base"]),
    "cells_study": lambda found: cells_study.draw(found["rows"]),
    "learning_curve": lambda found: learning_curve.draw(found["rows"], learning_curve.title(found)),
    "learning_rate": lambda found: learning_rate.draw(found["rows"]),
    "table1_isbi2012": lambda found: table1_isbi2012.draw(found["rows"], found["source"]),
    "table2_cell_tracking": lambda found: table2_cell_tracking.draw(found["rows"]),
    "variants": lambda found: variants_table.draw(found["table"], found["rows"]),
}
"""By the script that made the results."""


def redraw(folder: Path) -> bool:
    """Draw the figure of a folder of results; False where there is none of metrics alone."""
    metrics = folder / "metrics.json"
    if not metrics.exists():
        return False
    found = json.loads(metrics.read_text())
    script, _ = headline.called(found)
    if script not in FIGURES:
        return False
    try:
        drawn = FIGURES[script](found)
    except KeyError as missing:
        print(f"{folder}: no {missing} in the rows of an earlier version; run {script}.py again")
        return True
    records.save_figure(drawn, folder, script)
    return True


def main() -> None:
    """Draw what is asked for."""
    results = Path(__file__).parent / "results"
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folders", nargs="*", type=Path, default=sorted(results.iterdir()))
    for folder in options.parse_args().folders:
        if not redraw(folder):
            print(f"{folder}: no figure of metrics alone")


if __name__ == "__main__":
    entry.run(main)
