"""Images that are to be shown turned are read as they are stored, and that is said."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_helpers import GREY
from PIL import Image

from paper_unet.images import open_stack

SAID = "is to be shown turned or mirrored (orientation {}); its pixels are read in the order"


def picture(path: Path, orientation: int | None, section: int = 0) -> Path:
    if path.suffix == ".tif":
        tag = [] if orientation is None else [(0x0112, "H", 1, orientation, True)]
        tifffile.imwrite(path, GREY[section], photometric="minisblack", extratags=tag)
        return path
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(GREY[section]).save(path, exif=exif)
    return path


@pytest.mark.parametrize(("name", "labels"), [("a.png", False), ("a.png", True), ("a.jpg", False)])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8, 0, 9])
def test_an_orientation_is_said(
    tmp_path: Path, name: str, orientation: int | None, labels: bool
) -> None:
    path = picture(tmp_path / name, orientation)
    plain = picture(tmp_path / f"plain{path.suffix}", None)
    with open_stack(path, labels=labels) as stack, open_stack(plain, labels=labels) as other:
        np.testing.assert_array_equal(stack[0], other[0])
        turned = orientation in (3, 6, 8)
        assert [SAID.format(orientation) in note for note in stack.notes] == [True] * turned


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, on opening a JPEG
@pytest.mark.parametrize("data", [b"", b"MM\0*\0\0", b"II*\0" + b"\xff" * 40])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_damaged_exif_is_no_reason_to_refuse_the_pixels(
    tmp_path: Path, name: str, data: bytes
) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / name, exif=b"Exif\0\0" + data)
    with open_stack(tmp_path / name) as stack:
        assert not stack.notes
        assert stack[0].shape == GREY[0].shape


@pytest.mark.parametrize("orientations", [(6, 6), (1, 8), (3, 1), (3, 8)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_folder_says_it_once(tmp_path: Path, kind: str, orientations: tuple[int, int]) -> None:
    for number, orientation in enumerate(orientations):
        picture(tmp_path / f"{number}.{kind}", orientation, number)
    with open_stack(tmp_path) as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), GREY[:2])
        (note,) = stack.notes
        first = next(k for k, one in enumerate(orientations) if one != 1)
        assert f"{first}.{kind}: {SAID.format(orientations[first])}" in note
