"""The pages of the documentation and the blocks of code on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

MADE = ("_build", "learn", "results")
"""Folders of docs that are made when the site is built."""

PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "experiments" / "README.md",
        *sorted(DOCS.rglob("*.md")),
    ]
    if path.relative_to(ROOT).parts[1:2] not in [(name,) for name in MADE]
}

TUTORIALS = sorted((DOCS / "tutorials").glob("[0-9]*.py"))


def blocks(text: str, language: str) -> Iterator[str]:
    """Give the fenced blocks of one language; "" is a fence without a word."""
    for _, word, body in BLOCK.findall(text):
        if word.strip() == language:
            yield body


def literal_blocks(script: str) -> Iterator[str]:
    """Give the literal blocks in the text of a tutorial: lines after ``::`` that are set in."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in script.splitlines()]
    inside: list[str] | None = None
    for line in lines:
        if inside is not None and line.strip() and not line.startswith("    "):
            yield "\n".join(inside)
            inside = None
        if inside is not None:
            inside.append(line)
        elif line.rstrip().endswith("::"):
            inside = []


def commands(block: str) -> Iterator[list[str]]:
    """Give the calls of ``paper-unet`` in a block of shell, as words."""
    joined = re.sub(r"\\\n\s*", " ", block)
    for line in joined.splitlines():
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part.strip().removeprefix("$ "), comments=True)
            if words[:1] == ["paper-unet"]:
                yield words[1 : words.index(">")] if ">" in words else words[1:]
