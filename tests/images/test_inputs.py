"""Windows of every input format are the parts of the whole; only what is needed is read."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_helpers import GREY, LAYOUTS, PIXELS, ZYX, first_page_only
from numpy.typing import NDArray
from PIL import Image

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack, to_unit_range
from paper_unet.images.readers.tiff_segments import Segments
from paper_unet.images.readers.zarr import ZarrStack

Write = Callable[[Path, NDArray[Any]], Path]


def tiff(name: str) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> Path:
        LAYOUTS[name](folder / "stack.tif", stack)
        return folder / "stack.tif"

    return write


def images(kind: str) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> Path:
        (folder / "sections").mkdir()
        for z, section in enumerate(stack):
            path = folder / "sections" / f"section_{z + 7}.{kind}"
            if kind == "png":
                Image.fromarray(section).save(path)
            else:
                tifffile.imwrite(path, section, tile=(16, 16), compression="zlib")
        return folder / "sections"

    return write


def plain_zarr(version: int, **more: Any) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> Path:
        array = zarr.create_array(
            folder / "stack.zarr", shape=stack.shape, dtype=stack.dtype, chunks=(2, 8, 12),
            zarr_format=version, **more,
        )  # type: ignore[arg-type]  # fmt: skip
        array[:] = stack
        return folder / "stack.zarr"

    return write


def ome_zarr(version: int, unit: str = "nanometer") -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> Path:
        group = zarr.create_group(folder / "image.zarr", zarr_format=version)  # type: ignore[arg-type]
        for level in (0, 1):
            data = stack[None, :, None, :: 1 + level, :: 1 + level]
            more: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
            array = group.create_array(
                f"s{level}",
                shape=data.shape,
                dtype=data.dtype,
                chunks=(1, 1, 1, 8, 8),
                **(more if version == 2 else {}),
            )
            array[:] = data
        axes = [{"name": "t", "type": "time"}, {"name": "z", "type": "space", "unit": unit},
                {"name": "c", "type": "channel"}, {"name": "y", "type": "space", "unit": unit},
                {"name": "x", "type": "space", "unit": unit}]  # fmt: skip
        datasets = [
            {"path": f"s{level}", "coordinateTransformations": [
                {"type": "scale", "scale": [1, 25, 1, 2 * 2**level, 2 * 2**level]}]}
            for level in (0, 1)
        ]  # fmt: skip
        image = {
            "version": "0.4", "axes": axes, "datasets": datasets,
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 1, 2, 2]}],
        }  # fmt: skip
        if version == 2:
            group.attrs["multiscales"] = [image]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        return folder / "image.zarr"

    return write


FORMATS: dict[str, Write] = {
    **{name: tiff(name) for name in LAYOUTS},
    "PNG folder": images("png"),
    "TIFF folder": images("tif"),
    "Zarr v2": plain_zarr(2),
    "Zarr v3": plain_zarr(3),
    "Zarr v3, shards": plain_zarr(3, shards=(4, 16, 24)),
    "OME-Zarr 0.4": ome_zarr(2),
    "OME-Zarr 0.5": ome_zarr(3),
}


@pytest.fixture(scope="module", params=sorted(FORMATS), ids=lambda n: re.sub(r"\W+", "-", n))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FORMATS[request.param](tmp_path_factory.mktemp("format"), PIXELS)


def test_every_format_reads_the_same_pixels(written: Path) -> None:
    found = read_stack(written)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, PIXELS)


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_windows_are_parts_of_the_whole(written: Path, data: st.DataObject) -> None:
    with open_stack(written) as stack:
        for _ in range(4):  # the same reader, with what it kept
            z = data.draw(st.integers(0, 5))
            y = sorted(data.draw(st.sets(st.integers(0, 16), min_size=2, max_size=2)))
            x = sorted(data.draw(st.sets(st.integers(0, 32), min_size=2, max_size=2)))
            window = stack.window(z, (y[0], y[1]), (x[0], x[1]))
            np.testing.assert_array_equal(window, PIXELS[z, slice(*y), slice(*x)])
            window[:] = 0  # a copy: what the reader keeps is not touched


@pytest.mark.parametrize("window", [(6, (0, 1), (0, 1)), (0, (0, 17), (0, 1)), (0, (3, 3), (0, 1)),
                                    (0, (0, 1), (5, 33)), (-1, (0, 1), (0, 1))])  # fmt: skip
def test_windows_outside_are_refused(written: Path, window: tuple[Any, ...]) -> None:
    with open_stack(written) as stack, pytest.raises(IndexError, match="window"):
        stack.window(*window)


# --- nothing is decoded twice, nothing is read whole --------------------------------------------


@pytest.mark.parametrize("name", ["strips, deflate", "tiled, deflate", "page by page, deflate"])
def test_bands_from_top_to_bottom_decode_each_piece_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, decoded = tiff(name)(tmp_path, PIXELS), []
    decode = Segments._decode

    def spy(self: Segments, z: int, index: int) -> NDArray[Any]:
        decoded.append((z, index))
        return decode(self, z, index)

    monkeypatch.setattr(Segments, "_decode", spy)
    with open_stack(path) as stack:
        for top in range(0, 16, 3):
            stack.window(2, (top, min(top + 3, 16)), (0, 32))
        assert stack.cache_bytes >= 2 * 4 * 32
    assert len(decoded) == len(set(decoded)) > 0


def test_bands_of_a_zarr_decode_each_chunk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = plain_zarr(3)(tmp_path, PIXELS), []
    read = ZarrStack._read_chunks

    def spy(self: ZarrStack, z: range, down: int, across: tuple[int, int]) -> NDArray[Any]:
        rows.append((z, down, across))
        return read(self, z, down, across)

    monkeypatch.setattr(ZarrStack, "_read_chunks", spy)
    with open_stack(path) as stack:
        for top in range(0, 16, 3):
            stack.window(2, (top, min(top + 3, 16)), (13, 20))
    assert rows == [(range(2, 3), 0, (12, 24)), (range(2, 3), 1, (12, 24))]


def test_a_file_over_4_gb_is_read_window_by_window(tmp_path: Path) -> None:
    """20,000 x 20,000 pixels and 11 of them, sparse on disk: 4.4 GB."""
    path, shape = tmp_path / "big.tif", (11, 20_000, 20_000)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        offset, _ = writer.write(None, shape=shape, dtype="uint8", returnoffset=True,
                                 metadata=ZYX)  # fmt: skip
    with path.open("r+b") as file:
        file.seek(offset + 10 * 20_000**2 + 19_999 * 20_000 + 5)
        file.write(b"\x07")
    tracemalloc.start()
    try:
        with open_stack(path) as stack:
            assert stack.shape == shape
            assert stack.cache_bytes == 0
            window = stack.window(10, (19_990, 20_000), (0, 10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 2**32
    assert window[9, 5] == 7
    assert window.sum() == 7
    assert peak < 2**22  # a section is 400 MB


def test_one_huge_compressed_strip_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiff("page by page, deflate")(tmp_path, PIXELS)
    monkeypatch.setattr("paper_unet.images.readers.tiff.LARGEST_SEGMENT", 1000)
    with pytest.raises(InputError, match=r"compressed in pieces .* tiled TIFF or to Zarr"):
        open_stack(path)


# --- folders ------------------------------------------------------------------------------------


def test_sections_come_in_natural_order(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(tmp_path / f"s{number}.png")
    (tmp_path / ".hidden").touch()
    assert read_stack(tmp_path)[:, 0, 0].tolist() == [1, 2, 10]


def test_folders_that_are_no_stack(tmp_path: Path) -> None:
    def png(name: str, image: NDArray[Any]) -> None:
        Image.fromarray(image).save(tmp_path / name)

    def refused(reason: str) -> None:
        with pytest.raises(InputError, match=reason) as caught:
            open_stack(tmp_path)
        assert "\n" not in str(caught.value)

    refused("the folder is empty")
    png("1.png", GREY[0])
    png("2.png", GREY[0, :5])
    refused(r"2\.png: uint8 of 32 x 5 pixels, and 1\.png is uint8 of 32 x 16")
    png("2.png", PIXELS[0])
    refused(r"2\.png: uint16 .* all sections must be alike")
    png("2.png", np.stack([GREY[0]] * 3, axis=-1))
    refused(r"2\.png: a PNG of mode RGB; grey of up to 16 bits")
    png("2.png", GREY[0] > 100)
    refused(r"2\.png: its grey values have another meaning than those of 1\.png \(bits")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:20])
    refused(r"2\.png: not a PNG file that can be read")
    (tmp_path / "2.png").rename(tmp_path / "2.txt")
    refused(r"holds 2\.txt; a folder of sections holds either PNG or JPEG or TIFF files")
    (tmp_path / "2.txt").unlink()
    tifffile.imwrite(tmp_path / "2.tif", GREY[0])
    refused("either PNG or JPEG or TIFF")
    (tmp_path / "1.png").unlink()
    tifffile.imwrite(tmp_path / "1.tif", GREY, metadata=ZYX)
    refused(r"1\.tif: holds 6 sections; in a folder each file is one section")


def test_a_damaged_png_is_named(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "1.png")
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[:-40])
    with (
        open_stack(tmp_path / "1.png") as stack,
        pytest.raises(InputError, match=r"1\.png: declares 16 rows and holds \d+ of their 528"),
    ):
        stack[0]


def test_a_single_png_and_series_of_what_has_none(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.png"), GREY[:1])
    with pytest.raises(InputError, match="`series` is for TIFF"):
        open_stack(tmp_path / "a.png", series=0)


# --- Zarr ---------------------------------------------------------------------------------------


def test_groups_without_an_image_list_their_arrays(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="it holds no array"):
        open_stack(tmp_path / "a.zarr")
    group.create_array("labels/cells", shape=(2, 3, 4), dtype="u1")[:] = 5
    with pytest.raises(InputError, match="give the path of one of its arrays: labels/cells"):
        open_stack(tmp_path / "a.zarr")
    assert read_stack(tmp_path / "a.zarr" / "labels" / "cells").sum() == 5 * 24


@pytest.mark.parametrize(
    ("shape", "dtype", "names", "reason"),
    [
        ((2, 3, 4), "complex64", None, "values of complex64; accepted are uint8"),
        ((2, 3, 4), "int64", None, "values of int64"),
        ((3, 2, 4, 4), "u1", ("z", "c", "y", "x"), "2 channels"),
        ((3, 4, 4), "u1", ("t", "y", "x"), "3 time points"),
        ((4, 4, 3), "u1", ("y", "x", "q"), "accepted are Z, Y and X in any order"),
        ((3,), "u1", None, "accepted are ZYX"),
        ((0, 4, 4), "u1", None, "no pixels"),
    ],
)
def test_zarrs_that_are_no_grey_stack(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, names: Any, reason: str
) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=dtype, dimension_names=names)
    with pytest.raises(InputError, match=reason):
        open_stack(tmp_path / "a.zarr")


def test_given_axes_win_for_a_zarr(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=PIXELS.shape, dtype="u2", dimension_names=("t", "y", "x")
    )
    array[:] = PIXELS
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr", axes="zyx"), PIXELS)


def test_damaged_and_unfinished_stores(tmp_path: Path) -> None:
    path = plain_zarr(3)(tmp_path, PIXELS)
    chunk = path / "c" / "1" / "0" / "0"
    chunk.write_bytes(b"no zstd frame")
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[0], PIXELS[0])
        with pytest.raises(InputError, match=r"stack\.zarr: slice 2 cannot be read .*damaged"):
            stack[2]
    (path / "zarr.json").write_text((path / "zarr.json").read_text()[:50])
    with pytest.raises(InputError, match=r"stack\.zarr: the store cannot be read"):
        open_stack(path)
    path.rename(tmp_path / "stack.zarr.partial")
    with pytest.raises(InputError, match="partial output of a run"):
        open_stack(tmp_path / "stack.zarr.partial")


# --- grey values --------------------------------------------------------------------------------


def test_what_is_not_finite_can_be_filled() -> None:
    image = np.array([0.0, np.nan, np.inf, -np.inf, 1.0], np.float32)
    with pytest.raises(InputError, match=r"3 of 5 pixels are NaN or infinite; .* `fill`"):
        to_unit_range(image)
    assert to_unit_range(image, fill=0.25).tolist() == [0, 0.25, 0.25, 0.25, 1]
    assert to_unit_range(image * 2, (0, 2), fill=1).tolist() == [0, 0.5, 0.5, 0.5, 1]
    assert to_unit_range(np.array([255], np.uint8), fill=3).tolist() == [1]


@pytest.mark.parametrize(("fill", "dtype"), [(np.nan, "f4"), (np.inf, "f8"), (1e6, "f2")])
def test_a_fill_that_is_no_grey_value(fill: float, dtype: str) -> None:
    with pytest.raises(InputError, match=r"`fill` \S+ is no finite float"):
        to_unit_range(np.array([0.5, np.nan], dtype), fill=fill)


def test_formats_load_without_the_parts_of_a_cluster() -> None:
    code = "import sys, paper_unet.images; print('distributed' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_file_of_fewer_pages_is_still_refused(tmp_path: Path) -> None:
    path = tiff("tiled")(tmp_path, PIXELS)
    first_page_only(path)
    with pytest.raises(InputError, match="declares 6 slices and has 1"):
        open_stack(path)
