"""HDF5 files are written by windows, by anybody, in any order, and always to the same bytes."""

import errno
import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from output_helpers import check_kills, complete, contents, run_limited, windows, write

from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack, read_stack

SHAPE = (3, 37, 53)
EM = (0.05, 0.004, 0.004)  # the pixels of ISBI 2012, micrometres


def typed(dtype: str) -> NDArray[Any]:
    stack = np.random.default_rng(0).integers(1, 250, SHAPE)
    return (stack / 255).astype(dtype) if dtype == "float32" else (stack * 3).astype(dtype)


def written(path: Path | str, dtype: str = "uint8", **options: Any) -> Path:
    output = create_output(path, SHAPE, dtype, **options)
    output.prepare(resume=False)
    write(output, typed(dtype), windows(output, 37, 53))
    complete(output)
    return output.path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize("name", ["out.h5", "out.HDF5", "out.h5:/volumes/labels/cells"])
def test_windows_in_any_order_and_twice_give_the_same_bytes(
    tmp_path: Path, name: str, dtype: str
) -> None:
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
    assert contents(output.path) == expected
    assert output.path.stat().st_size <= output._size()
    np.testing.assert_array_equal(read_stack(tmp_path / name), stack)
    np.testing.assert_array_equal(read_stack(output.path), stack)
    with h5py.File(output.path) as file:
        found = file[name.partition(":")[2] or "data"]
        np.testing.assert_array_equal(found[:], stack)
        assert (found.chunks, found.dtype) == (None, np.dtype(dtype))
        assert found.attrs["resolution"].tolist() == [50, 4, 4]  # as CREMI has it
        assert found.attrs["element_size_um"].tolist() == list(EM)


@pytest.mark.parametrize(
    "size", [EM, (0.05, 0.0037, 0.0041), (None, 0.5, 0.5), (0.05, None, None), (None,) * 3]
)
def test_the_pixel_size_comes_back(tmp_path: Path, size: Any) -> None:
    with open_stack(written(tmp_path / "out.h5", pixel_size=size)) as stack:
        assert stack.pixel_size == pytest.approx(size)


