"""A store under another name is known by what it holds: a document, and a chunk that says much."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from paper_unet.images import open_stack
from paper_unet.images.readers.zarr_store import RegularFiles

SHAPE = (1, 2560, 2560)


def make(path: Path, pixels: dict[tuple[int, int], int], **more: Any) -> Path:
    """A Zarr of 10 x 10 chunks: those given are noise of a seed, the others are not there."""
    array = zarr.create_array(
        path, shape=SHAPE, dtype="uint8", chunks=(1, 256, 256), fill_value=0, **more
    )
    for (row, column), seed in pixels.items():
        noise = np.random.default_rng(seed).integers(0, 256, (256, 256), np.uint8)
        noise[:, : 255 if seed else 0] = 7  # seed 0: hardly compressed; others: nearly nothing
        array[0, 256 * row : 256 * (row + 1), 256 * column : 256 * (column + 1)] = noise
    return path


def lies_in(source: Path, place: Path) -> bool:
    with open_stack(source, missing="fill") as stack:
        return stack.lies_in(RegularFiles(place, read_only=True))


@pytest.mark.parametrize("version", [2, 3])
def test_a_copy_of_which_hardly_a_chunk_is_there(tmp_path: Path, version: Any) -> None:
    """Whichever chunk it is: of few that are looked at none may be there."""
    source = make(tmp_path / "a.zarr", {(3, 7): 0}, zarr_format=version)
    copy = shutil.copytree(source, tmp_path / "copy.zarr")
    assert lies_in(source, copy)
    other = make(tmp_path / "b.zarr", {(3, 7): 1}, zarr_format=version)
    assert not lies_in(source, other)


def test_a_chunk_that_says_much_is_compared(tmp_path: Path) -> None:
    """Images are often black at their corners."""
    source = make(tmp_path / "a.zarr", {(0, 0): 1, (9, 9): 0})
    same_corner = make(tmp_path / "b.zarr", {(0, 0): 1, (9, 9): 2})
    assert not lies_in(source, same_corner)
    assert lies_in(source, shutil.copytree(source, tmp_path / "copy.zarr"))


def test_other_documents_are_another_image(tmp_path: Path) -> None:
    source = make(tmp_path / "a.zarr", {(0, 0): 0})
    other = make(tmp_path / "b.zarr", {(0, 0): 0}, attributes={"of": "another"})
    assert not lies_in(source, other)


def test_a_store_in_a_zip_file_is_a_file_of_its_own(tmp_path: Path) -> None:
    source = make(tmp_path / "a.zarr", {(0, 0): 0})
    packed = shutil.make_archive(str(tmp_path / "a.zarr"), "zip", source)
    assert not lies_in(Path(packed), source)


def test_a_file_of_another_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "a.zarr", {(0, 0): 0})
    other = shutil.copytree(source, tmp_path / "b.zarr")
    (other / "c/0/0/0").write_bytes(b"x" * 10**6)
    place = RegularFiles(other, read_only=True)
    read: list[str] = []
    monkeypatch.setattr(place, "read", lambda key: read.append(key) or (other / key).read_bytes())
    with open_stack(source, missing="fill") as stack:
        assert not stack.lies_in(place)
    assert read and not any("c/" in key for key in read)
