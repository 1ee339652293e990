"""An OME-TIFF in several files: the pixels of each slice come from its own file."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack

PLANES = np.random.default_rng(0).integers(0, 60_000, (6, 40, 64), dtype=np.uint16)
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {},
    "strips": {"compression": "zlib", "rowsperstrip": 7},
    "tiles": {"compression": "zlib", "tile": (16, 32)},
    "big-endian": {"byteorder": ">"},
    "white is zero": {"photometric": "miniswhite"},
}


def xml(parts: list[tuple[str, list[int]]], me: int) -> str:
    data = "".join(
        f'<TiffData IFD="{k}" FirstZ="{z}" FirstC="0" FirstT="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{number}</UUID></TiffData>'
        for number, (name, sections) in enumerate(parts)
        for k, z in enumerate(sections)
    )
    size = sum(len(sections) for _, sections in parts)
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{me}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="64" SizeY="40" SizeZ="{size}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


def several(folder: Path, *options: dict[str, Any]) -> list[Path]:
    """Write six slices in three files, in no order: 2 4 | 0 | 5 1 3."""
    parts = [("s_0.ome.tif", [2, 4]), ("s_1.ome.tif", [0]), ("s_2.ome.tif", [5, 1, 3])]
    for number, (name, sections) in enumerate(parts):
        more = {"photometric": "minisblack", **options[number % len(options)]}
        with tifffile.TiffWriter(folder / name, byteorder=more.pop("byteorder", "<")) as file:
            for z in sections:
                file.write(PLANES[z], description=xml(parts, number), metadata=None, **more)
    return [folder / name for name, _ in parts]


def expected(name: str) -> NDArray[Any]:
    return 65_535 - PLANES if name == "white is zero" else PLANES


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_slice_comes_from_its_file(tmp_path: Path, name: str) -> None:
    for path in several(tmp_path, LAYOUTS[name]):
        np.testing.assert_array_equal(read_stack(path), expected(name))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("how", ["by a relative name", "through a link", "through a linked folder"])
def test_however_the_file_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, count: int
) -> None:
    """A file's pages are counted as its own, whatever path leads to it."""
    here = tmp_path / "here"
    here.mkdir()
    if count == 1:
        parts = [("s_0.ome.tif", list(range(6)))]
        with tifffile.TiffWriter(here / "s_0.ome.tif") as file:
            for z in range(6):
                file.write(PLANES[z], description=xml(parts, 0), metadata=None)
    else:
        several(here, {})
    monkeypatch.chdir(tmp_path)
    path = Path("here/../here/s_0.ome.tif")
    if how == "through a link":
        (path := Path("link.ome.tif")).symlink_to("here/s_0.ome.tif")
    elif how == "through a linked folder":
        Path("there").symlink_to("here")
        path = Path("there/s_0.ome.tif")
    np.testing.assert_array_equal(read_stack(path), PLANES)


@pytest.mark.parametrize("name", ["rows", "strips", "tiles"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_windows_in_any_order(tmp_path: Path, name: str, data: st.DataObject) -> None:
    paths = [tmp_path / f"s_{k}.ome.tif" for k in range(3)]
    if not paths[0].exists():
        several(tmp_path, LAYOUTS[name])
    with open_stack(data.draw(st.sampled_from(paths))) as stack:
        for _ in range(5):
            z = data.draw(st.integers(0, 5))
            y0, x0 = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 63))
            y1, x1 = data.draw(st.integers(y0 + 1, 40)), data.draw(st.integers(x0 + 1, 64))
            window = stack.window(z, (y0, y1), (x0, x1))
            np.testing.assert_array_equal(window, PLANES[z, y0:y1, x0:x1])


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_the_identity_is_that_of_all_files(tmp_path: Path, changed: int) -> None:
    paths = several(tmp_path, {})
    with open_stack(paths[1]) as stack:
        before = stack.identity()
        assert set(stack.files) == set(paths)
        assert stack.identity() == before
        assert str(tmp_path) not in str(before)
    os.utime(paths[changed], ns=(0, 0))
    with open_stack(paths[1]) as stack:
        assert stack.identity() != before


def test_a_file_that_is_missing_or_cut_short(tmp_path: Path) -> None:
    paths = several(tmp_path, {})
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:-1000])
    with pytest.raises(InputError, match=r"s_2\.ome\.tif: truncated"):
        open_stack(paths[0])
    paths[2].unlink()
    with pytest.raises(InputError, match="in several files, which hold 3 of its 6 slices; put all"):
        open_stack(paths[0])
    paths[1].unlink()
    with pytest.raises(InputError, match="declares 6 slices and has 2"):
        open_stack(paths[0])
    shutil.copy(paths[0], tmp_path / "grown.ome.tif")
    with (tmp_path / "grown.ome.tif").open("ab") as file:
        file.write(bytes(PLANES.nbytes))  # room for the missing slices is no reason to read it
    with pytest.raises(InputError, match="declares 6 slices and has 2"):
        open_stack(tmp_path / "grown.ome.tif")


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "rows"])
def test_files_of_different_layouts_are_refused(tmp_path: Path, name: str) -> None:
    for path in several(tmp_path, {}, LAYOUTS[name], {}):
        with pytest.raises(
            InputError, match=r"stored in another way .* save the stack as one file"
        ):
            open_stack(path)


def test_one_file_is_open_beside_the_first(tmp_path: Path) -> None:
    paths = several(tmp_path, {"compression": "zlib"})
    before = open_files()
    with open_stack(paths[0]) as stack:
        for z in (2, 0, 5, 4, 1, 0):
            stack[z]
            assert len(open_files() - before) <= 2
    assert open_files() == before


def open_files() -> set[str]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return {
        str(link.readlink()) for link in links if link.exists() and ".tif" in str(link.readlink())
    }
