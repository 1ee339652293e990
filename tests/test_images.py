import errno
import hashlib
import logging
import os
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
from numpy.typing import NDArray
from PIL import Image

import paper_unet.images.tiff_output as tiff_output
from paper_unet.errors import InputError
from paper_unet.images import (
    create_tiff,
    open_stack,
    parse_slices,
    read_stack,
    refuse_same_file,
    to_unit_range,
    write_atomic,
)

ZYX = {"axes": "ZYX"}
# Every pixel of PIXELS differs from the one at the same place in the other slices.
PIXELS = np.random.default_rng(0).permutation(6 * 16 * 32).reshape(6, 16, 32).astype(np.uint16)
GREY = (PIXELS % 251).astype(np.uint8)


def write_pages(path: Path, stack: NDArray[Any], **options: Any) -> None:
    """One page after the other, each followed by its pixels: what most microscopes write."""
    with tifffile.TiffWriter(path) as writer:
        for image in stack:
            writer.write(image, contiguous=False, metadata=None, **options)


def write_ome_float(path: Path, stack: NDArray[Any]) -> None:
    tifffile.imwrite(path, stack.astype(np.float32), ome=True, metadata=ZYX)


def options(**given: Any) -> Callable[[Path, NDArray[Any]], None]:
    return lambda path, stack: tifffile.imwrite(path, stack, **given)


LAYOUTS: dict[str, Callable[[Path, NDArray[Any]], None]] = {
    "contiguous": options(),
    "contiguous, no metadata": options(metadata=None),
    "page by page": write_pages,
    "page by page, deflate": lambda path, stack: write_pages(path, stack, compression="zlib"),
    "big endian": options(byteorder=">", metadata=ZYX),
    "deflate, predictor": options(compression="zlib", predictor=True, metadata=ZYX),
    "strips": options(rowsperstrip=4, metadata=ZYX),
    "strips, deflate": options(rowsperstrip=4, compression="zlib", metadata=ZYX),
    "tiled": options(tile=(16, 16), metadata=ZYX),
    "tiled, deflate": options(tile=(16, 16), compression="zlib", metadata=ZYX),
    "OME": options(ome=True, metadata=ZYX),
    "OME, tiled": options(ome=True, tile=(16, 16), metadata=ZYX),
    "OME, deflate": options(ome=True, compression="zlib", metadata=ZYX),
    "ImageJ": options(imagej=True, metadata=ZYX),
    "ImageJ, deflate": options(imagej=True, compression="zlib", metadata=ZYX),
    "one page for all": options(truncate=True, metadata=ZYX),
    "BigTIFF": options(bigtiff=True, metadata=ZYX),
    "BigTIFF, deflate": options(bigtiff=True, compression="zlib", metadata=ZYX),
}


@pytest.fixture(params=LAYOUTS, ids=lambda name: name.replace(", ", "-").replace(" ", "-"))
def layout(request: pytest.FixtureRequest) -> Callable[[Path, NDArray[Any]], None]:
    return LAYOUTS[request.param]


def first_page_only(path: Path) -> None:
    """End the chain of pages after the first, as ImageJ writes stacks beyond 4 GB."""
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    data = bytearray(path.read_bytes())
    data[place : place + 4] = bytes(4)
    path.write_bytes(data)


# reading


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

    monkeypatch.setattr("paper_unet.images.np.empty", refuse)
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


# what the file is


def test_missing_folder_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("<html>404 not found</html>")
    (tmp_path / "nothing").mkdir()
    for name, reason in [
        ("none.tif", "no such file"),
        ("nothing", "the folder is empty"),
        ("empty.tif", "the file is empty"),
        ("text.tif", "not a TIFF file"),
    ]:
        with pytest.raises(InputError, match=reason) as caught:
            open_stack(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_file_without_read_permission(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", GREY)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.tif: cannot be read \(Permission denied\)"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("samples", [3, 4])
def test_colour_is_refused_with_the_remedy(tmp_path, samples):
    colour = np.stack([GREY] * samples, axis=-1)
    extra = ["unassalpha"] if samples == 4 else None
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", extrasamples=extra)
    with pytest.raises(InputError, match=rf"{samples} values for each pixel .*8-bit"):
        open_stack(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"values for each pixel"):
        open_stack(tmp_path / "a.tif", axes="ZYXS")


def test_planar_colour_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", GREY[:3], photometric="rgb", planarconfig="separate", metadata=None
    )
    with pytest.raises(InputError, match=r"3 values for each pixel"):
        open_stack(tmp_path / "a.tif")


def test_palette_colour_is_refused(tmp_path):
    palette = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], photometric="palette", colormap=palette)
    with pytest.raises(InputError, match=r"PALETTE; grey values are accepted"):
        open_stack(tmp_path / "a.tif")


