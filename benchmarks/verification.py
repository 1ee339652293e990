"""What checksums cost: `predict` before and after them, side by side, and the rate of `--verify`.

python benchmarks/verification.py BEFORE [--after REVISION] [--rounds 20] [--out FILE.json]

BEFORE is a git revision; what it is compared with is the working tree, unless told. Each has a
process of its own; the two predict the demo's stack in turn, the order changing each time, and then
go on with a run of which all pieces are done. The rate of `--verify` is that of a long stack,
beside reading the same files. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.cli import script
from paper_unet.errors import InputError
from paper_unet.images import create_output, create_tiff
from paper_unet.inference.settings import Plan
from paper_unet.large.journal import open_journal
from paper_unet.large.pieces import Grid
from paper_unet.large.verify import take_back_damaged
from paper_unet.synthetic import synthetic_stack
from paper_unet.system.environment import environment

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("out.tif", "out.zarr")
SERVER = """
import json, shutil, sys, time
from pathlib import Path
from paper_unet.inference.layers import keep_freed_memory
from paper_unet.large import PredictConfig, estimate, predict_file
from paper_unet.large.executor import LocalExecutor
estimate.matrix_rate = lambda prediction: 1e9  # takes as long as it happens to take
keep_freed_memory()

class Done(Exception):
    pass

class Stopping(LocalExecutor):
    def pieces(self, *given):
        yield from super().pieces(*given)
        raise Done

def copy(source, target):
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

kept = set()
for line in sys.stdin:
    request = json.loads(line)
    config = PredictConfig(request["source"], request["out"], threads=request["threads"])
    out = Path(config.out)
    if request["going_on"]:
        left = [out.with_name(out.name + ending) for ending in (".partial", ".journal")]
        if out not in kept:
            try:
                predict_file(config, executor=Stopping())
            except Done:
                kept.add(out)
            for path in left:
                copy(path, path.with_name("kept-" + path.name))
        else:
            for path in left:
                copy(path.with_name("kept-" + path.name), path)
    wall, cpu = time.perf_counter(), time.process_time()
    predict_file(config, **request["options"])
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
"""
Rows = list[dict[str, Any]]


class Side:
    """A process with the package of a revision, or of the working tree."""

    def __init__(self, revision: str | None, folder: Path) -> None:
        tree, self.folder = ROOT, folder
        if revision is not None:
            command = ["git", "-C", str(ROOT), "archive", revision, "paper_unet"]
            archived = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
            if archived.returncode:
                raise InputError(f"{revision}: {archived.stderr.decode().strip()}")
            tree = folder / "tree"
            with tarfile.open(fileobj=BytesIO(archived.stdout)) as files:
                files.extractall(tree, filter="data")
        self.process = subprocess.Popen(  # noqa: S603  (itself)
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )  # fmt: skip

    def seconds(self, **request: Any) -> tuple[float, float]:
        """Return the wall and processor seconds of a prediction."""
        out = str(self.folder / request.pop("name"))
        print(json.dumps({**request, "out": out}), file=self.process.stdin, flush=True)
        wall, cpu = json.loads(self.process.stdout.readline() if self.process.stdout else "")
        return wall, cpu


def compare(
    sides: dict[str, Side], rounds: int, say: Callable[[str], None], **request: Any
) -> dict[str, dict[str, float]]:
    """Return the median seconds of each side, and the median of the ratios of neighbours."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    options = request.pop("options", {})
    for k in range(-2, rounds):
        for name in list(sides) if k % 2 else reversed(list(sides)):
            given = options if name != "before" else {}
            seconds = sides[name].seconds(options=given, **request)
            if k >= 0:
                found[name].append(seconds)
    pairs = list(zip(found["before"], found["after"], strict=True))
    result = {
        name: {
            kind: statistics.median(pair[i] for pair in pairs_of) for i, kind in enumerate(KINDS)
        }
        for name, pairs_of in found.items()
    }
    for i, kind in enumerate(KINDS):
        ratios = sorted(after[i] / before[i] for before, after in pairs)
        quartiles = statistics.quantiles(ratios, n=4)
        result.setdefault("ratio", {})[kind] = quartiles[1]
        result["ratio"][f"{kind}_low"], result["ratio"][f"{kind}_high"] = quartiles[0], quartiles[2]
    what = f"{request['name']}{', going on' if request['going_on'] else ''} {options or ''}"
    ratio = result["ratio"]
    say(
        f"| {what} | {result['before']['wall']:.3f} | {result['after']['wall']:.3f} | "
        + " | ".join(
            f"{ratio[kind]:.3f} ({ratio[f'{kind}_low']:.3f} to {ratio[f'{kind}_high']:.3f})"
            for kind in KINDS
        )
        + " |"
    )
    return result


