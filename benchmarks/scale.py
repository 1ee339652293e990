"""What a run of millions of pieces takes beside the arithmetic, and what a cubic millimetre costs.

    python benchmarks/scale.py --pieces 10000000 --out scale.json   # some minutes, 1 GB of disk
    python benchmarks/scale.py --pieces 5000                        # small, for CI
    python benchmarks/scale.py --paper                              # the costs, on paper

The run is `predict_file` itself, with its planning, pieces, runs, journal and going on. The input
is blank and lies nowhere; the output writes nothing; where a worker would compute, each piece is
said to be on disk, with a made-up checksum. All but the last thousand pieces are recorded, then the
run is cut off as by an error; another process goes on. Each process says its own peak memory,
beside that of the same with four pieces.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet import UNet, load_model
from paper_unet.cli import script
from paper_unet.images import Output, Stack, Stored, Task
from paper_unet.images.outputs.kinds import OUTPUTS
from paper_unet.images.outputs.zarr import CHUNK, ZarrOutput
from paper_unet.images.outputs.zarr_shards import SHARD
from paper_unet.images.pyramid import level_shapes
from paper_unet.images.readers import READERS
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.executor import LocalExecutor
from paper_unet.large.journal import open_journal
from paper_unet.large.lines import sealed_line
from paper_unet.large.pieces import Done, Grid
from paper_unet.large.plan import choose_plan
from paper_unet.large.recorded import KNOWN
from paper_unet.large.worker import Prediction
from paper_unet.system.environment import environment
from paper_unet.system.stop import Stop

Figures = dict[str, Any]
Span = tuple[int, int]

VOXEL = (40, 4, 4)  # nm, z y x
VOLUME = (25_000, 250_000, 250_000)  # a cubic millimetre, Z Y X
MEMORY = 16 * 10**9  # of a process, bytes
BASE = 4 * 10**8  # of it, what a process takes before the network is loaded, bytes
LEFT = 1000  # pieces that are left to the second process
TOGETHER = 500  # sections of a run, on paper

# --- the run ------------------------------------------------------------------------------------


class Blank(Stack):
    """A stack of any size without pixels: a JSON file that says its shape."""

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether it is such a file."""
        return path.suffix == ".blank"

    def __init__(self, path: Path, **choices: Any) -> None:
        super().__init__(path, **choices)
        count, height, width = json.loads(path.read_text())
        self.shape, self.dtype = (count, height, width), np.dtype(np.uint8)

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.uint8)


def made_up(z: int, row: int, column: int) -> Stored:
    """Return bytes that a piece could have on disk."""
    return Stored(10**6 + (row + column) % 10**6, (z * 73856093 ^ row * 19349663 ^ column) % 2**32)


class Nowhere(ZarrOutput):
    """An OME-Zarr of which no chunk is written."""

    def prepare(self, *, resume: bool) -> None:
        """Make a file of the partial name."""
        self.partial.touch()

    def size_stored(self, z: int, rows: Span, columns: Span) -> int:
        """Return what was made up."""
        return self.stored(z, rows, columns).size

    def stored(self, z: int, rows: Span, columns: Span) -> Stored:
        """Return what was made up."""
        return made_up(z, rows[0], columns[0])

    def frame(self) -> Stored:
        """Return something that stays."""
        return Stored(0, 0)

    def finish(self) -> None:
        """Give the file its final name."""
        Output.finish(self)


class EnoughError(Exception):
    """Cuts a run off."""


class Stub(LocalExecutor):
    """Says of each piece that it is on disk.

    Attributes
    ----------
    limit : int
        How many pieces are not done, but half of all at most.
    pieces_of_all, recorded, tasks_done : int
    planning : list of float
        Seconds until the first run was there.
    recording : Clock
        Since then.
    peak_begun : int
        The peak memory then, bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.pieces_of_all = self.recorded = self.tasks_done = 0
        self.clock, self.recording = Clock(), Clock()
        self.planning, self.peak_begun = list[float](), 0

    def pieces(self, prediction: Prediction, runs: Iterable[range], stop: Stop) -> Iterator[Done]:
        """Yield all pieces but the last ones."""
        grid = prediction.grid
        self.pieces_of_all = len(grid)
        for run in runs:
            if not self.planning:
                self.planning, self.recording, self.peak_begun = self.clock(), Clock(), peak()
            for index in run:
                if index >= self.pieces_of_all - min(self.limit, self.pieces_of_all // 2):
                    raise EnoughError
                piece = grid.piece(index)
                yield Done(index, made_up(piece.z, piece.rows[0], piece.columns[0]))
                self.recorded += 1

    def tasks(self, output: Output, tasks: Iterable[Task], stop: Stop) -> Iterator[None]:
        """Take all tasks and do none."""
        for _ in tasks:
            self.tasks_done += 1
            yield


class Clock:
    """Seconds since it was made: on the wall, and of the processor."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def __call__(self) -> list[float]:
        """Return both."""
        return [time.perf_counter() - self.start[0], time.process_time() - self.start[1]]


