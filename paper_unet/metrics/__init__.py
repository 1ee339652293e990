"""Scores of the ISBI 2012 EM segmentation challenge, of cells in 3-D and in frames."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from paper_unet.metrics._classify import Mismatch
    from paper_unet.metrics._probability import as_probability, probability_range
    from paper_unet.metrics._results import Isbi2012Scores, ThresholdScores, WarpingCounts
    from paper_unet.metrics.doubts import doubt_of_numbers, doubts
    from paper_unet.metrics.evaluated import Evaluated
    from paper_unet.metrics.isbi2012 import isbi2012_scores, warping_mismatches
    from paper_unet.metrics.seg import SegScores, seg_measure
    from paper_unet.metrics.volumes import CellScores, Overlap, cell_scores

__all__ = [
    "CellScores",
    "Evaluated",
    "Isbi2012Scores",
    "Mismatch",
    "Overlap",
    "SegScores",
    "ThresholdScores",
    "WarpingCounts",
    "as_probability",
    "cell_scores",
    "doubt_of_numbers",
    "doubts",
    "isbi2012_scores",
    "probability_range",
    "seg_measure",
    "warping_mismatches",
]

__getattr__, __dir__, _ = lazy_loader.attach(  # type: ignore[no-untyped-call]
    __name__,
    submod_attrs={
        "_classify": ["Mismatch"],
        "_probability": ["as_probability", "probability_range"],
        "_results": ["Isbi2012Scores", "ThresholdScores", "WarpingCounts"],
        "doubts": ["doubt_of_numbers", "doubts"],
        "evaluated": ["Evaluated"],
        "isbi2012": ["isbi2012_scores", "warping_mismatches"],
        "seg": ["SegScores", "seg_measure"],
        "volumes": ["CellScores", "Overlap", "cell_scores"],
    },
)
