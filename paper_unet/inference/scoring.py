"""How well a network does on annotated sections that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.inference.predict import predict_stack
from paper_unet.inference.settings import Average
from paper_unet.metrics import Isbi2012Scores, isbi2012_scores
from paper_unet.networks.base import Network


def score_sections(
    model: Network,
    images: NDArray[Any],
    labels: NDArray[Any],
    average: Average = "none",
    *,
    value_range: tuple[float, float] | None = None,
    progress: bool = False,
) -> Isbi2012Scores:
    """Predict sections and score them by the ISBI 2012 challenge's metrics.

    Parameters
    ----------
    model : Network
    images : ndarray, shape (Z, Y, X)
        Grey sections, as `predict_stack` takes them.
    labels : ndarray of int, shape (Z, Y, X)
        0 = membrane, anything else = cell.
    average : {"none", "flips", "rotations"}
        As in `predict_image`.
    value_range : (float, float), optional
        As in `predict_image`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Isbi2012Scores
    """
    interior = predict_stack(
        model, images, average=average, value_range=value_range, progress=progress
    )
    truth = (labels > 0).astype(np.uint8)
    return isbi2012_scores(truth, np.asarray(interior), progress=progress)
