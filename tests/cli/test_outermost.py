"""The outermost layer: whatever is given, and wherever it is called from, one line and a code."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from paper_unet import UNet
from paper_unet.cli import main
from paper_unet.networks.weights_file import save_model

COMMAND = [sys.executable, "-W", "error", "-c",
           "import sys; from paper_unet.cli import main; sys.exit(main())"]  # fmt: skip
LONG, TOO_LONG = "9" * 1000, "9" * 5000  # Python reads no number of more than 4300 digits


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound stack and sound weights, in which commands run."""
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((2, 32, 40), "u1"), photometric="minisblack")
    save_model(tmp_path / "w.safetensors", UNet(width=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line_of(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Run a command that must end with a code and one line, and return the line."""
    capsys.readouterr()
    try:
        found = main(words)
    except SystemExit as end:
        found = end.code  # type: ignore[assignment]
    said = capsys.readouterr().err.splitlines()
    assert found == code, said
    assert len(said) == 1
    assert said[0].startswith("paper-unet: ")
    assert len(said[0]) < 800
    return said[0]


@pytest.mark.parametrize("digits", [LONG, TOO_LONG], ids=["long", "too long"])
@pytest.mark.parametrize(
    "words",
    ["predict in.tif -o o.tif --memory {}", "predict in.tif -o o.tif --slices {}",
     "predict in.tif -o o.tif --slices 0:{}", "predict in.tif -o o.tif --threads {}",
     "predict in.tif -o o.tif --tile {}", "predict in.tif -o o.tif --axes {}",
     "predict in.tif -o o.tif --series {}", "predict in.tif -o o.tif --of-class {}",
     "predict in.tif -o o.tif --halo {}", "predict in.tif -o o.tif --range 0 {}",
     "predict in.tif -o o.tif --dask local:{}", "predict in.tif -o o.tif --engine {}",
     "train --images in.tif --labels in.tif --seed {}", "evaluate in.tif in.tif --slices {}",
     "train --images in.tif --labels in.tif --steps {}",
     "train --images in.tif --labels in.tif --width {}",
     "train --images in.tif --labels in.tif --lr {}", "demo --out d --side {}",
     "demo --out d --sections {}"],
)  # fmt: skip
def test_numbers_of_a_thousand_digits(
    here: Path, capsys: pytest.CaptureFixture[str], words: str, digits: str
) -> None:
    line_of(capsys, 2, *words.format(digits).split())
    assert {path.name for path in here.iterdir()} == {"in.tif", "w.safetensors"}


def test_more_threads_than_a_machine_can_start(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "in.tif", "-o", "o.tif", "--threads", "100000"]
    assert "threads is 100000; it must be in [1, 1024]" in line_of(capsys, 2, *words)


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators alone")
@pytest.mark.parametrize(
    "words",
    ["predict loop -o o.tif", "predict in.tif -o o.tif --weights loop", "evaluate loop in.tif",
     "predict in.tif -o loop/o.tif", "import-caffe loop -o o.safetensors",
     "train --images loop --labels in.tif", "evaluate-cells loop loop", "demo --out loop"],
)  # fmt: skip
def test_links_in_a_loop(here: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    (here / "loop").symlink_to("pool")
    (here / "pool").symlink_to("loop")
    line_of(capsys, 2, *words.split())


def test_a_name_that_is_too_long(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line_of(capsys, 2, "predict", "a" * 300, "-o", "o.tif")
    line_of(capsys, 2, "predict", "in.tif", "-o", "a" * 300 + ".tif")


def test_what_is_unforeseen_is_one_line_and_a_request(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a\nfault " + "x" * 500)

    monkeypatch.setattr("paper_unet.images.open_stack", fail)
    monkeypatch.setattr("paper_unet.images.read_stack", fail)
    line = line_of(capsys, 1, "evaluate", "in.tif", "in.tif")
    assert "unforeseen: ZeroDivisionError: a fault xxx" in line
    assert "please report it" in line
    for words in (["--debug", "evaluate"], ["evaluate", "--debug"]):
        assert main([*words, "in.tif", "in.tif"]) == 1
        said = capsys.readouterr().err
        assert "Traceback" in said
        assert said.splitlines()[-1] == line


def test_debug_shows_where_a_refusal_comes_from(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "none.tif", "in.tif", "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and "InputError" in said
    assert said.splitlines()[-1].startswith("paper-unet: none.tif: no such file")


def run(*words: str | bytes, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *words], check=False, **more)  # type: ignore[call-overload, no-any-return]


WITH = ("--weights", "w.safetensors", "--threads", "1", "--device", "cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_name_that_is_no_text(here: Path) -> None:
    name = b"n\xff\xe9.tif"
    (here / "in.tif").rename(os.fsdecode(name))
    done = run("predict", name, "-o", b"o\xff.tif", *WITH, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"o\\udcff.tif" in done.stdout
    assert tifffile.imread(os.fsdecode(b"o\xff.tif")).shape == (2, 32, 40)
    (here / "w.safetensors").rename(os.fsdecode(b"w\xff.safetensors"))
    done = run("predict", name, "-o", "p.tif", "--weights", b"w\xff.safetensors",
               capture_output=True)  # fmt: skip
    assert done.returncode == 2
    assert b"the name is not UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_output_that_cannot_show_a_letter(here: Path) -> None:
    (here / "in.tif").rename(here / "für.tif")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run("predict", "für.tif", "-o", "ü.tif", *WITH, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert rb"\xfc.tif" in done.stdout
    assert (here / "ü.tif").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_after_a_full_stream_python_can_end() -> None:
    """What Python still writes to standard error at its end, or tries again, must not fail."""
    code = "import os; from paper_unet.cli import main; main(['size', '0']); os.write(2, b'.')"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command], check=False
    )  # fmt: skip
    assert done.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed(here: Path, closed: str) -> None:
    """Nothing that is said may land in a file that got the number of a closed stream."""
    run("predict", "in.tif", "-o", "right.tif", *WITH, capture_output=True)
    words = ["predict", "in.tif", "-o", "out.tif", *WITH]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *words],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (here / "out.tif").read_bytes() == (here / "right.tif").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_result_that_cannot_be_printed_is_an_error(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("predict", "in.tif", "-o", "o.tif", *WITH, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"what was to be printed could not be" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr
    assert (here / "o.tif").exists()
