"""A TIFF written slice by slice: whole under its name, or not there."""

import errno
import os

import numpy as np
import pytest
import tifffile
from image_helpers import GREY, PIXELS
from PIL import Image
from process_helpers import run_python

import paper_unet.images.outputs.tiff as tiff_output
from paper_unet.errors import InputError
from paper_unet.images import create_tiff, read_stack


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
    with pytest.raises(InputError, match=r"out\.tif: exists already; .*`overwrite`"):
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

    assert run_python(KILLED, str(path)).returncode == -9

    def finish(*_: object) -> None:
        (tmp_path / "out.tif.partial").rename(path)
        path.write_text("finished")
        (tmp_path / "out.tif.journal").unlink()

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
    assert run_python(KILLED, str(path)).returncode == -9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.tif.journal", "out.tif.partial"]
    with (tmp_path / "out.tif.partial").open("ab") as leftover:
        leftover.write(b"from a larger stack" * 1000)
    for name in ("out.tif", "clean.tif"):
        with create_tiff(tmp_path / name, GREY.shape, np.uint8) as writer:
            for z, image in enumerate(GREY):
                writer[z] = image
    assert path.read_bytes() == (tmp_path / "clean.tif").read_bytes()
    np.testing.assert_array_equal(read_stack(path), GREY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clean.tif", "out.tif"]
