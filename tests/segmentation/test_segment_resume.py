"""A segmentation that was stopped, by whatever, goes on to the same bytes and leaves nothing."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process_helpers import run_python
from segmentation_helpers import (
    METHODS,
    Crashing,
    Fails,
    content,
    labels_of,
    settings,
    smooth,
    write,
)

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import create_output, open_stack
from paper_unet.images.outputs import zarr
from paper_unet.large.cluster import connect
from paper_unet.large.report import Report
from paper_unet.segmentation import segment_file
from paper_unet.segmentation.records import open_records, packed, unpacked
from paper_unet.segmentation.scratch import drop_all

NAMES = ["out.tif", "out.zarr", "out.precomputed"]
KILLS = 20


def expected_of(folder: Path, name: str, **given: Any) -> str:
    out = segment_file(settings(folder, f"whole-{name}", **given)).path
    return content(out)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_after_any_block(folder: Path, method: str, name: str) -> None:
    given = METHODS[method]
    expected = expected_of(folder, name, **given)
    total = Crashing(10**6)
    segment_file(settings(folder, f"count-{name}", **given), executor=total)
    blocks, done = len(total.done), 0
    assert blocks == 8 * (2 if method == "components" else 4)
    for _ in range(blocks):
        step = Crashing(1)
        try:
            segment_file(settings(folder, name, **given), executor=step)
        except Fails:
            assert not (folder / name).exists()
            assert len(step.done) == 1
            done += 1
        else:
            break
    assert done == blocks - 1  # each call did one block, and no block twice
    assert content(folder / name) == expected
    assert {path.name for path in folder.iterdir()} == {
        "p.tif", name, f"whole-{name}", f"count-{name}"
    }  # fmt: skip


KILLING = """
import os, random, shutil, signal, sys
from pathlib import Path
from segmentation_helpers import METHODS, settings
from paper_unet.images import create_output
from paper_unet.images.outputs import precomputed, zarr
from paper_unet.segmentation import segment_file
zarr.CHUNK, zarr.ZarrOutput.alignment = 16, (16, 16)
precomputed.PrecomputedOutput.alignment = 16, 16
folder, name, kills, given = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), METHODS[sys.argv[4]]
chance, done = random.Random(0), 0
while done < kills:
    left = chance.randrange(1, 40)
    child = os.fork()
    if not child:
        real = os.fsync

        def sync(file):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            real(file)

        os.fsync = sync
        segment_file(settings(folder, name, **given))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    done += os.WIFSIGNALED(status)
    if (folder / name).exists():  # it was faster: begin again
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
segment_file(settings(folder, name, **given))
print(done)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_killed_20_times(folder: Path, method: str, name: str) -> None:
    """kill -9 at random calls that bring something to the disk, each time gone on with."""
    expected = expected_of(folder, name, **METHODS[method])
    here = Path(__file__).parent
    run = run_python(KILLING, str(folder), name, str(KILLS), method, cwd=here)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(KILLS)]
    assert content(folder / name) == expected
    assert {p.name for p in folder.iterdir()} == {"p.tif", name, f"whole-{name}"}


def stopped_after(folder: Path, blocks: int, **given: Any) -> None:
    with pytest.raises(Fails):
        segment_file(settings(folder, **given), executor=Crashing(blocks))


def test_another_setting_is_refused_by_name_and_overwrite_begins_anew(folder: Path) -> None:
    stopped_after(folder, 3, **METHODS["components"])
    with pytest.raises(InputError, match=r"had threshold = 0\.5, this one has 0\.6"):
        segment_file(settings(folder, threshold="0.6", **METHODS["components"]))
    segment_file(settings(folder, threshold="0.6", **METHODS["components"]), overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"p.tif", "out.tif"}


def test_what_a_watershed_left_goes_when_another_run_begins(folder: Path) -> None:
    stopped_after(folder, 18, **METHODS["watershed"])
    left = {path.name for path in folder.iterdir()}
    assert {"out.tif.parts", "out.tif.floods", "out.tif.cells.zarr.partial"} <= left
    segment_file(settings(folder, **METHODS["components"]), overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"p.tif", "out.tif"}


