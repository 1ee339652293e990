"""The metrics that are shown for a stack, by name.

A new one is a function and a line in `METRICS`; from outside the package,
``METRICS["name"] = Metric("its words", higher_is_better, function)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paper_unet.metrics._results import Isbi2012Scores

    Score = Callable[[NDArray[Any], NDArray[np.floating]], tuple[float, float | None]]


@dataclass(frozen=True)
class Metric:
    """What a metric is called, and how it is computed.

    Attributes
    ----------
    title : str
    higher : bool
        Whether higher is better.
    score : callable, optional
        Takes labels, ndarray (Z, Y, X), 0 = membrane, and P(cell), ndarray of float (Z, Y, X);
        returns the value and the threshold that it was found at, or None. Default: it is one of
        the challenge's five, which are computed together.
    """

    title: str
    higher: bool
    score: Score | None = None

    def __str__(self) -> str:
        return f"{self.title}, {'higher' if self.higher else 'lower'} is better"


METRICS: Final[dict[str, Metric]] = {
    "v_rand": Metric("V_rand (thin)", True),
    "v_info": Metric("V_info (thin)", True),
    "pixel_error": Metric("pixel error", False),
    "rand_error": Metric("Rand error", False),
    "warping_error": Metric("warping error", False),
}
"""In the order in which they are shown."""

ISBI2012: Final = tuple(METRICS)
"""The five of the challenge."""

SEG: Final = Metric("SEG", True)
"""Of cells in frames; not of a stack, so it is none of `METRICS`."""


def metric(name: str) -> Metric:
    """Return what a metric is called and which way is better, by its name in results."""
    return SEG if name == "seg" else METRICS[name]


def headline(
    scores: Isbi2012Scores,
    labels: NDArray[Any] | None = None,
    interior: NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """Return the value of every metric and its threshold, ready for JSON.

    Parameters
    ----------
    scores : Isbi2012Scores
        Of the stack.
    labels, interior : ndarray, shape (Z, Y, X), optional
        The stack, as it was scored; without it the challenge's five alone.

    Returns
    -------
    dict
        The metrics by name, and ``thresholds``.
    """
    values: dict[str, Any] = {name: getattr(scores, name) for name in ISBI2012}
    thresholds: dict[str, float | None] = dict(scores.thresholds)
    for name, metric in METRICS.items():
        if metric.score is not None and labels is not None and interior is not None:
            values[name], thresholds[name] = metric.score(labels, interior)
    return {**values, "thresholds": thresholds}
