"""What a stored value means is said by the file: bits, white as zero, palettes, calibration."""

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_helpers import GREY, PIXELS
from PIL import Image
from tiff_bytes import ASCII, LONG, SHORT, Page, grey, packed, write_pages

from paper_unet import UNet, predict_stack
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack, to_unit_range
from paper_unet.networks.weights_file import save_model

RNG = np.random.default_rng(3)
BITS = [1, 2, 4, 8, 10, 12, 14, 16, 32]


def image_of(bits: int) -> Any:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    values = RNG.integers(0, 2**bits, (9, 21), dtype=np.uint64).astype(kind)
    values[0, :2] = 0, 2**bits - 1
    return values


def tiff_of(path: Path, image: Any, bits: int, photometric: int | None) -> Path:
    tag = None if photometric is None else (SHORT, [photometric])
    write_pages(path, [grey(image, bits, t262=tag)])
    return path


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("photometric", [None, 0, 1])
def test_every_depth_and_both_ends_of_the_scale(
    tmp_path: Path, bits: int, photometric: int | None
) -> None:
    """Where the tag is missing, black is zero; white has all bits of the tag, not of the type."""
    if bits in (10, 12, 14):
        pytest.importorskip("imagecodecs")
    image = image_of(bits)
    path = tiff_of(tmp_path / "a.tif", image, bits, photometric)
    white = image.dtype.type(2**bits - 1)
    shown = white - image if photometric == 0 else image
    with open_stack(path) as stack:
        assert stack.dtype == image.dtype
        np.testing.assert_array_equal(stack[0], shown)
        np.testing.assert_array_equal(stack.window(0, (2, 7), (3, 20)), shown[2:7, 3:20])
        assert len(stack.notes) == (photometric == 0)
        if photometric == 0:
            assert f"inverted, a value v is read as {white} - v" in stack.notes[0]
        scaled = to_unit_range(stack[0], stack.value_range((0, float(white)) if bits > 8 else None))
    np.testing.assert_allclose(scaled, shown / (2.0**bits - 1), atol=1e-7)
    np.testing.assert_array_equal(read_stack(path, labels=True)[0], image)


def test_that_values_are_inverted_is_said_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiff_of(tmp_path / "a.tif", GREY[0], 8, 0)
    with caplog.at_level(logging.INFO):
        read_stack(path)
    assert caplog.messages == [
        f"{path}: white is stored as zero; inverted, a value v is read as 255 - v"
    ]
    said: list[str] = []
    read_stack(path, say=said.append)
    assert said == caplog.messages
    caplog.clear()
    read_stack(path, labels=True)
    assert not caplog.messages


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_labels_of_signed_and_floating_types(tmp_path: Path, photometric: str, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype), photometric=photometric)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", labels=True), GREY)


def ramp(down: bool = False) -> Any:
    table = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    return table[:, ::-1] if down else table


def test_palettes(tmp_path: Path) -> None:
    """One of even greys is a scale; colours are no grey values, but may stand for labels."""
    path = tmp_path / "a.tif"
    colours = ramp()
    colours[0] = np.roll(colours[0], 7)
    for table, expected in [(ramp(), GREY[0]), (ramp(down=True), 255 - GREY[0]), (colours, None)]:
        tifffile.imwrite(path, GREY[0], photometric="palette", colormap=table)
        np.testing.assert_array_equal(read_stack(path, labels=True)[0], GREY[0])
        if expected is None:
            with pytest.raises(InputError, match="PALETTE; grey values are accepted"):
                read_stack(path)
        else:
            np.testing.assert_array_equal(read_stack(path)[0], expected)


