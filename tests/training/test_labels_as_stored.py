"""Labels are numbers: how a file is to be shown, inverted or in colours, changes none of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from train_helpers import blobs, small, write_stacks

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.training.reading import read_training_set

CELLS = blobs(sections=4)
NUMBERS = CELLS.astype(np.uint8) * np.arange(1, 91, dtype=np.uint8)[:, None]
COLOURS = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)


def read(folder: Path, labels: Path, kind: str, **more: Any) -> Any:
    images, _ = write_stacks(folder)
    config = small(folder, images=images, labels=str(labels), label_kind=kind, **more)
    return read_training_set(config)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "palette"])
@pytest.mark.parametrize("kind", ["membrane", "instance", "class"])
def test_however_they_are_to_be_shown(tmp_path: Path, kind: str, photometric: str) -> None:
    stored = {"membrane": CELLS * 255, "instance": NUMBERS, "class": CELLS}[kind].astype("u1")
    more = {"colormap": COLOURS} if photometric == "palette" else {}
    tifffile.imwrite(tmp_path / "l.tif", stored, photometric=photometric, **more)
    found = read(tmp_path, tmp_path / "l.tif", kind, **({"classes": 2} if kind == "class" else {}))
    tifffile.imwrite(tmp_path / "plain.tif", stored, photometric="minisblack")
    plain = read(
        tmp_path, tmp_path / "plain.tif", kind, **({"classes": 2} if kind == "class" else {})
    )
    assert found.fingerprint() == plain.fingerprint()
    if kind != "instance":
        np.testing.assert_array_equal(found.classes, CELLS)


def test_pictures_of_one_bit_and_palettes(tmp_path: Path) -> None:
    for name in ("one_bit", "palette"):
        (tmp_path / name).mkdir()
    for z, section in enumerate(CELLS):
        Image.fromarray(section).save(tmp_path / "one_bit" / f"{z}.png")
        picture = Image.fromarray(section.astype("u1"), "P")
        picture.putpalette([200, 3, 7, 9, 9, 9])
        picture.save(tmp_path / "palette" / f"{z}.png", bits=2)
    for name in ("one_bit", "palette"):
        found = read(tmp_path, tmp_path / name, "class", classes=2)
        np.testing.assert_array_equal(found.classes, CELLS)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("kind", ["membrane", "instance", "class"])
def test_labels_of_one_value_are_refused(tmp_path: Path, kind: str, value: int) -> None:
    labels = np.full(CELLS.shape, value, np.uint8)
    tifffile.imwrite(tmp_path / "l.tif", labels, photometric="minisblack")
    with pytest.raises(InputError, match=rf"l\.tif: labels are {value} everywhere in the sections"):
        read(tmp_path, tmp_path / "l.tif", kind)


def test_floats_are_no_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "l.tif", CELLS.astype("f4"), photometric="minisblack")
    with pytest.raises(InputError, match="labels are float32; integers are needed: convert them"):
        read(tmp_path, tmp_path / "l.tif", "membrane")


def test_missing_chunks_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An array of labels has none where there is nothing but background."""
    labels = CELLS.astype("u1")
    labels[1] = 0
    path = tmp_path / "l.zarr"
    zarr.create_array(path, shape=labels.shape, dtype="u1", chunks=(1, 90, 90))[:] = labels
    assert not (path / "c" / "1").exists()
    with pytest.raises(InputError, match=r"1 of 4 chunks are missing, of section 1"):
        read(tmp_path, path, "membrane")
    found = read(tmp_path, path, "membrane", missing="fill")
    np.testing.assert_array_equal(found.classes, labels)
    command = ["train", "--images", str(tmp_path / "images.tif"), "--labels", str(path)]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "say --missing fill to read them" in capsys.readouterr().err


def test_what_the_grey_values_become_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = write_stacks(tmp_path, np.uint16)
    command = ["train", "--images", images, "--labels", labels, "--out", str(tmp_path / "run")]
    more = ["--range", "0", "9", "--width", "2", "--tile", "188", "--steps", "1", "--slices", "1:3"]
    assert main([*command, *more]) == 0
    said = capsys.readouterr().err
    assert (
        "grey values of section 1: uint16 from 80 to 239; 0 is black and 9 white, 8100 of" in said
    )
    assert "warning: section 1: all grey values become white" in said


def test_inverted_images_are_learned_from_as_they_look(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    expected = read_training_set(small(tmp_path, images=images, labels=labels))
    stored = tifffile.imread(images)
    tifffile.imwrite(tmp_path / "white.tif", 255 - stored, photometric="miniswhite")
    white = small(tmp_path, images=str(tmp_path / "white.tif"), labels=labels)
    assert read_training_set(white).fingerprint() == expected.fingerprint()
