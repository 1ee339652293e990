"""Official values, and images for hypothesis."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

ORACLES = Path(
    os.environ.get("PAPER_UNET_ORACLES") or Path(__file__).resolve().parents[3] / "shared/oracles"
)

plain_and_compiled = pytest.mark.parametrize(
    "compiled", [pytest.param(False, id="plain"), pytest.param(True, id="numba")]
)


def official_cases(kind: str) -> list[Any]:
    """One parameter per official case; one that skips where the official values are not."""
    path = ORACLES / kind / "reference.json"
    if not path.exists():
        reason = f"{path} not found: set PAPER_UNET_ORACLES to the folder of official values"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-oracles")]
    content = json.loads(path.read_text())
    cases = content["cases"] if isinstance(content, dict) else content
    return [pytest.param(case, id=case["name"]) for case in cases]


def blobs(seed: int, shape: tuple[int, ...], smooth: float = 1.5) -> np.ndarray:
    """Smooth random values that spread over [0, 1], each slice on its own."""
    noise = np.random.default_rng(seed).random(shape)
    sigma = (0,) * (len(shape) - 2) + (smooth, smooth)
    values = ndimage.gaussian_filter(noise, sigma)
    low, span = values.min(), np.ptp(values)
    return ((values - low) / (span or 1)).astype(np.float32)


@st.composite
def stacks(draw: st.DrawFn, slices: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities: noise or blobs, with many ties, any small size."""
    z = slices or draw(st.integers(1, 3))
    y, x = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    shape = (z, y, x)
    levels = npst.arrays(np.uint8, shape, elements=st.integers(0, 10))
    if draw(st.booleans()):
        return draw(npst.arrays(np.bool_, shape)), (draw(levels) / 10).astype(np.float32)
    seed = draw(st.integers(0, 9999))
    labels = blobs(seed, shape, 1.0) > draw(st.sampled_from([0.3, 0.45]))
    return labels, (blobs(seed + 1, shape, 0.7) * 0.6 + 0.4 * labels).astype(np.float32)
