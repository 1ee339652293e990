"""What ends a script: one line and a code, and nothing of another call is overwritten."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from paper_unet import UNet
from paper_unet.errors import DivergedError
from paper_unet.networks.table import make_network
from paper_unet.networks.weights_file import save_model
from paper_unet.system.stop import Stopped

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script by its name."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


WRONG = [
    ("fig1_architecture --tile 100", "an input side of 100 pixels"),
    ("fig1_architecture --width 0", "width is 0"),
    ("fig2_overlap_tile --section 99", "--section is 99"),
    ("fig2_overlap_tile --quick --tile 190", "an input side of 190 pixels"),
    ("fig2_overlap_tile --quick --weights COLOUR", "colour.safetensors: takes 2 channels"),
    ("fig2_overlap_tile --quick --weights PADDED", "abutting"),
    ("fig2_overlap_tile --weights nope", "nope: no such file of weights"),
    ("fig3_weight_map --data DATA --frame x", "no such folder"),
    ("table1_isbi2012 --lr 0", "lr is 0.0"),
    ("table1_isbi2012 --precision half", "precision is 'half'"),
    ("table1_isbi2012 --seeds 0", "--seeds 0 trains nothing"),
    ("table1_isbi2012 --quick --weights bundled COLOUR", "colour.safetensors: takes 2 channels"),
    ("table1_isbi2012 --quick --start COLOUR", "holds a network of in_channels 2"),
    ("table1_isbi2012 --weights nope", "nope: no such file of weights"),
    ("table2_cell_tracking --gap 0", "--gap: gap is 0.0"),
    ("table2_cell_tracking --balance -1", "--balance: balance is -1.0"),
    ("table2_cell_tracking --finish -1", "--finish: -1: give 0 or more"),
    ("table2_cell_tracking --finish 9 --finish-lr 0", "--finish-lr: lr is 0.0"),
    ("table2_cell_tracking --jobs 0", "--jobs: 0: give 1 or more"),
    ("ablation --cell-steps 0", "--cell-steps: steps is 0"),
    ("ablation --adam-lr nan", "--adam-lr: lr is nan"),
    ("ablation --optimizer adam --lr 1e-3 --adam-lr 1e-4", "--lr and --adam-lr are one rate"),
    ("ablation --seeds 0", "--seeds: 0: give 1 or more"),
    ("table2_cell_tracking --neck -1", "--neck: -1: give pixels, 0 or more"),
    ("ablation --minutes nan", "--minutes: nan: give minutes, 0 or more"),
    ("learning_curve --counts 0", "--counts: 0: give 1 or more"),
    ("learning_curve --counts 8 99", "--counts 99: there are 24 to learn from"),
    ("learning_curve --warmup -5", "warmup is -5"),
    ("learning_rate --rates 1e-3 -1", "--rates: lr is -1.0"),
    ("learning_rate --warmups 100 -1", "--warmups: warmup is -1"),
    ("variants --steps 0", "steps is 0"),
    ("bundled_weights --tile 100", "an input side of 100 pixels"),
    ("bundled_weights", "the bundled weights are of ISBI 2012"),
    ("fig4_cells --device nope", "device is 'nope'"),
    ("reproduce --minutes -1", "--minutes: -1: give minutes, 0 or more"),
    ("reproduce --minutes 1", "none has no isbi2012 and no PhC-C2DH-U373 and no DIC-C2DH-HeLa"),
    ("reproduce --minutes 1 --only ablation_cells", "none has no DIC-C2DH-HeLa: fetch them"),
    ("reproduce --minutes 1 --jobs 0", "--jobs: 0: give 1 or more"),
]


MADE = {
    "COLOUR": partial(UNet, in_channels=2, width=1),
    "PADDED": partial(make_network, "popular", 1, None, 1, 0.0),
}
"""Networks whose weights are written for these words."""


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words for words, _ in WRONG])
def test_what_cannot_be_used_is_said_in_one_line_before_anything_is_written(
    imported: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    said: str,
) -> None:
    script, *options = words.split()
    (tmp_path / "data" / "DIC-C2DH-HeLa" / "01").mkdir(parents=True)
    for name in ("config.json", "log.txt"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("of another call")
    options = ["data" if word == "DATA" else word for word in options]
    for k, word in enumerate(options):
        if word in MADE:
            options[k] = f"{word.lower()}.safetensors"
            save_model(tmp_path / options[k], MADE[word]())
    if "--data" not in options:
        options += ["--data", "none"] if not script.startswith("fig1") else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *options, "--out", "out", "--work", "work"])
    with pytest.raises(SystemExit) as ended:
        imported("entry").run(imported(script).main)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error
    for name in ("config.json", "log.txt"):
        assert (tmp_path / "out" / name).read_text() == "of another call"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError("no room"), 1, "out of memory (no room)"),
        (OSError(28, "No space left on device", "out"), 1, "No space left on device"),
        (DivergedError("at step 7"), 1, "at step 7"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_script_cannot_help_is_one_line(
    imported: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["experiments/table1_isbi2012.py"])
    with pytest.raises(SystemExit) as ended:
        imported("entry").run(main)
    assert ended.value.code == code
    line = capsys.readouterr().err
    assert line.startswith("table1_isbi2012: ")
    assert said in line
    assert line.count("\n") == 1


def test_a_fault_of_the_script_itself_shows_where(imported: Any) -> None:
    def main() -> None:
        raise KeyError("seg")

    with pytest.raises(KeyError, match="seg"):
        imported("entry").run(main)


@pytest.mark.parametrize("how", ["a training", signal.SIGTERM, signal.SIGINT])
def test_a_script_that_trains_says_one_line(
    tmp_path: Path,
    imported: Any,
    capsys: pytest.CaptureFixture[str],
    how: str | signal.Signals,
) -> None:
    """Stopped in a training, or between two of them."""
    options = argparse.Namespace(out=tmp_path / "out", minutes=None)

    def main() -> None:
        with imported("records").recorded(options):
            sys.stdout.write("a row\n")
            if isinstance(how, str):
                raise Stopped(signal.SIGTERM)
            signal.raise_signal(how)

    with pytest.raises(SystemExit) as code:
        imported("entry").run(main)
    assert code.value.code == (130 if how == signal.SIGINT else 143)
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out" / "log.txt").read_text() == "a row\n"
