"""Figures are drawn again from metrics.json alone, and all that are committed have the style."""

from __future__ import annotations

import importlib
import io
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_helpers import fonts, nothing_overlaps, page_inches
from PIL import Image

from paper_unet.figures.style import WIDTHS
from paper_unet.metrics.table import METRICS, SEG

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RESULTS = EXPERIMENTS / "results"
BEFORE = {"table2_width64_first"}
"""Drawn before there was a style, by runs that are to be made again."""
LOSSES = ["loss at the end, lower is better"]
"""What a sweep of rates shows, which is no metric."""


def script_of(folder: Path) -> str:
    command = shlex.split(json.loads((folder / "metrics.json").read_text())["command"])
    return Path(command[2 if command[0] == "paper-unet" else 1]).stem


def plotted() -> list[Path]:
    names = {path.stem for path in EXPERIMENTS.glob("*.py")}
    folders = [path.parent for path in sorted(RESULTS.glob("*/metrics.json"))]
    assert {script_of(folder) for folder in folders} <= names
    return [folder for folder in folders if folder.name not in BEFORE]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.mark.parametrize("folder", plotted(), ids=lambda folder: folder.name)
def test_a_figure_of_metrics_is_drawn_again_as_it_is(
    folder: Path, scripts: Any, tmp_path: Path
) -> None:
    """Nothing but the pictures is written, no text lies over another, every metric has its name."""
    redraw = scripts("redraw")
    before = (folder / "metrics.json").read_bytes()
    again = tmp_path / folder.name
    again.mkdir()
    shutil.copy(folder / "metrics.json", again)
    name = script_of(folder)
    assert redraw.redraw(again) == (name in redraw.FIGURES)
    if name not in redraw.FIGURES:
        return
    assert (again / "metrics.json").read_bytes() == before
    assert {path.name for path in again.iterdir()} == {
        "metrics.json", f"{name}.png", f"{name}.pdf",
    }  # fmt: skip
    figure = redraw.FIGURES[name](json.loads(before))
    nothing_overlaps(figure)
    words = [
        text
        for axes in figure.axes
        for text in (axes.get_title(), axes.get_ylabel(), axes.get_xlabel())
    ]
    titles = [metric.title for metric in (*METRICS.values(), SEG)]
    titles = LOSSES if "losses" in json.loads(before)["rows"][0] else titles
    assert any(title in word for title in titles for word in words)
    assert not any(name in word for name in METRICS for word in words)


@pytest.mark.parametrize("folder", plotted(), ids=lambda folder: folder.name)
def test_committed_figures_have_the_style(folder: Path) -> None:
    pictures = sorted(folder.glob("*.p[nd][gf]"))
    assert len(pictures) in (0, 2)
    for path in pictures:
        if path.suffix == ".pdf":
            assert fonts(path.read_bytes()) == {"Type0", "CIDFontType2"}
            assert round(page_inches(path.read_bytes())[0], 2) in WIDTHS.values()
            continue
        assert path.stat().st_size < 320_000
        with Image.open(path) as image:
            assert image.width in (1005, 2070)
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_results_of_an_earlier_version_are_named(
    scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"command": "python experiments/learning_rate.py", "rows": [{"lr": 1, "v_info": 0.5}]}
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    assert scripts("redraw").redraw(tmp_path)
    assert "no 'centre' in the rows of an earlier version" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.p*f"))


