"""Smaller versions beside an image are what its folder names, within itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from image_helpers import GREY

from paper_unet.images import level_paths, open_stack
from paper_unet.images.ome_metadata import ome_attributes
from paper_unet.images.readers.zarr_names import inside

NAMES: dict[object, str | None] = {
    "1": "1", "a/1": "a/1", "./1": "1", "a//1/": "a/1", "a\\1": "a/1", "..a/1..": "..a/1..",
    ".": "", "../secret.zarr": None, "a/../../b": None, "a\\..\\..\\b": None, "/etc": None,
    "\\\\server\\b": None, "a/..": None, "a\0": None, 1: None, None: None,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_inside(name: object) -> None:
    assert inside(name) == NAMES[name]


def ome_2(path: Path, names: list[object]) -> None:
    levels = [{"path": name} for name in names]
    (path / ".zattrs").write_text(json.dumps({"multiscales": [{"datasets": levels}]}))


def ome_3(path: Path, names: list[object]) -> None:
    levels = [{"path": name} for name in names]
    about = {"attributes": {"ome": {"multiscales": [{"datasets": levels}]}}}
    (path / "zarr.json").write_text(json.dumps(about))


def precomputed(path: Path, names: list[object]) -> None:
    (path / "info").write_text(json.dumps({"scales": [{"key": name} for name in names]}))


@pytest.mark.parametrize("write", [ome_2, ome_3, precomputed])
@pytest.mark.parametrize(
    "name", ["../secret.zarr", "a/../../secret.zarr", "..\\secret.zarr", ".", ""]
)
def test_names_that_lead_out_are_no_levels(
    tmp_path: Path, write: Callable[[Path, list[object]], None], name: str
) -> None:
    (tmp_path / "secret.zarr").mkdir()
    (path := tmp_path / "a.zarr").mkdir()
    write(path, ["0", "1", "b/2"])
    assert level_paths(path) == [path / "1", path / "b/2"]
    write(path, ["0", "1", name])
    assert level_paths(path) == []


@pytest.mark.parametrize("write", [ome_2, ome_3])
def test_names_from_the_root_are_no_levels(
    tmp_path: Path, write: Callable[[Path, list[object]], None]
) -> None:
    (secret := tmp_path / "secret.zarr").mkdir()
    (path := tmp_path / "a.zarr").mkdir()
    write(path, ["0", str(secret)])
    assert level_paths(path) == []


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["{}", "levels/{}"])
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_level_that_is_given_itself_has_its_size(
    tmp_path: Path, version: str, name: str, zipped: bool
) -> None:
    path = pyramid(tmp_path / "a.zarr", version, name)
    if zipped:
        path = Path(shutil.make_archive(str(path), "zip", path))
    for level in range(3):
        with open_stack(path / name.format(level)) as stack:
            assert stack.shape == (6, 16 >> level, 32 >> level)
            assert stack.pixel_size == pytest.approx((3, 2 << level, 1 << level))
            notes = [note for note in stack.notes if "begins at" in note]
            assert len(notes) == (level > 0)  # a pixel of many lies in their middle
            assert not any("labels" in note for note in notes)


@pytest.mark.parametrize("damage", [None, 3, [], {}, [{}], [{"datasets": 1}], "far"])
def test_a_level_of_an_image_that_is_damaged_is_a_plain_array(tmp_path: Path, damage: Any) -> None:
    path = pyramid(tmp_path / "a.zarr", "0.4", "{}")
    (path / ".zattrs").write_text(json.dumps({"multiscales": damage}))
    with open_stack(path / "1") as stack:
        assert stack.pixel_size == (None, None, None)
    (path / ".zattrs").write_text("[" * 100_000)
    with open_stack(path / "1") as stack:
        assert stack.pixel_size == (None, None, None)


def pyramid(path: Path, version: str, name: str) -> Path:
    """An image of three levels, of z = 3, y = 2 and x = 1 micrometre."""
    attributes = ome_attributes(version, 3, (3, 2, 1))
    for level in attributes.get("ome", attributes)["multiscales"][0]["datasets"]:
        level["path"] = name.format(level["path"])
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3, attributes=attributes)
    for level in range(3):
        data = GREY[:, :: 2**level, :: 2**level]
        group.create_array(name.format(level), shape=data.shape, dtype="u1")[:] = data
    return path
