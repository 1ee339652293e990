"""What commands find where they are to write, and did not make."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import tifffile
import zarr
from foreign_helpers import KINDS, everything, make

from paper_unet.cli import main
from paper_unet.demo import FILES

mpl.use("agg")


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command says that must end with exit code 2 and one line."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", KINDS)
def test_a_demo_replaces_only_a_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, options: list[str]
) -> None:
    for name in FILES:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "victim").write_text("mine")
        make(folder / name, kind)
        before = everything(folder)
        said = refused(capsys, "demo", "--out", folder, "--side", "96", *options)
        assert str(folder / name) in said
        assert everything(folder) == before


def test_a_demo_replaces_an_earlier_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["demo", "--out", str(tmp_path), "--sections", "1", "--side", "64"]
    assert main(command) == 0
    first = (tmp_path / FILES[0]).read_bytes()
    assert main([*command, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / FILES[0]).read_bytes() != first
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, ".lock"}
    capsys.readouterr()


def test_a_demo_that_does_not_fit_says_what_to_ask_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "demo", "--out", tmp_path / "demo", "--side", str(10**9))
    assert "MB are allowed; ask for fewer or smaller ones" in said
    assert not list(tmp_path.iterdir())


def test_a_picture_of_a_zarr_without_some_chunks(tmp_path: Path) -> None:
    """What is filled is filled when the picture's name is compared with the files, too."""
    cells = np.zeros((2, 64, 64), np.uint8)
    cells[0, 8:56, 8:56] = 1
    # a chunk of the fill value alone is not written
    zarr.create_array(tmp_path / "labels.zarr", data=cells, chunks=(1, 64, 64), fill_value=0)
    tifffile.imwrite(tmp_path / "prediction.tif", cells)
    words = [str(tmp_path / name) for name in ("labels.zarr", "prediction.tif")]
    more = ["--missing", "fill", "--plot", str(tmp_path / "plot.png")]
    assert main(["evaluate", *words, *more]) == 0
    assert (tmp_path / "plot.png").is_file()


def test_a_picture_of_one_class_of_several(tmp_path: Path) -> None:
    """The channel that is scored is chosen when the picture's name is compared, too."""
    cells = np.zeros((2, 64, 64), np.uint8)
    cells[0, 8:56, 8:56] = 255
    tifffile.imwrite(tmp_path / "labels.tif", cells)
    both = np.stack([255 - cells, cells])
    tifffile.imwrite(tmp_path / "all.tif", both, metadata={"axes": "CZYX"}, ome=True)
    words = [str(tmp_path / name) for name in ("labels.tif", "all.tif")]
    more = ["--channel", "1", "--plot", str(tmp_path / "plot.png")]
    assert main(["evaluate", *words, *more]) == 0
    assert (tmp_path / "plot.png").is_file()


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "file" not in kind])
def test_a_picture_takes_the_place_of_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, options: list[str]
) -> None:
    (tmp_path / "victim").write_text("mine")
    for name in ("labels.tif", "prediction.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((1, 8, 8), np.uint8))
    make(tmp_path / "plot.png", kind)
    before = everything(tmp_path)
    stacks = tmp_path / "labels.tif", tmp_path / "prediction.tif"
    said = refused(capsys, "evaluate", *stacks, "--plot", tmp_path / "plot.png", *options)
    assert "plot.png" in said
    assert everything(tmp_path) == before


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "file" not in kind])
def test_converted_weights_take_the_place_of_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, options: list[str]
) -> None:
    """Said before the file of the release is looked at."""
    (tmp_path / "victim").write_text("mine")
    make(tmp_path / "out.safetensors", kind)
    (tmp_path / "in.caffemodel").write_bytes(b"no network")
    before = everything(tmp_path)
    words = "import-caffe", tmp_path / "in.caffemodel", "-o", tmp_path / "out.safetensors"
    assert "out.safetensors" in refused(capsys, *words, *options)
    assert everything(tmp_path) == before


def test_a_picture_is_not_drawn_over_a_section_that_a_link_leads_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "plot.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.png").symlink_to(tmp_path / "plot.png")
    tifffile.imwrite(tmp_path / "prediction.tif", np.zeros((1, 8, 8), np.uint8))
    before = everything(tmp_path)
    words = "evaluate", tmp_path / "labels", tmp_path / "prediction.tif"
    said = refused(capsys, *words, "--plot", tmp_path / "plot.png", "--overwrite")
    assert "is the input" in said
    assert everything(tmp_path) == before
