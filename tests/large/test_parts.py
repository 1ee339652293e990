"""A prediction in parts, without a scheduler: any order, killed at will, the bytes of one run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from large_helpers import NAMES, Crashing, Fails, content, sections, settings
from process_helpers import Child, run_python

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.large import join_parts, layout, predict_file, predict_part
from paper_unet.large.journal import header_of, open_journal
from paper_unet.large.parts import Part
from paper_unet.large.pieces import Grid
from paper_unet.large.report import Report
from paper_unet.system.claim import Claim, claim_output
from paper_unet.view.layers import Layer

ALL = [*NAMES, "out.btf", "out.ome.tif"]

PART = """
import sys
from paper_unet.large import PredictConfig, predict_part
folder, name, part = sys.argv[1:]
net, stack = folder + "/net.safetensors", folder + "/in.tif"
predict_part(PredictConfig(stack, folder + "/" + name, weights=net, threads=1), part)
"""


@pytest.fixture(autouse=True)
def not_much_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "QUIET", 0.3)
    monkeypatch.setattr(layout, "LOOK", 0.02)


def test_the_pieces_of_all_parts_are_all_pieces() -> None:
    for total in (0, 1, 5, 9, 1000):
        for count in (1, 2, 3, 7, 20):
            parts = [Part(k, count).pieces(total) for k in range(1, count + 1)]
            assert [piece for part in parts for piece in part] == list(range(total))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.exact
@pytest.mark.parametrize(
    ("name", "version"), [*((name, "0.5") for name in ALL), ("out.zarr", "0.4")]
)
def test_parts_in_any_order_and_one_that_crashed_are_one_run(
    folder: Path, name: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tall section, so that parts meet within one, and within a chunk of the pyramid."""
    sections(folder / "in.tif", (1, 2100, 150))
    single = predict_file(settings(folder, f"single.{name.partition('.')[2]}", ome_zarr=version))
    config = settings(folder, name, ome_zarr=version)
    with pytest.raises(Fails):
        predict_part(config, "2/3", executor=Crashing(pieces=1))
    predict_part(config, "3/3")
    predict_part(config, "1/3")
    with pytest.raises(InputError, match=r"1 of 3 parts are not finished: 2 \(1 of \d pieces\)"):
        join_parts(config)
    again = Crashing()
    predict_part(config, "2/3", executor=again)
    assert again.done, "nothing was left to do"
    assert not (folder / name).exists()
    with monkeypatch.context() as patch, pytest.raises(Fails):  # a join that crashes is done again
        patch.setattr("paper_unet.large.join.refuse_changed_input", fail)
        join_parts(config)
    assert not (folder / name).exists()
    assert join_parts(config) == folder / name
    assert content(folder / name) == content(single)
    assert {path.name for path in folder.iterdir()} == {
        "in.tif", "net.safetensors", single.name, name,
    }  # fmt: skip


def test_what_each_part_has_written_is_seen_on_the_page(folder: Path) -> None:
    sections(folder / "in.tif", (3, 130, 150))
    config = settings(folder, "out.zarr")
    predict_part(config, "2/3")
    layer = Layer(str(config.out), None)
    for part in (1, 3):
        assert not layer.changed()
        assert layer.read((0, 0, part - 1), (150, 130, part), (1, 1, 1)).max() == 0
        predict_part(config, f"{part}/3")
        assert layer.live and layer.changed()
        assert layer.read((0, 0, part - 1), (150, 130, part), (1, 1, 1)).max() > 0
    layer.close()


@pytest.mark.exact
def test_the_join_makes_only_the_chunks_that_parts_share(folder: Path) -> None:
    """And those that are not as the part wrote them."""
    sections(folder / "in.tif", (1, 2100, 150))
    single = predict_file(settings(folder, "single.zarr"))
    for damage in (False, True):
        for part in ("1/2", "2/2"):
            predict_part(settings(folder, "out.zarr"), part, overwrite=True)
        with pytest.raises(Fails):
            join_parts(settings(folder, "out.zarr"), executor=Crashing(tasks=1), overwrite=True)
        if damage:
            (folder / "out.zarr.partial/1/c/0/0/0").write_bytes(b"mine")
        counted = Crashing()
        join_parts(settings(folder, "out.zarr"), executor=counted, overwrite=True)
        # of 3 + 2 + 1 chunks: the first of level 2, of rows 0 to 2047; and level 3
        assert 10**9 - counted.left["tasks"] == (3 if damage else 2)
        assert content(folder / "out.zarr") == content(single)