def test_what_is_not_our_own_stays(folder: Path) -> None:
    foreign = [folder / "out.tif.parts", folder / "out.tif.cells.zarr.journal"]
    for path in foreign:
        path.write_text("mine")
    drop_all(folder / "out.tif")
    with pytest.raises(InputError, match="stays as it is"):
        segment_file(settings(folder, **METHODS["watershed"]))
    assert [path.read_text() for path in foreign] == ["mine", "mine"]
    assert {path.name for path in folder.iterdir()} == {"p.tif", *(p.name for p in foreign)}


def test_a_source_that_changes_is_refused(folder: Path) -> None:
    stopped_after(folder, 3, **METHODS["components"])
    write(folder / "p.tif", smooth((6, 32, 48), seed=1))
    with pytest.raises(InputError, match="had input"):
        segment_file(settings(folder, **METHODS["components"]))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_blocks_are_written_again(folder: Path, name: str) -> None:
    given = METHODS["components"]
    expected = expected_of(folder, name, **given)
    with pytest.raises(Fails):
        segment_file(settings(folder, name, **given), executor=Crashing(12 - 1))
    partial = folder / f"{name}.partial"
    if partial.is_dir():
        chunk = next(partial.glob("*/0-16_0-16_0-1"), partial / "0" / "c" / "0" / "0" / "0")
        chunk.write_bytes(chunk.read_bytes()[::-1])
    else:
        data = bytearray(partial.read_bytes())
        data[600:700] = b"\7" * 100
        partial.write_bytes(data)
    lines: list[str] = []
    segment_file(settings(folder, name, **given), verify=True, report=Report(say=lines.append))
    assert any("are not on disk as they" in line for line in lines)
    assert content(folder / name) == expected


