"""The results of the paper in one small table, for README.md and the first page of the docs.

No number of it is typed by hand: `summary.py` writes it into README.md, the docs make it when they
are built. Of several widths the widest network that has been trained is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEAD = "| | paper, secret test data | ours, held-out data | command |"
REPRODUCE = "python experiments/reproduce.py --data data --only"

ERRORS = {"warping_error": ("warping error", 6), "rand_error": ("Rand error", 4),
          "pixel_error": ("pixel error", 4)}  # fmt: skip

Row = tuple[str, str, str, str]


def first(results: Path, names: tuple[str, ...]) -> tuple[str, dict[str, Any]] | None:
    """Return the first of these results that is there: its name, and what it found."""
    for name in names:
        path = results / name / "metrics.json"
        if path.exists():
            return name, json.loads(path.read_text())
    return None


def figure1(metrics: dict[str, Any], link: str) -> Iterator[Row]:
    """Give the size of the network."""
    layers, parameters = metrics["convolutional_layers"], metrics["parameters"]
    ours = f"{layers}, with {parameters:,} parameters"
    yield f"Fig. 1, [convolutional layers]({link})", "23", ours, "python experiments/fig1_architecture.py"


def table1(metrics: dict[str, Any], link: str) -> Iterator[Row]:
    """Give the three errors of Table 1, over seven rotations as in the paper."""
    width = metrics["config"][0]["width"]
    for name, (title, digits) in ERRORS.items():
        value = metrics["held_out"]["rotations"][name]["mean"]
        ours = f"{value:.{digits}f} (width {width})"
        paper = str(metrics["paper_test_volume"][name])
        yield f"Table 1, [{title}]({link})", paper, ours, f"{REPRODUCE} table1"


def table2(metrics: dict[str, Any], link: str) -> Iterator[Row]:
    """Give SEG of the two sets of cells, by both protocols."""
    names = {"across": "across sequences", "forward": "forward in time"}
    for of_set, found in metrics["summary"].items():
        shown = [f"{found[key]['seg']:.4f} {text}" for key, text in names.items() if key in found]
        yield (
            f"Table 2, [SEG of {of_set}]({link})", str(found["paper"]), ", ".join(shown),
            f"{REPRODUCE} table2",
        )  # fmt: skip


TABLES: list[tuple[tuple[str, ...], Callable[[dict[str, Any], str], Iterator[Row]]]] = [
    (("fig1_architecture",), figure1),
    (("table1_width64", "table1_isbi2012"), table1),
    (("table2_width64", "table2_cell_tracking"), table2),
]


def lines(results: Path, link: str) -> Iterator[str]:
    """Give the lines of the table.

    Parameters
    ----------
    results : Path
        Folder with a folder for each result.
    link : str
        Where the page of a result is, with ``{}`` for its name.
    """
    yield HEAD
    yield "|---|---|---|---|"
    for names, rows in TABLES:
        found = first(results, names)
        if found is None:
            continue
        name, metrics = found
        for what, paper, ours, command in rows(metrics, link.format(name)):
            yield f"| {what} | {paper} | {ours} | `{command}` |"
