"""No dead links: the checker of the built site, and the links of pages read as they are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pages_helpers import PAGES, ROOT


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("links", ROOT / ".ci" / "links.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dead_links_are_found_and_live_ones_are_not(links: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "sub" / "index.html").write_text('<h1 id="top">x</h1><a href="../b.html#two">')
    (tmp_path / "b.html").write_text(
        '<p id="two"><a href="#two"><a href="sub/"><a href="sub/index.html#top"><img src="a.png">'
        '<a href="https://example.org/nowhere"><a href="mailto:a@example.org">'
        '<a href="#three"><a href="gone.html"><img src="gone.png"><a href="sub/#bottom">'
    )
    assert list(links.dead_links(tmp_path)) == [
        "b.html: #three: the page has no such place",
        "b.html: gone.html: there is no such file",
        "b.html: gone.png: there is no such file",
        "b.html: sub/#bottom: the page has no such place",
    ]


MADE = re.compile(r"docs/(learn|results|images/house\.svg)\b")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_links_of_a_page_lead_to_files(name: str) -> None:
    """As somebody sees them who reads the repository itself."""
    path = PAGES[name]
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)\s#]+)", text):
        if re.match(r"results/\w+/", link) and name.startswith("docs/"):
            continue  # a page that is made when the site is built; the build checks it
        found = (path.parent / link).resolve()
        known = found.exists() or MADE.match(str(found.relative_to(ROOT)))
        assert known, f"{name} links to {link}"


def test_no_warning_is_silenced() -> None:
    assert "suppress_warnings" not in (ROOT / "docs" / "conf.py").read_text()
    run = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"sphinx-build .*-W\b", run) and ".ci/links.py" in run