def test_colours_are_no_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 3), "u1"), photometric="rgb")
    Image.fromarray(np.zeros((9, 9, 3), "u1")).save(tmp_path / "a.png")
    Image.fromarray(GREY[0]).save(tmp_path / "a.jpg")
    for name, reason in [
        ("tif", "3 values for each pixel"), ("png", "mode RGB"), ("jpg", "JPEG changes values"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=reason):
            open_stack(tmp_path / f"a.{name}", labels=True)


# --- pictures -----------------------------------------------------------------------------------


def png_of(
    path: Path,
    image: Any,
    bits: int,
    colour: int = 0,
    rows: int | None = None,
    passes: Any = ((0, 0, 1, 1),),
) -> Path:
    """Write a PNG without filters; ``passes`` are (left, top, step right, step down)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sealed = kind + data
        return struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    filtered = b"".join(
        b"\0" + packed(row[None], bits)
        for left, top, right, down in passes
        for row in image[top::down, left::right]
        if row.size
    )
    height, width = image.shape
    interlaced = len(passes) > 1
    head = struct.pack(">IIBBBBB", width, rows or height, bits, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(3 * 2**bits))) if colour == 3 else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette
        + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    )  # fmt: skip
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_values_of_a_png_of_any_depth(tmp_path: Path, bits: int) -> None:
    image = image_of(bits)
    path = png_of(tmp_path / "a.png", image, bits)
    for labels in (False, True):
        found = read_stack(path, labels=labels)
        assert found.dtype == image.dtype
        np.testing.assert_array_equal(found[0], image)
    with open_stack(path) as stack:
        scale = stack.value_range((0, 65535) if bits == 16 else None)
        scaled = to_unit_range(stack[0], scale)
    np.testing.assert_allclose(scaled, image / (2.0**bits - 1), atol=1e-7)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_in_the_palette_of_a_png(tmp_path: Path, bits: int) -> None:
    image = image_of(bits)
    path = png_of(tmp_path / "a.png", image, bits, colour=3)
    np.testing.assert_array_equal(read_stack(path, labels=True)[0], image)
    with pytest.raises(InputError, match="a PNG of mode P; grey of up to 16 bits"):
        open_stack(path)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_a_png_that_declares_more_rows_than_it_holds(tmp_path: Path, bits: int) -> None:
    """Pillow fills up with zeros, without a word."""
    path = png_of(tmp_path / "a.png", image_of(bits), bits, rows=12)
    with pytest.raises(InputError, match=r"a\.png: declares 12 rows and holds \d+ of their \d+"):
        read_stack(path)


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (9, 21), (3, 1)])
@pytest.mark.parametrize("bits", [1, 8])
def test_interlaced_pngs_are_whole(tmp_path: Path, size: tuple[int, int], bits: int) -> None:
    """Their rows come in seven passes, by the standard's table."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]  # fmt: skip
    image = RNG.integers(0, 2**bits, size).astype(np.uint8)
    path = png_of(tmp_path / "a.png", image, bits, passes=passes)
    np.testing.assert_array_equal(read_stack(path)[0], image)
    png_of(path, image, bits, rows=size[0] + 8, passes=passes)
    with pytest.raises(InputError, match=r"declares \d+ rows and holds"):
        read_stack(path)


def test_grey_jpegs_are_grey(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    for place in ("a.jpg", "in/1.jpg", "in/2.jpeg"):
        Image.fromarray(smooth).save(tmp_path / place, quality=95)
    decoded = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.jpg")[0], decoded)
    assert read_stack(tmp_path / "in").shape == (2, 40, 50)
    Image.fromarray(np.stack([smooth] * 3, -1)).save(tmp_path / "c.jpg")
    with pytest.raises(InputError, match="a JPEG of mode RGB; grey of up to 16 bits is accepted"):
        open_stack(tmp_path / "c.jpg")


def test_sections_of_a_folder_have_one_meaning(tmp_path: Path) -> None:
    tiff_of(tmp_path / "1.tif", GREY[0], 8, 1)
    tiff_of(tmp_path / "2.tif", GREY[1], 8, 0)
    with pytest.raises(InputError, match=r"2\.tif: its grey values have another meaning"):
        open_stack(tmp_path)
    np.testing.assert_array_equal(read_stack(tmp_path, labels=True), GREY[:2])
    tiff_of(tmp_path / "1.tif", GREY[0], 8, 0)
    np.testing.assert_array_equal(read_stack(tmp_path), 255 - GREY[:2])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_predicted_as_if_spread_over_eight(tmp_path: Path, bits: int) -> None:
    """By the command and by the library, of TIFF and PNG; an 8-bit copy gives the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UNet(width=2)
    save_model(tmp_path / "net.safetensors", model)
    values = RNG.integers(0, 2**bits, (40, 44)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "wide.tif", values * (255 // (2**bits - 1)))
    expected = predict_stack(model, read_stack(tmp_path / "wide.tif"))
    assert np.ptp(expected) > 1e-3
    tiff_of(tmp_path / "few.tif", values, bits, 1)
    tiff_of(tmp_path / "white.tif", 2**bits - 1 - values, bits, 0)
    png_of(tmp_path / "few.png", values, bits)
    for name in ("few.tif", "white.tif", "few.png"):
        with open_stack(tmp_path / name) as stack:
            np.testing.assert_allclose(predict_stack(model, stack), expected, atol=1e-6)
        files = [str(tmp_path / word) for word in (name, "net.safetensors", "out.tif")]
        command = ["predict", files[0], "--weights", files[1], "-o", files[2], "--overwrite"]
        assert main(command) == 0
        np.testing.assert_allclose(read_stack(tmp_path / "out.tif"), expected, atol=1e-6)


# --- ImageJ's calibration -----------------------------------------------------------------------


def calibrated(path: Path, stored: Any, text: str, bits: int, **tags: Any) -> Path:
    about = f"ImageJ=1.54f\nimages={len(stored)}\nslices={len(stored)}\n{text}\nloop=false\n"
    page = grey(stored, bits, ">", t270=(ASCII, about), **tags)
    page.tags = {**page.tags, 279: (LONG, [stored[0].nbytes])}
    write_pages(path, [page], ">")
    return path


@pytest.mark.parametrize("labels", [False, True])
def test_signed_values_are_stored_shifted(tmp_path: Path, labels: bool) -> None:
    values = RNG.integers(-32768, 32768, (3, 12, 10)).astype(np.int16)
    stored = (values.astype(np.int32) + 32768).astype(np.uint16)
    path = calibrated(tmp_path / "a.tif", stored, "cf=0\nc0=-32768.0\nc1=1.0", 16)
    with open_stack(path, labels=labels) as stack:
        assert stack.dtype == np.int16
        np.testing.assert_array_equal(np.stack(list(stack)), values)
        assert "calibration is applied, a value v is read as -32768 + 1 v" in stack.notes[0]


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize(("zero", "slope"), [(0.0, 0.01), (-1000.0, 1.0), (255.0, -1.0)])
def test_other_straight_lines_become_floats(
    tmp_path: Path, bits: int, dtype: Any, zero: float, slope: float
) -> None:
    stored = RNG.integers(0, 2**bits, (2, 12, 10)).astype(dtype)
    path = calibrated(tmp_path / "a.tif", stored, f"cf=0\nc0={zero}\nc1={slope}", bits)
    found = read_stack(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (zero + slope * stored.astype(float)).astype(np.float32))
    np.testing.assert_array_equal(read_stack(path, labels=True), stored)


@pytest.mark.parametrize("text", ["", "cf=0\nc0=0.0\nc1=1.0", "cf=20", "c0=5.0\nc1=2.0"])
def test_calibrations_that_change_nothing(tmp_path: Path, text: str) -> None:
    path = calibrated(tmp_path / "a.tif", PIXELS[:2, :12, :10], text, 16)
    with open_stack(path) as stack:
        assert (stack.dtype, stack.notes) == (np.uint16, ())
        np.testing.assert_array_equal(stack[1], PIXELS[1, :12, :10])


def test_a_line_of_which_the_function_is_not_named(tmp_path: Path) -> None:
    """With a unit of values, ImageJ's function is the straight line if the file names none."""
    stored = np.uint16(32768) + PIXELS[:2, :12, :10]
    path = calibrated(tmp_path / "a.tif", stored, "c0=-32768.0\nc1=1.0\nvunit=gray value", 16)
    with open_stack(path) as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), stored.astype(int) - 32768)
        assert "calibration is applied" in stack.notes[0]


