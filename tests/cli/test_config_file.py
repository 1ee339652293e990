"""Options from a file: the same settings as on the line, where options win; and help in groups."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from paper_unet.cli import _parsed, build_parser, main
from paper_unet.cli.common import given_settings
from paper_unet.cli.help import FIRST, GROUPS
from paper_unet.large.config import PredictConfig
from paper_unet.settings import recorded
from paper_unet.training.config import TrainConfig

COMMANDS = {
    name: command
    for action in build_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for name, command in action.choices.items()
}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(value: object) -> str:
        (tmp_path / "c.json").write_text(value if isinstance(value, str) else json.dumps(value))
        return str(tmp_path / "c.json")

    return write


@pytest.mark.parametrize(
    "config",
    [TrainConfig(images="-a b.tif", labels="b", value_range=(-3.5, 1e-9), rotate=False, lr=1e-12),
     TrainConfig(images="a", labels="b", value_range="percentile:0.5,99.5", label_map="0,255:0,1"),
     TrainConfig(images="a", labels="b", validate_every=3, channels_last=True, warmup=0)],
)  # fmt: skip
def test_what_a_training_records_comes_back(config: TrainConfig, written: Any) -> None:
    given = _parsed(["train", "--config", written(recorded(config))])
    assert given_settings(given, TrainConfig) == config


def test_what_a_prediction_is_made_of_comes_back(written: Any) -> None:
    config = PredictConfig("in.tif", "o.tif", channel="1", argmax=True, dtype="uint8", tile=188)
    given = _parsed(["predict", f"--config={written(recorded(config))}"])
    assert given_settings(given, PredictConfig) == config


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [("--tile 204", "tile", 204), ("--sl=1:2", "slices", "1:2"), ("--no-argmax", "argmax", False),
     ("--range percentile:1,2", "percentiles", (1.0, 2.0)), ("--out x.tif", "out", "x.tif"),
     ("-o x.tif", "out", "x.tif"), ("other.tif", "source", "other.tif")],
)  # fmt: skip
def test_the_line_wins(words: str, name: str, value: object, written: Any) -> None:
    settings = {"source": "in.tif", "out": "o.tif", "tile": 188, "argmax": True, "range": [0, 9]}
    place = written(settings)
    for line in (["--config", place, *words.split()], [*words.split(), "--config", place]):
        config = given_settings(_parsed(["predict", *line]), PredictConfig)
        assert getattr(config, name) == value
        assert config.percentiles is None or config.value_range is None


def test_options_that_are_no_settings(written: Any) -> None:
    place = written({"labels": "l.tif", "prediction": "p.tif", "json": True, "numbers": True})
    given = _parsed(["evaluate", "--config", place])
    assert (given.labels, given.prediction) == (Path("l.tif"), Path("p.tif"))
    assert given.json and given.numbers and not given.overwrite
    given = _parsed(["fetch", "--config", written({"name": "isbi2012", "from": "here"})])
    assert given.source == Path("here")
    given = _parsed(["view", "--config", written({"source": "a", "outputs": ["b", "c"]})])
    assert given.outputs == ["b", "c"]


def test_every_command_has_it() -> None:
    assert len(COMMANDS) > 7
    for command in COMMANDS.values():
        assert "--config FILE" in command.format_help()


@pytest.mark.parametrize(
    ("content", "said"),
    [("[1]", "no file of settings"), ("{", "no file of settings"), ("[" * 99999, "no file of sett"),
     ({"ttile": 3}, "'ttile' is no setting of paper-unet predict; did you mean tile?"),
     (recorded(TrainConfig()), "'grid' is no setting of paper-unet predict"),
     ({"tile": {}}, "tile is {}; it must be a text, a number or null"),
     ({"tile": True}, "tile is true; it must be a text"),
     ({"argmax": "no"}, 'argmax is "no"; it must be true or false'),
     ({"source": "s3://b/***"}, "source has *** where a password"),
     ({"value_range": [0, 1], "percentiles": [1, 99]}, "has both value_range and percentiles"),
     ({"config": "x"}, "'config' is no setting")],
)  # fmt: skip
def test_a_file_that_cannot_be_used(
    content: object, said: str, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--config", written(content)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert said in err[0]


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_percentiles_are_of_the_commands_that_have_them(
    command: str, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", written({"percentiles": [1, 99]})]) == 2
    assert f"'percentiles' is no setting of paper-unet {command}" in capsys.readouterr().err


def test_a_value_that_no_option_takes(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for content, said in (
        ({"source": "a", "out": "b", "tile": "x"}, "argument --tile: invalid int value: 'x'"),
        ({"source": "a", "out": "b", "engine": "tile"}, "did you mean tiles?"),
        ({"out": "b"}, "required: IN"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["predict", "--config", written(content)])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err
    assert main(["predict", "--config", "nowhere.json"]) == 2
    assert "nowhere.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_help_has_every_option_once_and_ten_first(name: str) -> None:
    command, groups = COMMANDS[name], GROUPS[name]
    text = command.format_help()
    assert 5 <= len(groups[FIRST]) <= 10
    assert text.index(FIRST) < min(text.index(f"\n{title}:") for title in [*groups][1:])
    shown = re.findall(r"^  (?:-\w[^-]*, )?(--[\w-]+)", text, re.MULTILINE)
    flags = [flag for flag in command._option_string_actions if flag.startswith("--")]
    assert sorted(shown) == sorted(flag for flag in flags if not flag.startswith("--no-"))
    grouped = [option for names in groups.values() for option in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= {action.dest for action in command._actions}
