"""One channel or time point of files that have several, in every format and any order of axes."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from image_helpers import PIXELS
from PIL import Image

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers import READERS

TCZYX = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)
ORDERS = ["".join(order) for order in itertools.permutations("TCZYX")]
NAMES = ["DAPI", "GFP", "405"]


def arranged(order: str) -> Any:
    return np.ascontiguousarray(TCZYX.transpose(["TCZYX".index(axis) for axis in order]))


def zarr_of(order: str, version: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        data = arranged(order)
        chunks = tuple(max(1, length // 2) for length in data.shape)
        more = {"dimension_names": tuple(order.lower())} if version == 3 else {}
        array = zarr.create_array(
            folder / "a.zarr", data=data, chunks=chunks, zarr_format=version, **more
        )
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = list(order.lower())
        return folder / "a.zarr"

    return write


def sharded(folder: Path) -> Path:
    zarr.create_array(
        folder / "a.zarr", data=arranged("ZCTYX"), chunks=(1, 1, 1, 2, 3), shards=(2, 2, 2, 4, 6),
        dimension_names=tuple("zctyx"),
    )  # fmt: skip
    return folder / "a.zarr"


def ome_zarr(folder: Path) -> Path:
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=TCZYX, chunks=(1, 2, 3, 5, 6))
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [9, 1, 40, 4, 4]}
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes,
         "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    ]  # fmt: skip
    group.attrs["omero"] = {"channels": [{"label": name} for name in NAMES]}
    return folder / "a.zarr"


def hdf5(**given: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            made = file.create_dataset("raw", data=arranged("CZTYX"), **given)
            made.attrs["axes"] = "cztyx"
        return folder / "a.h5"

    return write


def tiff(order: str, **given: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        about = {"axes": order, "Channel": {"Name": NAMES}} if given.get("ome") else {"axes": order}
        more = {"photometric": "minisblack", "metadata": about, **given}
        tifffile.imwrite(folder / "a.tif", arranged(order), **more)
        return folder / "a.tif"

    return write


FORMATS: dict[str, Callable[[Path], Path]] = {
    "OME-Zarr": ome_zarr,
    "Zarr, shards": sharded,
    "HDF5": hdf5(),
    "HDF5, chunks": hdf5(chunks=(2, 3, 2, 2, 4), compression="gzip"),
    "TIFF": tiff("TCZYX"),
    "OME-TIFF": tiff("TCZYX", ome=True),
    "OME-TIFF, another order": tiff("CTZYX", ome=True, compression="zlib"),
    "ImageJ": tiff("TZCYX", imagej=True),
}


def check(path: Path) -> None:
    for time, channel in itertools.product(range(2), range(3)):
        with open_stack(path, channel=channel, time=time) as stack:
            assert stack.shape == (4, 5, 6)
            found = np.stack(list(stack))
            np.testing.assert_array_equal(found, TCZYX[time, channel])
            window = stack.window(3, (1, 4), (2, 6))
            np.testing.assert_array_equal(window, TCZYX[time, channel, 3, 1:4, 2:6])


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path)
    check(path)
    with pytest.raises(InputError, match=r"`channel`, 0.*`time`, 0 to 1|`time`, 0.*`channel`, 0"):
        open_stack(path)


@pytest.mark.parametrize("order", ORDERS)
def test_zarrs_in_any_order(tmp_path: Path, order: str) -> None:
    for version in (2, 3) if order in ORDERS[::12] else (3,):
        path = zarr_of(order, version)(tmp_path / str(version))
        np.testing.assert_array_equal(read_stack(path, channel=2, time=1), TCZYX[1, 2])


@pytest.mark.parametrize("name", ["OME-Zarr", "OME-TIFF"])
def test_channels_by_name(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path)
    for given, number in (("DAPI", 0), ("gfp", 1), ("1", 1), ("405", 2)):
        found = read_stack(path, channel=given, time=1)
        np.testing.assert_array_equal(found, TCZYX[1, number])
    with pytest.raises(InputError, match=r"none is 'DAP'.* 0: DAPI, 1: GFP, 2: 405; did you mean"):
        open_stack(path, channel="DAP", time=0)
    with pytest.raises(InputError, match=r"has 3 channels and none is '405'; give `channel` 0: "):
        open_stack(path, channel=405, time=0)


def test_the_pixel_size_is_that_of_the_axes_that_are_left(tmp_path: Path) -> None:
    with open_stack(ome_zarr(tmp_path), channel=1, time=0) as stack:
        assert stack.pixel_size == pytest.approx((0.04, 0.004, 0.004))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channel": 3, "time": 0}, r"has 3 channels and none is '3'; give `channel` 0"),
        ({"channel": -1, "time": 0}, r"has 3 channels and none is '-1'"),
        ({"channel": "", "time": 0}, r"has 3 channels and none is ''"),
        ({"channel": 0, "time": 2}, r"has 2 time points and none is '2'; give `time` 0 to 1"),
    ],
)
def test_what_is_not_there(tmp_path: Path, name: str, given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        open_stack(FORMATS[name](tmp_path), **given)
    assert "\n" not in str(refusal.value)


def test_of_one_channel_the_first_can_be_chosen(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack")
    zarr.create_array(tmp_path / "a.zarr", data=PIXELS)
    for name in ("a.tif", "a.zarr"):
        path = tmp_path / name
        np.testing.assert_array_equal(read_stack(path, channel=0, time=0), PIXELS)
        with pytest.raises(InputError, match=r"has 1 channel and none is '1'; give .* 0 alone"):
            open_stack(path, channel=1)


def test_an_axis_without_a_name_is_no_channel(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=TCZYX[0])
    with pytest.raises(InputError, match=r"axes QZYX is known to be that of channels; .*`axes`"):
        open_stack(tmp_path / "a.zarr", channel=1)
    found = read_stack(tmp_path / "a.zarr", channel=1, axes="CZYX")
    np.testing.assert_array_equal(found, TCZYX[0, 1])


def test_an_axis_of_another_name_is_no_channel(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=TCZYX[0], dimension_names=("lambda", "z", "y", "x"))
    with pytest.raises(InputError, match=r"axes LZYX is known to be that of channels; .*`axes`"):
        open_stack(tmp_path / "a.zarr", channel=1)
    found = read_stack(tmp_path / "a.zarr", channel=1, axes="CZYX")
    np.testing.assert_array_equal(found, TCZYX[0, 1])


def test_time_points_of_a_tiff_in_colour(tmp_path: Path) -> None:
    data = np.stack([RGB, RGB])
    tifffile.imwrite(
        tmp_path / "a.ome.tif", data, ome=True, photometric="rgb", metadata={"axes": "TZYXS"}
    )
    for given in ({"channels": 3}, {"channel": 1}, {"channel": 1, "time": 1}):
        with pytest.raises(InputError, match=r"2 time points in colour .*; save one of them"):
            open_stack(tmp_path / "a.ome.tif", **given)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=data).attrs["axes"] = "tzyxc"
    found = read_stack(tmp_path / "a.h5", channels=3, time=1)
    np.testing.assert_array_equal(found, np.moveaxis(RGB, -1, 1))
    found = read_stack(tmp_path / "a.h5", channel=2, time=1)
    np.testing.assert_array_equal(found, RGB[..., 2])


RGB = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


def write_rgb(folder: Path, kind: str) -> Path:
    if kind == "PNG":
        Image.fromarray(RGB[0]).save(folder / "a.png")
        return folder / "a.png"
    if kind == "folder":
        (folder / "in").mkdir()
        for z, image in enumerate(RGB):
            Image.fromarray(image).save(folder / "in" / f"{z}.png")
        return folder / "in"
    planar = kind == "planes"
    stack = np.ascontiguousarray(np.moveaxis(RGB, -1, 1)) if planar else RGB
    more = {"planarconfig": "separate"} if planar else {}
    tifffile.imwrite(folder / "a.tif", stack, photometric="rgb", metadata=None, **more)
    return folder / "a.tif"


@pytest.mark.parametrize("kind", ["PNG", "folder", "TIFF", "planes"])
def test_one_of_the_colours(tmp_path: Path, kind: str) -> None:
    path = write_rgb(tmp_path, kind)
    expected = RGB[:1] if kind == "PNG" else RGB
    for number, name in enumerate(["red", "green", "blue"]):
        found = read_stack(path, channel=name)
        np.testing.assert_array_equal(found, expected[..., number])
        with open_stack(path, channel=number) as stack:
            window = stack.window(len(stack) - 1, (1, 3), (2, 6))
            np.testing.assert_array_equal(window, expected[-1, 1:3, 2:6, number])
    with pytest.raises(InputError, match="has 3 channels and none is '3'"):
        open_stack(path, channel=3)
    with pytest.raises(InputError, match="one channel is chosen, and the network takes 3"):
        open_stack(path, channel=0, channels=3)


@pytest.mark.parametrize(
    ("count", "names", "said"),
    [
        (3, ("DAPI", "GFP"), "0: DAPI, 1: GFP, 2"),
        (2, ("DAPI", "GFP", "none", "such"), "0: DAPI, 1: GFP"),
        (3, ("", "GFP"), "0, 1: GFP, 2"),
        (3, ("", "", "", "none such"), "0 to 2"),
        (9, ("DAPI",), "0: DAPI, 1, 2, 3, 4, 5, 6, 7, ..."),
    ],
)
def test_there_are_as_many_to_choose_from_as_there_are(
    tmp_path: Path, count: int, names: tuple[str, ...], said: str
) -> None:
    """However many names the file has."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(count, 4, 5, 6), dtype="u1", chunks=(1, 4, 5, 6))
    axes = [{"name": name} for name in "czyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs["omero"] = {"channels": [{"label": name} for name in names]}
    with pytest.raises(InputError, match=re.escape(f"with `channel`, {said}") + "$"):
        open_stack(tmp_path / "a.zarr")


@pytest.mark.parametrize("kind", ["PNG", "folder", "TIFF", "planes"])
def test_a_refusal_of_colour_says_what_can_be_chosen(tmp_path: Path, kind: str) -> None:
    path = write_rgb(tmp_path, kind)
    words = r"choose one with `channel`, 0: red, 1: green, 2: blue; or convert it .*, or use"
    with pytest.raises(InputError, match=words):
        open_stack(path)


def test_of_values_without_names_their_numbers_are_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=r"choose one with `channel`, 0 to 2; or convert"):
        open_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", channel=2), RGB[..., 2])


