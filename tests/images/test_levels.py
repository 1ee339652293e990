"""Smaller versions beside an image are what its folder names, within itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paper_unet.images import level_paths
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
