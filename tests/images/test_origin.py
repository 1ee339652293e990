"""Files that begin elsewhere than at 0: what is written from them does not, and that is said."""

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import zarr
from hdf5_helpers import data_set
from image_helpers import GREY
from n5_helpers import write_n5

from paper_unet.images import open_stack
from paper_unet.images.ome_metadata import ome_attributes

AT = "begins at z 1000 {0}, y 200 {0}, x -300 {0}; what is written from it begins at 0"


def ome(path: Path, start: Any, version: str = "0.5", *, whole: bool = False) -> Path:
    """An image whose own transforms, or those of its level, say where it begins."""
    attributes = ome_attributes(version, 1, (0.05, 0.004, 0.004))
    about = attributes.get("ome", attributes)["multiscales"][0]
    for axis in about["axes"]:
        axis["unit"] = "nanometer"
    scale = {"type": "scale", "scale": [50, 4, 4]}
    moved = {"type": "translation", "translation": start}
    about["datasets"][0]["coordinateTransformations"] = [scale, *([] if whole else [moved])]
    if whole:
        twice = {"type": "scale", "scale": [1, 2, 2]}
        about["coordinateTransformations"] = [twice, moved]
    kind: Any = 2 if version == "0.4" else 3
    group = zarr.create_group(path, zarr_format=kind, attributes=attributes)
    group.create_array("0", shape=GREY.shape, dtype="u1")[:] = GREY
    return path


def notes(path: Path, **choices: Any) -> tuple[str, ...]:
    with open_stack(path, **choices) as stack:
        np.testing.assert_array_equal(stack[3], GREY[3])
        return stack.notes


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_an_ome_zarr(tmp_path: Path, version: str, whole: bool) -> None:
    path = ome(tmp_path / "a.zarr", [1000, 200, -300], version, whole=whole)
    expected = f"{path}: {AT.format('nanometer')}, but for labels that lie in it"
    assert notes(path) == (expected,)


@pytest.mark.parametrize("start", [[0, 0, 0], [1], "far", [None] * 3, [1e999] * 3, [{}, 1, 1]])
def test_an_ome_zarr_that_begins_at_0_or_is_damaged_there(tmp_path: Path, start: Any) -> None:
    path = ome(tmp_path / "a.zarr", start)
    assert notes(path) == ()
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.004, 0.004))


def test_hdf5(tmp_path: Path) -> None:
    path = data_set(attrs={"offset": (1000.0, 200.0, -300.0)})(tmp_path / "a.h5", GREY)
    assert notes(path) == (f"{path}: {AT.format('nm')}",)
    for k, offset in enumerate([(0, 0, 0), 7, "far", (np.nan,) * 3]):
        assert notes(data_set(attrs={"offset": offset})(tmp_path / f"{k}.h5", GREY)) == ()


@pytest.mark.parametrize("units", ["nm", ["nm", "nm", "nm"]])
def test_n5(tmp_path: Path, units: Any) -> None:
    about = {"scale": [50, 4, 4], "translate": [1000, 200, -300], "units": units}
    path = write_n5(tmp_path / "a.n5", "raw", GREY, transform=about)
    assert notes(path) == (f"{path}: {AT.format('nm')}",)
    for k, start in enumerate([[0, 0, 0], "far", [1], [None] * 3]):
        about = {"scale": [50, 4, 4], "translate": start}
        assert notes(write_n5(tmp_path / f"{k}.n5", "raw", GREY, transform=about)) == ()


def test_mrc(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(GREY.astype("u2"))
        file.header.origin = (-300.0, 200.0, 1000.0)
    assert notes(path) == (f"{path}: {AT.format('angstrom')}",)
