"""Shards: one file of many chunks, written by one piece, whatever the pieces and the kills."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from output_helpers import complete, contents, windows, write
from process_helpers import run_python

from paper_unet.errors import InputError
from paper_unet.images import Output, create_output, open_stack, read_stack
from paper_unet.images.outputs import zarr as module
from paper_unet.large.journal import open_journal

SHAPE, CHUNK, SHARD = (2, 150, 171), 16, 64
EM = (0.05, 0.004, 0.004)
STACK = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
STACK[0, :70, :70] = 0  # a shard of zeros


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 in place of 512, so that there are many."""
    monkeypatch.setattr(module, "CHUNK", CHUNK)
    monkeypatch.setattr(module.ZarrOutput, "alignment", (CHUNK, CHUNK))


def started(path: Path, stack: Any = STACK, **options: Any) -> Output:
    options = {"pixel_size": EM, "shard": SHARD, **options}
    output = create_output(path, stack.shape, stack.dtype, **options)
    output.prepare(resume=False)
    return output


def written(path: Path, stack: Any = STACK, **options: Any) -> Path:
    output = started(path, stack, **options)
    write(output, stack, windows(output, *output.alignment))
    complete(output)
    return path


def by_tensorstore(path: Path, level: int) -> Any:
    where = {"driver": "file", "path": str(path / str(level))}
    spec = {"driver": "zarr3", "kvstore": where}
    return np.asarray(tensorstore.open(spec, read=True).result().read().result())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_independent_readers_agree_on_all_levels(tmp_path: Path, dtype: str) -> None:
    """The same pixels, of all levels, as of files for each chunk."""
    stack = (STACK / 255).astype(dtype) if dtype == "float32" else STACK.astype(dtype) * 2
    path = written(tmp_path / "out.zarr", stack)
    plain = written(tmp_path / "plain.zarr", stack, shard=0)
    group, other = zarr.open_group(path, mode="r"), zarr.open_group(plain, mode="r")
    assert sorted(group.array_keys()) == sorted(other.array_keys())
    for name, array in other.arrays():
        np.testing.assert_array_equal(by_tensorstore(path, int(name)), array[:])
        np.testing.assert_array_equal(group[name][:], array[:])
        assert group[name].shards == (1, SHARD, SHARD)
        assert group[name].chunks == (1, CHUNK, CHUNK)
    assert dict(group.attrs) == dict(other.attrs)
    np.testing.assert_array_equal(read_stack(path), stack)
    with open_stack(path) as opened:
        assert opened.pixel_size == pytest.approx(EM)
        np.testing.assert_array_equal(opened.window(1, (3, 99), (60, 171)), stack[1, 3:99, 60:])


def test_a_file_for_each_shard_and_nothing_else(tmp_path: Path) -> None:
    found = set(contents(written(tmp_path / "out.zarr")))
    levels = {"0": (3, 3), "1": (2, 2), "2": (1, 1), "3": (1, 1), "4": (1, 1)}
    expected = {"zarr.json", *(f"{level}/zarr.json" for level in levels)}
    for level, (down, across) in levels.items():
        expected |= {
            f"{level}/c/{z}/{i}/{j}" for z in range(2) for i in range(down) for j in range(across)
        }
    assert found == expected


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (64, 256), (128, 64), (256, 256)])
def test_the_same_bytes_whatever_the_pieces(tmp_path: Path, rows: int, columns: int) -> None:
    """With levels that follow from what is in memory, or from what is on disk."""
    expected = contents(written(tmp_path / "whole.zarr"))
    for seed in range(3):
        output = started(tmp_path / f"{seed}.zarr")
        chosen = windows(output, rows, columns)
        random.Random(seed).shuffle(chosen)
        for z, (top, bottom), (left, right) in chosen:
            pixels = STACK[z, top:bottom, left:right]
            output.write(z, top, left, pixels)
            output.sync(z, (top, bottom), (left, right))
            if seed:
                output.leave_out(output.derive(z, top, left, pixels))
        complete(output, seed)
        assert contents(output.path) == expected


