"""A stack with its scores, and all that is shown beside them: each is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.metrics._results import Isbi2012Scores
from paper_unet.metrics.doubts import doubts
from paper_unet.metrics.isbi2012 import warping_mismatches
from paper_unet.metrics.table import headline


@dataclass(frozen=True)
class Evaluated:
    """A stack with its scores.

    Attributes
    ----------
    scores : Isbi2012Scores
        Of this very stack.
    labels, interior : ndarray, shape (Z, Y, X)
        As they were scored.
    numbers : sequence of int, optional
        What the sections are called; default: from 0.
    """

    scores: Isbi2012Scores
    labels: NDArray[Any]
    interior: NDArray[np.floating]
    numbers: Sequence[int] | None = None

    @property
    def names(self) -> Sequence[int]:
        """What the sections are called."""
        return range(len(self.labels)) if self.numbers is None else self.numbers

    @property
    def threshold(self) -> float:
        """That the warping error chose."""
        return self.scores.thresholds["warping_error"]

    @cached_property
    def headline(self) -> dict[str, Any]:
        """Every metric and its threshold; see `paper_unet.metrics.table.headline`."""
        return headline(self.scores, self.labels, self.interior)

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Why the scores should not be taken at their word; see `paper_unet.metrics.doubts`."""
        return doubts(self.scores, self.labels, self.interior, self.names)

    @cached_property
    def mismatches(self) -> tuple[NDArray[np.uint8], ...]:
        """Splits and mergers of each section, (Y, X); see `paper_unet.metrics.warping_mismatches`.

        At the threshold that the warping error chose.
        """
        sections = zip(self.labels, self.interior, strict=True)
        return tuple(warping_mismatches(*section, self.threshold) for section in sections)
