"""Killed before every single call that changes a file, or the power lost there: equal bytes."""

import json
import os
from pathlib import Path

import pytest
from crash_helpers import HOOK
from large_helpers import sections
from process_helpers import run_python

RUN = (
    HOOK
    + '''
import json, sys, traceback
from large_helpers import content, settings
from paper_unet.errors import InputError
from paper_unet.large import estimate, predict_file
from paper_unet.large.run import Report
import ome_zarr_models.v05.image, paper_unet.images.outputs.tiff, paper_unet.images.outputs.zarr

estimate.matrix_rate = lambda prediction: 1e9  # measures for a moment otherwise
made, scratch, name, losses = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]

def forked(work):
    """Work in a process of its own; return how it ended."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    return folder

def calls():
    """The calls of a run that nothing ends."""
    folder, report = fresh(scratch / "calls"), scratch / "calls.json"
    def work():
        armed(0)
        predict_file(settings(folder, name))
        names = list(disk.calls)
        report.write_text(json.dumps(names))
    assert forked(work) == 0
    global expected
    expected = content(folder / name)
    return json.loads(report.read_text())

def crash(number, half=False, how=None):
    folder, after = fresh(scratch / "run"), scratch / "after"
    shutil.rmtree(after, ignore_errors=True)
    def work():
        if how is not None:
            recorded(folder)
        armed(number, half, None if how is None else lambda: lost(after, how))
        predict_file(settings(folder, name))
    assert forked(work) == -signal.SIGKILL, (number, half, how)
    if how is not None:
        times = os.stat(folder / "in.tif").st_mtime_ns
        shutil.rmtree(folder)
        after.rename(folder)
        os.utime(folder / "in.tif", ns=(times, times))
    there = (folder / name).exists()
    if there:
        assert content(folder / name) == expected, (number, half, how)
    def go_on():
        said = []
        # where all is done and the name is taken, the rest is swept when it is made anew
        report = Report(said.append)
        predict_file(settings(folder, name), overwrite=there, verify=True, report=report)
        # what was recorded was on disk: nothing had to be put right
        assert not [line for line in said if "computed again" in line], said
    assert forked(go_on) == 0, (number, half, how, sorted(os.listdir(folder)))
    assert content(folder / name) == expected, (number, half, how)
    assert set(os.listdir(folder)) == {"in.tif", "net.safetensors", name}, (number, half, how)

names = calls()
done = 0
for number, called in enumerate(names, 1):
    if losses:
        ways = ("nothing", "names", "contents")
        for how in ways if "all" in losses else (ways[number % 3],):
            crash(number, how=how)
            done += 1
        continue
    crash(number)
    done += 1
    if called in ("write", "pwrite"):
        crash(number, half=True)
        done += 1
print(json.dumps([names, done]))
'''
)
SHAPES = {"out.tif": (2, 140, 30), "out.zarr": (2, 20, 530)}


def crashed(folder: Path, name: str, *losses: str) -> tuple[list[str], int]:
    """Crash at every point; return the calls of an undisturbed run, and how many crashes."""
    made, scratch = folder / "made", folder / "scratch"
    scratch.mkdir()
    made.mkdir()
    (folder / "net.safetensors").rename(made / "net.safetensors")
    (folder / "in.tif").unlink()
    sections(made / "in.tif", SHAPES[name])
    run = run_python(RUN, str(made), str(scratch), name, *losses, cwd=Path(__file__).parent)
    assert run.returncode == 0, run.stderr[-4000:]
    calls, done = json.loads(run.stdout.splitlines()[-1])
    return calls, done


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", SHAPES)
def test_killed_before_every_call_and_half_way_through_every_write(folder: Path, name: str) -> None:
    calls, done = crashed(folder, name)
    last = "replace" if name == "out.tif" else "rename"
    assert {"open", "write", "fsync", "ftruncate", "unlink", last} <= set(calls)
    assert len(calls) > 30
    assert done > len(calls) + 10


LOSSES = os.environ.get("PAPER_UNET_LOSSES", "one")
"""``all``: three losses at every call; otherwise one of them in turn."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs fork and /proc")
@pytest.mark.parametrize("name", SHAPES)
def test_the_power_is_lost_before_every_call(folder: Path, name: str) -> None:
    calls, done = crashed(folder, name, LOSSES)
    assert calls.count("fsync") > 10
    assert done == len(calls) * (3 if LOSSES == "all" else 1)