def fail(*_: object) -> None:
    raise Fails


@pytest.mark.exact
@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_parts_that_begin_at_once_and_are_killed(folder: Path, name: str) -> None:
    """Processes of their own: one lays the output out, one is killed and comes again."""
    sections(folder / "in.tif", (6, 300, 150))
    single = predict_file(settings(folder, f"single{Path(name).suffix}"))
    command = [sys.executable, "-c", PART, str(folder), name]
    running = [subprocess.Popen([*command, f"{k}/3"], stderr=subprocess.PIPE) for k in (1, 2, 3)]
    journal = folder / f"{name}.journal.2-of-3"
    end = time.monotonic() + 120
    while not (journal.exists() and b'"done"' in journal.read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.01)
    running[1].kill()
    for process in running:
        process.communicate()
    assert [process.returncode for process in running][::2] == [0, 0]
    assert run_python(PART, str(folder), name, "2/3").returncode == 0
    join_parts(settings(folder, name))
    assert content(folder / name) == content(single)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_while_it_lays_the_output_out(folder: Path, name: str) -> None:
    """Before the header, at each step: the next part makes it anew."""
    single = predict_file(settings(folder, f"single{Path(name).suffix}"))
    for dies in ("output.start()", "frame = output.frame()", "journal.begin("):
        code = PART.replace(
            "import sys",
            f"""
import inspect, os, sys
from paper_unet.large import layout
source = inspect.getsource(layout._laid_out).replace({dies!r}, "os._exit(9); {dies}", 1)
assert "_exit" in source
exec(source, vars(layout))
layout.QUIET = 0.3
""",
            1,
        )
        found = run_python(code, str(folder), name, "1/2")
        assert found.returncode == 9, found.stderr
        assert header_of(folder / name) is None
    for part in ("2/2", "1/2"):
        predict_part(settings(folder, name), part)
    join_parts(settings(folder, name))
    assert content(folder / name) == content(single)


def test_a_part_waits_for_the_one_that_lays_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(folder)
    lines: list[str] = []
    claim = claim_output(folder / "out.tif")  # as the other part, which is at it
    monkeypatch.setattr(layout, "PATIENCE", 0.5)
    with pytest.raises(InputError, match="another process has been laying it out"):
        predict_part(config, "1/2", report=Report(say=lines.append))
    assert any("waiting for another part" in line for line in lines)
    claim.release(keep=False)
    predict_part(config, "1/2")


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/1000000", "", "1/2/3"]
)
def test_parts_that_cannot_be(folder: Path, text: str) -> None:
    with pytest.raises(InputError, match="give K/N"):
        predict_part(settings(folder), text)
    assert not list(folder.glob("out*"))


def test_more_parts_than_pieces(folder: Path) -> None:
    single = predict_file(settings(folder, "single.tif"))
    for k in range(1, 13):
        predict_part(settings(folder), f"{k}/12")
    join_parts(settings(folder))
    assert content(folder / "out.tif") == content(single)


def test_other_numbers_and_settings_are_refused_by_name(folder: Path) -> None:
    predict_part(settings(folder), "1/3")
    with pytest.raises(InputError, match="had parts = 3, this one has 4"):
        predict_part(settings(folder), "1/4")
    with pytest.raises(InputError, match='had dtype = "float32", this one has "uint8"'):
        predict_part(settings(folder, dtype="uint8"), "2/3")
    with pytest.raises(InputError, match="had parts = 3, this one has nothing"):
        predict_file(settings(folder))
    with pytest.raises(InputError, match='had dtype = "float32"'):
        join_parts(settings(folder, dtype="uint8"))
    with pytest.raises(InputError, match="had threads = 1, this one has 2"):
        join_parts(settings(folder, threads=2))
    with pytest.raises(InputError, match='had device = "cpu", this one has "cuda"'):
        join_parts(settings(folder, device="cuda:0"))
    with pytest.raises(
        InputError, match=r"2 of 3 parts are not finished: 2 \(not begun\), 3 \(not"
    ):
        join_parts(settings(folder))
    predict_part(settings(folder), "3/3")
    predict_part(settings(folder), "2/3")
    join_parts(settings(folder))
    with pytest.raises(InputError, match="no parts of it are left to be joined"):
        join_parts(settings(folder))
    with pytest.raises(InputError, match="exists already"):
        predict_part(settings(folder), "2/3")


