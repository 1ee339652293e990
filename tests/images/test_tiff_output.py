import errno
import json
import os
import pickle
import random
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from output_helpers import check_kills, complete, contents, run_limited, windows, write
from PIL import Image

import paper_unet.images.outputs.tiff as tiff_output
from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack, read_stack
from paper_unet.large.journal import open_journal

SHAPE = (3, 37, 53)
STACK = np.random.default_rng(0).integers(0, 2**32, SHAPE, dtype=np.uint32)
EM = (0.05, 0.004, 0.004)  # the pixels of ISBI 2012, micrometres
NAMES = ["out.tif", "out.tiff", "out.btf", "out.tf8", "out.ome.tif", "out.ome.btf"]


def typed(dtype: str) -> np.ndarray:
    return (STACK / 2**32).astype(dtype) if dtype == "float32" else STACK.astype(dtype)


def written(path: Path, dtype: str = "uint8", **options) -> Path:
    output = create_output(path, SHAPE, dtype, **options)
    output.prepare(resume=False)
    write(output, typed(dtype), windows(output, 37, 53))
    complete(output)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_windows_in_any_order_and_twice_give_the_same_bytes(tmp_path, name, dtype):
    stack = typed(dtype)
    expected = contents(written(tmp_path / f"in-order-{name}", dtype, pixel_size=EM))
    output = create_output(tmp_path / name, SHAPE, dtype, pixel_size=EM)
    output.prepare(resume=False)
    chosen = windows(output, 7, 11)
    chosen = chosen + random.Random(1).sample(chosen, 30)
    random.Random(2).shuffle(chosen)
    for z, rows, columns in chosen[:40]:  # what is written again wins
        output.write(z, rows[0], columns[0], 0 * stack[z, slice(*rows), slice(*columns)])
    write(output, stack, chosen)
    assert not output.path.exists()
    complete(output)
    assert contents(tmp_path / name) == expected
    np.testing.assert_array_equal(read_stack(tmp_path / name), stack)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / name), stack)
    assert {path.name for path in tmp_path.iterdir()} == {name, f"in-order-{name}"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_another_reader_agrees(tmp_path, name, dtype):
    """Pillow shares no code with the library that writes the header."""
    with Image.open(written(tmp_path / name, dtype, pixel_size=EM)) as opened:
        assert (opened.n_frames, opened.size) == (3, (53, 37))
        for z in range(3):
            opened.seek(z)
            np.testing.assert_array_equal(np.asarray(opened), typed(dtype)[z])
            # XResolution, YResolution in pixels per centimetre: 10^4 / 0.004
            assert (opened.tag_v2[282], opened.tag_v2[283]) == (2_500_000, 2_500_000)
            assert opened.tag_v2[296] == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 9, 5), (3, 1, 1), (1, 1, 1), (2, 5, 1)])
def test_one_section_and_one_pixel_read_back(tmp_path, name, shape):
    output = create_output(tmp_path / name, shape, "uint8", pixel_size=EM)
    output.prepare(resume=False)
    stack = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write(output, stack, windows(output, 4, 3))
    complete(output)
    with open_stack(tmp_path / name) as opened:
        assert opened.shape == shape
        assert opened.pixel_size == pytest.approx(EM)
        np.testing.assert_array_equal(list(opened), stack)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "size",
    [
        EM,
        (0.05, 0.0037, 0.0041),
        (None, 0.5, 0.5),
        (0.05, None, None),
        (1, 1e-9, 1e-9),
        (None,) * 3,
    ],
)
def test_the_pixel_size_comes_back(tmp_path, name, size):
    with open_stack(written(tmp_path / name, pixel_size=size)) as stack:
        # finer than a tag of TIFF can say
        expected = [None if value == 1e-9 and ".ome" not in name else value for value in size]
        assert [value is None for value in stack.pixel_size] == [v is None for v in expected]
        known = [value for value in expected if value is not None]
        found = [value for value in stack.pixel_size if value is not None]
        assert found == pytest.approx(known, rel=1e-6)


