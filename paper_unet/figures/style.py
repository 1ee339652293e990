"""One look for every figure: widths of a journal, fonts that embed, names, limits, scale bars.

::

    with figure("page", height=2.4) as page:
        axes = page.subplots()
        ...  # everything drawn here has the look, whatever the reader's matplotlibrc says
    data = picture(page, "pdf")
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Final, Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from paper_unet.errors import InputError
from paper_unet.metrics.table import metric

WIDTHS: Final = {"column": 3.35, "page": 6.9}
"""Inches: a column, and two columns with the gap between them."""
TEXT, SMALL = 7.0, 6.0
"""Points: titles and labels; ticks, legends and notes. Figures are printed at their size."""
MARKER: Final = 3.5
"""Points."""
DPI: Final = 300

BLACK, GREY = "#000000", "#7f7f7f"
BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
SKY, YELLOW, VERMILION, PURPLE = "#56b4e9", "#f0e442", "#d55e00", "#cc79a7"
CYCLE: Final = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
"""Apart for readers with any colour vision (Okabe and Ito 2008, Color Universal Design)."""
MARKS: Final = "osv^D<>p"

STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "pdf.fonttype": 42,  # TrueType, no Type 3
    "ps.fonttype": 42,
    "svg.hashsalt": "paper_unet",  # the same figure is the same file
    "savefig.dpi": DPI,
    "savefig.bbox": None,  # "tight" changes the width
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "figure.titlesize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.0,
    "lines.markersize": MARKER,
    "image.cmap": "gray",
    "axes.prop_cycle": f"cycler(color={list(CYCLE)})",
}
"""What differs from matplotlib's own defaults."""

Width = Literal["column", "page"]
PictureKind = Literal["png", "pdf", "svg"]
DATES: Final = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""What keeps the date out of a picture, so that the same figure is the same file."""
NANOMETRES: Final = {"nm": 1.0, "µm": 1e3, "mm": 1e6}


@contextmanager
def figure(width: Width, height: float) -> Iterator[Figure]:
    """Give a figure to draw on in the look of all figures.

    Parameters
    ----------
    width : {"column", "page"}
        3.35 or 6.9 inches.
    height : float, inches

    Yields
    ------
    Figure
        Without axes. The look holds for what is drawn inside the ``with``.
    """
    with _look():
        yield Figure(figsize=(WIDTHS[width], height))


def picture(drawn: Figure, kind: PictureKind) -> bytes:
    """Return a figure as the bytes of a file.

    Parameters
    ----------
    drawn : Figure
    kind : {"png", "pdf", "svg"}

    Returns
    -------
    bytes
        Of its own width and height: a PNG of 300 pixels an inch, a PDF with embedded TrueType
        fonts. Without the date: the same figure gives the same bytes.
    """
    encoded = io.BytesIO()
    with _look():
        drawn.savefig(encoded, format=kind, metadata=DATES[kind])
    return encoded.getvalue()


@contextmanager
def _look() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]):
        yield


def metric_label(name: str) -> str:
    """Return what a metric of `paper_unet.metrics.table` is called, and which way is better."""
    return str(metric(name)).replace(", ", "\n")


def honest_limits(name: str, runs: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Return the limits of an axis of a metric: all that `draw_runs` draws, and the perfect value.

    An axis that ends where the metric is perfect, at 0 of an error and at 1 of a score, shows how
    far from perfect the values are, so small differences look small.

    Parameters
    ----------
    name : str
        Of `paper_unet.metrics.table`.
    runs : iterable of sequence of float
        The values that are drawn at each place.

    Returns
    -------
    (float, float)
        A little wider than what is drawn, so that no point is cut.
    """
    perfect = 1.0 if metric(name).higher else 0.0
    drawn = [value for values in runs for value in (*values, *spread_of(values))]
    low, high = min([perfect, *drawn]), max([perfect, *drawn])
    span = high - low
    if span == 0:  # nothing, or nothing but perfect runs
        return 0.0, 1.0
    return low - 0.06 * span * (low != perfect), high + 0.06 * span * (high != perfect)


def spread_of(values: Sequence[float]) -> tuple[float, ...]:
    """Return the mean less and plus one standard deviation; nothing for fewer than two values."""
    if len(values) < 2:
        return ()
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return mean - deviation, mean + deviation