def peak() -> int:
    """Return the peak memory of this process so far, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def configured(folder: Path) -> PredictConfig:
    """Return the run in a folder."""
    READERS.insert(0, Blank)
    OUTPUTS[".nowhere"] = Nowhere
    source, out = folder / "in.blank", folder / "out.nowhere"
    return PredictConfig(
        str(source), str(out), dtype="uint8", device="cpu", threads=1, memory=f"{MEMORY}", shard=0
    )


def begin(folder: Path) -> Figures:
    """Run until all but the last pieces are recorded."""
    config, stub = configured(folder), Stub(LEFT)
    with suppress(EnoughError):
        predict_file(config, executor=stub)
    return {
        "pieces": stub.pieces_of_all,
        "recorded": stub.recorded,
        "planning_s": stub.planning,
        "planning_peak_bytes": stub.peak_begun,
        "recording_s": stub.recording(),
        "peak_bytes": peak(),
        "journal_bytes": (folder / "out.nowhere.journal").stat().st_size,
    }


def read_back(out: Path) -> tuple[int, list[float], int]:
    """Return how many pieces a journal has, the seconds to read it, and the peak memory then."""
    clock = Clock()
    with open_journal(out) as journal:
        return len(journal.done), clock(), peak()


def go_on(folder: Path) -> Figures:
    """Read what the first process recorded; then go on to the end."""
    config = configured(folder)
    found, read, peak_read = read_back(Path(config.out))
    stub = Stub(0)
    predict_file(config, executor=stub)
    if not Path(config.out).exists() or found + stub.recorded != stub.pieces_of_all:
        raise RuntimeError(f"{found} and {stub.recorded} of {stub.pieces_of_all} pieces")
    return {
        "found": found,
        "read_s": read,
        "read_peak_bytes": peak_read,
        "going_on_s": stub.planning,  # read again, planned, compared with the output
        "tasks": stub.tasks_done,
        "peak_bytes": peak(),
    }


CHILDREN = {"begin": begin, "go_on": go_on}


def child(name: str, folder: Path) -> Figures:
    """Return the figures of a part in a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode:
        raise RuntimeError(run.stderr)
    found: Figures = json.loads(run.stdout.splitlines()[-1])
    return found


