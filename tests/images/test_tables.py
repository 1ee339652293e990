"""Formats stand in tables, under names that journals keep."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_helpers import GREY, PIXELS
from PIL import Image
from test_inputs import FORMATS

from paper_unet.images import create_output, open_stack
from paper_unet.images.outputs import OUTPUTS

IMAGES = {
    "contiguous": "TiffStack", "TIFF folder": "FolderStack", "Zarr v3": "ZarrStack",
    "OME-Zarr 0.4": "ZarrStack",
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_journals_know_each_reader_by_the_same_name(tmp_path: Path, name: str) -> None:
    """An interrupted run goes on only if its input has the identity that it began with."""
    with open_stack(FORMATS[name](tmp_path, PIXELS)) as stack:
        found = stack.identity()
    assert found["format"] == IMAGES[name]
    stamps = {"TiffStack": {"bytes", "modified"}, "FolderStack": {"files"},
              "ZarrStack": {"metadata", "chunks"}}  # fmt: skip
    assert found.keys() == {"format", "shape", "dtype", "pixels", *stamps[IMAGES[name]]}


def test_journals_know_pictures_and_colours_by_the_same_name(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    with open_stack(tmp_path / "a.png") as stack:
        assert stack.identity().keys() == {
            "format", "shape", "dtype", "pixels", "bytes", "modified"
        }  # fmt: skip
        assert stack.identity()["format"] == "PngStack"
    colour = np.stack([GREY[0]] * 3, axis=-1)
    (tmp_path / "in").mkdir()
    for name in ("b.png", "c.jpg", "in/1.png"):
        Image.fromarray(colour).save(tmp_path / name)
    tifffile.imwrite(tmp_path / "d.tif", colour, photometric="rgb")
    for name in ("b.png", "c.jpg", "in", "d.tif"):
        with open_stack(tmp_path / name, channels=3) as stack:
            found = stack.identity()
        assert found["format"] == "ColourStack"
        assert found["channels"] == 3
        assert found.keys() == {"format", "shape", "dtype", "pixels", "files", "channels"}


def test_journals_know_each_output_by_the_same_name(tmp_path: Path) -> None:
    names = {s: type(create_output(tmp_path / f"a{s}", (1, 2, 3), "u1")).__name__ for s in OUTPUTS}
    assert names == {
        ".tif": "TiffOutput", ".tiff": "TiffOutput", ".btf": "TiffOutput", ".tf8": "TiffOutput",
        ".zarr": "ZarrOutput",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "loads"), [("a.tif", "tifffile"), ("a.png", "PIL"), ("", "")])
def test_a_library_is_loaded_when_its_format_is_used(tmp_path: Path, name: str, loads: str) -> None:
    """The libraries of all formats take a second."""
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    use = f"paper_unet.images.read_stack({str(tmp_path / name)!r})" if name else ""
    code = (
        f"import sys, paper_unet.images\n{use}\n"
        "print(*{'tifffile', 'PIL', 'zarr', 'numcodecs'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == loads.split()