def test_the_metadata_of_a_plain_tiff(tmp_path):
    """ImageJ: pixels per unit are those of the tag, the spacing is in the same unit."""
    with Image.open(written(tmp_path / "out.tif", pixel_size=EM)) as opened:
        lines = opened.tag_v2[270].splitlines()
        assert lines[0].startswith("ImageJ=")
        about = dict(line.split("=") for line in lines[1:])
        assert (about["images"], about["slices"], about["unit"]) == ("3", "3", "cm")
        assert float(about["spacing"]) * opened.tag_v2[282] == pytest.approx(0.05 / 0.004)
    with Image.open(written(tmp_path / "none.tif")) as opened:
        assert json.loads(opened.tag_v2[270]) == {"shape": [3, 37, 53], "axes": "ZYX"}
        assert opened.tag_v2[296] == 1  # no unit
    # finer than the tag can say, or not known: ImageJ would take the unit for theirs, too
    for name, sides in (("tiny.tif", (1e-9, 1e-9)), ("flat.tif", (None, None))):
        with Image.open(written(tmp_path / name, pixel_size=(1, *sides))) as opened:
            about = json.loads(opened.tag_v2[270])
            assert about == {"shape": [3, 37, 53], "axes": "ZYX", "spacing": 1, "unit": "um"}
            assert opened.tag_v2[296] == 1