def measure(shape: tuple[int, int, int]) -> Figures:
    """Return the figures of both processes for a stack of this shape."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "in.blank").write_text(json.dumps(shape))
        return {part: child(part, Path(name)) for part in CHILDREN}


def simulate(pieces: int) -> Figures:
    """Run over sections of a cubic millimetre until there are so many pieces."""
    plan = planned(load_model())
    sections = max(1, round(pieces / len(Grid(1, *VOLUME[1:], plan))))
    small, found = measure((4, CHUNK, CHUNK)), measure((sections, *VOLUME[1:]))
    begun, gone_on = found["begin"], found["go_on"]
    most, least = (max(run[part]["peak_bytes"] for part in CHILDREN) for run in (found, small))
    return {
        "shape": [sections, *VOLUME[1:]],
        "pieces": begun["pieces"],
        "peak_bytes": most,
        "peak_bytes_of_four_pieces": least,
        "bytes_per_piece": (most - least) / begun["pieces"],
        "planning_s": begun["planning_s"],
        "recording_s": begun["recording_s"],
        "journal_bytes": begun["journal_bytes"],
        "read_s": gone_on["read_s"],
        "going_on_s": gone_on["going_on_s"],
        "processes": found,
    }


def table(found: Figures) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    begun, gone_on = found["processes"]["begin"], found["processes"]["go_on"]
    yield f"| {found['pieces']:,} pieces | on the wall (of the processor) |"
    yield "|---|---|"

    def seconds(name: str) -> str:
        return "{:.1f} s ({:.1f} s)".format(*found[f"{name}_s"])

    rows = [
        ("planning, until the first piece may begin", seconds("planning")),
        ("recording all", seconds("recording")),
        ("journal", f"{found['journal_bytes'] / 1e6:.0f} MB"),
        ("reading it", seconds("read")),
        (
            "going on: reading, planning, comparing the sizes of all and a share",
            seconds("going_on"),
        ),
        ("peak memory, first process", f"{begun['peak_bytes'] / 1e6:.0f} MB"),
        ("peak memory, second process", f"{gone_on['peak_bytes'] / 1e6:.0f} MB"),
        ("peak memory with four pieces", f"{found['peak_bytes_of_four_pieces'] / 1e6:.0f} MB"),
        ("memory added by a piece", f"{found['bytes_per_piece']:.0f} bytes"),
    ]
    for what, value in rows:
        yield f"| {what} | {value} |"


# --- on paper -----------------------------------------------------------------------------------

CORES = "two cores of an Intel Xeon, 2.5 GHz"
RATES = [  # network, machine, cores (0: a card), Mpx/s, where that stands
    ("width 16, float32", CORES, 2, 1.075, "from file to file, [Speed](#speed), last table"),
    ("width 64, float32", CORES, 2, 0.134, "in memory, [Speed](#speed), first table"),
    ("width 64, bfloat16", "one NVIDIA H200", 0, 235.0,
     "in memory, `benchmarks/gpu.py`, 2026-11-26, torch 2.11"),
]  # fmt: skip
DAYS = 30
MONTHLY = f"for it in {DAYS} days"


def planned(model: Any) -> Plan:
    """Return how a section of a cubic millimetre is cut for a Zarr within `MEMORY`."""
    engine = engine_for(model, InferenceSettings(), "float32")
    return choose_plan(engine, VOLUME[1:], MEMORY, alignment=(SHARD, SHARD), base=BASE)


def paper_rates() -> Iterator[str]:
    """Yield what the arithmetic takes, as a Markdown table."""
    pixels = float(np.prod(VOLUME, dtype=float))
    yield f"| network | machine | Mpx/s | alone | {MONTHLY} | the rate |"
    yield "|---|---|---|---|---|---|"
    for network, machine, cores, rate, source in RATES:
        days = pixels / (rate * 1e6) / 86400
        if cores:
            alone, many = (
                f"{cores * days / 365:,.0f} core-years",
                f"{cores * days / DAYS:,.0f} cores",
            )
        else:
            alone, many = f"{days:,.0f} card-days", f"{days / DAYS:.1f} cards"
        yield f"| {network} | {machine} | {rate:,.3g} | {alone} | {many} | {source} |"


def chunks(shapes: Iterable[tuple[int, int, int]], side: int) -> int:
    """Return how many chunks of one section and this side arrays of some shapes have."""
    return sum(z * -(-y // side) * -(-x // side) for z, y, x in shapes)


def paper_files() -> Iterator[str]:
    """Yield what it takes on disk and in the journal, as a Markdown table."""
    levels = level_shapes(VOLUME, CHUNK)
    pixels = int(np.prod(VOLUME, dtype=np.int64))
    all_pixels = sum(int(np.prod(shape, dtype=np.int64)) for shape in levels)
    with torch.device("meta"):
        plan = planned(UNet())
    section = Grid(1, *VOLUME[1:], plan)
    pieces = len(section) * VOLUME[0]
    line = len(sealed_line({"done": pieces // 2, "stored": list(made_up(3, 5, 7))}, 0)[0])
    yield f"| what | all of it | a run of {TOGETHER} sections |"
    yield "|---|---|---|"
    share = TOGETHER / VOLUME[0]
    rows: list[tuple[str, float, Callable[[float], str]]] = [
        ("runs", 1 / share, "{:,.0f}".format),
        ("input, uint8, not compressed", pixels, size),
        ("output, uint8, not compressed, with its pyramid", all_pixels, size),
        (f"files: shards of {SHARD} x {SHARD}", chunks(levels, SHARD), millions),
        (f"files with `--shard 0`: chunks of {CHUNK} x {CHUNK}", chunks(levels, CHUNK), millions),
        (f"pieces of {plan.rows} x {plan.strip}", pieces, millions),
        (f"journal, {line} bytes a line", line * pieces, size),
        (f"memory for the pieces, {KNOWN.itemsize} bytes each", KNOWN.itemsize * pieces, size),
    ]  # fmt: skip
    for what, value, shown in rows:
        yield f"| {what} | {shown(value)} | {shown(share * value)} |"


def millions(count: float) -> str:
    """Return a number in millions."""
    return f"{count / 1e6:,.3g} million" if count < 1e9 else f"{count / 1e6:,.0f} million"


def size(count: float) -> str:
    """Return bytes in a unit that suits them."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=script.count, default=10**6, help="about so many")
    parser.add_argument("--paper", action="store_true", help="what a cubic millimetre costs")
    parser.add_argument("--out", type=script.new_file)
    parser.add_argument("--child", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](Path(options.child[1]))))
        return
    if options.paper:
        print("\n".join([*paper_rates(), "", *paper_files()]))
        return
    about = environment()
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")
    found = simulate(options.pieces)
    print("\n".join(table(found)))
    if options.out:
        options.out.write_text(json.dumps({"environment": about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    script.run(main)
