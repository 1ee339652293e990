"""Axes are put in order by their names, whatever order a file has them in."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from image_helpers import PIXELS

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.axes import letter

STACK = PIXELS[:, :12, :30]
ORDERS = ["".join(order) for order in itertools.permutations("ZYX")]
WORDS = {
    "Z": ["z", "Z", "slice", "section", "Sections", "plane", "depth", "z-slice", "Z axis"],
    "Y": ["y", "row", "height", "y_axis"],
    "X": ["x", "column", "width", "xaxis"],
    "C": ["c", "channel", "Channels"],
    "T": ["t", "time", "frame", "time_point", "Time points"],
}


def arranged(order: str) -> Any:
    """Return the stack with its axes in an order; all others are of length 1."""
    moved = STACK.transpose(["ZYX".index(axis) for axis in order if axis in "ZYX"])
    return np.ascontiguousarray(
        np.expand_dims(moved, [k for k, axis in enumerate(order) if axis not in "ZYX"])
    )


def zarr_of(path: Path, order: str, version: int = 3, **more: Any) -> Path:
    data = arranged(order)
    chunks = tuple(max(1, length // 2) for length in data.shape)
    if version == 3:
        more = {"dimension_names": tuple(order.lower()), **more}
    array = zarr.create_array(
        path, shape=data.shape, dtype="u2", chunks=chunks, zarr_format=version, **more
    )
    array[:] = data
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = list(order.lower())
    return path


def same(path: Path, axes: str | None = None) -> None:
    with open_stack(path, axes=axes) as stack:
        assert stack.shape == STACK.shape
        np.testing.assert_array_equal(np.stack(list(stack)), STACK)
        np.testing.assert_array_equal(stack.window(4, (3, 9), (7, 28)), STACK[4, 3:9, 7:28])
        np.testing.assert_array_equal(stack.window(0, (11, 12), (0, 30)), STACK[0, 11:])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", [*ORDERS, "XYZC", "CXYZ", "ZYXC", "TCZYX", "XYZCT", "YXCZ"])
def test_zarrs_in_any_order(tmp_path: Path, order: str, version: int) -> None:
    same(zarr_of(tmp_path / "a.zarr", order, version))


@pytest.mark.parametrize("order", [*ORDERS, "CXYZ", "ZYXC"])
def test_given_axes_in_any_order(tmp_path: Path, order: str) -> None:
    """Of a Zarr without names, and of one whose own say something else."""
    same(zarr_of(tmp_path / "a.zarr", order, dimension_names=None), order)
    same(zarr_of(tmp_path / "b.zarr", order, dimension_names=tuple("abcd"[: len(order)])), order)


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_sharded_and_not(tmp_path: Path, order: str, shards: bool) -> None:
    data = arranged(order)
    sizes = {"Z": 2, "Y": 4, "X": 6}
    chunks = tuple(sizes[axis] for axis in order)
    more: dict[str, Any] = {"shards": tuple(2 * size for size in chunks)} if shards else {}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=data.shape, dtype="u2", chunks=chunks,
        dimension_names=tuple(order.lower()), **more,
    )  # fmt: skip
    array[:] = data
    same(tmp_path / "a.zarr")


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {}, "deflate": {"compression": "zlib"}, "OME": {"ome": True},
    "tiled": {"tile": (16, 16), "compression": "zlib"}, "big endian": {"byteorder": ">"},
}  # fmt: skip


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "OME"])
@pytest.mark.parametrize("order", [*ORDERS, "CXYZ", "XCYZ", "XYCZ", "ZYXC", "XYZC"])
def test_tiffs_in_any_order(tmp_path: Path, order: str, layout: str) -> None:
    """By the axes that the file names, and by those given."""
    for name, given in (("named.tif", None), ("given.tif", order)):
        metadata = {"axes": order} if given is None else None
        if given and "C" in given:
            metadata = {}  # so that the file keeps an axis of length 1, without a name
        tifffile.imwrite(
            tmp_path / name, arranged(order), metadata=metadata, photometric="minisblack",
            **LAYOUTS[layout],
        )  # fmt: skip
        same(tmp_path / name, given)


@pytest.mark.parametrize("word", WORDS["Z"])
def test_words_for_sections(tmp_path: Path, word: str) -> None:
    same(zarr_of(tmp_path / "a.zarr", "ZYX", dimension_names=(word, "y", "x")))


def test_words_for_all_axes(tmp_path: Path) -> None:
    for k, (t, y, x) in enumerate(itertools.product(WORDS["T"], WORDS["Y"], WORDS["X"])):
        c, z = WORDS["C"][k % 3], WORDS["Z"][k % 9]
        same(zarr_of(tmp_path / f"{k}.zarr", "TXYCZ", dimension_names=(t, x, y, c, z)))


OTHERS = [
    "condition", "cell", "cycle", "tile", "trial", "treatment", "slide", "subject", "stage", "zoom",
    "zone", "year", "xeno", "iteration", "index", "quality", "position", "λ", "ß", "éclair", "1st",
]  # fmt: skip
"""Names of axes that are neither channels, time points nor sections, whatever they begin with."""


@pytest.mark.parametrize("word", OTHERS)
def test_an_axis_of_any_other_name_is_nothing_that_is_known(tmp_path: Path, word: str) -> None:
    assert len(letter(word)) == 1
    assert letter(word) not in "ZYXCSTQI"
    assert letter(word.upper()) == letter(word)
    four = np.stack([STACK, STACK + 1])
    zarr.create_array(tmp_path / "a.zarr", data=four, dimension_names=(word, "z", "y", "x"))
    with pytest.raises(InputError, match=r"2 along axis .*: save one of them$"):
        open_stack(tmp_path / "a.zarr")
    for given in ({"channel": 1}, {"time": 1}):
        with pytest.raises(InputError, match=r"no axis of its axes .ZYX is known .*`axes`"):
            open_stack(tmp_path / "a.zarr", **given)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr", channel=1, axes="CZYX"), four[1])


@pytest.mark.parametrize("word", OTHERS)
def test_an_axis_of_any_other_name_is_no_axis_of_sections(tmp_path: Path, word: str) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=STACK, dimension_names=(word, "y", "x"))
    with pytest.raises(InputError, match="or say `axes` ZYX if these are sections"):
        open_stack(tmp_path / "a.zarr")
    same(tmp_path / "a.zarr", "ZYX")


def test_the_names_that_xarray_makes_up_say_nothing(tmp_path: Path) -> None:
    same(zarr_of(tmp_path / "a.zarr", "ZYX", dimension_names=("dim_0", "dim_1", "dim_2")))


@pytest.mark.parametrize(
    ("shape", "names", "advice"),
    [
        ((6, 40, 48, 1), None, "ZYXC"),
        ((1, 6, 40, 48), "abcd", "CZYX"),
        ((6, 1, 40, 48), "abcd", "ZCYX"),
        ((40, 48), "ab", "YX"),
        ((6, 40, 48), "aab", "ZYX"),
        ((1, 6, 40, 48, 1), None, "CZYXT"),
    ],
)
def test_the_axes_that_a_refusal_suggests_are_accepted(
    tmp_path: Path, shape: tuple[int, ...], names: str | None, advice: str
) -> None:
    data = np.arange(np.prod(shape), dtype="u4").reshape(shape)
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=shape, dtype="u4", dimension_names=names and tuple(names)
    )
    array[:] = data
    with pytest.raises(InputError, match=rf"one letter for each, such as {advice}$"):
        open_stack(tmp_path / "a.zarr")
    found = read_stack(tmp_path / "a.zarr", axes=advice)
    np.testing.assert_array_equal(found, data.reshape(-1, *[n for n in shape if n > 1][-2:]))


def test_channels_are_never_taken_for_sections(tmp_path: Path) -> None:
    """An array of c, x, y, z with several channels: no advice that makes x of sections."""
    zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 48, 40, 6), dtype="u1", dimension_names=tuple("cxyz")
    )[:] = 1
    with pytest.raises(
        InputError, match=r"2 channels \(axes CXYZ.*: choose one with `channel`, 0 to 1$"
    ):
        open_stack(tmp_path / "a.zarr")


def test_a_cube_is_put_in_order_too(tmp_path: Path) -> None:
    """Its shape says nothing of the order."""
    cube = np.arange(6**3, dtype=np.uint8).reshape(6, 6, 6)
    for order in ORDERS:
        stored = cube.transpose(["ZYX".index(axis) for axis in order])
        tifffile.imwrite(
            tmp_path / "a.tif", stored, photometric="minisblack", metadata={"axes": order}
        )
        np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), cube)
        zarr.create_array(
            tmp_path / f"{order}.zarr", data=stored, dimension_names=tuple(order.lower())
        )
        np.testing.assert_array_equal(read_stack(tmp_path / f"{order}.zarr"), cube)


def test_pages_that_are_not_those_of_the_axes(tmp_path: Path) -> None:
    """Rows were written as pages: what is given as Y and X are no rows and columns of a page."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0][..., None], photometric="minisblack", metadata=None)
    for axes in ("YXC", "YXZ"):
        np.testing.assert_array_equal(read_stack(path, axes=axes)[0], STACK[0])


@pytest.mark.parametrize("axes", ["XYZ", "XYC", "ZXY", "CXY"])
def test_a_single_section_with_rows_for_columns(tmp_path: Path, axes: str) -> None:
    stored = np.expand_dims(STACK[0].T, 0 if axes.endswith("XY") else 2)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", metadata={"axes": axes})
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), STACK[:1])


def test_pages_of_one_row_in_another_order(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS[:, :1, :], photometric="minisblack", metadata={"axes": "XYZ"}
    )
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.shape == (32, 1, 6)
        np.testing.assert_array_equal(stack[3], PIXELS[:, 0, 3][None])
