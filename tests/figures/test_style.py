"""One look for every figure: sizes, fonts, names, limits, scale bars."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from figure_helpers import fonts, nothing_overlaps, page_inches
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.figures import style
from paper_unet.metrics.table import ISBI2012, METRICS, SEG


def drawn(width: style.Width = "column", height: float = 1.5) -> Figure:
    with style.figure(width, height) as page:
        axes = page.subplots()
        axes.plot([0, 1], [0, 1], label="a line")
        axes.set_title("µ, ², × and $10^{-3}$")
        axes.set_xlabel("x")
        style.legend_below(page)
    return page


@pytest.mark.parametrize(("width", "inches"), [("column", 3.35), ("page", 6.9)])
def test_a_picture_has_its_inches(width: style.Width, inches: float) -> None:
    figure = drawn(width)
    with Image.open(io.BytesIO(style.picture(figure, "png"))) as png:
        assert png.size == (round(300 * inches), 450)
        assert png.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert page_inches(style.picture(figure, "pdf")) == pytest.approx((inches, 1.5))
    assert f'width="{inches * 72:g}pt"'.encode() in style.picture(figure, "svg")


def test_a_pdf_has_truetype_fonts_alone() -> None:
    figure = drawn()
    assert fonts(style.picture(figure, "pdf")) == {"Type0", "CIDFontType2"}
    other = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 3}):
        figure.savefig(other, format="pdf")
    assert "Type3" in fonts(other.getvalue())  # what would be found


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_figure_is_the_same_whatever_the_reader_has_set(kind: style.PictureKind) -> None:
    before = style.picture(drawn(), kind)
    theirs: dict[str, Any] = {
        "pdf.fonttype": 3, "savefig.bbox": "tight", "savefig.dpi": 72, "font.size": 20,
        "font.family": "monospace", "axes.grid": True, "lines.linewidth": 5,
    }  # fmt: skip
    with mpl.rc_context(theirs):
        assert style.picture(drawn(), kind) == before
        assert mpl.rcParams["font.size"] == 20  # and theirs are left as they were
    assert style.picture(drawn(), kind) == before


def test_metrics_are_called_by_the_table() -> None:
    for name in ISBI2012:
        label = style.metric_label(name)
        assert label.startswith(METRICS[name].title)
        assert label.endswith("higher is better" if METRICS[name].higher else "lower is better")
    assert style.metric_label("seg") == f"{SEG.title}\nhigher is better"
    words = " ".join(style.metric_label(name) for name in (*ISBI2012, "seg"))
    for name in ("V_rand", "V_info", "Rand error", "warping error", "pixel error", "SEG"):
        assert name in words


runs_of_a_score = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), max_size=5)


@given(runs_of_a_score)
def test_limits_hold_all_that_is_drawn_and_the_perfect_value(runs: list[list[float]]) -> None:
    for name, perfect in (("v_rand", 1.0), ("pixel_error", 0.0)):
        low, high = style.honest_limits(name, runs)
        assert low <= perfect <= high and low < high
        for values in runs:
            assert low <= min(values) and max(values) <= high
            if len(values) > 1:
                mean, deviation = np.mean(values), np.std(values, ddof=1)
                assert low <= mean - deviation and mean + deviation <= high
    within = [values for values in runs if len(values) == 1]  # no spread beyond what can be
    assert style.honest_limits("seg", within)[1] == 1
    assert style.honest_limits("warping_error", within)[0] == 0


@pytest.mark.parametrize("upright", [True, False])
def test_every_run_is_a_point_and_two_have_a_spread(upright: bool) -> None:
    axes = Figure().subplots()
    style.draw_runs(axes, 2.0, [0.5], upright=upright)
    assert len(axes.lines) == 1
    style.draw_runs(axes, 3.0, [0.2, 0.4, 0.9], upright=upright)
    points, bar, mean = (line.get_xydata() for line in axes.lines[1:])
    values, places = (1, 0) if upright else (0, 1)
    np.testing.assert_allclose(points[:, values], [0.2, 0.4, 0.9])
    np.testing.assert_allclose(bar[:, values], [0.5 - 0.36055513, 0.5 + 0.36055513])
    np.testing.assert_allclose(mean[:, values], 0.5)
    assert all((line[:, places] == 3).all() for line in (points, bar, mean))
    assert not any(len(line.get_xdata()) > 1 and line.get_linestyle() != "None"
                   for line in (axes.lines[0], axes.lines[1]))  # fmt: skip


def test_nothing_drawn_leaves_the_page_its_panels() -> None:
    """An empty line that is not clipped made every panel collapse."""
    with style.figure("column", 2) as page:
        for axes in page.subplots(1, 2):
            style.draw_runs(axes, 1, [], label="none of these")
            style.draw_runs(axes, 1, [1, 2], label="some")
        style.legend_below(page)
    style.picture(page, "png")  # a warning is an error
    assert min(axes.get_position().width for axes in page.axes) > 0.3


def test_series_differ_and_a_legend_has_each_once() -> None:
    names = [f"series {k}" for k in range(9)]
    keys = style.keys(names)
    assert list(keys) == names and len(set(keys.values())) == 9
    with style.figure("page", 2) as page:
        for axes in page.subplots(1, 3):
            for name, key in keys.items():
                style.draw_runs(axes, 0, [0.0, 1.0], key=key, label=name)
        style.legend_below(page)
    assert [text.get_text() for text in page.legends[0].get_texts()] == names
    nothing_overlaps(page)


@pytest.mark.parametrize(
    ("pixel_size", "unit", "side", "label"),
    [
        (4, "nm", 512, "500 nm"), (0.004, "µm", 512, "500 nm"), (0.004, "µm", 96, "100 nm"),
        (0.65, "µm", 400, "50 µm"), (0.19, "µm", 512, "20 µm"), (50, "nm", 512, "5 µm"),
        (0.0005, "nm", 10, "0.001 nm"), (100, "mm", 100, "2000 mm"), (0.2, "mm", 100, "5 mm"),
    ],
)  # fmt: skip
def test_a_scale_bar_is_as_long_as_it_says(
    pixel_size: float, unit: str, side: int, label: str
) -> None:
    with style.figure("column", 3.35) as page:
        page.set_layout_engine("none")
        axes = page.add_axes((0, 0, 1, 1))
        axes.imshow(np.full((side, side), 0.5), vmin=0, vmax=1)
        axes.set_axis_off()
        bar = style.scale_bar(axes, pixel_size, unit)
    assert bar.txt_label.get_text() == label
    with Image.open(io.BytesIO(style.picture(page, "png"))) as png:
        white = np.asarray(png.convert("L")) > 250
    number, shown = label.split()
    pixels = float(number) * style.NANOMETRES[shown] / (pixel_size * style.NANOMETRES[unit])
    assert longest_run(white) == pytest.approx(pixels * 1005 / side, abs=1.01)
    assert 0.1 * side < pixels <= 0.3 * side + 1e-6


def longest_run(white: np.ndarray) -> int:
    best = 0
    for row in white:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        best = max([best, *(edges[1::2] - edges[::2])])
    return int(best)


@given(st.floats(1e-6, 1e9))
def test_a_round_length_is_1_2_or_5_and_the_longest(longest: float) -> None:
    length = style.round_length(longest)
    assert f"{length:.6e}"[0] in "125" and f"{length:.6e}"[2:8] == "000000"
    assert longest / 2.5 * (1 - 1e-6) <= length <= longest * (1 + 1e-6)


@pytest.mark.parametrize(
    ("size", "unit", "words"),
    [(4, "px", "unit is 'px'; give one of nm, µm, mm"), (0, "nm", "pixel_size is 0"),
     (float("nan"), "µm", "pixel_size is nan; give the width of a pixel in µm")],
)  # fmt: skip
def test_a_scale_bar_of_no_scale(size: float, unit: str, words: str) -> None:
    axes: Axes = Figure().subplots()
    with pytest.raises(InputError, match=words):
        style.scale_bar(axes, size, unit)
    assert not axes.artists
