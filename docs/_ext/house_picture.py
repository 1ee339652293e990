"""Draw the house from its imports: what stands on what, floor by floor.

python docs/_ext/house_picture.py OUT.svg

The floors are `FLOORS` of tests/test_architecture.py; the arrows are the imports that the source
has, but for those that follow from two others. The docs draw it anew each time they are built.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from sphinx.application import Sphinx

from paper_unet.figures import style

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "paper_unet"

Graph = dict[str, set[str]]


def floors() -> list[set[str]]:
    """Return the rooms of each floor, from the ground up."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS":
            found: list[set[str]] = ast.literal_eval(node.value)
            return found
    raise LookupError("tests/test_architecture.py has no FLOORS")


def room_of(module: str, rooms: set[str]) -> str | None:
    """Return the room of a module by its dotted name without the package, if it has one."""
    parts = module.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in rooms), None)


def modules() -> Iterator[tuple[str, Path]]:
    """Give every module of the package but its front door."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, path


def imported(path: Path) -> Iterator[str]:
    """Give what a module imports of the package, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("paper_unet."):
            source = str(node.module).removeprefix("paper_unet.")
            yield from (f"{source}.{alias.name}" for alias in node.names)


def imports(rooms: set[str]) -> Graph:
    """Return which rooms each room imports."""
    graph: Graph = {name: set() for name in rooms}
    for module, path in modules():
        own = room_of(module, rooms)
        if own:
            found = {room_of(name, rooms) for name in imported(path)}
            graph[own] |= {name for name in found if name and name != own}
    return graph


def lines_of(rooms: set[str]) -> dict[str, int]:
    """Return the lines of code of each room."""
    count: dict[str, int] = defaultdict(int)
    for module, path in modules():
        count[room_of(module, rooms) or ""] += len(path.read_text().splitlines())
    return count


def reduced(graph: Graph) -> Graph:
    """Return the graph without the arrows that follow from two others."""

    def below(name: str) -> set[str]:
        return graph[name].union(*(below(other) for other in graph[name]))

    return {
        name: {other for other in others if not any(other in below(o) for o in others - {other})}
        for name, others in graph.items()
    }


def places(rows: list[set[str]], graph: Graph) -> dict[str, tuple[float, float]]:
    """Return the middle of each room: within a floor near the middle of what it stands on."""
    found: dict[str, tuple[float, float]] = {}
    for y, row in enumerate(rows):

        def wish(name: str) -> tuple[float, str]:
            under = [found[other][0] for other in graph[name] if other in found]
            return (sum(under) / len(under) if under else 0.5, name)

        for k, name in enumerate(sorted(row, key=wish)):
            found[name] = ((k + 1) / (len(row) + 1), float(y))
    return found


def draw() -> Figure:
    """Return the picture."""
    rows = floors()
    rooms = set().union(*rows)
    graph, count = imports(rooms), lines_of(rooms)
    arrows, middle = reduced(graph), places(rows, graph)
    with style.figure("page", 5.0) as page:
        axes = page.subplots()
        axes.set(xlim=(0, 1), ylim=(-0.5, len(rows) - 0.5))
        axes.axis("off")
        for name, others in arrows.items():
            for other in others:
                _arrow(axes, middle[name], middle[other])
        for name, (x, y) in middle.items():
            _room(axes, name, count[name], x, y)
    return page


WIDE, HIGH = 0.122, 0.56


def _room(axes: object, name: str, count: int, x: float, y: float) -> None:
    paper = {"geometry", "model", "weight_map", "loss", "augment"}
    colour = "#fff3d6" if name in paper else "#e8f1f8"
    box = FancyBboxPatch(
        (x - WIDE / 2, y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0,rounding_size=0.02",
        facecolor=colour, edgecolor=style.GREY, linewidth=0.6, mutation_aspect=8,
    )  # fmt: skip
    axes.add_patch(box)  # type: ignore[attr-defined]
    axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=7.5)  # type: ignore[attr-defined]
    text = f"{count:,} lines"
    axes.text(x, y - 0.15, text, ha="center", va="center", fontsize=6, color=style.GREY)  # type: ignore[attr-defined]


def _arrow(axes: object, start: tuple[float, float], stop: tuple[float, float]) -> None:
    if start[1] == stop[1]:
        side = WIDE / 2 if stop[0] > start[0] else -WIDE / 2
        a, b, bend = (start[0] + side, start[1]), (stop[0] - side, stop[1]), 0.0
        if abs(start[0] - stop[0]) > 2 * WIDE:  # over the rooms between
            a, b = (start[0], start[1] + HIGH / 2), (stop[0], stop[1] + HIGH / 2)
            bend = -0.12 if stop[0] > start[0] else 0.12
    else:
        a, b, bend = (start[0], start[1] - HIGH / 2), (stop[0], stop[1] + HIGH / 2), 0.0
    arrow = FancyArrowPatch(
        a, b, arrowstyle="-|>", mutation_scale=5, linewidth=0.5, color=style.BLUE, alpha=0.55,
        connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0, zorder=0,
    )  # fmt: skip
    axes.add_patch(arrow)  # type: ignore[attr-defined]


def write(app: Sphinx) -> None:
    """Draw it where the page looks for it."""
    out = Path(app.srcdir) / "images" / "house.svg"
    drawn = style.picture(draw(), "svg")
    if not out.exists() or out.read_bytes() != drawn:
        out.write_bytes(drawn)


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw it before the pages are read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(style.picture(draw(), "svg"))