def test_pages_of_several_slices_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, tile=(2, 16, 16), volumetric=True, metadata=None)
    with pytest.raises(InputError, match=r"save it with one page for each slice"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength"])
def test_no_pixels_are_refused(tmp_path, tag):
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages[0].tags[tag].overwrite(0)
    with pytest.raises(InputError, match=r"an image of \d+x\d+ pixels"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.bool_, np.complex64, np.int8, np.int64])
def test_dtypes_without_grey_values_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype), metadata=ZYX)
    with pytest.raises(InputError, match=r"values of \w+; accepted are uint8"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_as_zero_is_inverted(tmp_path, compression):
    tifffile.imwrite(
        tmp_path / "a.tif", 65535 - PIXELS, photometric="miniswhite", compression=compression
    )
    found = read_stack(tmp_path / "a.tif")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, PIXELS)


def test_white_as_zero_of_floats_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(InputError, match="MINISWHITE"):
        open_stack(tmp_path / "a.tif")


def test_single_images_and_single_slices(tmp_path):
    for name, image, given in [
        ("yx.tif", GREY[0], {}),
        ("qyx.tif", GREY[:1], {}),
        ("zyx.tif", GREY[:1], {"metadata": ZYX}),
        ("tzcyx.tif", GREY[None, :1, None], {"imagej": True}),
        ("pixel.tif", GREY[:1, :1, :1], {"metadata": ZYX}),
    ]:
        tifffile.imwrite(tmp_path / name, image, **given)
        found = read_stack(tmp_path / name)
        np.testing.assert_array_equal(found, image.reshape(1, *image.shape[-2:]))


@pytest.mark.parametrize(
    ("axes", "shape", "reason"),
    [
        ("ZCYX", (3, 2, 16, 32), "2 channels"),
        ("TYX", (6, 16, 32), "6 time points"),
        ("TZYX", (3, 2, 16, 32), "3 time points"),
    ],
)
def test_channels_and_time_points_are_refused(tmp_path, axes, shape, reason):
    tifffile.imwrite(tmp_path / "a.tif", GREY.reshape(shape), metadata={"axes": axes})
    with pytest.raises(InputError, match=rf"{reason} \(axes {axes}.*--axes"):
        open_stack(tmp_path / "a.tif")


def test_single_channels_and_time_points_are_dropped(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        GREY[None, :, None],
        metadata={"axes": "TZCYX"},
        photometric="minisblack",
    )
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), GREY)


def test_given_axes_win(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(read_stack(path, axes="zyx"), GREY)
    for axes, reason in [("YX", "one letter"), ("ZZYX", "one letter"), ("YXZ", "accepted are ZYX")]:
        with pytest.raises(InputError, match=reason):
            open_stack(path, axes=axes)
    tifffile.imwrite(path, GREY, metadata=ZYX)
    with pytest.raises(InputError, match="6 channels"):
        open_stack(path, axes="CYX")


def test_two_unknown_axes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.reshape(3, 2, 16, 32))
    with pytest.raises(InputError, match=r"axes QQYX .* --axes"):
        open_stack(tmp_path / "a.tif")


def test_several_series_are_listed(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY)
        writer.write(PIXELS[:, :4])
    with pytest.raises(InputError, match=r"holds 2 image series \(0: .*uint8, 1: .*--series K"):
        open_stack(path)
    np.testing.assert_array_equal(read_stack(path, series=1), PIXELS[:, :4])
    with pytest.raises(InputError, match="no series 2"):
        open_stack(path, series=2)


