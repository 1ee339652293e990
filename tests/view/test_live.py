"""What a page reads of an output while runs are writing it, without a browser."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import Output, create_output, open_unfinished
from paper_unet.view import layers
from paper_unet.view.layers import Layer

pytest.importorskip("zarr")
STACK = np.random.default_rng(0).random((4, 130, 150)).astype(np.float32)
ENDINGS = ["zarr", "precomputed", "tif", "h5:/volumes/p"]


def started(path: Path, **more: Any) -> Output:
    output = create_output(path, STACK.shape, "float32", **more)
    output.prepare(resume=False)
    return output


def write(output: Output, sections: range) -> None:
    for z in sections:
        output.write(z, 0, 0, STACK[z])
        output.sync(z, (0, STACK.shape[1]), (0, STACK.shape[2]))


def finish(output: Output) -> None:
    for stage in output.stages():
        for task in stage:
            output.run(task)
    output.finish()


def section(layer: Layer, z: int) -> NDArray[Any]:
    """One section as the page gets it, (Y, X)."""
    _, height, width = STACK.shape
    found: NDArray[Any] = layer.read((0, 0, z), (width, height, z + 1), (1, 1, 1))[..., 0].T
    return found


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_opened_for_one_look_is_shown_at_the_next(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"out.{ending}"
    file = tmp_path / out.name if ":" not in ending else tmp_path / "out.h5"
    record, partial = Path(f"{file}.journal"), Path(f"{file}.partial")
    output = started(out)
    write(output, range(1))
    record.write_text("1\n")
    layer = Layer(str(out), None)
    assert layer.live
    write(output, range(1, 2))
    record.write_text("1\n2\n")
    partial.rename(tmp_path / "away")
    assert not layer.changed()  # nothing can be opened: what there was stays
    assert layer.problem
    (tmp_path / "away").rename(partial)
    np.testing.assert_array_equal(section(layer, 0), STACK[0])
    assert layer.changed()  # though the record is as it was at the look before
    assert not layer.problem
    np.testing.assert_array_equal(section(layer, 1), STACK[1])
    write(output, range(2, 4))
    finish(output)
    record.unlink()

    def refuse(*given: Any, **more: Any) -> None:
        raise InputError("cannot be opened now")

    with monkeypatch.context() as patch:
        patch.setattr(layers, "open_stack", refuse)
        assert not layer.changed()
        assert layer.live
        assert layer.problem == "cannot be opened now"
        if not file.is_dir():  # a folder has another name now
            np.testing.assert_array_equal(section(layer, 1), STACK[1])
    assert layer.changed()
    assert not layer.live
    np.testing.assert_array_equal(section(layer, 3), STACK[3])
    layer.close()


def test_the_records_of_parts_are_looked_at_and_no_others(tmp_path: Path) -> None:
    output = started(tmp_path / "out.zarr")
    write(output, range(1))
    for part in ("", ".1-of-2"):
        (tmp_path / f"out.zarr.journal{part}").write_text("1\n")
    layer = Layer(str(tmp_path / "out.zarr"), None)
    assert not layer.changed()
    write(output, range(1, 2))
    for part in ("1-of-2", "2-of-2"):  # one that grows, and one that is new
        (tmp_path / f"out.zarr.journal.{part}").write_text("1\n2\n")
        assert layer.changed()
        assert not layer.changed()
    np.testing.assert_array_equal(section(layer, 1), STACK[1])
    for other in ("out.zarr.journal.old", "out.zarr.journal.2-of-2.bak", "x-out.zarr.journal"):
        (tmp_path / other).write_text("1\n")
        assert not layer.changed()
    layer.close()


WRITE = """
import h5py, sys
with h5py.File(sys.argv[1], "r+", locking=False) as file:
    file["p"][int(sys.argv[2])] = int(sys.argv[2]) + 1
"""


def test_chunks_that_another_process_adds_to_hdf5_are_seen(tmp_path: Path) -> None:
    """The library gives this process one file for two of the same, as it was when first opened."""
    h5py = pytest.importorskip("h5py")
    partial, record = tmp_path / "out.h5.partial", tmp_path / "out.h5.journal"
    with h5py.File(partial, "w") as file:
        file.create_dataset("p", STACK.shape, "f4", chunks=(1, 64, 64))
    subprocess.run([sys.executable, "-c", WRITE, str(partial), "0"], check=True)
    record.write_text("1\n")
    layer = Layer(f"{tmp_path}/out.h5", None)
    for z in range(1, 4):
        assert section(layer, z - 1).min() == z
        assert section(layer, z).max() == 0
        subprocess.run([sys.executable, "-c", WRITE, str(partial), str(z)], check=True)
        record.write_text("1\n" * (z + 1))
        assert layer.changed()
        assert section(layer, z).min() == z + 1
    layer.close()


def test_a_file_of_several_is_named_as_it_is_and_not_as_it_is_opened(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "out.h5.partial", "w") as file:
        for name in "pq":
            file.create_dataset(name, data=STACK)
    with pytest.raises(InputError, match=r"name one of them, as in out\.h5\.partial:/p: /p "):
        open_unfinished(tmp_path / "out.h5")


def test_the_page_says_once_what_it_could_not_open(tmp_path: Path) -> None:
    pytest.importorskip("neuroglancer")
    from paper_unet.view import Page

    output, said = started(tmp_path / "out.zarr"), []
    write(output, range(1))
    record = tmp_path / "out.zarr.journal"
    record.write_text("1\n")
    with Page(str(tmp_path / "out.zarr"), say=said.append) as page:
        said.clear()
        record.write_text("1\n2\n")
        (tmp_path / "out.zarr.partial").rename(tmp_path / "away")
        assert not page.refresh() and not page.refresh()
    assert len(said) == 1
    assert said[0].endswith("the page keeps what it has, and looks again")
