"""Hostile files: each is refused in one line, with exit code 2, within memory and time.

Each case goes the whole way of a command, in a process whose address space is limited to what it
has already and a gigabyte, and nothing beside may change. ``HOSTILE_REPORT=FILE`` adds a line of
JSON for each: its name, seconds, and the megabytes that the process took more.
"""

import json
import os
import runpy
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from others import CAFFE, JOURNALS, PNGS, WEIGHTS
from process_helpers import Child
from sounds import SOUND
from tiffs import TIFFS
from volumes import HDF5S, MRCS, N5S, PRECOMPUTED
from zarrs import ZARRS
from zips import OMES, ZIPS

from paper_unet import UNet
from paper_unet.cli import main
from paper_unet.networks.weights_file import load_model, save_model

MORE = 2**30
"""Bytes of address space that a case may take."""

PATIENCE = 120
"""Seconds after which a case hangs; none takes a tenth of it."""

RUN = f"""
import resource, sys
from pathlib import Path

def figure(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name + ":")).split()[1])

Path("/proc/self/clear_refs").write_text("5")
before = figure("VmRSS")
most = figure("VmSize") + {MORE}
resource.setrlimit(resource.RLIMIT_AS, (most, most))
resource.setrlimit(resource.RLIMIT_CPU, ({PATIENCE}, {PATIENCE}))
from paper_unet.cli import main
code = main(sys.argv[2:])
Path(sys.argv[1]).write_text(str(figure("VmHWM") - before))
sys.exit(code)
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")


def refused(folder: Path, name: str, *arguments: object) -> str:
    """Run a command that must refuse in one line; return the line."""
    before = everything_in(folder)
    started, said = time.monotonic(), folder.parent / f"{folder.name}.peak"
    words = [str(said), *map(str, arguments)]
    with Child(RUN, *words, cwd=folder) as child:
        while child.poll() is None:
            assert time.monotonic() - started < PATIENCE, "it hangs"
            time.sleep(0.01)
        code, out, error = child.wait(), child.out.read_text(), child.error.read_text()
    seconds = time.monotonic() - started
    assert code == 2, error[-3000:]
    assert out == ""
    lines = error.splitlines()
    assert len(lines) == 1, error[-3000:]
    assert lines[0].startswith("paper-unet: ")
    assert len(lines[0]) < 1000
    assert everything_in(folder) == before
    if report := os.environ.get("HOSTILE_REPORT"):
        kind = os.environ["PYTEST_CURRENT_TEST"].partition("::test_")[2].partition("[")[0]
        entry = {
            "kind": kind,
            "case": name,
            "seconds": round(seconds, 2),
            "mb": int(said.read_text()) // 10**6,
        }
        with Path(report).open("a") as file:
            file.write(json.dumps(entry) + "\n")
    return lines[0]


def everything_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """What lies in a folder: kind, size, time and place on disk of each."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        found[str(path)] = (kind, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a sound stack and sound weights."""
    folder = tmp_path / "here"
    folder.mkdir()
    tifffile.imwrite(folder / "sound.tif", np.zeros((2, 64, 64), "u1"), photometric="minisblack")
    save_model(folder / "sound.safetensors", UNet(width=1))
    return folder


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """The process that is forked imports everything first, which is no case's time."""
    with Child("pass") as child:
        assert child.wait() == 0


Make = Callable[[Path], Path]
RANGE = ("--range", "0", "255")
WITH = ("--weights", "sound.safetensors", "--threads", "1")


def says_why(case: str, line: str) -> None:
    """A bomb is refused where it is decoded, and a file that is too large before that."""
    if "bomb" in case:
        assert "declared" in line
    if "too large" in case:
        assert "can be needed" in line or "an index of" in line


@pytest.mark.parametrize("case", TIFFS)
def test_tiff(here: Path, case: str) -> None:
    name = "in.ome.tif" if case.startswith("ome") else "in.tif"
    TIFFS[case](here / name)
    refused(here, case, "predict", name, "-o", "out.tif", *WITH)


@pytest.mark.parametrize("case", ZARRS)
def test_zarr(here: Path, case: str) -> None:
    ZARRS[case](here / "in.zarr")
    line = refused(here, case, "predict", "in.zarr", "-o", "out.tif", *WITH)
    assert not (here / "it-ran").exists()
    says_why(case, line)


