"""Folders of sections: what else can be in them, and what they take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from image_helpers import GREY, PIXELS
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers.folder import natural_order


def test_natural_order_is_total() -> None:
    """Names that differ only by zeros or case keep one order, whatever the disk lists first."""
    names = ["a1.png", "A1.png", "a01.png", "a2.png", "a10.png", "b.png", "2.png", "10.png"]
    expected = ["2.png", "10.png", "A1.png", "a01.png", "a1.png", "a2.png", "a10.png", "b.png"]
    for order in (names, names[::-1]):
        assert sorted(order, key=lambda name: natural_order(Path(name))) == expected


def test_what_is_kept_holds_for_every_section(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "1.tif", GREY[0])
    with open_stack(tmp_path) as stack:
        assert stack.cache_bytes == 0
    tifffile.imwrite(tmp_path / "2.tif", GREY[1], compression="zlib")
    with open_stack(tmp_path) as stack, open_stack(tmp_path / "2.tif") as second:
        assert stack.cache_bytes == second.cache_bytes >= GREY[1].nbytes
        np.testing.assert_array_equal(stack[1], GREY[1])


@pytest.mark.parametrize("other", [GREY[0, :5], GREY[0].astype(np.uint16)])
def test_a_section_that_changed_meanwhile(tmp_path: Path, other: np.ndarray) -> None:
    for number in (1, 2):
        Image.fromarray(GREY[0]).save(tmp_path / f"{number}.png")
    with open_stack(tmp_path) as stack:
        Image.fromarray(other).save(tmp_path / "2.png")
        np.testing.assert_array_equal(stack[0], GREY[0])
        with pytest.raises(InputError, match=r"2\.png: .* all sections must be alike"):
            stack[1]


def test_a_section_that_is_gone_meanwhile(tmp_path: Path) -> None:
    for number in (1, 2):
        tifffile.imwrite(tmp_path / f"{number}.tif", GREY[0])
    with open_stack(tmp_path) as stack:
        (tmp_path / "2.tif").unlink()
        with pytest.raises(InputError, match=r"2\.tif: cannot be read"):
            stack[1]


def test_sections_beyond_pillows_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses what is large, for safety; its limit is the caller's, and stays."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.png"), GREY[:1])
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_png_of_other_modes_are_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(GREY[0]).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a PNG of mode {mode}; grey of up to 16 bits"):
        open_stack(tmp_path / "a.png")


def test_a_png_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        Image.fromarray(PIXELS[number]).save(tmp_path / f"{number}.png")
    loads, load = [], Image.Image.tobytes
    monkeypatch.setattr(
        Image.Image, "tobytes", lambda *given, **more: (loads.append(1), load(*given, **more))[1]
    )
    with open_stack(tmp_path) as stack:
        for z in (0, 1):
            for top in range(0, 16, 4):
                window = stack.window(z, (top, top + 4), (3, 9))
                np.testing.assert_array_equal(window, PIXELS[z + 1, top : top + 4, 3:9])
    assert len(loads) == 2


MEASURED = """
import re, sys
from paper_unet.images import open_stack
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
with open_stack(sys.argv[1]) as stack:
    before = peak()
    stack.window(0, (0, 10), (0, 10))
    print(peak() - before, stack.cache_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_png_takes_no_more_than_it_says(tmp_path: Path) -> None:
    """Pillow's own pixels included, which no Python tool sees: 32 MB."""
    Image.fromarray(np.zeros((4096, 4096), np.uint16)).save(tmp_path / "a.png", compress_level=1)
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "a.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    taken, stated = map(int, run.stdout.split())
    assert 2**25 <= taken <= stated + 2**23


def test_folders_called_zarr_without_metadata(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / "c").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a\.zarr: a folder without Zarr metadata"):
        open_stack(tmp_path / "a.zarr")


def test_partial_outputs_are_no_input(tmp_path: Path) -> None:
    """A TIFF takes all its room first, so one that is half written looks whole."""
    tifffile.imwrite(tmp_path / "a.tif.partial", GREY)
    zarr.create_group(tmp_path / "a.zarr.partial").create_array("0", shape=(2, 3), dtype="u1")
    for name in ("a.tif.partial", "a.zarr.partial", "a.zarr.partial/0"):
        with pytest.raises(InputError, match="partial output of a run"):
            open_stack(tmp_path / name)
    (tmp_path / "fetched.partial").mkdir()  # a whole file in a folder that is not finished
    tifffile.imwrite(tmp_path / "fetched.partial" / "a.tif", GREY)
    np.testing.assert_array_equal(read_stack(tmp_path / "fetched.partial" / "a.tif"), GREY)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_memory_is_compared_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A file of 20 kB that decodes to 16 MB, three times that on the way."""
    Image.fromarray(np.zeros((4096, 4096), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "tobytes", lambda *_, **__: pytest.fail("was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda *_, **__: pytest.fail("was decoded"))
    with open_stack(tmp_path / "a.png" if kind == "file" else tmp_path) as stack:
        with pytest.raises(InputError, match=r"decoding takes 51 MB of memory, 50 MB are allowed"):
            stack.check_memory(50_000_000)
        stack.check_memory(3 * 2**24)
