"""Chunks are those that zarr writes, and a pyramid that grows with its pixels is the same one."""

import math
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from output_helpers import Window, complete, contents, windows, write

from paper_unet.errors import InputError
from paper_unet.images import Output, Task, create_output
from paper_unet.images.outputs.tasks import Marks, Tasks
from paper_unet.images.outputs.zarr import ZarrOutput
from paper_unet.images.pyramid import Chunk, GrowingPyramid, halved, level_shapes

VERSIONS = ["0.5", "0.4"]
DTYPES = ["uint8", "uint16", "uint32", "float32"]
SHAPES = [
    (2, 1100, 1301), (1, 1, 2100), (1, 2100, 1), (1, 2049, 1025), (1, 512, 1024), (1, 1536, 513),
]  # fmt: skip


def noise(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[np.generic]:
    rng = np.random.default_rng(0)
    if dtype == "float32":
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def started(path: Path, stack: NDArray[np.generic], **options: str) -> Output:
    output = create_output(path, stack.shape, stack.dtype, **options)
    output.prepare(resume=False)
    return output


def written(path: Path, stack: NDArray[np.generic], **options: str) -> dict[str, bytes]:
    """All levels above 0 computed from disk."""
    output = started(path, stack, **options)
    write(output, stack, windows(output, 512, 4096))
    complete(output)
    return contents(path)


def derived(output: Output, stack: NDArray[np.generic], chosen: list[Window]) -> list[Chunk]:
    """Write windows, and compute what follows from them."""
    found = []
    for z, rows, columns in chosen:
        window = stack[z, slice(*rows), slice(*columns)]
        output.write(z, rows[0], columns[0], window)
        found += output.derive(z, rows[0], columns[0], window)
    return found


def left(output: Output) -> list[Task]:
    return [task for stage in output.stages() for task in stage]


# --- the bytes of a chunk -----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", ["noise", "zeros", "noise at the edge"])
def test_chunks_are_those_that_zarr_writes(
    tmp_path: Path, version: str, dtype: str, value: str
) -> None:
    stack = noise((2, 700, 1030), dtype)
    if value != "noise":
        stack[:, : 700 if value == "zeros" else 512] = 0
    found = written(tmp_path / "out.zarr", stack, ome_zarr=version)
    output = started(tmp_path / "other.zarr", stack, ome_zarr=version)
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(output.partial, mode="r+")
        for level in range(len(level_shapes(stack.shape, 512))):
            group[str(level)][:] = stack
            stack = np.stack([halved(section) for section in stack])
    assert contents(output.partial) == found


@pytest.mark.parametrize("version", VERSIONS)
def test_an_array_that_is_encoded_otherwise_is_not_gone_on_with(
    tmp_path: Path, version: str
) -> None:
    output = started(tmp_path / "out.zarr", noise((1, 20, 30)), ome_zarr=version)
    group = zarr.open_group(output.partial, mode="r+")
    group.create_array(
        "0", shape=(1, 20, 30), chunks=(1, 512, 512), dtype="uint8", compressors=None,
        overwrite=True,
    )  # fmt: skip
    again = create_output(tmp_path / "out.zarr", (1, 20, 30), "uint8", ome_zarr=version)
    with pytest.raises(InputError, match="encoded in another way, so there is nothing to go on"):
        again.prepare(resume=True)


# --- levels that are computed ahead -------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [512, 1024, 4096])
def test_from_top_to_bottom_nothing_is_left_to_the_stages(
    tmp_path: Path, shape: tuple[int, int, int], rows: int
) -> None:
    stack = noise(shape)
    expected = written(tmp_path / "whole.zarr", stack)
    output = started(tmp_path / "out.zarr", stack)
    output.leave_out(derived(output, stack, windows(output, rows, 4096)))
    assert left(output) == []
    complete(output)
    assert contents(output.path) == expected


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [512, 1024, 1536])
def test_strips_in_any_order(tmp_path: Path, version: str, dtype: str, columns: int) -> None:
    stack = noise((2, 1100, 2100), dtype)
    expected = written(tmp_path / "whole.zarr", stack, ome_zarr=version)
    output = started(tmp_path / "out.zarr", stack, ome_zarr=version)
    chosen = windows(output, 512, columns)
    random.Random(columns).shuffle(chosen)
    output.leave_out(derived(output, stack, chosen))
    complete(output, seed=1)
    assert contents(output.path) == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_several_processes_each_have_a_part(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """Nobody knows what the others have seen: what is left is computed from disk."""
    stack = noise(shape, "uint16")
    expected = written(tmp_path / "whole.zarr", stack)
    output = started(tmp_path / "out.zarr", stack)
    copies = [pickle.loads(pickle.dumps(output)) for _ in range(2)]  # noqa: S301
    chosen = windows(output, 512, 1024)
    for k, one in enumerate(chosen):
        output.leave_out(derived(copies[k // 3 % 2], stack, [one]))
    again = derived(copies[1], stack, chosen[:1])  # a worker that was thought lost
    output.leave_out(again)
    complete(output)
    assert contents(output.path) == expected


def test_what_an_interrupted_run_left_is_computed_again(tmp_path: Path) -> None:
    stack = noise((1, 2049, 1025))
    expected = written(tmp_path / "whole.zarr", stack)
    first = started(tmp_path / "out.zarr", stack)
    chosen = windows(first, 512, 4096)
    first.leave_out(derived(first, stack, chosen[:3]))
    torn = sorted((first.partial / "1").rglob("0"))
    for path in torn:
        if path.is_file():
            path.write_bytes(b"torn")
    assert torn
    second = create_output(tmp_path / "out.zarr", stack.shape, "uint8")
    second.prepare(resume=True)
    second.leave_out(derived(second, stack, chosen[3:]))
    assert 0 < len(left(second)) < len(left(first)) + 5
    complete(second)
    assert contents(second.path) == expected


def test_starting_anew_forgets_what_was_there(tmp_path: Path) -> None:
    stack = noise((1, 600, 600))
    output = started(tmp_path / "out.zarr", stack)
    output.leave_out(derived(output, stack, windows(output, 512, 4096)))
    assert left(output) == []
    output.prepare(resume=True)
    assert left(output) == [Task(1, 0, 0)]


def test_it_is_on_disk_when_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = noise((1, 600, 1100))
    output = started(tmp_path / "out.zarr", stack)
    synced: list[str] = []
    for name in ("level_files.sync_file", "chunk_files.sync_folder"):
        monkeypatch.setattr(
            f"paper_unet.images.outputs.{name}",
            lambda path: synced.append(str(path.relative_to(output.partial))),
        )
    found = derived(output, stack, windows(output, 1024, 4096))
    assert set(found) == {Chunk(1, 0, 0, 0), Chunk(1, 0, 0, 512), Chunk(2, 0, 0, 0)}
    names = {"1/c/0/0/0", "1/c/0/0/1", "1/c/0/0", "1/c/0", "1/c", "1", "2/c/0/0/0", "2/c/0/0"}
    assert names <= set(synced)


def test_threads_share_what_waits(tmp_path: Path) -> None:
    stack = noise((3, 3000, 1100))
    expected = written(tmp_path / "whole.zarr", stack)
    output = started(tmp_path / "out.zarr", stack)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(
            lambda one: derived(output, stack, [one]), windows(output, 512, 4096)
        ):
            output.leave_out(found)
    complete(output)
    assert contents(output.path) == expected


def test_a_task_computes_only_what_is_not_there(tmp_path: Path) -> None:
    stack = noise((1, 1000, 3000))
    output = started(tmp_path / "out.zarr", stack)
    write(output, stack, windows(output, 512, 4096))
    output.leave_out([Chunk(1, 0, 0, 512)])
    (task, *_) = left(output)
    assert task == Task(1, 0, 0, (0, 1024))
    output.run(task)
    folder = output.partial / "1" / "c" / "0" / "0"
    assert sorted(path.name for path in folder.iterdir()) == ["0", "2"]


# --- what waits ---------------------------------------------------------------------------------


def test_of_what_waits_the_oldest_is_forgotten() -> None:
    """Room is for two windows: of 50 chunks that wait for their right half, two are kept."""
    stack = noise((400, 8))
    pyramid = GrowingPyramid([(1, 400, 8), (1, 200, 4)], 4)
    for y in range(0, 400, 4):
        assert not list(pyramid.add(0, y, 0, stack[y : y + 4, :4]))
    found = [
        chunk
        for y in reversed(range(0, 400, 4))
        for chunk, _ in pyramid.add(0, y, 4, stack[y : y + 4, 4:])
    ]
    assert found == [Chunk(1, 0, 196, 0), Chunk(1, 0, 192, 0)]


def test_a_pyramid_that_grows_has_the_means_of_all() -> None:
    stack = noise((93, 70))
    levels = level_shapes((1, *stack.shape), 8)
    pyramid = GrowingPyramid(levels, 8)
    found = {}
    for y in range(0, 93, 8):
        found |= dict(pyramid.add(0, y, 0, stack[y : y + 8]))
    for level, (_, height, width) in enumerate(levels[1:], 1):
        stack = halved(stack)
        whole = np.zeros((height, width), np.uint8)
        for chunk, pixels in found.items():
            if chunk.level == level:
                y, x = chunk.row, chunk.column
                whole[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        np.testing.assert_array_equal(whole, stack)
    assert len(found) == sum(math.ceil(h / 8) * math.ceil(w / 8) for _, h, w in levels[1:])


# --- which chunks are there ---------------------------------------------------------------------


def test_tasks_leave_out_rows_that_are_there() -> None:
    there = Marks(2, 3, 10)
    for k in range(10):
        there.set(1, 1, k)
    for k in (0, 8):
        there.set(0, 2, k)
    tasks = Tasks(1, 2, 1100, 512, there)
    every = tuple(range(0, 5120, 512))
    expected = [
        Task(1, 0, 0, every), Task(1, 0, 512, every), Task(1, 0, 1024, every[1:8] + every[9:]),
        Task(1, 1, 0, every), Task(1, 1, 1024, every),
    ]  # fmt: skip
    assert list(tasks) == expected
    assert len(tasks) == 5
    assert tasks[-2:] == expected[-2:]
    assert list(pickle.loads(pickle.dumps(tasks))) == expected  # noqa: S301


def test_a_worker_is_not_sent_what_is_there(tmp_path: Path) -> None:
    output = create_output(tmp_path / "out.zarr", (500, 10_000, 10_000), "uint8")
    assert isinstance(output, ZarrOutput)
    before = len(pickle.dumps(output))
    output.leave_out([Chunk(1, 0, 0, 0)])
    assert len(pickle.dumps(output)) == before