KINDS = ("wall", "cpu")


def verify_rate(folder: Path, name: str, sections: int) -> dict[str, float]:
    """Return the bytes of the pieces of a long stack, and the seconds to read and verify them."""
    rng = np.random.default_rng(0)
    shape = (sections, 512, 512)
    output = create_output(folder / name, shape, "float32")
    grid = Grid(*shape, Plan(64, 512, 512))
    section = rng.random(shape[1:], dtype=np.float32)
    with open_journal(folder / name) as journal:
        journal.begin({})
        output.prepare(resume=False)
        for index in range(len(grid)):
            stored = output.write(index, 0, 0, np.roll(section, index, axis=1))
            journal.stored[index] = stored  # of which no line is written
        total = sum(stored.size for stored in journal.stored.values() if stored is not None)
        files = [output.partial] if output.partial.is_file() else sorted(output.partial.rglob("*"))
        seconds: dict[str, list[float]] = {"read": [], "verify": []}
        for _ in range(5):
            start = time.perf_counter()
            for file in files:
                if file.is_file():
                    with file.open("rb", buffering=0) as opened:
                        while opened.read(2**22):
                            pass
            seconds["read"].append(time.perf_counter() - start)
            start = time.perf_counter()
            take_back_damaged(journal, output, grid, every=True)
            seconds["verify"].append(time.perf_counter() - start)
        if len(journal.done) != len(grid):
            raise RuntimeError("sound pieces were taken back")
        output.close()
        journal.remove()
    return {"bytes": total, **{kind: min(found) for kind, found in seconds.items()}}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a git revision")
    parser.add_argument("--after", help="a git revision; default: the working tree")
    parser.add_argument("--rounds", type=script.count, default=20)
    parser.add_argument("--sections", type=script.count, default=400, help="of the long stack")
    parser.add_argument("--threads", type=script.count, default=1)
    parser.add_argument("--out", type=script.new_file)
    options = parser.parse_args()
    about = environment()
    print("\n".join(f"{key}: {value}" for key, value in about.items()), "\n")
    rows: Rows = []
    with tempfile.TemporaryDirectory() as scratch:
        stack = synthetic_stack(sections=6, side=512, seed=0).images
        source = Path(scratch) / "image.tif"
        with create_tiff(source, stack.shape, "uint8") as writer:
            for z, image in enumerate(stack):
                writer[z] = image
        sides = {}
        for side, revision in (("before", options.before), ("after", options.after)):
            (Path(scratch) / side).mkdir()
            sides[side] = Side(revision, Path(scratch) / side)
        print("| case | seconds before | after | ratio, wall | ratio, processor |")
        print("|---|---|---|---|---|")
        cases: list[tuple[bool, dict[str, bool]]] = [
            (False, {}),
            (True, {}),
            (True, {"verify": True}),
        ]
        for name in NAMES:
            for going_on, given in cases:
                found = compare(
                    sides, options.rounds, lambda line: print(line, flush=True), name=name,
                    source=str(source), threads=options.threads, going_on=going_on, options=given,
                )  # fmt: skip
                rows.append({"name": name, "going_on": going_on, "options": given, **found})
        print("\n| verify | MB | MB/s | reading alone, MB/s |\n|---|---|---|---|")
        for name in NAMES:
            rate = verify_rate(Path(scratch), name, options.sections)
            mb = rate["bytes"] / 1e6
            print(f"| {name} | {mb:.0f} | {mb / rate['verify']:.0f} | {mb / rate['read']:.0f} |")
            rows.append({"name": name, "verify": rate})
    if options.out:
        text = json.dumps({"environment": about, "rows": rows}, indent=2)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    script.run(main)
