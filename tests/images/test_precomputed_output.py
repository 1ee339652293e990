"""Precomputed volumes that are written: as tensorstore and Neuroglancer read them, whole or not."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
from numpy.typing import NDArray
from output_helpers import check_kills, complete, contents, run_limited, windows, write

from paper_unet.errors import InputError
from paper_unet.images import Output, create_output, open_stack, read_stack, stored_files
from paper_unet.images.outputs.precomputed import PrecomputedOutput
from paper_unet.images.outputs.stored import Stored, stored_bytes

EM = (0.05, 0.005, 0.004)
SHAPE = (3, 71, 133)
LEVELS = [(3, 71, 133), (3, 36, 67), (3, 18, 34), (3, 9, 17), (3, 5, 9)]
STACK = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
STACK[1, :16, 16:32] = 0  # a chunk of zeros


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrecomputedOutput, "alignment", (16, 16))


def started(path: Path, stack: NDArray[Any] = STACK, **options: Any) -> Output:
    output = create_output(path, stack.shape, stack.dtype, **options)  # type: ignore[arg-type]
    output.prepare(resume=False)
    return output


def written(path: Path, stack: NDArray[Any] = STACK, **options: Any) -> Path:
    output = started(path, stack, **options)
    write(output, stack, windows(output, 16, 64))
    complete(output)
    return path


def by_tensorstore(path: Path, scale: int) -> NDArray[Any]:
    spec = {
        "driver": "neuroglancer_precomputed", "scale_index": scale,
        "kvstore": {"driver": "file", "path": str(path)}, "fill_missing_data_reads": False,
    }  # fmt: skip
    found = tensorstore.open(spec, read=True).result()
    return np.asarray(found.read().result())[..., 0].T


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_an_independent_reader_agrees_on_all_scales(tmp_path: Path, dtype: str) -> None:
    stack = STACK.astype(dtype) / (255 if dtype == "float32" else 1)
    path = written(tmp_path / "out.precomputed", stack.astype(dtype), pixel_size=EM)
    for level, shape in enumerate(LEVELS):
        found = by_tensorstore(path, level)
        assert (found.shape, found.dtype) == (shape, dtype)
        if level == 0:
            np.testing.assert_array_equal(found, stack.astype(dtype))
        if level == 1:
            mean = found[0, 0, 0] - stack[0, :2, :2].mean()
            assert abs(mean) <= (1e-6 if dtype == "float32" else 0.5)
    with open_stack(path) as again:
        assert again.pixel_size == pytest.approx(EM)
        assert len(again.notes) == 1  # the other scales
    np.testing.assert_array_equal(read_stack(path), stack.astype(dtype))
    np.testing.assert_array_equal(read_stack(path / "8_10_50"), by_tensorstore(path, 1))


def test_the_document(tmp_path: Path) -> None:
    about = json.loads((written(tmp_path / "a.precomputed", pixel_size=EM) / "info").read_text())
    scales = about.pop("scales")
    assert about == {
        "@type": "neuroglancer_multiscale_volume", "type": "image", "data_type": "uint8",
        "num_channels": 1,
    }  # fmt: skip
    assert scales[1] == {
        "key": "8_10_50", "size": [67, 36, 3], "resolution": [8, 10, 50], "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[16, 16, 1]], "encoding": "raw",
    }  # fmt: skip
    assert [scale["key"] for scale in scales[:1]] == ["4_5_50"]


@pytest.mark.parametrize("size", [(None, None, None), (None, 0.005, 0.004), (0.0505, 0.0041, 0.7)])
def test_a_size_that_is_not_known_stays_so(tmp_path: Path, size: Any) -> None:
    path = written(tmp_path / "a.precomputed", pixel_size=size)
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx(size)
    assert by_tensorstore(path, 1).shape == LEVELS[1]


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_labels_are_a_segmentation(tmp_path: Path, dtype: str) -> None:
    cells = STACK.astype(dtype) * np.array(2 ** (40 if dtype == "uint64" else 20), dtype)
    path = written(tmp_path / "a.precomputed", cells, labels=True, pixel_size=EM)
    assert json.loads((path / "info").read_text())["type"] == "segmentation"
    np.testing.assert_array_equal(by_tensorstore(path, 2), cells[:, ::4, ::4])
    np.testing.assert_array_equal(read_stack(path, labels=True), cells)


def test_windows_in_any_order_and_twice_give_the_same_bytes(tmp_path: Path) -> None:
    expected = contents(written(tmp_path / "in-order.precomputed"))
    output = started(tmp_path / "out.precomputed")
    chosen = windows(output, 16, 32)
    chosen = chosen + random.Random(1).sample(chosen, 6)
    random.Random(2).shuffle(chosen)
    for z, rows, columns in chosen[:6]:  # what is written again wins
        output.write(z, rows[0], columns[0], 255 - STACK[z, slice(*rows), slice(*columns)])
    write(output, STACK, chosen)
    complete(output, seed=3)
    assert contents(output.path) == expected


def test_levels_that_are_computed_meanwhile_are_the_same(tmp_path: Path) -> None:
    expected = contents(written(tmp_path / "stages.precomputed"))
    output = started(tmp_path / "out.precomputed")
    done = []
    for z, rows, columns in windows(output, 32, 133):
        pixels = STACK[z, slice(*rows), slice(*columns)]
        output.write(z, rows[0], columns[0], pixels)
        output.sync(z, rows, columns)
        done += output.derive(z, rows[0], columns[0], pixels)
    assert done
    output.leave_out(done)
    complete(output)
    assert contents(output.path) == expected


def test_the_checksum_is_that_of_the_bytes_on_disk(tmp_path: Path) -> None:
    output = started(tmp_path / "out.precomputed")
    told = output.write(1, 16, 16, STACK[1, 16:48, 16:48])
    chunks = [STACK[1, y : y + 16, x : x + 16].tobytes() for y in (16, 32) for x in (16, 32)]
    assert told == stored_files(stored_bytes([chunk]) for chunk in chunks)
    assert output.stored(1, (16, 48), (16, 48)) == told
    assert output.size_stored(1, (16, 48), (16, 48)) == 1024
    assert output.looks_written(1, (16, 48), (16, 48))
    np.testing.assert_array_equal(output.read(1, (16, 48), (16, 48)), STACK[1, 16:48, 16:48])
    chunk = output.partial / "1_1_1" / "16-32_16-32_1-2"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert output.stored(1, (16, 48), (16, 48)) != told
    assert not output.looks_written(1, (16, 48), (16, 48))
    with pytest.raises(InputError, match="missing or has another size"):
        output.read(1, (16, 48), (16, 48))
    assert output.stored(2, (0, 16), (0, 16)) == stored_files([Stored(0, 0)])


def test_an_unfinished_output_is_not_taken_for_a_volume(tmp_path: Path) -> None:
    output = started(tmp_path / "out.precomputed")
    write(output, STACK, windows(output, 16, 133)[:-1])
    assert not output.path.exists()
    with pytest.raises(InputError, match="partial output"):
        open_stack(output.partial)
    with pytest.raises(InputError, match="chunks are missing"):
        output.finish()


def test_what_is_gone_on_with_has_to_be_the_same(tmp_path: Path) -> None:
    output = started(tmp_path / "out.precomputed", pixel_size=EM)
    output.prepare(resume=True)
    frame = output.frame()
    info = output.partial / "info"
    text = info.read_text()
    for changed in (text.replace("133", "134"), text.replace('"raw"', '"png"'), "{", "[" * 10**5):
        info.write_text(changed)
        assert output.frame() != frame
        with pytest.raises(InputError, match="nothing to go on from"):
            output.prepare(resume=True)
    info.unlink()
    with pytest.raises(InputError, match="has no info"):
        output.prepare(resume=True)


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "zarr"])
def test_what_is_no_precomputed_volume_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.precomputed"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        if kind != "empty folder":
            (path / ("zarr.json" if kind == "zarr" else "mine.txt")).write_text("{}")
    with pytest.raises(InputError, match=r"not replaced|is a file"):
        create_output(path, SHAPE, "uint8", overwrite=True)
    assert path.exists()


def test_an_earlier_volume_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "out.precomputed", 255 - STACK)
    with pytest.raises(InputError, match="exists"):
        create_output(path, SHAPE, "uint8")
    output = started(path, overwrite=True)
    write(output, STACK, windows(output, 16, 133))
    np.testing.assert_array_equal(read_stack(path), 255 - STACK)
    complete(output)
    np.testing.assert_array_equal(read_stack(path), STACK)
    assert [one.name for one in tmp_path.iterdir()] == ["out.precomputed"]


def test_an_address_as_the_name(tmp_path: Path) -> None:
    output = create_output(f"precomputed://file://{tmp_path}/out.precomputed", SHAPE, "uint8")
    assert output.path == tmp_path / "out.precomputed"
    with pytest.raises(InputError, match="end its name in one of"):
        create_output(f"precomputed://file://{tmp_path}/out", SHAPE, "uint8")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    assert "room" in run_limited(tmp_path / "out.precomputed")


@pytest.mark.slow
def test_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between any two steps, the run goes on to the same bytes."""
    check_kills(tmp_path, "precomputed", 512, [7, 12, 30])
