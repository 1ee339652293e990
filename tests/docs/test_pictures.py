"""Every picture on a page comes from a committed script; none has Type 3 fonts."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from figure_helpers import fonts
from pages_helpers import PAGES, ROOT

SCRIPTS = {
    "docs/images/demo.png": "experiments/demo_picture.py",
    "docs/images/house.svg": "docs/_ext/house_picture.py",
    "docs/images/view.png": "tests/view/test_page.py",
}


def pictures(name: str) -> list[str]:
    text = PAGES[name].read_text()
    found = re.findall(r"!\[[^]]*\]\(([^)]+)\)|^:::\{image\} (\S+)", text, re.MULTILINE)
    paths = [(PAGES[name].parent / (a or b)).resolve() for a, b in found]
    return [str(path.relative_to(ROOT)) for path in paths]


def test_pictures_are_seen() -> None:
    found = {picture for name in PAGES for picture in pictures(name)}
    assert set(SCRIPTS) <= found and len(found) > 6 and len(PDFS) > 8


@pytest.mark.parametrize("name", [name for name in PAGES if pictures(name)])
def test_a_script_draws_each_picture(name: str) -> None:
    for picture in pictures(name):
        if picture in SCRIPTS:
            assert (ROOT / SCRIPTS[picture]).is_file()
            continue
        assert picture.startswith("experiments/results/"), picture
        metrics = (ROOT / picture).parent / "metrics.json"
        script = re.search(r'"command": "python (experiments/\w+\.py)', metrics.read_text())
        assert script is not None and (ROOT / script[1]).is_file(), picture


# what of them plots can be drawn again is tested in tests/experiments/test_redraw.py
PDFS = sorted((ROOT / "experiments" / "results").rglob("*.pdf"))


@pytest.mark.parametrize("path", PDFS, ids=lambda path: path.stem)
def test_no_committed_picture_has_type_3_fonts(path: Path) -> None:
    assert fonts(path.read_bytes()) == {"Type0", "CIDFontType2"}


def test_the_house_is_drawn_from_the_imports(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    source = ROOT / "docs" / "_ext" / "house_picture.py"
    spec = importlib.util.spec_from_file_location("house_picture", source)
    assert spec is not None and spec.loader is not None
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    rooms = set().union(*house.floors())
    graph = house.imports(rooms)
    assert {"networks.base", "model"} <= rooms and "geometry" in graph["networks.base"]
    assert "inference" in graph["large"] and "large" not in graph["inference"]
    assert house.reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})["a"] == {"b"}
    from paper_unet.figures.style import picture

    drawn = ET.fromstring(picture(house.draw(), "svg"))  # noqa: S314
    assert drawn.tag.endswith("svg")
    assert not [node for node in drawn.iter() if node.tag.endswith("}text")]  # paths, no fonts