def test_the_command_names_what_it_wrote(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--block", "3x16x32", "--dims", "2", "--min-size", "5"]
    command = ["segment", str(folder / "p.tif"), "-o", str(folder / "o.zarr"), *given]
    assert main(command) == 0
    count = labels_of(folder / "o.zarr").max()
    said = capsys.readouterr()
    assert f"o.zarr: {count} cells, uint32" in said.out
    assert "components in 2-D, threshold 0.5" in said.err
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err


def labels_in_an_image(folder: Path, **more: Any) -> str:
    """Return the name of labels in an image that is written for them."""
    output = create_output(folder / "raw.zarr", (6, 32, 48), "uint8", **more)
    output.prepare(resume=False)
    for z in range(6):
        output.write(z, 0, 0, np.zeros((32, 48), np.uint8))
    for stage in output.stages():
        for task in stage:
            output.run(task)
    output.finish()
    return str(folder / "raw.zarr" / "labels" / "cells")


def test_labels_of_an_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another image, and its labels."""
    out = labels_in_an_image(folder)
    given = ["--block", "3x16x32", "--method", "watershed"]
    assert main(["segment", str(folder / "p.tif"), "-o", out, *given]) == 0
    found = labels_of(out)
    assert f"cells: {found.max()} cells" in capsys.readouterr().out
    assert {path.name for path in Path(out).parent.iterdir()} == {"cells", "zarr.json"}
    expected = segment_file(settings(folder, block="3x16x32", method="watershed")).path
    np.testing.assert_array_equal(found, labels_of(expected))


def test_labels_of_a_part_of_an_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would lie over its first sections; and without a size they would be of other pixels."""
    size = (0.05, 0.004, 0.004)
    out = labels_in_an_image(folder, pixel_size=size)
    assert main(["segment", str(folder / "p.tif"), "-o", out, "--slices", "2:6"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "would be 4 x 32 x 48" in line and "is 6 x 32 x 48" in line and "--slices" in line
    assert {path.name for path in (folder / "raw.zarr").iterdir()} == {"0", "1", "2", "zarr.json"}
    assert main(["segment", str(folder / "p.tif"), "-o", out]) == 0
    with open_stack(out, labels=True) as stack:
        assert stack.pixel_size == pytest.approx(size)


def test_a_cluster_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are other processes, whose chunks are as large as ever."""
    monkeypatch.setattr(zarr, "CHUNK", 512)
    monkeypatch.setattr(zarr.ZarrOutput, "alignment", (512, 512))
    given = {"block": "2x32x48", "method": "watershed", "seed_distance": 1.5, "context": 4}
    expected = expected_of(folder, "out.tif", **given)
    with connect("local:1", threads=1) as cluster:
        segment_file(settings(folder, **given), executor=cluster)
    assert content(folder / "out.tif") == expected


# --- records --------------------------------------------------------------------------------------

RUN = "a" * 32


def test_records_survive_every_cut(tmp_path: Path) -> None:
    path = tmp_path / "o.parts"
    data = [packed({"a": np.arange(k + 3), "b": np.zeros((0, 2), np.int32)}) for k in range(4)]
    with open_records(path, RUN, 4) as records:
        for index in (2, 0, 3, 1):
            records.append(index, data[index])
        assert records.missing() == []
    whole = path.read_bytes()
    seen = set()
    for end in range(len(whole) - sum(map(len, data)) - 200, len(whole)):
        path.write_bytes(whole[: max(end, 0)])
        try:
            with open_records(path, RUN, 4) as records:
                for index in range(4):
                    if index in records:
                        assert records[index] == data[index]
                seen.add(len(records))
                for index in records.missing():
                    records.append(index, data[index])
                assert all(records[k] == data[k] for k in range(4))
        except InputError:  # its mark is cut: it is not known as ours
            assert end < 150
            path.unlink(missing_ok=True)
    assert seen == {0, 1, 2, 3}


def test_a_changed_record_is_dropped_with_all_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "o.parts"
    with open_records(path, RUN, 3) as records:
        for index in range(3):
            records.append(index, b"record %d" % index)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"record 1", b"record X"))
    with open_records(path, RUN, 3) as records:
        assert records.missing() == [1, 2]


def test_records_of_another_run_are_dropped_and_none_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "o.parts"
    with open_records(path, RUN, 3) as records:
        records.append(0, b"old")
    with open_records(path, "b" * 32, 3) as records:
        assert len(records) == 0
    assert not path.exists()


def test_packed_arrays_come_back() -> None:
    arrays = {"x": np.arange(6, dtype=np.uint32).reshape(2, 3), "y": np.array([True, False])}
    found = unpacked(packed(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"memory": "1MB"}, "give a smaller `block`"),
        ({"block": "2x20x16"}, "multiples of 16"),
        ({"value_range": (3.0, 3.0)}, "the lower one first"),
        ({"shard": 7}, "`shard` is 7"),
        ({}, "values are NaN"),  # seen when all is begun
    ],
)
def test_what_is_refused_leaves_nothing_in_the_image(
    folder: Path, version: str, given: dict[str, Any], reason: str
) -> None:
    segment_file(settings(folder, "in.zarr", ome_zarr=version))
    write(folder / "p.tif", np.full((6, 32, 48), np.nan if not given else 0.5, np.float32))
    before = {path.relative_to(folder): path.is_dir() for path in folder.rglob("*")}
    config = settings(folder, "in.zarr/labels/cells", ome_zarr=version, **given)
    with pytest.raises(InputError, match=reason):
        segment_file(config)
    assert {path.relative_to(folder): path.is_dir() for path in folder.rglob("*")} == before
    write(folder / "p.tif", smooth((6, 32, 48)))
    segment_file(settings(folder, "in.zarr/labels/cells", ome_zarr=version))
    with pytest.raises(InputError, match="give a smaller `block`"):
        segment_file(settings(folder, "in.zarr/labels/more", ome_zarr=version, memory="1MB"))
    assert (folder / "in.zarr" / "labels" / "cells").is_dir()