def test_the_library_logs_nothing(tmp_path, caplog, capfd):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY[0], metadata=None, description="ImageJ=1.53t\nimages=6\nslices=6\n")
    with caplog.at_level(logging.DEBUG):
        with tifffile.TiffFile(path) as tif:
            assert len(tif.series) == 1
        assert "ImageJ" in caplog.text  # the library alone does
        caplog.clear()
        with pytest.raises(InputError, match="ImageJ declares 6 images and the file has 1"):
            open_stack(path)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.data
def test_real_stacks(isbi2012_folder, vnc_stack):
    pixels = read_stack(isbi2012_folder / "train-volume.tif")
    assert (pixels.shape, pixels.dtype) == ((30, 512, 512), np.uint8)
    with open_stack(vnc_stack) as stack:
        assert (stack.shape, stack.dtype) == ((20, 1024, 1024), np.uint8)
        np.testing.assert_array_equal(stack[19], tifffile.imread(vnc_stack, key=19))


# slices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, range(30)),
        ("24:30", range(24, 30)),
        ("24:", range(24, 30)),
        (":6", range(6)),
        (":", range(30)),
        ("3", range(3, 4)),
        (" 0 : 1 ", range(1)),
    ],
)
def test_slices(text, expected):
    assert parse_slices(text, 30) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "1:2:3", "-6:", "30", "24:31", "6:6", "7:6", "1,2", "1 2", "²"]
)
def test_slices_that_are_none(text):
    with pytest.raises(InputError, match=r"30"):
        parse_slices(text, 30)


# grey values


def test_uint8_is_divided_by_255():
    every = np.arange(256, dtype=np.uint8)
    found = to_unit_range(every)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (np.arange(256) / 255).astype(np.float32))


def test_the_rule_never_looks_at_the_content():
    dark = np.array([0, 1], np.uint8)
    np.testing.assert_array_equal(to_unit_range(dark), np.float32([0, 1 / 255]))
    with pytest.raises(InputError, match=r"a: uint16 has no scale .*--range LOW HIGH"):
        to_unit_range(dark.astype(np.uint16), name="a")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_a_range_is_linear_and_clips_beyond_it(dtype):
    found = to_unit_range(np.array([0, 50, 100, 200], dtype), (50, 150))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0, 0.5, 1], atol=1e-7)


def test_floats_stay_as_they_are_within_0_and_1():
    image = np.array([[0, 0.25], [0.5, 1]])
    np.testing.assert_array_equal(to_unit_range(image), image.astype(np.float32))
    for wrong in (-0.5, 255.0):
        with pytest.raises(InputError, match=rf"values from .*{wrong:g}.*--range LOW HIGH"):
            to_unit_range(np.array([0, wrong, 1]))


@pytest.mark.parametrize("value_range", [None, (0, 255)])
def test_nan_and_infinity_are_counted(value_range):
    image = np.zeros((3, 4), np.float32)
    image[1, :2] = np.nan, -np.inf
    with pytest.raises(InputError, match="slice 7: 2 of 12 pixels are NaN or infinite"):
        to_unit_range(image, value_range, name="slice 7")


@pytest.mark.parametrize("value_range", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_ranges_that_are_none(value_range):
    with pytest.raises(InputError, match="LOW < HIGH"):
        to_unit_range(GREY, value_range)


@pytest.mark.parametrize("dtype", [np.bool_, np.complex64])
def test_no_grey_values(dtype):
    with pytest.raises(InputError, match="convert to uint8 or float32"):
        to_unit_range(np.zeros(3, dtype))


# writing


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 7, 9), (3, 1, 1)])
def test_written_in_any_order_it_reads_back(tmp_path, shape, dtype):
    path = tmp_path / "out.tif"
    stack = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    with create_tiff(path, shape, dtype) as writer:
        for z in reversed(range(shape[0])):
            writer[z] = stack[z]
        assert not path.exists()
    found = tifffile.imread(path)
    assert (found.shape, found.dtype) == (shape, dtype)
    np.testing.assert_array_equal(found, stack)
    np.testing.assert_array_equal(read_stack(path), stack)
    with tifffile.TiffFile(path) as tif:
        assert (tif.series[0].axes, tif.is_bigtiff) == ("ZYX", False)
        if shape[2] > 1:  # tifffile stores columns of one pixel as one page
            assert len(tif.pages) == shape[0]
        assert tif.pages.first.is_contiguous
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_another_reader_agrees(tmp_path, dtype):
    """Pillow shares no code with the library that writes here."""
    with create_tiff(tmp_path / "out.tif", PIXELS.shape, dtype) as writer:
        for z, image in enumerate(PIXELS):
            writer[z] = (image % 256).astype(dtype)
    with Image.open(tmp_path / "out.tif") as opened:
        assert (opened.n_frames, opened.size) == (6, (32, 16))
        for z in range(6):
            opened.seek(z)
            np.testing.assert_array_equal(np.asarray(opened), PIXELS[z] % 256)


