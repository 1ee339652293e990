import errno
import json
import math
import os
import pickle
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorstore
import zarr
from ome_zarr_models import open_ome_zarr
from output_helpers import check_kills, complete, contents, run_limited, windows, write
from process_helpers import run_python

from paper_unet.errors import InputError
from paper_unet.images import Output, Task, create_output, open_stack, read_stack
from paper_unet.large.journal import open_journal

SHAPE = (2, 1100, 1301)
LEVELS = [(2, 1100, 1301), (2, 550, 651), (2, 275, 326)]
VERSIONS = ["0.5", "0.4"]
EM = (0.05, 0.004, 0.004)  # the pixels of ISBI 2012, micrometres
STACK = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
STACK[0, :512, 512:1024] = 0  # a chunk of zeros
DRIVER = {"0.5": "zarr3", "0.4": "zarr"}


def typed(dtype: str) -> np.ndarray:
    return STACK.astype(dtype) / 255 if dtype == "float32" else STACK.astype(dtype) * 3


def started(path: Path, shape=SHAPE, dtype="uint8", **options) -> Output:
    output = create_output(path, shape, dtype, **options)
    output.prepare(resume=False)
    return output


def written(path: Path, stack=STACK, **options) -> Path:
    output = started(path, stack.shape, stack.dtype, **options)
    write(output, stack, windows(output, 512, 2048))
    complete(output)
    return path


def by_tensorstore(path: Path, level: int, version: str) -> np.ndarray:
    """What the C++ implementation reads; it shares no code with the writer."""
    where = {"driver": "file", "path": str(path / str(level))}
    spec = {"driver": DRIVER[version], "kvstore": where}
    return np.asarray(tensorstore.open(spec, read=True).result().read().result())


def next_level(stack: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 by another way than the writer's: integer arithmetic, counts at the edge."""
    sections, height, width = stack.shape
    total = np.zeros((sections, -(-height // 2), -(-width // 2)), np.float64)
    count = np.zeros(total.shape)
    for y in (0, 1):
        for x in (0, 1):
            part = stack[:, y::2, x::2]
            total[:, : part.shape[1], : part.shape[2]] += part
            count[:, : part.shape[1], : part.shape[2]] += 1
    means = total / count
    return (np.rint(means) if stack.dtype.kind == "u" else means).astype(stack.dtype)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_an_independent_reader_agrees_on_all_levels(tmp_path, version, dtype):
    stack = typed(dtype).astype(dtype)
    path = written(tmp_path / "out.zarr", stack, pixel_size=EM, ome_zarr=version)
    for level, shape in enumerate(LEVELS):
        found = by_tensorstore(path, level, version)
        assert (found.shape, found.dtype) == (shape, dtype)
        if dtype == "float32":
            np.testing.assert_allclose(found, stack, rtol=1e-6)
        else:
            np.testing.assert_array_equal(found, stack)
        stack = next_level(stack)
    assert not (path / "3").exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_windows_in_any_order_and_twice_give_the_same_bytes(tmp_path, version):
    expected = contents(written(tmp_path / "in-order.zarr", pixel_size=EM, ome_zarr=version))
    output = started(tmp_path / "out.zarr", pixel_size=EM, ome_zarr=version)
    chosen = windows(output, 512, 512)
    chosen = chosen + random.Random(1).sample(chosen, 6)
    random.Random(2).shuffle(chosen)
    for z, rows, columns in chosen[:6]:  # what is written again wins
        output.write(z, rows[0], columns[0], 255 - STACK[z, slice(*rows), slice(*columns)])
    write(output, STACK, chosen)
    complete(output, seed=3)
    assert contents(output.path) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"in-order.zarr", "out.zarr"}


@pytest.mark.parametrize("version", VERSIONS)
def test_our_reader_takes_it(tmp_path, version):
    path = written(tmp_path / "out.zarr", pixel_size=EM, ome_zarr=version)
    np.testing.assert_array_equal(read_stack(path), STACK)
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx(EM)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 20, 512), (1, 512, 513)])
def test_small_images(tmp_path, version, shape):
    stack = np.random.default_rng(0).random(shape, np.float32)
    path = written(tmp_path / "out.zarr", stack, ome_zarr=version)
    np.testing.assert_array_equal(by_tensorstore(path, 0, version), stack)
    np.testing.assert_array_equal(read_stack(path), stack)
    assert (path / "1").exists() == (max(shape[1:]) > 512)
    assert zarr.open_group(path, mode="r")["0"].chunks == (1, 512, 512)


