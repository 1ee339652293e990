"""Every value that the challenges' own code gave."""

from typing import Any

import numpy as np
import pytest
import tifffile
from metrics_helpers import ORACLES, official_cases, plain_and_compiled

from paper_unet.errors import InputError
from paper_unet.metrics import isbi2012_scores, seg_measure

CLASSES = {
    "warp.splits": "splits",
    "warp.mergers": "mergers",
    "warp.holeAdditions": "hole_additions",
    "warp.holeDeletions": "hole_deletions",
    "warp.objectAdditions": "object_additions",
    "warp.objectDeletions": "object_deletions",
}

BEYOND = ("edge_prop_u8_gray", "edge_prop_u16", "edge_prop_over1")
"""Cases of other values than [0, 1]."""


def read(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    folder = ORACLES / "isbi2012"
    labels = tifffile.imread(folder / case["labels"]).reshape(case["shape"])
    return labels, tifffile.imread(folder / case["proposal"]).reshape(case["shape"])


@plain_and_compiled
@pytest.mark.parametrize("case", official_cases("isbi2012"))
def test_isbi2012(case: dict[str, Any], compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba")
    labels, proposal = read(case)
    if labels.max() > 255:  # the official warping error of such labels is always 0: refused
        with pytest.raises(InputError, match="labels hold 65535"):
            isbi2012_scores(labels, proposal)
        labels = labels > 0
        case["official"] = {k: v for k, v in case["official"].items() if "warp" not in k}
    # the official code takes whatever values there are for probabilities
    as_they_are = (0.0, 1.0) if case["name"] in BEYOND else None
    if case["name"] == "edge_prop_over1":
        with pytest.raises(InputError, match=r"interior holds float32 values from .*`value_range`"):
            isbi2012_scores(labels, proposal)

    scores = isbi2012_scores(
        labels, proposal, value_range=as_they_are, workers=1, compiled=compiled
    )

    official = case["official"]
    headline = {
        "pixel.error": scores.pixel_error,
        "randFR.error": scores.rand_error,
        "warping": scores.warping_error,
        "vrandThin": scores.v_rand,
        "vinfoThin": scores.v_info,
    }
    lists = {
        "pixel.fScore": scores.pixel.scores,
        "randFR.fScore": scores.rand.scores,
        "vrandThin.fScore": scores.thin_rand.scores,
        "vinfoThin.scores": scores.thin_info.scores,
    }
    counts = {key: getattr(scores.warping, name) for key, name in CLASSES.items()}
    compared = 0
    for key, ours in (headline | lists).items():
        if key in official:
            np.testing.assert_allclose(ours, official[key], rtol=0, atol=1e-9, err_msg=key)
            compared += 1
    for key, ours_exact in counts.items():
        if key in official:
            np.testing.assert_array_equal(ours_exact, official[key], err_msg=key)
            compared += 1
    assert compared == (8 if case["name"] == "edge_label_u16_65535" else 15)


@pytest.mark.parametrize("case", official_cases("ctc"))
def test_seg(case: dict[str, Any]) -> None:
    folder = ORACLES / "ctc" / case["name"]
    references = sorted((folder / "01_GT" / "SEG").glob("man_seg*.tif"))
    assert references
    results = [folder / "01_RES" / f"mask{path.stem[-3:]}.tif" for path in references]
    scores = seg_measure(map(tifffile.imread, references), map(tifffile.imread, results))
    assert scores.seg == pytest.approx(case["seg"], rel=0, abs=1e-12)
    assert scores.objects == case["reference_objects"]
    assert len(scores.jaccards) == len(references)