@pytest.mark.parametrize("shape", [(1, 9, 5), (3, 1, 1), (1, 1, 1), (2, 5, 1), (40, 3, 2)])
def test_odd_shapes_read_back(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    output = create_output(tmp_path / "out.h5", shape, "uint8", pixel_size=EM)
    output.prepare(resume=False)
    stack = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write(output, stack, windows(output, 4, 3))
    complete(output)
    with open_stack(output.path) as opened:
        assert (opened.shape, opened.pixel_size) == (shape, EM)
        np.testing.assert_array_equal(list(opened), stack)


def test_resuming_keeps_what_is_written(tmp_path: Path) -> None:
    expected = contents(written(tmp_path / "whole.h5", pixel_size=EM))
    first = create_output(tmp_path / "out.h5", SHAPE, "uint8", pixel_size=EM)
    first.prepare(resume=False)
    chosen = windows(first, 10, 53)
    write(first, typed("uint8"), chosen[:5])
    first.close()
    second = create_output(tmp_path / "out.h5", SHAPE, "uint8", pixel_size=EM)
    second.prepare(resume=True)
    write(second, typed("uint8"), chosen[5:])
    complete(second)
    assert contents(tmp_path / "out.h5") == expected


@pytest.mark.parametrize(
    "what", ["gone", "empty", "cut", "dtype", "shape", "foreign", "name", "chunks"]
)
def test_nothing_to_resume(tmp_path: Path, what: str) -> None:
    partial = tmp_path / "out.h5.partial"
    output = create_output(tmp_path / "out.h5", SHAPE, "uint8")
    output.prepare(resume=False)
    output.close()
    if what == "gone":
        partial.unlink()
    elif what in ("empty", "cut"):
        os.truncate(partial, 0 if what == "empty" else 3000)
    elif what == "foreign":
        partial.write_text("no HDF5")
    elif what == "chunks":
        with h5py.File(partial, "w") as file:
            file.create_dataset("data", SHAPE, "u1", chunks=True)
    shape, dtype = (3, 53, 37) if what == "shape" else SHAPE, "uint16" if what == "dtype" else "u1"
    name = "out.h5:/other" if what == "name" else "out.h5"
    with pytest.raises(
        InputError, match=r"out\.h5\.partial: .* start anew with `overwrite`"
    ) as got:
        create_output(tmp_path / name, shape, dtype).prepare(resume=True)
    assert "\n" not in str(got.value)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_again_and_again_the_bytes_are_the_same(tmp_path: Path) -> None:
    check_kills(tmp_path, "h5", 16, [5, 4, 11])


# full disks


def test_a_real_limit(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    said = run_limited(tmp_path / "out.h5")
    assert said.count("\n") == 1
    assert "out.h5: the file grows beyond what its disk or a limit" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no space")
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    output = create_output(tmp_path / "out.h5", SHAPE, "uint8")
    with pytest.raises(InputError, match=r"full: \d+ bytes needed, \d+ free; make room"):
        output.prepare(resume=False)
    assert list(tmp_path.iterdir()) == []


# names, and what belongs to the user


def test_a_file_that_holds_more_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file["volumes/raw"] = typed("uint8")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"volume\.h5: exists already"):
        create_output(f"{path}:/volumes/prediction", SHAPE, "uint8")
    for name in ("volumes/prediction", "data", "volumes", "volumes/raw/deeper"):
        with pytest.raises(InputError, match=f"holds something else than /{name}, so it is not"):
            create_output(f"{path}:/{name}", SHAPE, "uint8", overwrite=True)
    with h5py.File(path, "a") as file:
        file["more"] = 1
    with pytest.raises(InputError, match="holds something else"):
        create_output(f"{path}:/volumes/raw", SHAPE, "uint8", overwrite=True)
    (tmp_path / "text.h5").write_text("precious")
    with pytest.raises(InputError, match="holds something else"):
        create_output(tmp_path / "text.h5", SHAPE, "uint8", overwrite=True)
    path.write_bytes(before)
    written(f"{path}:/volumes/raw", overwrite=True)
    np.testing.assert_array_equal(read_stack(path), typed("uint8"))


def test_the_old_output_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = written(tmp_path / "out.h5", "uint16")
    before = path.read_bytes()
    output = create_output(path, SHAPE, "uint8", overwrite=True)
    output.prepare(resume=False)
    write(output, typed("uint8"), windows(output, 37, 53))
    assert path.read_bytes() == before
    complete(output)
    np.testing.assert_array_equal(read_stack(path), typed("uint8"))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", "/", "a//b", "a/../b", "./a", "n" * 1001])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"is no name for a data set; give one such as out\.h5:/"):
        create_output(f"{tmp_path}/out.h5:/{name}", SHAPE, "uint8")
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_the_remedy_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"out\.h5: HDF5 needs h5py, .*paper-unet\[hdf5\]"):
        create_output(tmp_path / "out.h5", SHAPE, "uint8")


def test_a_copy_writes_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = create_output("out.h5:/cells", SHAPE, "uint8")
    output.prepare(resume=False)
    output.write(0, 0, 0, typed("uint8")[0])  # the file is open: it does not travel
    sent = pickle.dumps(output)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copy = pickle.loads(sent)  # noqa: S301
    write(copy, typed("uint8"), windows(copy, 37, 53)[1:])
    copy.close()
    monkeypatch.chdir(tmp_path)
    complete(output)
    np.testing.assert_array_equal(read_stack("out.h5:/cells"), typed("uint8"))


def test_beyond_4_gb(tmp_path: Path) -> None:
    """The room of 5 GB, as far as the disk gives it, and its last pixels."""
    output = create_output(tmp_path / "out.h5", (5, 32_000, 32_000), "uint8")
    output._reserve = lambda *_: None  # type: ignore[attr-defined]  (sparse)
    output.prepare(resume=False)
    output.write(4, 31_999, 31_990, np.full((1, 10), 7, np.uint8))
    output.finish()
    with open_stack(output.path) as stack:
        assert stack.window(4, (31_999, 32_000), (31_980, 32_000)).sum() == 70
