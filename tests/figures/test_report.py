"""The page about scores: it holds what was computed, and needs nothing else."""

import base64
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from paper_unet.cli import evaluate, main
from paper_unet.figures import report, results
from paper_unet.figures.report import report_page, worst_sections
from paper_unet.metrics import Evaluated, evaluated, isbi2012_scores
from paper_unet.synthetic import synthetic_stack

LABELS = synthetic_stack(sections=3, side=96, seed=1).labels > 0


def split_and_merged() -> np.ndarray:
    """The labels, with a cut through section 0 and without the membranes of half section 2."""
    interior = LABELS.astype(np.float32)
    interior[0, 40:42, :] = 0
    interior[2, :48] = 1
    return interior


class Page(HTMLParser):
    """Reads what tags, attributes and cells of tables there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def test_the_worst_come_first_with_what_is_wrong() -> None:
    scores = isbi2012_scores(LABELS, split_and_merged(), workers=1)
    chosen = scores.warping.thresholds.index(scores.thresholds["warping_error"])
    found = worst_sections(Evaluated(scores, LABELS, split_and_merged()))
    counts = {one.index: (one.splits, one.mergers) for one in found}
    assert counts[1] == (0, 0)
    assert counts[0][0] > 0
    assert counts[2][1] > 0
    wrong = [one.splits + one.mergers for one in found]
    assert wrong == sorted(wrong, reverse=True)
    assert sum(one.splits for one in found) == scores.warping.splits[chosen]
    assert sum(one.mergers for one in found) == scores.warping.mergers[chosen]


def test_the_page_holds_everything_and_loads_nothing() -> None:
    interior = split_and_merged()
    scores = isbi2012_scores(LABELS, interior, workers=1)
    text = report_page(
        Evaluated(scores, LABELS, interior, [24, 25, 26]), title="<i>&x",
        facts={"labels": "<script>a</script>.tif"}, pixel_size=0.004,
    )  # fmt: skip
    page = Page(text)
    assert page.open == []
    assert "<script" not in text and "<title>&lt;i&gt;&amp;x</title>" in text
    assert "<script>a</script>.tif" in page.cells
    assert len(page.loaded) == 3  # the curves and two sections
    for source in page.loaded:
        head, data = source.split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert {f"{scores.v_rand:.6f}", f"{scores.warping_error:.6f}", "24", "26"} <= {*page.cells}
    assert "25" not in page.cells
    assert 'class="doubt"' not in text


def test_doubts_are_on_the_page() -> None:
    constant = np.ones(LABELS.shape, np.float32)
    scores = isbi2012_scores(LABELS, constant, workers=1)
    text = report_page(Evaluated(scores, LABELS, constant), title="x", facts={})
    assert 'class="doubt"' in text and "the map is constant there" in text


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("l.tif", LABELS.astype("u1"), photometric="minisblack")
    tifffile.imwrite("p.tif", split_and_merged(), photometric="minisblack")
    return tmp_path


def test_evaluate_writes_it(stacks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "l.tif", "p.tif", "--json", "--report", "r.html"]
    assert main([*words, "--slices", "1:3"]) == 0
    said = capsys.readouterr()
    cells = Page((stacks / "r.html").read_text()).cells
    assert f"{json.loads(said.out)['v_rand']:.6f}" in cells
    assert {"l.tif", "p.tif", "1:3", "2"} <= {*cells}
    assert any(re.search(r"2 x 96 x 96, float32, SHA-256 of the values \w{64}", c) for c in cells)
    assert "wrote r.html" in said.err
    before = (stacks / "r.html").read_bytes()
    assert main(words) == 2
    assert "r.html" in capsys.readouterr().err
    assert (stacks / "r.html").read_bytes() == before
    assert main([*words, "--overwrite"]) == 0


def test_what_is_printed_drawn_and_on_the_page_is_computed_once(
    stacks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, int] = {}
    for name in ("headline", "doubts", "warping_mismatches"):
        real = getattr(evaluated, name)

        def counted(*given: Any, name: str = name, real: Any = real) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return real(*given)

        for module in (evaluated, results, report, evaluate):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counted)
    words = ["evaluate", "l.tif", "p.tif", "--slices", "0:2"]
    assert main(words) == 0
    assert calls == {"headline": 1, "doubts": 1}
    calls.clear()
    assert main([*words, "--plot", "p.png", "--report", "r.html"]) == 0
    assert calls == {"headline": 1, "doubts": 1, "warping_mismatches": 2}  # one for each section


def test_pages_that_cannot_be(stacks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.link(stacks / "p.tif", stacks / "same.html")
    for words, said in (
        (["--report", "r.htm"], "a report ends in .html"),
        (["--report", "none/r.html"], "none"),
        (["--report", "same.html", "--overwrite"], "same.html"),
        (["--report", "r.html", "--labels"], "--report"),
    ):
        assert main(["evaluate", "l.tif", "p.tif", *words]) == 2
        assert said in capsys.readouterr().err
    assert tifffile.imread("p.tif").shape == LABELS.shape


def test_a_constant_map_is_said_beside_the_scores(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("c.tif", np.ones(LABELS.shape, "f4"), photometric="minisblack")
    assert main(["evaluate", "l.tif", "c.tif", "--json"]) == 0
    said = capsys.readouterr()
    assert "careful: the warping error means nothing" in said.err
    json.loads(said.out)  # and only there