def test_no_choice_is_offered_that_would_be_refused(tmp_path: Path) -> None:
    """CMYK has no channels to take, and PNG of 16 bits is not read in colour."""
    four = np.concatenate([RGB, RGB[..., :1]], -1)
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="separated", planarconfig="contig")
    imagecodecs = pytest.importorskip("imagecodecs")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(RGB[0].astype("u2")))
    for name in ("a.tif", "a.png"):
        with pytest.raises(InputError, match="accepted: convert it"):
            open_stack(tmp_path / name)
        with pytest.raises(InputError):
            open_stack(tmp_path / name, channel=1)


def samples(folder: Path, order: str, shape: tuple[int, ...]) -> Path:
    """A Zarr of which one axis is called samples."""
    words = {"S": "sample", "C": "channel", "Z": "z", "Y": "y", "X": "x"}
    array = zarr.create_array(
        folder / "a.zarr", shape=shape, chunks=shape, dtype="u1",
        dimension_names=[words[one] for one in order],
    )  # fmt: skip
    array[...] = np.arange(np.prod(shape), dtype="u1").reshape(shape)
    return folder / "a.zarr"


def test_samples_are_chosen_as_channels_are(tmp_path: Path) -> None:
    path = samples(tmp_path, "ZYXS", (2, 3, 4, 3))
    with pytest.raises(InputError, match=r"3 samples .*: choose one with `channel`, 0 to 2$"):
        open_stack(path)
    expected = np.arange(72).reshape(2, 3, 4, 3)
    np.testing.assert_array_equal(read_stack(path, channel=1), expected[..., 1])