def test_nothing_to_join(folder: Path) -> None:
    with pytest.raises(InputError, match="no part of it has begun"):
        join_parts(settings(folder))
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Crashing(pieces=2))
    with pytest.raises(InputError, match="not in parts"):
        join_parts(settings(folder))
    with pytest.raises(InputError, match="had parts = nothing, this one has 2"):
        predict_part(settings(folder), "1/2")
    predict_file(settings(folder))


def test_what_runs_is_left_alone(folder: Path) -> None:
    """A part is locked: neither the same part, nor a join, nor a new start disturbs it."""
    predict_part(settings(folder), "1/2")
    predict_part(settings(folder), "2/2")
    with open_journal(folder / "out.tif", part="2-of-2"):
        with pytest.raises(InputError, match="part 2-of-2 of it is running"):
            join_parts(settings(folder))
        with pytest.raises(InputError, match="another process is writing part 2-of-2"):
            predict_part(settings(folder), "2/2")
        with pytest.raises(InputError, match="part 2-of-2 of it is running"):
            predict_part(settings(folder, dtype="uint8"), "1/3", overwrite=True)
        with pytest.raises(InputError, match="part 2-of-2 of it is running"):
            predict_file(settings(folder, dtype="uint8"), overwrite=True)
    join_parts(settings(folder))


