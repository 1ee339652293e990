"""MRC files: modes, signs, byte orders, headers, and what is refused in a line."""

import os
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from image_helpers import GREY, PIXELS
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack

SIGNED = (GREY.astype("i2") - 128).astype("i1")
MODES = {
    "int8": SIGNED, "int16": PIXELS.astype("i2") - 1000, "float32": PIXELS.astype("f4") / 7,
    "uint16": PIXELS,
}  # fmt: skip
NX, MODE, MX, MAPC, DMIN, DMAX, ISPG, NSYMBT, IMOD, MAP, STAMP = (
    0, 12, 28, 64, 76, 80, 88, 92, 152, 208, 212,
)  # fmt: skip
"""Where some words of a header begin, bytes."""


def write(path: Path, stack: NDArray[Any], order: str = "<", voxel: Any = None) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(stack.astype(stack.dtype.newbyteorder(order)))
        if voxel:
            file.voxel_size = voxel
    return path


def changed(path: Path, place: int, *words: int, order: str = "<") -> Path:
    """Write 32-bit words over those of a header."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(np.array(words, f"{order}i4").tobytes())
    return path


def refused(path: Path, reason: str, **choices: Any) -> None:
    with pytest.raises(InputError, match=reason) as got, open_stack(path, **choices) as stack:
        list(stack)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("ending", [".mrc", ".mrcs", ".st", ".map", ".rec", ".MRC"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", MODES)
def test_modes_and_byte_orders(tmp_path: Path, name: str, order: str, ending: str) -> None:
    stack = MODES[name]
    with open_stack(write(tmp_path / f"a{ending}", stack, order)) as opened:
        assert (opened.shape, opened.dtype) == (stack.shape, np.dtype(name))
        np.testing.assert_array_equal(list(opened), stack)
        for z, rows, columns in [
            (0, (0, 16), (0, 32)),
            (5, (3, 11), (8, 27)),
            (2, (15, 16), (31, 32)),
        ]:
            found = opened.window(z, rows, columns)
            np.testing.assert_array_equal(found, stack[z, slice(*rows), slice(*columns)])
            assert found.dtype == np.dtype(name)
        assert opened.identity()["format"] == "MrcStack"


def test_one_image(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_stack(write(tmp_path / "a.mrc", PIXELS[0])), PIXELS[:1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_extended_header_is_passed_over(tmp_path: Path, order: str) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(PIXELS.astype(f"{order}u2"))
        file.set_extended_header(np.frombuffer(b"\7" * 800, "V80"))
    assert (tmp_path / "a.mrc").stat().st_size == 1024 + 800 + PIXELS.nbytes
    np.testing.assert_array_equal(read_stack(tmp_path / "a.mrc"), PIXELS)


# bytes with and without a sign


def test_signed_bytes_are_said(tmp_path: Path) -> None:
    with open_stack(write(tmp_path / "a.mrc", SIGNED)) as stack:
        assert stack.own_range == (-128, 127)
        assert stack.value_range(None) == (-128, 127)
        assert stack.value_range((0, 100)) == (0, 100)
        (note,) = stack.notes
        assert "are signed: -128 is black and 127 white unless `value_range`" in note


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("said", "signed"),
    [({IMOD: (1146047817, 1)}, True), ({IMOD: (1146047817, 0)}, False),
     ({IMOD: (1146047817, 3), DMAX: (0x43480000,)}, True),  # the flag says more than the maximum
     ({IMOD: (7, 0)}, True), ({DMIN: (0, 0x43480000)}, False),  # 0 and 200
     ({DMIN: (0, 0x42C80000)}, True)],  # 0 and 100
)  # fmt: skip
def test_who_says_that_bytes_are_unsigned(
    tmp_path: Path, said: dict[int, tuple[int, ...]], signed: bool, order: str
) -> None:
    path = write(tmp_path / "a.mrc", GREY.view("i1"))
    if order == ">":  # bytes have none, so the header is always written little-endian
        data = path.read_bytes()
        words = np.frombuffer(data[:208], "<i4").astype(">i4").tobytes()
        path.write_bytes(words + b"MAP \x11\x11\0\0" + data[216:])
    for place, values in said.items():
        changed(path, place, *values, order=order)
    with open_stack(path) as stack:
        assert stack.dtype == ("int8" if signed else "uint8")
        np.testing.assert_array_equal(list(stack), GREY.view("i1") if signed else GREY)
        assert ("are signed" in stack.notes[0]) is signed
        assert stack.own_range == ((-128, 127) if signed else None)


# the size of a pixel


def test_pixel_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", PIXELS, voxel=(41.0, 37.0, 500.0))  # angstrom, x y z
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.0037, 0.0041))
    changed(path, MX, 0, 0, 0)
    with open_stack(path) as stack:
        assert stack.pixel_size == (None, None, None)
    with open_stack(write(tmp_path / "b.mrc", PIXELS, voxel=(0.0, 0.0, 0.0))) as stack:
        assert stack.pixel_size == (None, None, None)


# what is refused


@pytest.mark.parametrize(
    ("place", "words", "reason"),
    [
        (MODE, (3,), "values of mode 3, complex values of two int16; accepted are the modes 0, 1"),
        (MODE, (4,), "mode 4, complex"), (MODE, (12,), "mode 12, float16"),
        (MODE, (101,), "mode 101, 4 bits"), (MODE, (-5,), "mode -5, which is none that is known"),
        (NX, (0,), "0 x 16 x 6 pixels"), (NX, (-32,), "-32 x 16 x 6 pixels"),
        (NX, (2**31 - 1, 2**31 - 1, 2**31 - 1), "truncated: 2147483647 sections need"),
        (MAPC, (3, 2, 1), r"lie along the axes \(3, 2, 1\); accepted are \(1, 2, 3\)"),
        (MAPC, (1, 3, 2), r"axes \(1, 3, 2\)"), (MAPC, (0, 0, 0), r"axes \(0, 0, 0\)"),
        (NSYMBT, (-1,), "truncated"), (NSYMBT, (-2000,), "truncated"),
        (NSYMBT, (2**31 - 1,), "truncated: 6 sections need 2147490815 bytes"),
        (MAP, (0,), "is no MRC file, though its name says so, or one of before 2000"),
        (STAMP, (0,), "its machine stamp is 00 00 00 00, by which"),
    ],
)  # fmt: skip
def test_headers_that_are_refused(
    tmp_path: Path, place: int, words: tuple[int, ...], reason: str
) -> None:
    refused(changed(write(tmp_path / "a.mrc", PIXELS), place, *words), reason)


def test_a_stack_of_volumes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", PIXELS)
    changed(changed(path, ISPG, 401), MX, 32, 16, 3)
    refused(path, r"stack of several volumes \(space group 401\); save one of them")
    np.testing.assert_array_equal(read_stack(changed(path, MX, 32, 16, 6)), PIXELS)


def test_no_cut_of_a_file_goes_unnoticed(tmp_path: Path) -> None:
    data = write(tmp_path / "a.mrc", PIXELS).read_bytes()
    for size in [0, 1, 100, 1023, 1024, 1025, *range(2000, len(data), 500), len(data) - 1]:
        (tmp_path / "a.mrc").write_bytes(data[:size])
        refused(tmp_path / "a.mrc", rf"truncated: .* the file has {size}; copy or export it again")


def test_bytes_behind_the_last_section_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", PIXELS)
    path.write_bytes(path.read_bytes() + bytes(10))
    with open_stack(path) as stack:
        np.testing.assert_array_equal(list(stack), PIXELS)
        assert "10 bytes behind the last section that its header has are left out" in stack.notes[0]


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path) -> None:
    with open_stack(write(tmp_path / "a.mrc", PIXELS)) as stack:
        stack[5]
        os.truncate(tmp_path / "a.mrc", 3000)
        with pytest.raises(InputError, match="slice 5 cannot be read: the file became shorter"):
            stack[5]


def test_other_choices_and_other_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", PIXELS)
    refused(path, "is read as grey, the network takes 3 channels", channels=3)
    refused(path, 'axes "XYZ" for an MRC file', axes="XYZ")
    np.testing.assert_array_equal(read_stack(path, axes="zyx"), PIXELS)
    (tmp_path / "b.rec").write_bytes(b"\x93NUMPY" + bytes(2000))
    refused(tmp_path / "b.rec", "is a NumPy file")
    path.rename(tmp_path / "a.dat")
    refused(tmp_path / "a.dat", r"is an MRC file; its name has to end in \.mrc: rename it")


def test_without_the_library_the_remedy_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mrc", PIXELS)
    for name in [name for name in sys.modules if name.split(".")[0] == "mrcfile"]:
        monkeypatch.setitem(sys.modules, name, None)
    refused(path, r'MRC needs mrcfile, which is not installed: pip install "paper-unet\[mrc\]"')


def test_another_reader_agrees(tmp_path: Path) -> None:
    """By mrcfile itself, which this reader takes no pixels from."""
    for name, stack in MODES.items():
        path = write(tmp_path / f"{name}.mrc", stack, ">")
        np.testing.assert_array_equal(mrcfile.read(path), read_stack(path))