def test_samples_beside_channels(tmp_path: Path) -> None:
    """Those of which there are several are meant; where both are, no choice would do."""
    path = samples(tmp_path, "CZYXS", (1, 2, 3, 4, 3))
    expected = np.arange(72).reshape(2, 3, 4, 3)
    np.testing.assert_array_equal(read_stack(path, channel=2), expected[..., 2])
    (tmp_path / "b").mkdir()
    path = samples(tmp_path / "b", "CZYXS", (2, 2, 3, 4, 3))
    for given in ({}, {"channel": 1}):
        with pytest.raises(InputError, match="one grey stack is accepted: save one of them"):
            open_stack(path, **given)


@pytest.mark.parametrize(("kind", "axes"), [("TIFF", "zyxs"), ("planes", "Zsyx")])
def test_axes_of_colours_in_small_letters(tmp_path: Path, kind: str, axes: str) -> None:
    path = write_rgb(tmp_path, kind)
    for given in (axes, axes.upper()):
        np.testing.assert_array_equal(read_stack(path, axes=given, channel=1), RGB[..., 1])


@pytest.mark.parametrize("axes", ["zyx", "", "tzyxst", "zzyx", "YXSTZ"])
def test_axes_of_colours_that_cannot_be(tmp_path: Path, axes: str) -> None:
    path = write_rgb(tmp_path, "TIFF")
    for given in ({"channel": 1}, {"channels": 3}):
        with pytest.raises(InputError, match=rf'axes "{axes.upper()}" .* give one letter for each'):
            open_stack(path, axes=axes, **given)