def keys(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Give each of several series its colour and its marker, by name; both begin again."""
    return dict(zip(names, zip(cycle(CYCLE), cycle(MARKS), strict=False), strict=False))


def legend_below(drawn: Figure, ncols: int = 4) -> None:
    """Explain, below the panels, every label that any of them has, once."""
    named: dict[str, Any] = {}
    for axes in drawn.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    named_by = list(named.values()), list(named)
    legend = drawn.legend(*named_by, loc="outside lower center", ncols=ncols)
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(MARKER)  # whatever the size of many points in a panel


def draw_runs(
    axes: Axes,
    place: float,
    values: Sequence[float],
    *,
    key: tuple[str, str] = (BLUE, "o"),
    label: str | None = None,
    upright: bool = True,
) -> None:
    """Draw every run as a point; of two and more the mean and one standard deviation each way.

    Parameters
    ----------
    axes : Axes
    place : float
        Where they stand on the other axis.
    values : sequence of float
        One for each run.
    key : (str, str)
        Colour and marker.
    label : str, optional
        For the legend.
    upright : bool
        Whether the values are on the y axis.
    """
    spots = _spots(place, np.asarray(values, float), upright)
    colour, marker = key
    look: dict[str, Any] = {"color": colour, "marker": marker, "mec": "none", "ls": "none"}
    whole = len(values) == 0  # the layout has no place for a line of nothing that is not clipped
    axes.plot(*spots, **look, alpha=0.75, clip_on=whole, label=label)
    if not (ends := spread_of(values)):
        return
    line: dict[str, Any] = {"color": BLACK, "lw": 0.9, "solid_capstyle": "butt", "zorder": 3}
    axes.plot(*_spots(place, np.array(ends), upright), **line)
    mean = np.mean(values, keepdims=True)
    axes.plot(*_spots(place, mean, upright), "_|"[not upright], ms=5, mew=1.1, **line)


def _spots(place: float, values: Any, upright: bool) -> tuple[Any, Any]:
    at = np.full(len(values), place)
    return (at, values) if upright else (values, at)


def scale_bar(axes: Axes, pixel_size: float, unit: str = "µm", *, loc: str = "lower right") -> Any:
    """Draw a scale bar of a round length, at most three tenths of the width that is shown.

    Parameters
    ----------
    axes : Axes
        With an image of one data unit a pixel, its limits set.
    pixel_size : float
        Width of a pixel.
    unit : {"nm", "µm", "mm"}
        Of ``pixel_size``.
    loc : str
        The corner, in matplotlib's words.

    Returns
    -------
    AnchoredSizeBar

    Raises
    ------
    InputError
        For a size that is no positive number, and an unknown unit.
    """
    if unit not in NANOMETRES:
        raise InputError(f"unit is {unit!r}; give one of {', '.join(NANOMETRES)}")
    if not (math.isfinite(pixel_size) and pixel_size > 0):
        raise InputError(f"pixel_size is {pixel_size}; give the width of a pixel in {unit}, over 0")
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    pixel = pixel_size * NANOMETRES[unit]
    length = round_length(0.3 * abs(right - left) * pixel)
    bar = AnchoredSizeBar(  # type: ignore[no-untyped-call]
        axes.transData,
        length / pixel,
        length_label(length),
        loc,
        pad=0.35,
        borderpad=0.4,
        sep=1.5,
        color="white",
        size_vertical=0.02 * abs(high - low),
        fill_bar=True,
        label_top=True,
        fontproperties=FontProperties(size=SMALL),
    )
    for rectangle in bar.size_bar.get_children():
        rectangle.set(linewidth=0)  # its edge would add to the length
    bar.patch.set(facecolor="black", edgecolor="none", alpha=0.6)
    axes.add_artist(bar)
    return bar


def round_length(longest: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a length."""
    power: float = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def length_label(nanometres: float) -> str:
    """Return a length with the largest unit of which it is one at least."""
    unit = [unit for unit, size in NANOMETRES.items() if size <= nanometres or unit == "nm"][-1]
    return f"{nanometres / NANOMETRES[unit]:g} {unit}"
