"""A page for each folder of experiments/results, made of the files in it while the docs are built.

The pages say what the committed files say. A link to ``results/NAME/`` in any page leads to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"
sys.path.insert(0, str(ROOT / "experiments"))

import headline  # noqa: E402
import summary  # noqa: E402

FILES = ("metrics.json", "config.json", "environment.json", "log.txt")


def names() -> list[str]:
    """Return the names of all results."""
    return sorted(path.parent.name for path in RESULTS.glob("*/metrics.json"))


def page(name: str) -> str:
    """Return the page of one result as Markdown."""
    folder = RESULTS / name
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    parts = [f"# {name}", *pictures(folder), "## How it was made", *origin(metrics)]
    table = list(measured(name, metrics))
    if table:
        parts += ["## What was measured", "\n".join(table)]
    parts += ["## Files", *files(folder)]
    return "\n\n".join(parts) + "\n"


def pictures(folder: Path) -> Iterator[str]:
    """Give every picture of a result."""
    for path in sorted(folder.glob("*.png")):
        yield f"![{path.stem}]({relative(path)})"


def origin(metrics: dict[str, Any]) -> Iterator[str]:
    """Give the command, the time it took and where."""
    yield f"```\n{metrics['command']}\n```"
    where = "; ".join(summary.made_on(metrics))
    commit = metrics["environment"].get("commit")
    versions = f"torch {metrics['environment']['torch']}" + (f", commit {commit}" if commit else "")
    yield f"{summary.spent(metrics)}. {where}. {versions}."


def measured(name: str, metrics: dict[str, Any]) -> Iterator[str]:
    """Give the table of what was measured, if it has one."""
    if name in summary.ROWS:
        yield "| measure | paper | ours |"
        yield "|---|---|---|"
        for cells in summary.ROWS[name](metrics):
            yield f"| {' | '.join(cells)} |"
        return
    plain = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    if plain:
        yield "| measure | value |"
        yield "|---|---|"
        for key, value in plain.items():
            yield f"| {key.replace('_', ' ')} | {value:,.6g} |"


def files(folder: Path) -> Iterator[str]:
    """Give a link to every file of a result."""
    wanted = [folder / name for name in FILES if (folder / name).exists()]
    wanted += sorted(folder.glob("*.pdf"))
    wanted += [path for path in sorted(folder.glob("*/*")) if path.is_file()]
    shown = (f"{{download}}`{path.relative_to(folder)} <{relative(path)}>`" for path in wanted)
    yield "\n".join(f"- {link}" for link in shown)


def relative(path: Path) -> str:
    """Return where a file is, from the folder of the pages."""
    return f"../../{path.relative_to(ROOT)}"


def figure_numbers(metrics: dict[str, Any]) -> str:
    """Return what a figure of the paper says in numbers, in a sentence or two."""
    if "convolutional_layers" in metrics:
        return (
            f"{metrics['tile']} pixels in; {metrics['convolutional_layers']} convolutional layers; "
            f"{metrics['parameters']:,} parameters; "
            f"{metrics['multiply_accumulates'] / 1e9:.1f} thousand million products."
        )
    if "tilings" in metrics:
        return " ".join(
            f"Tiles of {row['tile']}, {row['tiling']}: {row['share_of_pixels']:.2%} of the pixels "
            "are of another class than in one pass."
            for row in metrics["tilings"]
        )
    if "touching_pairs" in metrics:
        return (
            f"{metrics['cells']} cells; {metrics['touching_pairs']} pairs touch, after separation "
            f"{metrics['touching_pairs_after']}. The gaps are "
            f"{metrics['share_of_pixels_in_gaps']:.1%} of the pixels and have "
            f"{metrics['share_of_weight_in_gaps']:.1%} of the weight; mean weight in them "
            f"{metrics['weight_mean_in_gaps']:.1f}."
        )
    return " ".join(
        f"{row['set']}, frame {row['frame']} of sequence {row['sequence']}: SEG {row['seg']:.3f}, "
        f"{row['matched']} of {row['objects']} cells found."
        for row in metrics["rows"]
    )


def write_pages(app: Sphinx) -> None:
    """Write the pages that are not there as they should be, and the table of the first page."""
    folder = Path(app.srcdir) / "results"
    folder.mkdir(exist_ok=True)
    wanted = {f"{name}.md": page(name) for name in names()}
    wanted["headline.txt"] = "\n".join(headline.lines(RESULTS, "results/{}/")) + "\n"
    for path in RESULTS.glob("fig[1-4]*/metrics.json"):
        said = figure_numbers(json.loads(path.read_text()))
        wanted[f"{path.parent.name}.txt"] = f"**Numbers.** {said}\n"
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


class LinksToResults(SphinxPostTransform):
    """Lead a link to ``results/NAME/`` to the page of that result."""

    default_priority = 5  # before MyST looks for a file of that name

    def run(self, **_: Any) -> None:
        """Replace the references of one page."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            target = node.get("reftarget", "").strip("/")
            if node.get("refdomain") == "doc" or not target.startswith("results/"):
                continue
            if node["reftype"] == "myst" and target in self.env.found_docs:
                text = node[0].deepcopy()
                here = self.env.docname
                node.replace_self(make_refnode(self.app.builder, here, target, None, text))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.connect("builder-inited", write_pages)
    app.add_post_transform(LinksToResults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