@pytest.mark.parametrize("case", ZIPS)
def test_zip(here: Path, case: str) -> None:
    ZIPS[case](here / "in.ozx")
    refused(here, case, "predict", "in.ozx", "-o", "out.tif", *WITH)


@pytest.mark.parametrize("case", OMES)
def test_ome_zarr(here: Path, case: str) -> None:
    OMES[case](here / "in.zarr")
    refused(here, case, "predict", "in.zarr", "-o", "out.tif", *WITH)


@pytest.mark.parametrize("case", HDF5S)
def test_hdf5(here: Path, case: str) -> None:
    HDF5S[case](here / "in.h5")
    says_why(case, refused(here, case, "predict", "in.h5:/raw", "-o", "out.tif", *WITH))


@pytest.mark.parametrize("case", MRCS)
def test_mrc(here: Path, case: str) -> None:
    MRCS[case](here / "in.mrc")
    refused(here, case, "predict", "in.mrc", "-o", "out.tif", *WITH, *RANGE)


@pytest.mark.parametrize("case", N5S)
def test_n5(here: Path, case: str) -> None:
    N5S[case](here / "in.n5")
    says_why(case, refused(here, case, "predict", "in.n5", "-o", "out.tif", *WITH))


@pytest.mark.parametrize("case", PRECOMPUTED)
def test_precomputed(here: Path, case: str) -> None:
    PRECOMPUTED[case](here / "in")
    says_why(case, refused(here, case, "predict", "in", "-o", "out.tif", *WITH, *RANGE))


@pytest.mark.parametrize("case", PNGS)
def test_png(here: Path, case: str) -> None:
    PNGS[case](here / "in.png")
    refused(here, case, "predict", "in.png", "-o", "out.tif", *WITH)


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(here: Path, case: str) -> None:
    WEIGHTS[case](here / "in.safetensors")
    refused(here, case, "predict", "sound.tif", "-o", "out.tif", "--weights", "in.safetensors")


@pytest.mark.parametrize("case", CAFFE)
def test_caffemodel(here: Path, case: str) -> None:
    pytest.importorskip("google.protobuf")
    CAFFE[case](here / "in.caffemodel")
    refused(here, case, "import-caffe", "in.caffemodel", "-o", "out.safetensors")


@pytest.mark.parametrize("case", JOURNALS)
def test_journal(here: Path, case: str) -> None:
    JOURNALS[case](here / "out.tif.journal")
    refused(here, case, "predict", "sound.tif", "-o", "out.tif", *WITH)


@pytest.mark.parametrize("case", ["shaped", "a device", "ome SizeZ", "deflate bomb"])
def test_other_commands_read_in_the_same_way(here: Path, case: str) -> None:
    name = "in.ome.tif" if case.startswith("ome") else "in.tif"
    TIFFS[case](here / name)
    refused(here, f"evaluate, {case}", "evaluate", "sound.tif", name)
    training = ("--images", name, "--labels", "sound.tif", "--out", "run", "--width", "1")
    refused(here, f"train, {case}", "train", *training)


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_file_is_not_refused(
    here: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the cases fail for what they are."""
    name, make, more = SOUND[kind]
    make(here / name)
    monkeypatch.chdir(here)
    source = f"{name}:/raw" if name.endswith(".h5") else name
    assert main(["predict", source, "-o", "out.tif", *WITH, *more]) == 0, capsys.readouterr().err
    assert tifffile.imread(here / "out.tif").shape == (1 if kind == "png" else 2, 64, 64)


def test_a_sound_caffemodel_is_not_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.protobuf")
    helpers = runpy.run_path(str(Path(__file__).parents[1] / "release" / "caffe_helpers.py"))
    (here / "in.caffemodel").write_bytes(helpers["caffemodel"](helpers["network"](2)))
    monkeypatch.chdir(here)
    assert main(["import-caffe", "in.caffemodel", "-o", "out.safetensors"]) == 0
    assert load_model("out.safetensors").config.width == 2


def test_a_sound_file_needs_no_more_than_a_hostile_one_may_take(here: Path) -> None:
    words = [str(here.parent / "peak"), "predict", "sound.tif", "-o", "out.tif", *WITH]
    with Child(RUN, *words, cwd=here) as child:
        assert child.wait() == 0, child.error.read_text()
    assert tifffile.imread(here / "out.tif").shape == (2, 64, 64)
