"""Zarr stores as others write them: layouts, names, and what is missing or damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from image_helpers import GREY, PIXELS
from numpy.typing import NDArray
from test_inputs import ome_zarr

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack


def store(path: Path, stack: NDArray[Any], **options: Any) -> Path:
    zarr.create_array(path, shape=stack.shape, **{"dtype": stack.dtype, **options})[:] = stack
    return path


def change(path: Path, **entries: Any) -> None:
    """Change entries of the first multiscale of an OME-Zarr 0.5; None takes one away."""
    document = json.loads((path / "zarr.json").read_text())
    image = document["attributes"]["ome"]["multiscales"][0]
    image.update(entries)
    document["attributes"]["ome"]["multiscales"][0] = {
        key: value for key, value in image.items() if value is not None
    }
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "options",
    [
        {"zarr_format": 2, "dtype": ">u2", "order": "F"},
        {"zarr_format": 2, "compressors": None},
        {"zarr_format": 3, "dtype": ">u2"},
        {"zarr_format": 3, "compressors": zarr.codecs.GzipCodec()},
        {"zarr_format": 3, "compressors": zarr.codecs.BloscCodec(cname="lz4")},
        {"zarr_format": 3, "chunks": (6, 16, 32)},
        {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    ],
    ids=lambda options: "-".join(map(str, options)),
)
def test_layouts(tmp_path: Path, options: dict[str, Any]) -> None:
    found = read_stack(store(tmp_path / "a.zarr", PIXELS, **{"chunks": (2, 5, 7), **options}))
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int16", "float32", "float64"])
def test_dtypes_of_zarrs(tmp_path: Path, dtype: str) -> None:
    found = read_stack(store(tmp_path / "a.zarr", GREY.astype(dtype)))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, GREY)


def test_axes_without_names(tmp_path: Path) -> None:
    """The last are Y and X, one more is Z; those of length 1 before them are dropped."""
    for shape in [(16, 32), (6, 16, 32), (1, 6, 16, 32), (1, 1, 6, 16, 32)]:
        stack = PIXELS.reshape(-1)[: int(np.prod(shape))].reshape(shape)
        path = store(tmp_path / f"{len(shape)}.zarr", stack)
        np.testing.assert_array_equal(read_stack(path), stack.reshape(-1, 16, 32))
    path = store(tmp_path / "two.zarr", PIXELS.reshape(2, 3, 16, 32))
    with pytest.raises(InputError, match=r"axes QZYX .* `axes`"):
        open_stack(path)
    zarr.create_array(tmp_path / "none.zarr", shape=(), dtype="u1")
    with pytest.raises(InputError, match=r"shape \(\) is no image"):
        open_stack(tmp_path / "none.zarr")


def test_names_of_version_2(tmp_path: Path) -> None:
    """They are an attribute, by a convention of xarray."""
    path = store(tmp_path / "a.zarr", PIXELS, zarr_format=2)
    zarr.open_array(path).attrs["_ARRAY_DIMENSIONS"] = ["time", "y", "x"]
    with pytest.raises(InputError, match=r"6 time points \(axes TYX"):
        open_stack(path)
    np.testing.assert_array_equal(read_stack(path, axes="zyx"), PIXELS)
    zarr.open_array(path).attrs["_ARRAY_DIMENSIONS"] = ["z"]  # damaged: as if there were none
    np.testing.assert_array_equal(read_stack(path), PIXELS)


def test_names_that_say_nothing(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", PIXELS, dimension_names=("page", "rank", "count"))
    with pytest.raises(InputError, match=r"axes PRU .*name the axes with `axes`"):
        open_stack(path)
    np.testing.assert_array_equal(read_stack(path, axes="ZYX"), PIXELS)


def test_the_type_of_an_axis_counts(tmp_path: Path) -> None:
    path = ome_zarr(3)(tmp_path, GREY)
    axes = [{"name": "epoch", "type": "time"}, {"name": "z", "type": "space"},
            {"name": "stain", "type": "channel"}, {"name": "y"}, {"name": "x"}]  # fmt: skip
    change(path, axes=axes)
    np.testing.assert_array_equal(read_stack(path), GREY)
    axes[1] = {"name": "zone", "type": "channel"}
    change(path, axes=axes)
    with pytest.raises(InputError, match=r"6 channels \(axes TCCYX"):
        open_stack(path)


def test_axes_as_plain_names(tmp_path: Path) -> None:
    """OME-Zarr 0.3 writes them so; it knows no scale."""
    path = ome_zarr(3)(tmp_path, GREY)
    change(path, axes=["t", "z", "c", "y", "x"])
    with open_stack(path) as stack:
        assert stack.pixel_size == (None, None, None)
        np.testing.assert_array_equal(stack[5], GREY[5])


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"axes": [{"name": "y"}, {"name": "x"}]}, "2 axes for an array of shape"),
        ({"axes": None}, "'axes'"),
        ({"datasets": []}, "list index out of range"),
        ({"datasets": [{"path": "missing"}]}, "missing"),
    ],
)
def test_damaged_metadata_of_an_image(tmp_path: Path, entries: Any, reason: str) -> None:
    path = ome_zarr(3)(tmp_path, GREY)
    change(path, **entries)
    with pytest.raises(InputError, match=rf"the OME-Zarr metadata cannot be read .*{reason}"):
        open_stack(path)


def test_metadata_of_another_type(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr").attrs["ome"] = "0.5"
    with pytest.raises(InputError, match="the OME-Zarr metadata cannot be read"):
        open_stack(tmp_path / "a.zarr")


def test_files_that_zarr_does_not_know(tmp_path: Path) -> None:
    """A note in a store is no reason for a warning."""
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("raw", shape=GREY.shape, dtype="u1")[:] = GREY
    (tmp_path / "a.zarr" / "README").write_text("from the microscope")
    with pytest.raises(InputError, match=r"give the path of one of its arrays: raw$"):
        open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.zarr" / "raw"), GREY)


def test_many_arrays_are_not_all_listed(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr")
    for number in range(10):
        group.create_array(f"a{number}", shape=(2, 3), dtype="u1")
    with pytest.raises(InputError, match=r"a0, a1, .*a7, \.\.\.$"):
        open_stack(tmp_path / "a.zarr")


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    """That is the format; whether it was meant so, the user has to say."""
    path = store(tmp_path / "a.zarr", GREY, chunks=(1, 8, 16), fill_value=7)
    shutil.rmtree(path / "c" / "2")
    with pytest.raises(InputError, match=r"4 of 24 chunks are missing, of section 2; .*`missing`"):
        open_stack(path)
    found = read_stack(path, missing="fill")
    assert (found[2] == 7).all()
    np.testing.assert_array_equal(found[3], GREY[3])


@pytest.mark.parametrize("document", ["", "{", "[]", '{"zarr_format": 9}', '{"node_type": 1}'])
def test_damaged_documents_are_one_line(tmp_path: Path, document: str) -> None:
    path = store(tmp_path / "a.zarr", GREY)
    (path / "zarr.json").write_text(document)
    with pytest.raises(InputError, match=r"a\.zarr: the store cannot be read \(.+\)") as caught:
        open_stack(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 5, 40])
def test_a_chunk_that_was_cut_short(tmp_path: Path, length: int) -> None:
    path = store(tmp_path / "a.zarr", PIXELS, chunks=(1, 16, 32))
    chunk = path / "c" / "4" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:length])
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack[3], PIXELS[3])
        with pytest.raises(InputError, match=r"a\.zarr: slice 4 cannot be read") as caught:
            stack[4]
    assert "\n" not in str(caught.value)


def test_chunks_that_are_too_large_are_refused(tmp_path: Path) -> None:
    """A store without a chunk is a few hundred bytes, and says that one decodes to 1 TB."""
    zarr.create_array(tmp_path / "a.zarr", shape=(10**4,) * 3, chunks=(10**4,) * 3, dtype="u1")
    with pytest.raises(InputError, match=r"a\.zarr: chunks of 1000\.0 GB, .*smaller ones"):
        open_stack(tmp_path / "a.zarr")
    zarr.create_array(
        tmp_path / "b.zarr", shape=(9, 10**4, 10**4), dtype="u1", chunks=(9, 10**4, 10**4)
    )
    (tmp_path / "b.zarr" / "c" / "0" / "0").mkdir(parents=True)
    (tmp_path / "b.zarr" / "c" / "0" / "0" / "0").touch()
    with (
        open_stack(tmp_path / "b.zarr") as stack,
        pytest.raises(InputError, match="decoding takes"),
    ):
        stack.check_memory(9 * 10**8)