def test_results_of_a_wheel_are_those_of_the_same_script(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the records write the command, in the package and in a checkout."""
    records, headline = scripts("records"), scripts("headline")
    given = ["--data", "d", "--out=here", "--width", "64"]
    for folder in ("paper_unet/_experiments", "experiments"):
        monkeypatch.setattr(sys, "argv", [f"{folder}/learning_rate.py", *given])
        found = {"command": records._command(), "rows": [{"lr": 1, "v_info": 0.5}]}
        assert headline.called(found) == ("learning_rate", given)
        shown = headline.command_of(found, "learning_rate")
        assert shown == "paper-unet reproduce learning_rate --width 64"
        (tmp_path / "metrics.json").write_text(json.dumps(found))
        assert scripts("redraw").redraw(tmp_path)


def test_every_plot_of_metrics_can_be_drawn_again(scripts: Any) -> None:
    """A script that draws from its rows has its line in the table of redraw.py."""
    of_images = {"fig1_architecture", "fig2_overlap_tile", "fig3_weight_map", "fig4_cells"}
    saving = {p.stem for p in EXPERIMENTS.glob("*.py") if "records.save_figure(" in p.read_text()}
    assert saving - of_images - {"redraw"} == set(scripts("redraw").FIGURES)


def test_the_learning_rate_shows_what_collapsed(scripts: Any) -> None:
    rows = [
        {"on": on, "source": on, "lr": rate, "warmup": warmup, "centre": 0.5, "seed": seed,
         "losses": {"1": 0.3 + seed / 10}, **({"diverged": 7} if rate > 5e-3 else {})}
        for on in ("ISBI 2012", "DIC-C2DH-HeLa") for rate in (1e-3, 1e-2)
        for warmup in (100, 1000) for seed in (0, 1)
    ]  # fmt: skip
    figure = scripts("learning_rate").draw(rows)
    nothing_overlaps(figure)
    for axes in figure.axes:
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert sum(len(line.get_xdata()) for line in crosses) == 4
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > crosses[-1].get_ydata()[0]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["warm-up 100", "warm-up 1000", "collapsed or diverged"]


def test_networks_that_differ_in_seed_alone_are_one_group(scripts: Any) -> None:
    table1 = scripts("table1_isbi2012")
    rows = [
        {"network": "bundled"}, {"network": "w-seed0", "seed": 0},
        {"network": "w-seed1", "seed": 1}, {"network": "v-seed0", "seed": 0},
    ]  # fmt: skip
    assert {name: len(mine) for name, mine in table1.networks_by_recipe(rows).items()} == {
        "bundled": 1, "w (2 seeds)": 2, "v-seed0": 1,
    }  # fmt: skip


def encoded(pixels: np.ndarray) -> bytes:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    return png.getvalue()


def test_a_small_png_keeps_few_colours_as_they_are(scripts: Any) -> None:
    pixels = (
        np.random.default_rng(0)
        .integers(0, 256, (40, 3))
        .astype(np.uint8)[np.random.default_rng(1).integers(0, 40, (50, 60))]
    )
    with Image.open(io.BytesIO(scripts("records").compact_png(encoded(pixels)))) as png:
        np.testing.assert_array_equal(np.asarray(png.convert("RGB")), pixels)
        assert png.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_a_small_png_of_many_colours_keeps_greys_grey(scripts: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 256, (90, 100, 1)), 3, axis=2).astype(np.uint8)
    cells = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178)]
    for k, colour in enumerate(cells):
        some = pixels[10:40, 20 * k : 20 * k + 15].astype(float)
        pixels[10:40, 20 * k : 20 * k + 15] = np.rint(0.6 * some + 0.4 * np.array(colour))
    pixels[:2], pixels[-2:] = 0, 255
    with Image.open(io.BytesIO(scripts("records").compact_png(encoded(pixels)))) as png:
        assert png.mode == "P"
        small = np.asarray(png.convert("RGB")).astype(int)
    grey = np.ptp(pixels.astype(int), axis=2) == 0
    assert not np.ptp(small[grey], axis=1).any()
    assert np.abs(small - pixels)[grey].max() <= 9
    assert not small[:2].any() and (small[-2:] == 255).all()
    assert np.abs(small - pixels).max(axis=2)[~grey].max() <= 40
    assert np.abs(small - pixels)[~grey].mean() < 8


def test_a_folder_without_a_plot(
    scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["redraw.py", str(tmp_path)])
    scripts("redraw").main()
    assert "no figure of metrics alone" in capsys.readouterr().out