@pytest.mark.parametrize("labels", [False, True])
def test_labels_too(tmp_path: Path, labels: bool) -> None:
    stack = STACK.astype("u4") * 7
    path = written(tmp_path / "out.zarr", stack, labels=labels)
    plain = written(tmp_path / "plain.zarr", stack, labels=labels, shard=0)
    for level in range(5):
        array = zarr.open_group(plain, mode="r")[str(level)][:]
        np.testing.assert_array_equal(by_tensorstore(path, level), array)


def test_windows_that_are_no_whole_shards(tmp_path: Path) -> None:
    """What is there of a shard is never read to write another part of it."""
    output = started(tmp_path / "out.zarr")
    before = contents(output.partial)
    for row, column, height, width in ((0, 0, 16, 64), (0, 16, 64, 48), (128, 128, 22, 42)):
        with pytest.raises(ValueError, match="window of"):
            output.write(0, row, column, np.ones((height, width), np.uint8))
    assert contents(output.partial) == before


def test_chunks_missing_inside_a_shard_are_counted(tmp_path: Path) -> None:
    """Our own, with the index that it has."""
    path = written(tmp_path / "out.zarr")
    shard = path / "0" / "c" / "1" / "1" / "1"
    data = shard.read_bytes()
    index = np.frombuffer(data[-260:-4], "<u8").reshape(4, 4, 2).copy()
    index[2, 1] = 2**64 - 1
    shard.write_bytes(data[:-260] + index.tobytes() + data[-4:])
    with pytest.raises(InputError, match="1 of 220 chunks are missing, of section 1"):
        open_stack(path)


@pytest.mark.parametrize("end", [0, 3, 100, 2000, -1, -5, -300])
def test_a_shard_that_was_cut_short_is_one_line(tmp_path: Path, end: int) -> None:
    path = written(tmp_path / "out.zarr")
    shard = path / "0" / "c" / "1" / "1" / "1"
    shard.write_bytes(shard.read_bytes()[:end] if end else b"")
    with pytest.raises(InputError) as refusal:
        read_stack(path)
    assert "\n" not in str(refusal.value)
    assert "out.zarr" in str(refusal.value)


def test_flipped_bits_are_one_line_or_change_no_pixel(tmp_path: Path) -> None:
    """zstd has no checksum here, as in files for each chunk; the index has one."""
    path = written(tmp_path / "out.zarr")
    shard = path / "0" / "c" / "1" / "1" / "1"
    data, draw = shard.read_bytes(), random.Random(0)
    for _ in range(40):
        place = len(data) - 1 - draw.randrange(260)
        flipped = bytes([data[place] ^ 1 << draw.randrange(8)])
        shard.write_bytes(data[:place] + flipped + data[place + 1 :])
        with pytest.raises(InputError) as refusal:
            read_stack(path)
        assert "\n" not in str(refusal.value)


# resuming


def test_what_a_power_loss_left_of_a_shard_is_written_again(tmp_path: Path) -> None:
    expected = contents(written(tmp_path / "whole.zarr"))
    output = started(tmp_path / "out.zarr")
    write(output, STACK, windows(output, 64, 64))
    (output.partial / "0/c/0/1/2").write_bytes(b"")
    (output.partial / "0/c/1/0/0").write_bytes(b"no shard at all")
    again = create_output(output.path, SHAPE, "uint8", pixel_size=EM, shard=SHARD)
    again.prepare(resume=True)
    assert not again.looks_written(0, (64, 128), (128, 171))
    write(again, STACK, windows(again, 64, 64))
    complete(again)
    assert contents(again.path) == expected


@pytest.mark.parametrize("shard", [0, 32])
def test_shards_of_another_size_are_nothing_to_go_on_with(tmp_path: Path, shard: int) -> None:
    started(tmp_path / "out.zarr")
    with pytest.raises(InputError, match=r"has not a file for each .*start anew"):
        create_output(tmp_path / "out.zarr", SHAPE, "uint8", shard=shard).prepare(resume=True)


