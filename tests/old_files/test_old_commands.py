"""Every option of the command line and every public name of earlier code is still there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from old_files_helpers import FILES, commands, public_names

import paper_unet
from paper_unet.cli import build_parser

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
    """The same default, number of values and type, and every old choice."""
    for fact in ("default", "nargs", "required", "type"):
        assert new[fact] == old[fact]
    if old["choices"] is None:
        assert new["choices"] is None
    else:
        assert set(old["choices"]) <= set(new["choices"] or old["choices"])


@pytest.mark.parametrize(
    ("command", "name", "old"), OPTIONS, ids=[f"{command}{name}" for command, name, _ in OPTIONS]
)
def test_an_option_takes_what_it_took(command: str, name: str, old: Described) -> None:
    now = commands(build_parser())[command]
    (new,) = (option for option in now if name in option["names"])
    assert_takes_as_much(old, new)
    for value in old["choices"] or [None]:
        build_parser().parse_args([command, *needed(command, but=name), name, *given(old, value)])


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
        kept = {key: now[name].get(key, "gone") for key in parameters}
        assert kept == parameters, name