def test_signed_values_that_are_stored_as_such(tmp_path: Path) -> None:
    stored = PIXELS[:2, :12, :10].astype(np.int16) - 300
    text = "cf=0\nc0=-32768.0\nc1=1.0"
    path = calibrated(tmp_path / "a.tif", stored, text, 16, t339=(SHORT, [2]))
    with open_stack(path) as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), stored)
        assert stack.notes == ()


@pytest.mark.parametrize("slope", ["NaN", "1e400", "steep"])
def test_a_line_that_is_none(tmp_path: Path, slope: str) -> None:
    path = calibrated(tmp_path / "a.tif", PIXELS[:2], f"cf=0\nc0=1.0\nc1={slope}", 16)
    with pytest.raises(InputError, match="of which c0 or c1 is no finite number"):
        open_stack(path)


def test_floats_are_not_calibrated_again(tmp_path: Path) -> None:
    """ImageJ's table is for 8 and 16 bits; it shows floats as they are stored."""
    values = RNG.random((2, 12, 10)).astype(np.float32)
    path = calibrated(tmp_path / "a.tif", values, "cf=0\nc0=5.0\nc1=2.0", 32, t339=(SHORT, [3]))
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[1], values[1])
        assert "calibration is not applied" in stack.notes[0]


@pytest.mark.parametrize("function", ["1", "7", "21", "x"])
def test_curves_are_refused_by_number(tmp_path: Path, function: str) -> None:
    path = calibrated(tmp_path / "a.tif", PIXELS[:2], f"cf={function}\nc0=1.0\nc1=2.0", 16)
    with pytest.raises(InputError, match=r"by the curve number .*Image > Type > 32-bit") as refusal:
        open_stack(path)
    assert "\n" not in str(refusal.value)
    np.testing.assert_array_equal(read_stack(path, labels=True), PIXELS[:2])


def test_pages_of_one_strip_are_as_declared() -> None:
    """Of the writer used here: values of 12 bits, rows begin with a byte."""
    assert packed(np.array([[0xABC, 0x123, 0xFFF]]), 12) == bytes.fromhex("abc123fff0")
    assert Page(b"", (1, 1), 8).entries(8)[273] == (LONG, [8])
