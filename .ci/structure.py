"""Count the structure of a package: files, lines, imports between its rooms, public names.

    python .ci/structure.py [FOLDER]

A room is a folder below the package, or a module at its root. Imports within functions count.
"""

import ast
import statistics
import sys
from pathlib import Path

PACKAGE = Path(sys.argv[1] if len(sys.argv) > 1 else "paper_unet")
SOURCES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def module(path: Path) -> tuple[str, ...]:
    """Return the words of a module's name below the package."""
    return tuple(w for w in path.relative_to(PACKAGE).with_suffix("").parts if w != "__init__")


def imported(tree: ast.Module) -> set[tuple[str, ...]]:
    """Return the modules of the package that a source names."""
    there = set(map(module, SOURCES))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            words = tuple(node.module.split("."))[1:]
            found |= {(*words, a.name) if (*words, a.name) in there else words for a in node.names}
        elif isinstance(node, ast.Import):
            names = (tuple(a.name.split(".")) for a in node.names)
            found |= {words[1:] for words in names if words[0] == PACKAGE.name}
    return found & there - {()}


def public(tree: ast.Module) -> int:
    """Count the classes, functions and methods that have a name without an underscore."""
    scopes = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]
    named = [n for s in scopes for n in s.body if isinstance(n, (ast.ClassDef, *FUNCTIONS))]
    return sum(not n.name.startswith("_") for n in named)


def main() -> None:
    """Print the figures, one a line."""
    lines = {path: len(path.read_text().splitlines()) for path in SOURCES}
    arrows = {(module(p), m) for p, tree in SOURCES.items() for m in imported(tree)}
    arrows = {(a, b) for a, b in arrows if a and a != b}
    rooms = {(a[0], b[0]) for a, b in arrows if a[0] != b[0]}
    lengths = sorted(
        n.end_lineno - n.lineno + 1
        for tree in SOURCES.values()
        for n in ast.walk(tree)
        if isinstance(n, FUNCTIONS)
    )
    total = sum(lines.values())
    names = sum(map(public, SOURCES.values()))
    print(f"files {len(lines)}, lines {total}, longest file {max(lines.values())}")
    print(
        f"modules at the root {sum(len(module(p)) == 1 for p in SOURCES if p.stem != '__init__')}"
    )
    print(f"rooms {len({module(p)[0] for p in SOURCES if module(p)})}")
    print(f"imports between files {len(arrows)}, between rooms {len(rooms)}")
    print(f"public names {names}, {1000 * names / total:.1f} per thousand lines")
    print(
        f"functions {len(lengths)}: median {statistics.median(lengths):g}, "
        f"90th of 100 {lengths[int(0.9 * len(lengths))]}, longest {lengths[-1]} lines"
    )


main()