# metadata


@pytest.mark.parametrize("version", VERSIONS)
def test_the_metadata(tmp_path, version):
    path = written(tmp_path / "out.zarr", pixel_size=EM, ome_zarr=version)
    image = open_ome_zarr(zarr.open_group(path, mode="r"), version=version)  # validates
    assert type(image).__name__ == "Image"
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    if version == "0.5":
        assert attributes["ome"]["version"] == "0.5"
        (pyramid,) = attributes["ome"]["multiscales"]
        assert zarr.open_group(path, mode="r")["0"].metadata.dimension_names == ("z", "y", "x")
    else:
        (pyramid,) = attributes["multiscales"]
        assert pyramid["version"] == "0.4"
        assert json.loads((path / "0" / ".zarray").read_text())["dimension_separator"] == "/"
    unit = {"type": "space", "unit": "micrometer"}
    assert pyramid["axes"] == [{"name": name, **unit} for name in "zyx"]
    assert [dataset["path"] for dataset in pyramid["datasets"]] == ["0", "1", "2"]
    transforms = [dataset["coordinateTransformations"] for dataset in pyramid["datasets"]]
    assert [t[0]["scale"] for t in transforms] == [
        [0.05, 0.004, 0.004], [0.05, 0.008, 0.008], [0.05, 0.016, 0.016],
    ]  # fmt: skip
    # the first pixel of level 2 is the mean of pixels 0 to 3: its centre lies at 1.5 of them
    assert len(transforms[0]) == 1
    assert [t[1]["translation"] for t in transforms[1:]] == [[0, 0.002, 0.002], [0, 0.006, 0.006]]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_pixel_size_has_no_unit(tmp_path, version):
    path = written(
        tmp_path / "out.zarr", STACK[:1, :5, :6], pixel_size=(None, 0.5, 0.5), ome_zarr=version
    )
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    (pyramid,) = attributes.get("ome", attributes)["multiscales"]
    assert [axis.get("unit") for axis in pyramid["axes"]] == [None, "micrometer", "micrometer"]
    transform = {"type": "scale", "scale": [1, 0.5, 0.5]}
    assert pyramid["datasets"][0]["coordinateTransformations"] == [transform]


# chunks on disk


