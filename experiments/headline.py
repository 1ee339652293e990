"""The results of the paper in one small table, for README.md and the first page of the docs.

No number of it is typed by hand: `summary.py` writes it into README.md, the docs make it when they
are built. Of several widths the widest network that has been trained is shown.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEAD = "| | paper, on secret test data | ours, on held-out data | command |"
ELSEWHERE = ("--data", "--out", "--work", "--device", "--jobs")
"""Options that decide no result: everybody has their own."""

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


def width_of(metrics: dict[str, Any]) -> int:
    """Return the channels of the first level of the networks of a result."""
    given = metrics["config"]  # of each network, or these of each data set
    networks = given if isinstance(given, list) else next(iter(given.values()))
    return int(networks[0]["width"])


def called(metrics: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the script that made a result, in a checkout or from a wheel, and its options."""
    words = shlex.split(metrics["command"])
    at = 2 if words[0] == "paper-unet" else 1  # reproduce NAME, or python FILE
    return Path(words[at]).stem, words[at + 1 :]


def command_of(metrics: dict[str, Any], name: str) -> str:
    """Return the command that makes a result, without the places and the machine that it had."""
    words = iter(called(metrics)[1])
    kept = []
    for word in words:
        if word in ELSEWHERE:
            next(words)
        elif word.partition("=")[0] not in ELSEWHERE:
            kept.append(word)
    return shlex.join(["paper-unet", "reproduce", name, *kept])


FOLDS = {"across": 2, "forward": 1}
"""Of each protocol of table 2."""


def lost(found: dict[str, Any], protocol: str = "") -> list[str]:
    """Return what a mean has to say of runs that are not in it; of table 2, of its folds, too."""
    some = protocol and len(found["folds"]) < FOLDS[protocol]
    gone = found.get("diverged")
    return ["not all folds"] * bool(some) + [f"{gone} collapsed"] * bool(gone)


def table1(metrics: dict[str, Any], link: str) -> Iterator[Row]:
    """Give the three errors of Table 1, over seven rotations as in the paper."""
    width = width_of(metrics)
    for name, (title, digits) in ERRORS.items():
        value = metrics["held_out"]["rotations"][name]["mean"]
        about = "; ".join([f"width {width}", metrics["recipe"], *lost(metrics)])
        ours = f"{value:.{digits}f} ({about})"
        paper = str(metrics["paper_test_volume"][name])
        yield f"Table 1, [{title}]({link})", paper, ours, command_of(metrics, "table1")


def table2(metrics: dict[str, Any], link: str) -> Iterator[Row]:
    """Give SEG of the two sets of cells, by both protocols."""
    names = {"across": "across sequences", "forward": "forward in time"}
    for of_set, found in metrics["summary"].items():
        shown = []
        for key in (key for key in names if key in found):
            score, gone = found[key]["seg"], ", ".join(lost(found[key], key))
            value = "collapsed" if score is None else f"{score:.4f}"
            about = f" ({gone})" if gone and score is not None else ""
            shown.append(f"{value} {names[key]}{about}")
        ours = f"{', '.join(shown)} (width {width_of(metrics)}; {found['recipe']})"
        what = f"Table 2, [SEG of {of_set}]({link})"
        yield what, str(found["paper"]), ours, command_of(metrics, "table2")


TABLES: list[tuple[tuple[str, ...], Callable[[dict[str, Any], str], Iterator[Row]]]] = [
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