def test_beyond_4_gb_it_is_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_output, "CLASSIC_LIMIT", GREY.nbytes - 1)
    with create_tiff(tmp_path / "big.tif", GREY.shape, np.uint8) as writer:
        for z, image in enumerate(GREY):
            writer[z] = image
    with tifffile.TiffFile(tmp_path / "big.tif") as tif:
        assert tif.is_bigtiff
        assert len(tif.pages) == 6
    np.testing.assert_array_equal(read_stack(tmp_path / "big.tif"), GREY)


def test_same_pixels_same_bytes(tmp_path):
    for name, order in [("a.tif", range(6)), ("b.tif", reversed(range(6)))]:
        with create_tiff(tmp_path / name, GREY.shape, np.uint8) as writer:
            for z in order:
                writer[z] = GREY[z]
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


class Stopped(BaseException):
    """Like KeyboardInterrupt: no Exception."""


@pytest.mark.parametrize("error", [ValueError, Stopped])
def test_an_exception_leaves_no_file(tmp_path, error):
    with pytest.raises(error), create_tiff(tmp_path / "out.tif", GREY.shape, np.uint8) as writer:
        writer[0] = GREY[0]
        assert writer.partial.name == "out.tif.partial"
        assert writer.partial.exists()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_slice_leaves_no_file(tmp_path):
    with (
        pytest.raises(InputError, match="1 of 6 slices were never written, the first is 4"),
        create_tiff(tmp_path / "out.tif", GREY.shape, np.uint8) as writer,
    ):
        for z in (0, 1, 2, 3, 5):
            writer[z] = GREY[z]
    assert list(tmp_path.iterdir()) == []


def test_wrong_slices_are_refused(tmp_path):
    with create_tiff(tmp_path / "out.tif", (1, 16, 32), np.uint8) as writer:
        for wrong in (GREY[0, :8], PIXELS[0], GREY):
            with pytest.raises(InputError, match=r"the stack takes uint8 of shape \(16, 32\)"):
                writer[0] = wrong
        for z in (1, -1):
            with pytest.raises(IndexError, match=f"slice {z} of a stack of 1"):
                writer[z] = GREY[0]
        writer[0] = GREY[0]
    with pytest.raises(InputError, match="not open"):
        writer[0] = GREY[0]


def test_existing_output_is_refused_and_kept(tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"out\.tif: exists already; .*--overwrite"):
        create_tiff(path, GREY.shape, np.uint8)
    with pytest.raises(Stopped), create_tiff(path, GREY.shape, np.uint8, overwrite=True):
        raise Stopped
    assert path.read_text() == "precious"
    with create_tiff(path, (1, 16, 32), np.uint8, overwrite=True) as writer:
        writer[0] = GREY[0]
        assert path.read_text() == "precious"
    np.testing.assert_array_equal(read_stack(path), GREY[:1])