@pytest.mark.parametrize("version", VERSIONS)
def test_every_chunk_has_its_file_and_nothing_else_is_there(tmp_path, version):
    """One of zeros too: else it could not be told from one that was never written."""
    found = set(contents(written(tmp_path / "out.zarr", STACK * 0, ome_zarr=version)))
    expected = {"zarr.json"} if version == "0.5" else {".zgroup", ".zattrs"}
    for level, (sections, height, width) in enumerate(LEVELS):
        names = ["zarr.json"] if version == "0.5" else [".zarray", ".zattrs"]
        expected |= {f"{level}/{name}" for name in names}
        top = f"{level}/c" if version == "0.5" else str(level)
        expected |= {
            f"{top}/{z}/{i}/{j}"
            for z in range(sections)
            for i in range(math.ceil(height / 512))
            for j in range(math.ceil(width / 512))
        }
    assert found == expected


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("version", VERSIONS)
def test_sync_reaches_every_chunk_and_its_folders(tmp_path, monkeypatch, version):
    output = started(tmp_path / "out.zarr", ome_zarr=version)
    output.write(1, 512, 0, STACK[1, 512:1024])
    synced, fsync = set(), os.fsync

    def noted(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(output.partial)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    output.sync(1, (512, 1024), (0, 1301))
    top = "0/c" if version == "0.5" else "0"
    assert synced >= {f"{top}/1/1/{k}" for k in range(3)} | {f"{top}/1/1", f"{top}/1", top, "0"}
    synced.clear()
    output.sync(1, (512, 1024), (512, 1024))
    assert {name for name in synced if name.startswith(f"{top}/1/1/")} == {f"{top}/1/1/1"}
    with pytest.raises(FileNotFoundError):  # never written: not on disk
        output.sync(0, (0, 512), (0, 512))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("damage", [b"", b"not zstd at all"])
def test_a_chunk_that_a_power_loss_damaged_is_written_again(tmp_path, version, damage):
    """A whole chunk is never read before it is written, at the edge neither."""
    expected = contents(written(tmp_path / "whole.zarr", ome_zarr=version))
    output = started(tmp_path / "out.zarr", ome_zarr=version)
    write(output, STACK, windows(output, 512, 512))
    top = output.partial / ("0/c" if version == "0.5" else "0")
    for name in ("0/0/0", "1/2/2", "0/2/0", "0/0/2"):
        (top / name).write_bytes(damage)
    output = create_output(tmp_path / "out.zarr", SHAPE, "uint8", ome_zarr=version)
    output.prepare(resume=True)
    write(output, STACK, windows(output, 512, 512))
    complete(output)
    assert contents(output.path) == expected


# resuming


@pytest.mark.parametrize("version", VERSIONS)
def test_resuming_keeps_what_is_written_and_sweeps_what_was_torn(tmp_path, version):
    expected = contents(written(tmp_path / "whole.zarr", pixel_size=EM, ome_zarr=version))
    options = {"pixel_size": EM, "ome_zarr": version}
    first = started(tmp_path / "out.zarr", **options)
    chosen = windows(first, 512, 512)
    write(first, STACK, chosen[:7])
    chunk = first.partial / ("0/c/0/0/0" if version == "0.5" else "0/0/0/0")
    for torn in (chunk.with_suffix(".0123abcd.partial"), first.partial / "zarr.77.partial"):
        torn.write_bytes(b"half")
    second = create_output(tmp_path / "out.zarr", SHAPE, "uint8", **options)
    second.prepare(resume=True)
    assert not list(first.partial.rglob("*.partial"))
    write(second, STACK, chosen[7:])
    complete(second)
    assert contents(second.path) == expected


def test_starting_anew_drops_what_a_run_of_ours_left(tmp_path):
    expected = contents(written(tmp_path / "whole.zarr"))
    for shape in ((9, 3000, 3000), SHAPE):
        output = create_output(tmp_path / "out.zarr", shape, "uint8")
        with open_journal(output.path) as journal:
            output.take(journal.claim, left=False)
            output.start()
            journal.restart()
            journal.begin({"shape": shape})
            if shape != SHAPE:
                output.write(8, 1024, 1024, STACK[0, :512, :512])
            else:
                write(output, STACK, windows(output, 512, 512))
                complete(output)
                journal.remove()
    assert contents(output.path) == expected
    assert {p.name for p in tmp_path.iterdir()} == {"whole.zarr", "out.zarr"}


@pytest.mark.parametrize("what", ["gone", "no array", "damaged", "dtype", "shape", "version"])
def test_nothing_to_resume(tmp_path, what):
    partial = started(tmp_path / "out.zarr").partial
    if what == "gone":
        shutil.rmtree(partial)
    elif what == "no array":
        (partial / "1" / "zarr.json").unlink()
    elif what == "damaged":
        (partial / "1" / "zarr.json").write_text("{")
    asked = {"shape": SHAPE, "dtype": "uint8", "ome_zarr": "0.5"}
    asked |= {
        "dtype": {"dtype": "uint16"}, "shape": {"shape": (2, 1100, 1300)},
        "version": {"ome_zarr": "0.4"},
    }.get(what, {})  # fmt: skip
    with pytest.raises(InputError, match=r"out\.zarr\.partial: .* start anew with `overwrite`"):
        create_output(tmp_path / "out.zarr", **asked).prepare(resume=True)


def test_what_a_killed_worker_was_writing_is_not_in_the_output(tmp_path):
    """The driver went on without it, and another worker wrote the chunk."""
    expected = contents(written(tmp_path / "whole.zarr"))
    output = started(tmp_path / "out.zarr")
    write(output, STACK, windows(output, 512, 512))
    (output.partial / "0" / "c" / "0" / "0" / "0.0123abcd.partial").write_bytes(b"half")
    complete(output)
    assert contents(output.path) == expected


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_again_and_again_the_bytes_are_the_same(tmp_path):
    check_kills(tmp_path, "zarr", 512, [5, 50])


def test_chunks_that_are_missing_at_the_end_are_noticed(tmp_path):
    output = started(tmp_path / "out.zarr")
    write(output, STACK, windows(output, 512, 512))
    for tasks in output.stages():
        for task in tasks:
            output.run(task)
    missing = output.partial / "1" / "c" / "1" / "1" / "1"
    kept = missing.read_bytes()
    missing.unlink()
    with pytest.raises(InputError, match=r"1 chunks are missing in .*1/c/1/1; .*`overwrite`"):
        output.finish()
    assert not output.path.exists()
    missing.write_bytes(kept)
    output.finish()
    assert output.path.exists()


# full disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch, code, where):
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    output = started(tmp_path / "out.zarr")
    monkeypatch.setattr(os, where, fail)
    with pytest.raises(InputError, match=r"disk is full: \d+ bytes needed, \d+ free; .*go") as got:
        write(output, STACK, windows(output, 512, 512))
    assert "\n" not in str(got.value)
    assert output.partial.exists()
    monkeypatch.undo()
    output.prepare(resume=True)
    write(output, STACK, windows(output, 512, 512))
    complete(output)
    np.testing.assert_array_equal(read_stack(output.path), STACK)


def test_a_real_limit(tmp_path):
    pytest.importorskip("resource")
    said = run_limited(tmp_path / "out.zarr")
    assert said.count("\n") == 1
    assert "out.zarr: the file grows beyond what its disk or a limit" in said
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr.partial"]


def test_too_little_room_shows_before_anything_is_written(tmp_path, monkeypatch):
    output = create_output(tmp_path / "out.zarr", (10, 8192, 8192), "uint8")
    pixels = 10 * 8192 * 8192
    free = [round(1.33 * pixels), round(1.34 * pixels)]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    with pytest.raises(InputError, match=rf"not enough room on the disk: \d+ .* {free[0]} free"):
        output.prepare(resume=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free[1]))
    output.prepare(resume=False)


