"""Every option of the command line and every public name of earlier code is still there."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from old_files_helpers import FILES, commands, public_names

import paper_unet
from paper_unet.cli import build_parser
from paper_unet.networks.table import RENAMED
from paper_unet.training.config import TrainConfig

Described = dict[str, Any]

COMMANDS: dict[str, list[Described]] = json.loads((FILES / "commands.json").read_text())
PUBLIC: dict[str, dict[str, str | None]] = json.loads((FILES / "public.json").read_text())
OPTIONS = [
    (command, name, option)
    for command, options in COMMANDS.items()
    for option in options
    for name in option["names"]
    if option["nargs"] != 0 or name not in ("-h", "--help")
]


UNSET = (None, "", "==SUPPRESS==", 0)
"""What a default of "none" was once written as: an empty text, or a tile of no pixels."""


OF_THE_DEVICE = {"precision": "float32", "channels_last": False, "checkpoint_every": 500}
"""Settings of a training that its device decides now: on a CPU these defaults, as before."""


MEASURED_ANEW = {"lr": (1e-3, 3e-3), "warmup": (100, 1000)}
"""Settings of a training whose default was measured again: then, and now where steps are many."""


def test_every_command_is_there() -> None:
    assert len(COMMANDS) > 6 and len(OPTIONS) > 80
    assert COMMANDS.keys() <= commands(build_parser()).keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_positional_arguments_are_the_same(command: str) -> None:
    then, now = (
        [option for option in found[command] if not option["names"]]
        for found in (COMMANDS, commands(build_parser()))
    )
    assert len(now) == len(then)
    for old, new in zip(then, now, strict=True):
        assert_takes_as_much(old, new)


def assert_takes_as_much(old: Described, new: Described) -> None:
    """The same default, number of values and type, and every old choice, under its new name."""
    for fact in ("nargs", "required"):
        assert new[fact] == old[fact]
    assert (old["default"] in UNSET and new["default"] in UNSET) or new["default"] == old["default"]
    if old["choices"] is None:
        assert new["choices"] is None and new["type"] == old["type"]
    else:
        assert {RENAMED.get(word, word) for word in old["choices"]} <= set(new["choices"])


@pytest.mark.parametrize(
    ("command", "name", "old"), OPTIONS, ids=[f"{command}{name}" for command, name, _ in OPTIONS]
)
def test_an_option_takes_what_it_took(command: str, name: str, old: Described) -> None:
    now = commands(build_parser())[command]
    (new,) = (option for option in now if name in option["names"])
    setting = old["names"][-1].removeprefix("--")
    if command == "train" and setting in MEASURED_ANEW:
        before, after = MEASURED_ANEW[setting]
        assert old["default"] == before and getattr(TrainConfig(), setting) == after
        new = {**new, "default": before}
    if name == "--range":  # takes percentiles, too: its numbers are read by its action
        assert new["type"] is None
        before = [command, *needed(command, but=name), name]
        assert build_parser().parse_args([*before, "0.5", "2"]).value_range == [0.5, 2.0]
        with pytest.raises(SystemExit):
            build_parser().parse_args([*before, "0.5", "name"])
        new = {**new, "type": old["type"]}
    assert_takes_as_much(old, as_on_a_cpu(command, old, new))
    for value in old["choices"] or [None]:
        build_parser().parse_args([command, *needed(command, but=name), name, *given(old, value)])


def as_on_a_cpu(command: str, old: Described, new: Described) -> Described:
    """What an option of a training is on a CPU, if the device decides."""
    setting = old["names"][-1].removeprefix("--").replace("-", "_")
    if command != "train" or setting not in OF_THE_DEVICE:
        return new
    assert new["default"] in ("auto", "==SUPPRESS==", None)
    return {**new, "default": getattr(TrainConfig().on(torch.device("cpu")), setting)}


def test_what_a_device_decides_is_on_a_cpu_what_it_was() -> None:
    config = TrainConfig().on(torch.device("cpu"))
    assert {name: getattr(config, name) for name in OF_THE_DEVICE} == OF_THE_DEVICE


def needed(command: str, but: str = "") -> list[str]:
    """The least that a command has to be given, less one option."""
    words = []
    for option in COMMANDS[command]:
        if option["required"] and but not in option["names"]:
            words += [*option["names"][:1], *given(option)]
    return words


def given(option: Described, choice: str | None = None) -> list[str]:
    """Values that an option accepts."""
    count = {None: 1}.get(option["nargs"], option["nargs"])
    value = {"int": "3", "float": "0.5"}.get(option["type"], "name")
    return [choice or (option["choices"] or [value])[0]] * count


def test_every_public_name_is_there_with_its_parameters() -> None:
    now = public_names(paper_unet)
    assert len(PUBLIC) > 9 and PUBLIC.keys() <= now.keys()
    for name, parameters in PUBLIC.items():
        for key, default in parameters.items():
            if name == "TrainConfig" and key in ("images", "labels", "slices", "start", "tile"):
                assert (now[name][key], default) in [("None", "''"), ("None", "0")]
            elif name == "TrainConfig" and key in OF_THE_DEVICE:
                assert default == repr(OF_THE_DEVICE[key])
                assert now[name][key] in ("None", "'auto'")
            elif name == "TrainConfig" and key in MEASURED_ANEW:
                assert (now[name][key], default) == ("None", repr(MEASURED_ANEW[key][0]))
            else:
                assert now[name].get(key, "gone") == default, (name, key)
