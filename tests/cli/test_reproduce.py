"""``paper-unet reproduce``: the scripts of the experiments, by the names of the paper."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paper_unet import reproduce as room
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.reproduce import EXPERIMENTS, PAPER, reproduce, run_script, scripts_folder

ROOT = Path(__file__).parents[2]


def test_every_name_is_a_script() -> None:
    assert scripts_folder() == ROOT / "experiments"
    for script in EXPERIMENTS.values():
        assert (scripts_folder() / f"{script}.py").is_file()
    figures = {f"fig{number}" for number in range(1, 5)}
    assert PAPER.keys() == figures | {"table1", "table2"}
    assert list(PAPER)[-1] == "fig4"  # of the networks of table 2


def test_a_figure_with_options_of_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["reproduce", "fig1", "--quick", "--tile", "188", "--width", "4", "--out", "made"]
    assert main(given) == 0
    assert "convolutional layers" in capfd.readouterr().out
    metrics = json.loads((tmp_path / "made/metrics.json").read_text())
    assert metrics["tile"] == 188
    assert metrics["command"].startswith("python experiments/fig1_architecture.py --quick")
    assert (tmp_path / "made/fig1_architecture.png").is_file()


def test_what_a_script_refuses_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "fig1", "--no-such"])
    assert ended.value.code == 2
    assert "--no-such" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "--no-such", "fig1"])
    assert "no option is called --no-such" in capfd.readouterr().err


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(InputError, match=r"'fig9' is no experiment; did you mean fig4\?"):
        reproduce("fig9")
    with (
        pytest.raises(InputError, match="install its wheel"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(room, "__file__", "/elsewhere/paper_unet/reproduce.py")
        scripts_folder()


def test_all_of_the_paper_until_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "common.py").touch()
    for name in PAPER.values():
        fails = name == "table1_isbi2012"
        (tmp_path / f"{name}.py").write_text(f"import sys\nprint({name!r}, *sys.argv[1:])\n"
                                             f"sys.exit({3 * fails})\n")  # fmt: skip
    monkeypatch.setattr(room, "scripts_folder", lambda: tmp_path)
    assert reproduce("all", ["--quick"]) == 3
    names = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert names == [[name, "--quick"] for name in list(PAPER.values())[:4]]
    (tmp_path / "table1_isbi2012.py").write_text("")
    assert main(["reproduce", "all"]) == 0


WAITS = """
import signal, sys, time
from pathlib import Path
def note(number, frame):
    Path("came").write_text(str(number))
    sys.exit(0)
signal.signal(signal.SIGTERM, note)
Path("begun").touch()
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_signal_reaches_the_script(tmp_path: Path) -> None:
    (tmp_path / "common.py").touch()
    (tmp_path / "fig1_architecture.py").write_text(WAITS)
    code = (
        "import sys\nfrom pathlib import Path\nfrom paper_unet import reproduce as room\n"
        "from paper_unet.cli import main\nroom.PATIENCE[15] = 0.1\n"
        "room.scripts_folder = lambda: Path('.')\nsys.exit(main(['reproduce', 'fig1']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said == "paper-unet: stopped by SIGTERM; rows that are finished are kept\n"
    assert (tmp_path / "came").read_text() == str(int(signal.SIGTERM))


def test_each_line_is_taken_as_it_comes() -> None:
    code = "import sys\nfor k in range(3):\n    print(k, flush=True)\nsys.exit(7)"
    taken: list[str] = []
    assert run_script([sys.executable, "-c", code], taken.append) == 7
    assert taken == ["0\n", "1\n", "2\n"]


def test_what_cannot_be_taken_ends_the_script() -> None:
    """As where the output is piped into `head`: it would wait for a reader for ever."""

    def refuse(line: str) -> None:
        raise BrokenPipeError(line)

    code = "while True:\n    print('x' * 1000)"
    with pytest.raises(BrokenPipeError, match="xxx"):
        run_script([sys.executable, "-c", code], refuse)


def test_a_wheel_has_the_scripts() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = build["targets"]["wheel"]
    assert wheel["sources"] == {"experiments": "paper_unet/_experiments"}
    assert "experiments/*.py" in wheel["include"]