# names


def test_the_old_output_stays_until_the_new_one_is_complete(tmp_path):
    path = written(tmp_path / "out.zarr", STACK[:1, :9, :9])
    with pytest.raises(InputError, match=r"out\.zarr: exists already; .*`overwrite`"):
        create_output(path, SHAPE, "uint8")
    output = started(path, overwrite=True)
    write(output, STACK, windows(output, 512, 512))
    assert read_stack(path).shape == (1, 9, 9)
    complete(output)
    np.testing.assert_array_equal(read_stack(path), STACK)
    assert list(tmp_path.iterdir()) == [path]


BETWEEN = """
import os, signal, sys
import numpy as np
from paper_unet.images import create_output
from paper_unet.large.journal import open_journal
output = create_output(sys.argv[1], (1, 9, 9), "uint8", overwrite=True)
rename = os.rename
def only_the_first(source, target):
    rename(source, target)
    if str(source) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
with open_journal(sys.argv[1]) as journal:
    output.take(journal.claim, left=False)
    output.start()
    journal.begin({"a": 1})
    output.write(0, 0, 0, np.full((9, 9), 7, np.uint8))
    os.rename = only_the_first
    output.finish()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_between_the_two_names_it_goes_on(tmp_path):
    path = written(tmp_path / "out.zarr", STACK[:1, :9, :9])
    assert run_python(BETWEEN, str(path)).returncode == -9
    assert not path.exists()
    (aside,) = tmp_path.glob("*.replaced")
    np.testing.assert_array_equal(read_stack(aside), STACK[:1, :9, :9])
    again = create_output(path, (1, 9, 9), "uint8", overwrite=True)
    with open_journal(path) as journal:
        again.take(journal.claim, left=True)
        assert aside.exists()  # there is no other yet
        again.prepare(resume=True)
        again.finish()
        journal.remove()
    assert (read_stack(path) == 7).all()
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_between_the_two_names_the_old_output_is_back(tmp_path, monkeypatch):
    path = written(tmp_path / "out.zarr", STACK[:1, :9, :9])
    output = started(path, (1, 9, 9), overwrite=True)
    output.write(0, 0, 0, STACK[1, :9, :9])
    rename = os.rename

    def not_the_second(source, target) -> None:
        if str(source).endswith(".partial"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", not_the_second)
    with pytest.raises(KeyboardInterrupt):
        output.finish()
    np.testing.assert_array_equal(read_stack(path), STACK[:1, :9, :9])
    assert {p.name for p in tmp_path.iterdir()} == {"out.zarr", "out.zarr.partial"}


def test_a_folder_of_the_user_that_sounds_like_ours_stays(tmp_path):
    path = written(tmp_path / "out.zarr", STACK[:1, :9, :9])
    kept = {}
    ours = "out.zarr.0123456789abcdef.replaced"
    long = f"out.zarr.{'0123456789abcdef' * 2}.replaced"
    for name in ("out.zarr.replaced", "out.zarr.old.replaced", ours, f"x{ours}", long):
        written(tmp_path / "copy.zarr", STACK[:1, :9, :9]).rename(tmp_path / name)
        kept[name] = contents(tmp_path / name)
    output = started(path, (1, 9, 9), overwrite=True)
    output.write(0, 0, 0, STACK[1, :9, :9])
    output.finish()
    np.testing.assert_array_equal(read_stack(path), STACK[1:, :9, :9])
    assert {p.name for p in tmp_path.iterdir()} == {"out.zarr", *kept}
    assert {name: contents(tmp_path / name) for name in kept} == kept


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_zarr_is_not_replaced(tmp_path, kind):
    precious = tmp_path / "out.zarr"
    if kind == "folder":
        precious.mkdir()
        precious /= "thesis.tex"
    precious.write_text("precious")
    with pytest.raises(InputError, match="is no Zarr folder"):
        create_output(tmp_path / "out.zarr", SHAPE, "uint8", overwrite=True)
    assert precious.read_text() == "precious"


def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    output = started(tmp_path / "out.zarr", (1, 9, 9))
    output.write(0, 0, 0, STACK[0, :9, :9])
    written(tmp_path / "other.zarr", STACK[1:, :9, :9]).rename(output.path)
    with pytest.raises(InputError, match="exists already"):
        output.finish()
    np.testing.assert_array_equal(read_stack(output.path), STACK[1:, :9, :9])


@pytest.mark.parametrize(
    ("z", "row", "column", "shape"),
    [
        (0, 0, 256, (512, 256)),
        (0, 0, 0, (512, 300)),
        (0, 0, 0, (100, 512)),
        (0, 1024, 0, (75, 512)),
        (0, 1024, 0, (77, 512)),
        (2, 0, 0, (512, 512)),
    ],
)
def test_windows_that_are_no_whole_chunks(tmp_path, z, row, column, shape):
    output = started(tmp_path / "out.zarr")
    before = contents(output.partial)
    with pytest.raises(ValueError, match="window of"):
        output.write(z, row, column, np.ones(shape, np.uint8))
    assert contents(output.partial) == before


def test_a_version_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"version '0\.3'; accepted are 0\.5, 0\.4"):
        create_output(tmp_path / "out.zarr", SHAPE, "uint8", ome_zarr="0.3")


def test_tasks_are_made_when_they_are_asked_for(tmp_path):
    """There are millions of a stack of millions of chunks."""
    stages = create_output(tmp_path / "out.zarr", (3, 1500, 600), "uint8").stages()
    expected = [[Task(1, z, row) for z in range(3) for row in (0, 512)],
                [Task(2, z, 0) for z in range(3)]]  # fmt: skip
    assert [list(tasks) for tasks in stages] == expected
    assert [len(tasks) for tasks in stages] == [6, 3]
    assert stages[0][-1] == expected[0][-1]
    assert stages[0][1:3] == expected[0][1:3]
    with pytest.raises(IndexError):
        stages[0][6]
    many = create_output(tmp_path / "out.zarr", (10**6, 10**6, 600), "uint8").stages()[0]
    assert len(many) == 977 * 10**6
    assert many[len(many) - 1] == Task(1, 10**6 - 1, 976 * 512)


def test_copies_write_and_do_tasks_from_another_folder(tmp_path, monkeypatch):
    expected = contents(written(tmp_path / "whole.zarr"))
    monkeypatch.chdir(tmp_path)
    output = started(Path("out.zarr"))
    assert output.alignment == (512, 512)
    output.write(0, 0, 0, STACK[0, :512, :512])
    sent = pickle.dumps(output)
    tasks = pickle.dumps(output.stages())
    assert len(sent) < 2000
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copy = pickle.loads(sent)  # noqa: S301
    write(copy, STACK, windows(copy, 512, 512))
    for stage in pickle.loads(tasks):  # noqa: S301
        for task in stage:
            pickle.loads(sent).run(task)  # noqa: S301
    monkeypatch.chdir(tmp_path)
    output.finish()
    assert contents(tmp_path / "out.zarr") == expected