def test_output_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "out.tif"
    with (
        pytest.raises(InputError, match="exists already"),
        create_tiff(path, (1, 16, 32), np.uint8) as writer,
    ):
        writer[0] = GREY[0]
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "reason"),
    [
        ("out.png", (1, 2, 2), "uint8", r"end its name in \.tif"),
        ("none/out.tif", (1, 2, 2), "uint8", "does not exist; create it first"),
        ("out.tif", (0, 2, 2), "uint8", "each at least 1"),
        ("out.tif", (2, 2), "uint8", r"accepted is \(Z, Y, X\)"),
        ("out.tif", (1, 2, 2), "float64", "accepted are uint8"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, shape, dtype, reason):
    with pytest.raises(InputError, match=reason):
        create_tiff(tmp_path / name, shape, dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_shows_before_anything_is_written(tmp_path):
    writer = create_tiff(tmp_path / "out.tif", (1000, 10**6, 10**6), np.uint8)
    with pytest.raises(InputError, match=r"1000000000\d* bytes needed, \d+ free"), writer:
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")
def test_space_is_reserved_before_the_first_slice(tmp_path):
    with create_tiff(tmp_path / "out.tif", (64, 64, 1024), np.uint8) as writer:
        assert writer.partial.stat().st_blocks * 512 >= 64 * 64 * 1024
        for z in range(64):
            writer[z] = np.zeros((64, 1024), np.uint8)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_reserve(tmp_path, monkeypatch, code):
    def fail(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    writer = create_tiff(tmp_path / "out.tif", (1, 16, 32), np.uint8)
    if code == errno.ENOSPC:
        with pytest.raises(InputError, match=r"disk is full: \d+ bytes needed, \d+ free"), writer:
            pass
        assert list(tmp_path.iterdir()) == []
    else:
        with writer:
            writer[0] = GREY[0]
        np.testing.assert_array_equal(read_stack(tmp_path / "out.tif"), GREY[:1])


def test_two_writers_of_one_output(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "out.tif"
    with create_tiff(path, (1, 16, 32), np.uint8) as writer:
        with (
            pytest.raises(InputError, match="another process is writing it"),
            create_tiff(path, (1, 16, 32), np.uint8),
        ):
            pass
        writer[0] = GREY[0]
    np.testing.assert_array_equal(read_stack(path), GREY[:1])


def test_a_writer_that_finishes_while_another_opens(tmp_path, monkeypatch):
    """Between opening and locking, the file got its final name: it must not be written again."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "out.tif"

    def finish(*_: object) -> None:
        (tmp_path / "out.tif.partial").rename(path)
        path.write_text("finished")

    monkeypatch.setattr(fcntl, "flock", finish)
    with (
        pytest.raises(InputError, match="another process"),
        create_tiff(path, (1, 16, 32), np.uint8),
    ):
        pass
    assert path.read_text() == "finished"


KILLED = """
import os, signal, sys
import numpy as np
from paper_unet.images import create_tiff
with create_tiff(sys.argv[1], (6, 16, 32), np.uint8) as writer:
    writer[0] = np.ones((16, 32), np.uint8)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_leaves_no_final_name_and_is_no_obstacle(tmp_path):
    path = tmp_path / "out.tif"
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert run.returncode == -9
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif.partial"]
    with (tmp_path / "out.tif.partial").open("ab") as leftover:
        leftover.write(b"from a larger stack" * 1000)
    for name in ("out.tif", "clean.tif"):
        with create_tiff(tmp_path / name, GREY.shape, np.uint8) as writer:
            for z, image in enumerate(GREY):
                writer[z] = image
    assert path.read_bytes() == (tmp_path / "clean.tif").read_bytes()
    np.testing.assert_array_equal(read_stack(path), GREY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clean.tif", "out.tif"]


# files


def test_write_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="does not exist"):
        write_atomic(tmp_path / "none" / "a.json", b"")


def test_the_input_is_no_output(tmp_path):
    source = tmp_path / "in.tif"
    source.touch()
    (tmp_path / "link.tif").symlink_to(source)
    (tmp_path / "hard.tif").hardlink_to(source)
    for same in ("in.tif", "link.tif", "hard.tif", "../" + tmp_path.name + "/in.tif"):
        with pytest.raises(InputError, match="is the input"):
            refuse_same_file(source, tmp_path / same)
    refuse_same_file(source, tmp_path / "out.tif")
    assert hashlib.sha256(source.read_bytes()).hexdigest().startswith("e3b0c442")