RUN = """
import os, signal, sys
import numpy as np
out, limit = sys.argv[1], int(sys.argv[2])
calls = 0
def count(*_):
    global calls
    calls += 1
    if calls == limit:
        os.kill(os.getpid(), signal.SIGKILL)
for name in ("fsync", "replace", "mkdir", "rename"):
    def counted(*given, _call=getattr(os, name), **more):
        count()
        return _call(*given, **more)
    setattr(os, name, counted)
from paper_unet.images import create_output
from paper_unet.images.outputs import zarr as module
from paper_unet.large.journal import open_journal
module.CHUNK, module.ZarrOutput.alignment = 16, (16, 16)
stack = np.random.default_rng(0).integers(0, 256, (2, 150, 171), dtype=np.uint8)
output = create_output(out, stack.shape, "uint8", shard=64)
with open_journal(out) as journal:
    output.take(journal.claim, left=journal.header is not None)
    journal.begin({"a": 1})
    output.prepare(resume=True) if journal.done else output.start()
    for k in range(6):
        z, y = k // 3, k % 3 * 64
        if k not in journal.done:
            window = stack[z, y : y + 64]
            stored = output.write(z, y, 0, window)
            output.sync(z, (y, y + window.shape[0]), (0, 171))
            output.leave_out(output.derive(z, y, 0, window))
            journal.record(k, stored)
            journal.flush()
        else:
            place = z, (y, min(y + 64, 150)), (0, 171)
            assert output.stored(*place) == journal.stored[k], k
    for tasks in output.stages():
        for task in tasks:
            output.run(task)
    output.finish()
    journal.remove()
print(calls)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_any_step_the_bytes_are_the_same(tmp_path: Path) -> None:
    """A run that is killed again and again, each time some steps on, and gone on with."""
    whole = run_python(RUN, str(tmp_path / "whole.zarr"), "0")
    assert whole.returncode == 0, whole.stderr
    expected, steps = contents(tmp_path / "whole.zarr"), int(whole.stdout)
    assert steps > 60
    out = tmp_path / "out.zarr"
    for limit in [*range(7, steps, 19), 0]:
        run = run_python(RUN, str(out), str(limit))
        assert run.returncode in (0, -9), run.stderr
        if run.returncode == 0:
            assert contents(out) == expected
            break
        assert not out.exists() or contents(out) == expected
    assert contents(out) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"whole.zarr", "out.zarr"}


# which


def test_very_large_outputs_have_shards_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 512)
    monkeypatch.setattr(module.ZarrOutput, "alignment", (512, 512))

    def shard(shape: tuple[int, int, int], **given: Any) -> int:
        return create_output(tmp_path / "out.zarr", shape, "uint8", **given).shard

    few, many = (999, 5120, 5120), (1001, 5120, 5120)
    assert [shard(few, shard=None), shard(many, shard=None)] == [0, 4096]
    assert shard(many) == shard(many, shard=0) == shard(many, shard=None, ome_zarr="0.4") == 0
    assert shard(few, shard=2048) == 2048
    assert create_output(tmp_path / "out.zarr", few, "u1", shard=2048).alignment == (2048, 2048)
    assert create_output(tmp_path / "out.tif", many, "u1", shard=None).shard == 0


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    """One of an earlier version has none, however many chunks."""
    for shard in (0, SHARD):
        started(tmp_path / f"{shard}.zarr", shard=shard)
        assert create_output(tmp_path / f"{shard}.zarr", SHAPE, "u1", shard=None).shard == shard


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    def make(name: str = "out.zarr", **given: Any) -> None:
        create_output(tmp_path / name, SHAPE, "uint8", **given)

    for shard in (-16, 8, 40, 2**15):
        with pytest.raises(InputError, match=rf"`shard` is {shard}; it must be 0 or a multiple of"):
            make(shard=shard)
    with pytest.raises(InputError, match=r"OME-Zarr 0\.4 has no shards; write 0\.5, or leave"):
        make(shard=SHARD, ome_zarr="0.4")
    for name in ("out.tif", "out.h5"):
        with pytest.raises(InputError, match=r"`shard` is for OME-Zarr 0\.5; leave it out"):
            make(name, shard=SHARD)


def test_a_journal_is_taken_with_it(tmp_path: Path) -> None:
    """Starting anew replaces shards of ours by files of chunks, and the other way round."""
    for shard in (SHARD, 0, SHARD):
        output = create_output(tmp_path / "out.zarr", SHAPE, "uint8", shard=shard)
        with open_journal(output.path) as journal:
            output.take(journal.claim, left=False)
            output.start()
            journal.restart()
            journal.begin({"shard": shard})
            output.write(0, 0, 0, STACK[0, :64, :64])
    assert (output.partial / "0/c/0/0/0").stat().st_size > 260
