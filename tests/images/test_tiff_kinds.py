"""What a TIFF holds: colour, types, axes and series, accepted or refused with the remedy."""

import errno
import logging
import os
import re

import numpy as np
import pytest
import tifffile
from image_helpers import GREY, PIXELS, ZYX

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack


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

    monkeypatch.setattr(os, "open", refuse)
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


@pytest.mark.parametrize("dtype", [np.complex64, np.int8, np.int64])
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
    ("axes", "shape", "reason", "advice"),
    [
        ("ZCYX", (3, 2, 16, 32), "2 channels", "with `channel`, 0 to 1$"),
        ("TZYX", (3, 2, 16, 32), "3 time points", "with `time`, 0 to 2$"),
        ("TYX", (6, 16, 32), "6 time points", "or say `axes` ZYX if these are sections$"),
        ("CZYX", (6, 1, 16, 32), "6 channels", "or say `axes` ZCYX if these are sections$"),
    ],
)
def test_channels_and_time_points_are_refused(tmp_path, axes, shape, reason, advice):
    """And the advice, where there is one, is taken."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.reshape(shape), metadata={"axes": axes})
    with pytest.raises(InputError, match=rf"{reason} \(axes {axes}.*{advice}"):
        open_stack(path)
    if "`axes`" in advice:
        found = read_stack(path, axes=re.search("`axes` ([A-Z]+)", advice)[1])
        np.testing.assert_array_equal(found, GREY)


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
    for axes, reason in [("YX", "one letter"), ("ZZYX", "one letter"), ("QYZ", "accepted are Z")]:
        with pytest.raises(InputError, match=reason):
            open_stack(path, axes=axes)
    tifffile.imwrite(path, GREY, metadata=ZYX)
    with pytest.raises(InputError, match="6 channels"):
        open_stack(path, axes="CYX")


def test_two_unknown_axes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.reshape(3, 2, 16, 32))
    with pytest.raises(InputError, match=r"axes QQYX .* `axes`"):
        open_stack(tmp_path / "a.tif")


def test_several_series_are_listed(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY)
        writer.write(PIXELS[:, :4])
    with pytest.raises(InputError, match=r"holds 2 image series \(0: .*uint8, 1: .*`series` K"):
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
