"""What the tests of the outputs share."""

import random
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from process_helpers import run_python

from paper_unet.images import Output

Window = tuple[int, tuple[int, int], tuple[int, int]]


def windows(output: Output, rows: int, columns: int) -> list[Window]:
    """Cut an output into windows of so many rows and columns, smaller at the edges."""
    sections, height, width = output.shape
    return [
        (z, (y, min(y + rows, height)), (x, min(x + columns, width)))
        for z in range(sections)
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    ]


def write(output: Output, stack: NDArray[Any], chosen: list[Window]) -> None:
    for z, rows, columns in chosen:
        output.write(z, rows[0], columns[0], stack[z, slice(*rows), slice(*columns)])
        output.sync(z, rows, columns)


def complete(output: Output, seed: int | None = None) -> None:
    """Do the stages, the tasks in random order, and finish."""
    for stage in output.stages():
        tasks = list(stage)
        if seed is not None:
            random.Random(seed).shuffle(tasks)
        for task in tasks:
            output.run(task)
    output.finish()


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of every file of a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


# A run that kills itself at the n-th call of fsync, rename or link, which stand between all of its
# steps; n = -1: when the output is to get its name; -2: at the next call after that.
RUN = """
import os, signal, sys
import numpy as np
out, side, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
calls = 0
def count(target=None):
    global calls, limit
    calls += 1
    named = target is not None and os.fspath(target) == out
    if calls == limit or (named and limit == -1):
        os.kill(os.getpid(), signal.SIGKILL)
    if named and limit == -2:
        limit = calls + 1
naming = ("os.rename", "os.link")
sys.addaudithook(lambda event, about: count(about[1]) if event in naming else None)
fsync = os.fsync
def counted(descriptor):
    count()
    fsync(descriptor)
os.fsync = counted
from paper_unet.images import create_output
from paper_unet.large.journal import open_journal
shape = (2, 2 * side - 3, 2 * side - 6)
stack = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
output = create_output(out, shape, "uint8")
with open_journal(out) as journal:
    output.take(journal.claim, left=journal.header is not None)
    journal.begin({"shape": shape})
    output.prepare(resume=True) if journal.done else output.start()
    went_on = len(journal.done)
    for k in range(8):
        z, y, x = k // 4, k // 2 % 2 * side, k % 2 * side
        if k not in journal.done:
            window = stack[z, y : y + side, x : x + side]
            output.write(z, y, x, window)
            output.sync(z, (y, y + window.shape[0]), (x, x + window.shape[1]))
            journal.record(k)
            journal.flush()
    for tasks in output.stages():
        for task in tasks:
            output.run(task)
    output.finish()
    journal.remove()
print(went_on)
"""


def run(out: Path, side: int, kill_at: int = 0) -> int | None:
    """Run in a process of its own; return how many pieces were there before, None if killed."""
    process = run_python(RUN, str(out), str(side), str(kill_at))
    assert process.returncode in (0, -9), process.stderr
    return None if process.returncode else int(process.stdout)


def check_kills(folder: Path, kind: str, side: int, moments: list[int]) -> None:
    """Kill a run, go on, kill it when the output is to get its name and after; go on."""
    out, whole = folder / f"out.{kind}", folder / f"whole.{kind}"
    assert run(whole, side) == 0
    for kill_at in [*moments, -1]:
        assert run(out, side, kill_at) is None
        assert not out.exists()
        assert (folder / f"{out.name}.journal").exists()
    assert run(out, side, -2) is None
    assert contents(out) == contents(whole)  # all was there, only the journal remains
    out.rename(folder / f"{out.name}.partial")
    assert run(out, side) == 8
    assert contents(out) == contents(whole)
    assert {path.name for path in folder.iterdir()} == {out.name, whole.name}


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import numpy as np
from paper_unet.errors import InputError
from paper_unet.images import create_output
output = create_output(sys.argv[1], (1, 512, 512), "uint8")
try:
    output.prepare(resume=False)
    output.write(0, 0, 0, np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8))
except InputError as error:
    print(error)
"""


def run_limited(out: Path) -> str:
    """Write 262,144 bytes where a file may have 100,000; return what was said."""
    process = run_python(LIMITED, str(out))
    assert process.returncode == 0, process.stderr
    return process.stdout
