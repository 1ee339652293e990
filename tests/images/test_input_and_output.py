"""An output never takes the place of its input, holds it, or lies inside it."""

import hashlib
from pathlib import Path

import pytest
import tifffile
from image_helpers import GREY

from paper_unet.errors import InputError
from paper_unet.images import open_stack
from paper_unet.system.files import refuse_same_file


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.zarr" / "0" / "c").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "raw.zarr")
    (tmp_path / "inner").symlink_to(tmp_path / "raw.zarr" / "0")
    (tmp_path / "away").mkdir()
    (tmp_path / "raw.zarr" / "out").symlink_to(tmp_path / "away")
    return tmp_path / "raw.zarr"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("raw.zarr/0", "raw.zarr"),
        ("raw.zarr/0/c", "raw.zarr"),
        ("inner", "raw.zarr"),
        ("inner/c", "link"),
        ("raw.zarr/0", "link"),
        ("link/0", "raw.zarr"),
        ("raw.zarr/out", "raw.zarr"),  # only the link would be lost, which is the input's name
        ("away/../raw.zarr/0", "./raw.zarr"),
        ("raw.zarr/not there", "raw.zarr"),
    ],
)
def test_an_output_that_holds_the_input(raw: Path, source: str, target: str) -> None:
    with pytest.raises(InputError, match=r"holds the input .* choose another output$"):
        refuse_same_file(source, target)
    with pytest.raises(InputError, match="holds the input"):
        refuse_same_file(raw.parent / source, raw.parent / target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("raw.zarr", "raw.zarr/out.zarr"),
        ("raw.zarr", "raw.zarr/0"),
        ("link", "raw.zarr/0/out.tif"),
        ("raw.zarr", "link/out.tif"),
        ("raw.zarr/0", "inner/out.tif"),
        ("away", "raw.zarr/out/out.tif"),
    ],
)
def test_an_output_inside_the_input(raw: Path, source: str, target: str) -> None:
    with pytest.raises(InputError, match=r"lies inside the input .* choose another output$"):
        refuse_same_file(source, target)


@pytest.mark.parametrize(
    "place", ["out.zarr.partial/0", "out.zarr.0123456789abcdef.replaced", "out.zarr.journal"]
)
def test_an_input_in_what_a_run_removes(raw: Path, place: str) -> None:
    (raw.parent / place).mkdir(parents=True)
    with pytest.raises(InputError, match=r"would replace out\.zarr\..*, which holds the input"):
        refuse_same_file(place, "out.zarr")
    refuse_same_file(place, "other.zarr")
    refuse_same_file(place, "away/out.zarr")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("raw.zarr", "out.zarr"),
        ("raw.zarr/0", "raw.zarr/1"),
        ("raw.zarr/0", "raw.zarr/0.zarr"),
        ("raw.zarr", "raw.zarr.zarr"),
        ("raw.zarr", "away/raw.zarr"),
        ("raw.zarr/0", "away/raw.zarr"),
    ],
)
def test_others_are_allowed(raw: Path, source: str, target: str) -> None:
    refuse_same_file(source, target)


def test_sections_that_are_links_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    tifffile.imwrite(tmp_path / "2.tif", GREY[1])
    tifffile.imwrite(tmp_path / "links" / "1.tif", GREY[0])
    (tmp_path / "links" / "2.tif").symlink_to(tmp_path / "2.tif")
    with open_stack(tmp_path / "links") as stack:
        assert stack.files == (tmp_path / "links", tmp_path / "links" / "2.tif")
    with pytest.raises(InputError, match="is the input"):
        refuse_same_file(stack.files[1], tmp_path / "2.tif")


def test_the_input_is_no_output(tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    source.touch()
    (tmp_path / "link.tif").symlink_to(source)
    (tmp_path / "hard.tif").hardlink_to(source)
    for same in ("in.tif", "link.tif", "hard.tif", "../" + tmp_path.name + "/in.tif"):
        with pytest.raises(InputError, match="is the input"):
            refuse_same_file(source, tmp_path / same)
    refuse_same_file(source, tmp_path / "out.tif")
    assert hashlib.sha256(source.read_bytes()).hexdigest().startswith("e3b0c442")
