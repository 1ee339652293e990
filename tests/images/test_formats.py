"""Formats stand in tables, under names that journals keep."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
from image_helpers import GREY, PIXELS
from numpy.typing import NDArray
from output_helpers import complete, windows, write
from PIL import Image
from test_inputs import FORMATS

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import Output, Stack, create_output, open_stack, read_stack
from paper_unet.images.outputs.kinds import OUTPUTS
from paper_unet.images.readers import READERS
from paper_unet.images.stack import Span
from paper_unet.model import UNet
from paper_unet.networks.weights_file import save_model

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
        ".h5": "Hdf5Output", ".hdf5": "Hdf5Output", ".zarr": "ZarrOutput",
        ".precomputed": "PrecomputedOutput",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "loads"),
    [("a.tif", "tifffile"), ("a.png", "PIL"), ("a.h5", "h5py"), ("a.mrc", "mrcfile"), ("", "")],
)
def test_a_library_is_loaded_when_its_format_is_used(tmp_path: Path, name: str, loads: str) -> None:
    """The libraries of all formats take a second."""
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    mrcfile.write(tmp_path / "a.mrc", GREY.astype("u2"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = GREY
    use = f"paper_unet.images.read_stack({str(tmp_path / name)!r})" if name else ""
    code = (
        f"import sys, paper_unet.images\n{use}\n"
        "print(*{'tifffile', 'PIL', 'zarr', 'numcodecs', 'h5py', 'mrcfile'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == loads.split()


# --- formats that the package does not know: what CONTRIBUTING.md shows --------------------------


class NpyStack(Stack):
    """An array of NumPy's own format, (Z, Y, X)."""

    @classmethod
    def accepts(cls, path: Path) -> bool:
        return path.suffix == ".npy"

    def __init__(self, path: Path, *, channels: int = 1, **choices: Any) -> None:
        super().__init__(path, channels=channels, **choices)
        self._pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        count, *_, height, width = self._pixels.shape
        self.shape, self.dtype = (count, height, width), self._pixels.dtype

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        return np.array(self._pixels[z, ..., slice(*rows), slice(*columns)])


class NpyOutput(Output):
    """The same, written through a memory map."""

    def prepare(self, *, resume: bool) -> None:
        mode = "r+" if resume else "w+"
        np.lib.format.open_memmap(self.partial, mode, self.dtype, self.shape)

    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> None:
        self._check_window(z, row, column, pixels)
        height, width = pixels.shape
        self._opened()[z, row : row + height, column : column + width] = pixels

    def sync(self, z: int, rows: Span, columns: Span) -> None:
        self._opened().flush()

    def _opened(self) -> Any:
        if self._handle is None:
            self._handle = np.lib.format.open_memmap(self.partial, "r+")
        return self._handle

    def _size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize + 128


@pytest.fixture
def npy() -> Iterator[None]:
    READERS.insert(0, NpyStack)
    OUTPUTS[".npy"] = NpyOutput
    yield
    READERS.remove(NpyStack)
    del OUTPUTS[".npy"]


@pytest.mark.usefixtures("npy")
def test_a_reader_from_outside(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npy"), PIXELS)
    with open_stack(tmp_path / "a.npy") as stack:
        np.testing.assert_array_equal(stack.window(2, (3, 5), (7, 9)), PIXELS[2, 3:5, 7:9])
        assert stack.identity()["format"] == "NpyStack"
        assert stack.identity()["bytes"] == (tmp_path / "a.npy").stat().st_size
    with pytest.raises(InputError, match="`series` is for TIFF"):
        open_stack(tmp_path / "a.npy", series=0)
    colour = np.stack([PIXELS, PIXELS + 1, PIXELS + 2], axis=1)
    np.save(tmp_path / "b.npy", colour)
    np.testing.assert_array_equal(read_stack(tmp_path / "b.npy", channels=3), colour)
    tifffile.imwrite(tmp_path / "c.tif", PIXELS)
    np.testing.assert_array_equal(read_stack(tmp_path / "c.tif"), PIXELS)  # as before


@pytest.mark.usefixtures("npy")
def test_an_output_from_outside(tmp_path: Path) -> None:
    output = create_output(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype)
    output.prepare(resume=False)
    write(output, PIXELS, windows(output, 5, 9))
    assert not (tmp_path / "a.npy").exists()
    complete(output)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), PIXELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    with pytest.raises(InputError, match="exists already"):
        create_output(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype)
    with pytest.raises(
        InputError, match=r"end its name in one of \.tif, .*\.zarr, \.precomputed, \.npy"
    ):
        create_output(tmp_path / "a.npz", PIXELS.shape, PIXELS.dtype)


@pytest.mark.usefixtures("npy")
def test_a_prediction_from_and_to_what_is_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "in.npy", GREY)
    tifffile.imwrite(tmp_path / "in.tif", GREY)
    save_model(tmp_path / "small.safetensors", UNet(width=2))
    for kind in ("npy", "tif"):
        command = ["predict", str(tmp_path / f"in.{kind}"), "-o", str(tmp_path / f"out.{kind}")]
        assert main([*command, "--weights", str(tmp_path / "small.safetensors")]) == 0, (
            capsys.readouterr().err
        )
    found = np.load(tmp_path / "out.npy")
    assert found.shape == GREY.shape
    np.testing.assert_array_equal(found, read_stack(tmp_path / "out.tif"))