@pytest.mark.parametrize("held", [layout.HELD, 1])
def test_parts_are_dropped_all_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """A damaged journal too: it is not looked into before all are known to be free."""
    monkeypatch.setattr(layout, "HELD", held)
    out = tmp_path / "out.tif"
    for part in ("1-of-3", "2-of-3", "3-of-3"):
        with open_journal(out, part=part) as journal:
            journal.begin({"part": part})
    damaged = tmp_path / "out.tif.journal.1-of-3"
    damaged.write_bytes(damaged.read_bytes().replace(b'"part"', b'"trap"') + b"x\n\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        open_journal(out, part="3-of-3"),
        pytest.raises(InputError, match="part 3-of-3 of it is running"),
    ):
        layout.drop_parts(out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    layout.drop_parts(out)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_are_dropped_cannot_begin_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.tif"
    for part in ("1-of-2", "2-of-2"):
        with open_journal(out, part=part) as journal:
            journal.begin({"part": part})
    claimed = layout._claimed

    def late(out: Path, part: str) -> Claim:
        if part == "2-of-2":  # the first was seen to be free
            with pytest.raises(InputError, match="another process"):
                open_journal(out, part="1-of-2").__enter__()
        return claimed(out, part)

    monkeypatch.setattr(layout, "_claimed", late)
    layout.drop_parts(out)
    assert list(tmp_path.iterdir()) == []


def test_overwrite_starts_anew_once(folder: Path) -> None:
    """With other settings what is there goes; parts of the new settings go on."""
    single = predict_file(settings(folder, "single.tif", dtype="uint8"))
    predict_part(settings(folder), "1/4")
    config = settings(folder, dtype="uint8")
    predict_part(config, "1/2", overwrite=True)
    assert not list(folder.glob("*-of-4"))
    counted = Crashing()
    predict_part(config, "1/2", overwrite=True, executor=counted)
    assert not counted.done
    predict_part(config, "2/2", overwrite=True)
    join_parts(config, overwrite=True)
    assert content(folder / "out.tif") == content(single)
    predict_part(settings(folder), "1/2", overwrite=True)  # an output is there: it stays
    assert content(folder / "out.tif") == content(single)
    predict_part(settings(folder), "2/2", overwrite=True)
    join_parts(settings(folder), overwrite=True)
    assert content(folder / "out.tif") != content(single)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_that_were_damaged_since_are_computed_again(folder: Path, name: str) -> None:
    single = predict_file(settings(folder, f"single{Path(name).suffix}"))
    for part in ("1/2", "2/2"):
        predict_part(settings(folder, name), part)
    damaged = folder / f"{name}.partial"
    if damaged.is_dir():
        damaged = next(p for p in sorted(damaged.rglob("2/0/0")) if p.is_file())
    data = bytearray(damaged.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(InputError, match=r"predict part 2 of 2 again"):
        join_parts(settings(folder, name))
    counted = Crashing()
    predict_part(settings(folder, name), "2/2", executor=counted)
    assert len(counted.done) == 1
    join_parts(settings(folder, name))
    assert content(folder / name) == content(single)


def test_where_parts_meet_all_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nothing else is: two machines may have written to one block of the disk."""
    monkeypatch.setattr("paper_unet.large.verify.READ_ALWAYS", 0)
    monkeypatch.setattr("paper_unet.large.verify.SHARE", 0)
    for part in ("1/2", "2/2"):
        predict_part(settings(folder), part)
    header = header_of(folder / "out.tif")
    assert header is not None
    first = Part(2, 2).pieces(9)[0]
    rows = Grid(3, 300, 210, type("P", (), header["plan"])()).piece(first)  # type: ignore[arg-type]
    place = ((rows.z * 300 + rows.rows[0]) * 210) * 4
    partial = folder / "out.tif.partial"
    data = bytearray(partial.read_bytes())
    offset = len(data) - 3 * 300 * 210 * 4
    data[offset + place] ^= 1
    partial.write_bytes(data)
    with pytest.raises(InputError, match="predict part 2 of 2 again"):
        join_parts(settings(folder))


def test_a_fill_may_be_added_by_the_part_that_needs_it(folder: Path) -> None:
    stack = np.random.default_rng(0).random((3, 200, 100), np.float32)
    stack[2, 5, 5] = np.nan
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    predict_part(settings(folder), "1/3")
    predict_part(settings(folder), "2/3")
    with pytest.raises(InputError, match="NaN or infinite"):
        predict_part(settings(folder), "3/3")
    predict_part(settings(folder, fill=0.5), "3/3")
    with pytest.raises(InputError, match=r"had fill = 0\.5"):
        join_parts(settings(folder))
    join_parts(settings(folder, fill=0.5))
    single = predict_file(settings(folder, "single.tif", fill=0.5))
    assert content(folder / "out.tif") == content(single)


def test_an_input_that_changed_is_refused(folder: Path) -> None:
    predict_part(settings(folder), "1/2")
    predict_part(settings(folder), "2/2")
    sections(folder / "in.tif", (3, 300, 211))
    with pytest.raises(InputError):
        join_parts(settings(folder))


def test_no_name_of_another_is_touched(folder: Path) -> None:
    """Files that are called as journals of parts and are none."""
    foreign = folder / "out.tif.journal.7-of-9"
    foreign.write_text("mine")
    for part in ("1/2", "2/2"):
        predict_part(settings(folder), part)
    join_parts(settings(folder))
    assert foreign.read_text() == "mine"
    other = folder / "out2.tif.journal.1-of-2"
    other.write_text("mine")
    with pytest.raises(InputError, match="is no journal"):
        predict_part(settings(folder, "out2.tif"), "1/2")
    assert other.read_text() == "mine"


# --- the command line -----------------------------------------------------------------------------


def command(folder: Path, *more: str) -> list[str]:
    given = [str(folder / "in.tif"), "-o", str(folder / "out.tif"), "--threads", "1"]
    return ["predict", *given, "--weights", str(folder / "net.safetensors"), *more]


def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = predict_file(settings(folder, "single.tif"))
    assert main(command(folder, "--part", "2/2")) == 0
    assert "finished part 2 of 2" in capsys.readouterr().out
    assert main(command(folder, "--join")) == 2
    error = capsys.readouterr().err
    assert "1 of 2 parts are not finished: 1 (not begun)" in error
    assert main(command(folder, "--part", "1/2")) == 0
    assert main(command(folder, "--join")) == 0
    assert content(folder / "out.tif") == content(single)


@pytest.mark.parametrize(
    "more",
    [
        ["--part", "1/2", "--join"], ["--part", "1/2", "--dask", "local:1"],
        ["--join", "--release"],
        ["--print-sbatch", "3", "--part", "1/3"], ["--print-sbatch", "0"],
        ["--print-sbatch", "many"], ["--part", "3/2"], ["--print-sbatch", "9999999"],
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_go_together(
    folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, *more)) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(folder.glob("out*"))


SBATCH = """#!/usr/bin/env bash
# a batch system of one machine: reads the job, does every task of its array, prints a number
set -euo pipefail
job=$(cat)
printf '%s\\n' "$*" >> "$STUB/calls"
number=$(( $(wc -l < "$STUB/calls") + 40 ))
printf '%s' "$job" > "$STUB/$number.sh"
array=$(sed -n 's/^#SBATCH --array=1-//p' <<< "$job")
for task in $(seq "${array:-1}"); do
    SLURM_ARRAY_TASK_ID=$task bash "$STUB/$number.sh" >> "$STUB/log" 2>&1
done
printf '%s;cluster\\n' "$number"
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b/it's $HOME 50%.tif", "-x.tif"])
def test_the_script_for_slurm_runs(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In bash, with a stub in place of sbatch."""
    single = predict_file(settings(folder, "single.tif", value_range=(-5.0, 250.5)))
    stub = folder / "stub"
    stub.mkdir()
    (stub / "sbatch").write_text(SBATCH)
    (stub / "sbatch").chmod(0o755)
    out = folder / name
    out.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    given = ["predict", "in.tif", f"--out={name}", "--weights", "net.safetensors"]
    given += ["--threads", "1", "--range", "-5", "250.5", "--memory", "2GB"]
    assert main([*given, "--print-sbatch", "3"]) == 0
    script = capsys.readouterr().out
    assert re.search(r"^#SBATCH --array=1-3$", script, re.MULTILINE)
    assert re.search(r"^#SBATCH --mem=2099M$", script, re.MULTILINE)
    log = next(line for line in script.splitlines() if "--output" in line)
    place = str(folder / name).replace("%", "%%")  # wherever sbatch is called
    assert log == f'#SBATCH --output="{place}.part-%a-of-3.log"'
    environment = {**os.environ, "STUB": str(stub), "PATH": f"{stub}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    found = subprocess.run(
        [shutil.which("bash") or "bash"],
        input=script,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr + (stub / "log").read_text()
    calls = (stub / "calls").read_text().splitlines()
    assert calls == [
        "--parsable", "--parsable --dependency=afterok:41 --kill-on-invalid-dep=yes",
    ]  # fmt: skip
    assert content(out) == content(single)


STOPPED = """
import sys
import time
from pathlib import Path
from paper_unet.cli import main
from paper_unet.large.executor import LocalExecutor

pieces = LocalExecutor.pieces
folder, name, part = sys.argv[1:]

def one(self, prediction, runs, stop):
    for done in pieces(self, prediction, runs, stop):
        yield done
        Path(folder, "ready").touch()
        while not stop():
            time.sleep(0.01)

LocalExecutor.pieces = one
weights = ["--weights", folder + "/net.safetensors", "--threads", "1", "--part", part]
sys.exit(main(["predict", folder + "/in.tif", "-o", folder + "/" + name, *weights]))
"""


def test_a_child_that_is_stopped_goes_on(folder: Path) -> None:
    """SIGTERM of a batch system: what is finished is kept."""
    sections(folder / "in.tif", (16, 300, 150))
    single = predict_file(settings(folder, "single.tif"))
    with Child(STOPPED, str(folder), "out.tif", "1/2") as child:
        while not (folder / "ready").exists():
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait() == 128 + signal.SIGTERM
    with open_journal(folder / "out.tif", part="1-of-2") as journal:
        done = set(journal.done)
    rest = Crashing()
    predict_part(settings(folder), "1/2", executor=rest)
    assert done and rest.done
    assert [*sorted(done), *sorted(rest.done)] == list(range(len(done) + len(rest.done)))
    predict_part(settings(folder), "2/2")
    join_parts(settings(folder))
    assert content(folder / "out.tif") == content(single)
