from pathlib import Path

import pytest
from segmentation_helpers import SMALL, smooth, write

from paper_unet.images.outputs import precomputed, zarr


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small volumes have several blocks."""
    monkeypatch.setattr(zarr, "CHUNK", SMALL)
    monkeypatch.setattr(zarr.ZarrOutput, "alignment", (SMALL, SMALL))
    monkeypatch.setattr(precomputed.PrecomputedOutput, "alignment", (SMALL, SMALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with probabilities of 6 x 32 x 48 voxels."""
    write(tmp_path / "p.tif", smooth((6, 32, 48)))
    return tmp_path