@pytest.mark.parametrize("name", ["out.ome.tif", "OUT.OME.TIFF", "a.b.Ome.Btf"])
def test_the_metadata_of_an_ome_tiff(tmp_path, name):
    with tifffile.TiffFile(written(tmp_path / name, pixel_size=(0.05, 0.004, None))) as opened:
        root = ElementTree.fromstring(opened.ome_metadata)  # noqa: S314
    name = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
    assert root.tag == f"{name}OME"
    pixels = root.find(f"{name}Image/{name}Pixels")
    assert pixels is not None
    found = {key: value for key, value in pixels.attrib.items() if key != "ID"}
    assert found == {
        "DimensionOrder": "XYCZT", "Type": "uint8",
        "SizeX": "53", "SizeY": "37", "SizeZ": "3", "SizeC": "1", "SizeT": "1",
        "PhysicalSizeY": "0.004", "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": "0.05", "PhysicalSizeZUnit": "µm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "magic"), [("a.tif", 42), ("a.ome.tif", 42), ("a.btf", 43), ("A.TF8", 43)]
)
def test_the_name_chooses_bigtiff(tmp_path, name, magic):
    head = written(tmp_path / name).read_bytes()[:4]
    assert head == b"II" + struct.pack("<H", magic)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_beyond_the_limit_of_32_bits_it_is_bigtiff(tmp_path, monkeypatch, name):
    assert tiff_output.CLASSIC_LIMIT < 2**32
    monkeypatch.setattr(tiff_output, "CLASSIC_LIMIT", STACK.nbytes // 4)
    path = written(tmp_path / name, pixel_size=EM)
    assert path.read_bytes()[:4] == b"II+\0"
    np.testing.assert_array_equal(read_stack(path), typed("uint8"))


# resuming


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.btf"])
def test_resuming_keeps_what_is_written(tmp_path, name):
    expected = contents(written(tmp_path / f"whole-{name}", pixel_size=EM))
    first = create_output(tmp_path / name, SHAPE, "uint8", pixel_size=EM)
    first.prepare(resume=False)
    chosen = windows(first, 10, 53)
    write(first, typed("uint8"), chosen[:5])
    first.close()
    second = create_output(tmp_path / name, SHAPE, "uint8", pixel_size=EM)
    second.prepare(resume=True)
    write(second, typed("uint8"), chosen[5:])
    complete(second)
    assert contents(tmp_path / name) == expected


def test_starting_anew_drops_what_a_run_of_ours_left(tmp_path):
    expected = contents(written(tmp_path / "clean.tif"))
    for shape in ((9, 300, 300), SHAPE):
        output = create_output(tmp_path / "out.tif", shape, "uint8")
        with open_journal(output.path) as journal:
            output.take(journal.claim, left=False)
            output.start()
            journal.restart()
            journal.begin({"shape": shape})
            if shape != SHAPE:
                write(output, np.ones(shape, np.uint8), windows(output, 300, 300))
            else:
                write(output, typed("uint8"), windows(output, 37, 53))
                complete(output)
                journal.remove()
            output.close()
    assert contents(output.path) == expected
    assert {p.name for p in tmp_path.iterdir()} == {"clean.tif", "out.tif"}


@pytest.mark.parametrize("what", ["gone", "empty", "cut", "dtype", "shape", "foreign"])
def test_nothing_to_resume(tmp_path, what):
    partial = tmp_path / "out.tif.partial"
    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    output.prepare(resume=False)
    output.close()
    if what == "gone":
        partial.unlink()
    elif what in ("empty", "cut"):
        os.truncate(partial, 0 if what == "empty" else 3000)
    elif what == "foreign":
        partial.write_text("no TIFF")
    other = {"dtype": (SHAPE, "uint16"), "shape": ((3, 53, 37), "uint8")}.get(
        what, (SHAPE, "uint8")
    )
    with pytest.raises(InputError, match=r"out\.tif\.partial: .* start anew with `overwrite`"):
        create_output(tmp_path / "out.tif", *other).prepare(resume=True)
    with pytest.raises(InputError, match="nothing to go on from"):
        create_output(tmp_path / "new.tif", SHAPE, "uint8").write(0, 0, 0, typed("uint8")[0])


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_again_and_again_the_bytes_are_the_same(tmp_path):
    check_kills(tmp_path, "tif", 16, [5, 4, 11])


# full disks


@pytest.mark.parametrize("where", ["posix_fallocate", "pwrite", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, where, code):
    if not hasattr(os, where):
        pytest.skip(f"this system has no {where}")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    if where == "posix_fallocate":
        monkeypatch.setattr(os, where, fail)
        with pytest.raises(InputError, match=r"full: \d+ bytes needed, \d+ free; make room") as got:
            output.prepare(resume=False)
        assert list(tmp_path.iterdir()) == []
    else:
        output.prepare(resume=False)
        monkeypatch.setattr(os, where, fail)
        with pytest.raises(InputError, match=r"out\.tif: the disk is full: .* same command") as got:
            write(output, typed("uint8"), windows(output, 37, 53))
        assert output.partial.exists()
        monkeypatch.undo()  # there is room again: go on
        output.prepare(resume=True)
        write(output, typed("uint8"), windows(output, 37, 53))
        complete(output)
    assert "\n" not in str(got.value)
    output.close()


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path, monkeypatch):
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    output.prepare(resume=False)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        output.sync(0, (0, 1), (0, 1))
    output.close()


def test_a_real_limit(tmp_path):
    pytest.importorskip("resource")
    said = run_limited(tmp_path / "out.tif")
    assert said.count("\n") == 1
    assert "out.tif: the file grows beyond what its disk or a limit" in said
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_shows_before_anything_is_written(tmp_path, monkeypatch):
    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    need = output._size()
    assert 3 * 37 * 53 < need < 3 * 37 * 53 + 4096
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=need - 1))
    with pytest.raises(InputError, match=f"{need} bytes needed, {need - 1} free; make room or"):
        output.prepare(resume=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=need))
    output.prepare(resume=False)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")
def test_space_is_taken_before_the_first_window(tmp_path):
    output = create_output(tmp_path / "out.btf", (64, 64, 1024), "uint8")
    output.prepare(resume=False)
    assert output.partial.stat().st_blocks * 512 >= 64 * 64 * 1024