def test_a_folder_of_files_of_several_channels(tmp_path: Path) -> None:
    for z in range(4):
        data = TCZYX[0, :, z]
        tifffile.imwrite(tmp_path / f"{z}.tif", data, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_stack(tmp_path, channel=2), TCZYX[0, 2])
    with pytest.raises(InputError, match=r"with `channel`, 0 to 2, or say `axes`"):
        open_stack(tmp_path)


def test_the_page_of_formats_names_all_that_choose() -> None:
    said = (Path(__file__).parents[2] / "docs" / "formats.md").read_text().replace("\n", " ")
    (words,) = re.findall(r"the names are\. (.*?) are read so; (.*?) has one channel", said)
    for entry in READERS:
        reader = entry if isinstance(entry, type) else resolve_name(entry)
        name = reader.__name__.removesuffix("Stack").lower().replace("picture", "png")
        assert name.replace("folder", "folders") in words[0 if reader.chooses else 1].lower()


def test_missing_chunks_of_others_do_not_matter(tmp_path: Path) -> None:
    path = zarr_of("TCZYX", 2)(tmp_path)
    for chunk in path.glob("0.1.*"):
        chunk.unlink()
    np.testing.assert_array_equal(read_stack(path, channel=1, time=1), TCZYX[1, 1])
    with pytest.raises(InputError, match="has no chunk of its 12"):
        open_stack(path, channel=1, time=0)


@pytest.mark.parametrize("name", FORMATS)
def test_another_choice_is_another_input(tmp_path: Path, name: str) -> None:
    """Even where the pixels are equal: a run goes on from its own channel alone."""
    path = FORMATS[name](tmp_path)
    found = []
    for given in ({"channel": 0, "time": 0}, {"channel": 1, "time": 0}, {"channel": 0, "time": 1}):
        with open_stack(path, **given) as stack:
            found.append({k: v for k, v in stack.identity().items() if k != "pixels"})
    assert len({json.dumps(one) for one in found}) == 3


def test_where_there_is_nothing_to_choose(tmp_path: Path) -> None:
    import mrcfile

    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(PIXELS.astype("i2"))
    with pytest.raises(InputError, match=r"`channel` is for files of several; leave it out"):
        open_stack(tmp_path / "a.mrc", channel=0)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from paper_unet.model import UNet
    from paper_unet.networks.weights_file import save_model

    save_model(tmp_path / "net.safetensors", UNet(width=1))
    path = ome_zarr(tmp_path)
    words = ["--weights", str(tmp_path / "net.safetensors"), "--range", "0", "800"]
    words += ["--threads", "1"]

    def predicted(out: str, source: Path, *more: str) -> Any:
        assert main(["predict", str(source), "-o", str(tmp_path / out), *words, *more]) == 0
        return read_stack(tmp_path / out)

    tifffile.imwrite(tmp_path / "one.tif", TCZYX[1, 1], photometric="minisblack")
    expected = predicted("expected.tif", tmp_path / "one.tif")
    found = predicted("out.tif", path, "--channel", "GFP", "--time", "1")
    np.testing.assert_array_equal(found, expected)
    out = str(tmp_path / "other.tif")
    assert main(["predict", str(path), "-o", out, *words, "--channel", "7", "--time", "0"]) == 2
    assert "give --channel 0: DAPI, 1: GFP, 2: 405" in capsys.readouterr().err
