"""A TIFF of any layout gives its pixels; what is missing or damaged does not go unnoticed."""

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_helpers import GREY, LAYOUTS, PIXELS, ZYX, first_page_only, write_pages
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack


@pytest.fixture(params=LAYOUTS, ids=lambda name: name.replace(", ", "-").replace(" ", "-"))
def layout(request: pytest.FixtureRequest) -> Callable[[Path, NDArray[Any]], None]:
    return LAYOUTS[request.param]


def test_every_layout_reads_the_same_pixels(tmp_path, layout):
    path = tmp_path / "stack.tif"
    layout(path, PIXELS)
    with open_stack(path) as stack:
        assert (stack.shape, stack.dtype, len(stack)) == ((6, 16, 32), np.uint16, 6)
        assert stack.dtype.isnative
        assert stack.path == path
        np.testing.assert_array_equal(stack[4], PIXELS[4])
        np.testing.assert_array_equal(stack[-1], PIXELS[5])
        np.testing.assert_array_equal(np.stack(list(stack)), PIXELS)
        with pytest.raises(IndexError, match="slice 6 of a stack of 6"):
            stack[6]
    np.testing.assert_array_equal(read_stack(path), PIXELS)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint32", "int16", "int32", "float16", "float32", "float64"]
)
def test_dtypes_are_kept(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype), metadata=ZYX)
    found = read_stack(tmp_path / "a.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, GREY)


def test_no_cut_of_any_file_goes_unnoticed(tmp_path, layout):
    """Cut after each byte: an error of one line, or (padding at the end) all pixels as they were.

    tifffile by itself returns one slice, or the first few, for many of these.
    """
    small = PIXELS[:5, :, :16]
    path, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    layout(path, small)
    data = path.read_bytes()
    errors = 0
    for length in range(0, len(data), 13):
        cut.write_bytes(data[:length])
        try:
            found = read_stack(cut)
        except InputError as error:
            errors += 1
            assert str(cut) in str(error)
            assert "\n" not in str(error)
        else:
            np.testing.assert_array_equal(found, small)
    assert errors >= (len(data) - 8) // 13


@pytest.mark.parametrize("name", ["page by page", "tiled", "ImageJ, deflate", "BigTIFF"])
def test_a_cut_at_a_page_edge_is_noticed(tmp_path, name):
    path = tmp_path / "cut.tif"
    LAYOUTS[name](path, PIXELS)
    with tifffile.TiffFile(path) as tif:
        edge = tif.pages[3].offset
    path.write_bytes(path.read_bytes()[:edge])
    with pytest.raises(InputError, match=r"cut\.tif: truncated: page 3 .* copy or export it again"):
        open_stack(path)


@pytest.mark.parametrize("name", ["deflate, predictor", "tiled", "OME, deflate", "ImageJ, deflate"])
def test_fewer_pages_than_the_file_declares(tmp_path, name):
    """The chain of pages ends properly, but too early: an interrupted writer does that."""
    path = tmp_path / "stack.tif"
    LAYOUTS[name](path, PIXELS)
    first_page_only(path)
    with pytest.raises(InputError, match=r"declares 6 slices and has 1"):
        open_stack(path)


def test_imagej_stack_of_one_page(tmp_path):
    """Beyond 4 GB ImageJ writes one directory and all pixels behind it: valid."""
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY[0], metadata=None, description="ImageJ=1.53t\nimages=6\nslices=6\n")
    with path.open("ab") as file:
        file.write(GREY[1:].tobytes())
    np.testing.assert_array_equal(read_stack(path), GREY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"truncated|declares"):
        open_stack(path)


@pytest.mark.parametrize("name", ["page by page", "tiled, deflate", "one page for all"])
def test_missing_pixels_show_when_the_file_is_opened(tmp_path, name):
    path = tmp_path / "cut.tif"
    LAYOUTS[name](path, PIXELS)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cut\.tif: truncated: "):
        open_stack(path)


def test_damage_in_a_compressed_page_names_file_and_slice(tmp_path):
    path = tmp_path / "stack.tif"
    LAYOUTS["tiled, deflate"](path, PIXELS)
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[2].dataoffsets[1]
    data = bytearray(path.read_bytes())
    data[start + 8 : start + 24] = bytes(16)
    path.write_bytes(data)
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[1], PIXELS[1])
        with pytest.raises(InputError, match=r"stack\.tif: slice 2 cannot be read .*damaged"):
            stack[2]


def test_missing_codec_is_one_clear_line(tmp_path):
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, GREY, compression="lzw", metadata=ZYX)
    np.testing.assert_array_equal(read_stack(path), GREY)
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"  # as if it were not installed
        "from paper_unet.images import open_stack\n"
        f"open_stack({str(path)!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stderr.strip().splitlines()[-1]
    assert re.search(r"InputError: .*lzw\.tif: .*LZW.*imagecodecs.*uncompressed", last)


@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "lzma"])
def test_compressions_of_the_extra_codecs(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, compression=compression, metadata=ZYX)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), PIXELS)


def test_blocks_without_pixels_are_damage(tmp_path):
    """A tile of 0 bytes is how an unfinished file looks; readers fill it with zeros."""
    path = tmp_path / "sparse.tif"
    LAYOUTS["tiled"](path, GREY)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        counts = list(tif.pages[1].databytecounts)
        tif.pages[1].tags["TileByteCounts"].overwrite([0, *counts[1:]])
    with pytest.raises(InputError, match="page 1 has blocks without pixels"):
        open_stack(path)


def test_a_size_beyond_all_memory(tmp_path):
    path = tmp_path / "huge.tif"
    LAYOUTS["page by page, deflate"](path, GREY)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for page in tif.pages:
            page.tags["ImageWidth"].overwrite(2**31)
            page.tags["ImageLength"].overwrite(2**31)
    with pytest.raises(InputError, match=r"huge\.tif: compressed in pieces of .* tiled TIFF"):
        read_stack(path)


def test_a_stack_beyond_the_memory(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", GREY, metadata=ZYX)

    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(InputError, match=r"a\.tif: uint8 of shape \(6, 16, 32\).* memory"):
        read_stack(tmp_path / "a.tif")


def test_pages_in_a_circle(tmp_path):
    path = tmp_path / "circle.tif"
    write_pages(path, GREY[:2])
    with tifffile.TiffFile(path) as tif:
        place = tif.pages[1].offset + 2 + 12 * len(tif.pages[1].tags)
    data = bytearray(path.read_bytes())
    data[place : place + 4] = struct.pack("<I", 8)
    path.write_bytes(data)
    with pytest.raises(InputError, match="points back"):
        open_stack(path)