def test_the_system_may_take_a_write_in_parts(tmp_path, monkeypatch):
    if not hasattr(os, "pwrite"):
        pytest.skip("this system has no pwrite")
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:100], at))
    np.testing.assert_array_equal(read_stack(written(tmp_path / "out.tif")), typed("uint8"))


# names


def test_the_old_output_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"out\.tif: exists already; .*`overwrite`"):
        create_output(path, SHAPE, "uint8")
    output = create_output(path, SHAPE, "uint8", overwrite=True)
    output.prepare(resume=False)
    write(output, typed("uint8"), windows(output, 37, 53))
    assert path.read_text() == "precious"
    complete(output)
    np.testing.assert_array_equal(read_stack(path), typed("uint8"))
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    output.prepare(resume=False)
    write(output, typed("uint8"), windows(output, 37, 53))
    output.path.write_text("somebody else's")
    with pytest.raises(InputError, match="exists already"):
        complete(output)
    assert output.path.read_text() == "somebody else's"
    assert output.partial.exists()
    output.close()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "size", "reason"),
    [
        ("out.png", (1, 2, 2), "uint8", EM, r"end its name in one of \.tif, .*\.btf.*\.zarr"),
        ("out", (1, 2, 2), "uint8", EM, "unknown kind"),
        ("none/out.tif", (1, 2, 2), "uint8", EM, "does not exist; create it first"),
        ("out.tif", (0, 2, 2), "uint8", EM, "each at least 1"),
        ("out.tif", (2, 2), "uint8", EM, r"accepted is \(Z, Y, X\)"),
        ("out.tif", (1, 2, 2), "float64", EM, "accepted are uint8, uint16, uint32, float32"),
        ("out.tif", (1, 2, 2), "uint8", (1, 0, 1), "pixel size .* positive"),
        ("out.zarr", (1, 2, 2), "uint8", (1, 1, np.inf), "pixel size .* positive"),
        ("none/out.zarr", (1, 2, 2), "uint8", EM, "does not exist; create it first"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, shape, dtype, size, reason):
    with pytest.raises(InputError, match=reason) as got:
        create_output(tmp_path / name, shape, dtype, pixel_size=size)
    assert "\n" not in str(got.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "out.tif").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        create_output(tmp_path / "out.tif", SHAPE, "uint8", overwrite=True)


@pytest.mark.parametrize(
    ("z", "row", "column", "shape", "dtype"),
    [
        (3, 0, 0, (1, 1), "uint8"),
        (-1, 0, 0, (1, 1), "uint8"),
        (0, 37, 0, (1, 1), "uint8"),
        (0, 30, 0, (8, 1), "uint8"),
        (0, -1, 0, (1, 1), "uint8"),
        (0, 0, 50, (1, 4), "uint8"),
        (0, 0, 0, (0, 4), "uint8"),
        (0, 0, 0, (1, 1), "uint16"),
        (0, 0, 0, (1, 1, 1), "uint8"),
    ],
)
def test_windows_that_are_not_of_the_stack(tmp_path, z, row, column, shape, dtype):
    output = create_output(tmp_path / "out.tif", SHAPE, "uint8")
    output.prepare(resume=False)
    before = contents(output.partial)
    with pytest.raises(ValueError, match="window of"):
        output.write(z, row, column, np.ones(shape, dtype))
    assert contents(output.partial) == before


def test_a_copy_writes_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = create_output("out.tif", SHAPE, "uint8")
    output.prepare(resume=False)
    output.write(0, 0, 0, typed("uint8")[0])  # the file is open: it does not travel
    sent = pickle.dumps(output)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copy = pickle.loads(sent)  # noqa: S301
    write(copy, typed("uint8"), windows(copy, 37, 53)[1:])
    copy.close()
    copy.close()
    monkeypatch.chdir(tmp_path)
    complete(output)
    np.testing.assert_array_equal(read_stack("out.tif"), typed("uint8"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_file_stays_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    written(tmp_path / "out.tif")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
