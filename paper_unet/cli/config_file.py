"""``--config``: a command takes its options from a JSON file; those on the line win."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paper_unet.cli.common import Parser, RangeAction
from paper_unet.errors import InputError, nearest, shown
from paper_unet.settings import FLAGS, PERCENTILE
from paper_unet.system.files import open_regular

CONFIG = "config"
MOST = 2**20
"""Bytes of a file of settings; a larger one is something else."""

RANGE, PERCENTILES = "value_range", "percentiles"
"""Two settings that are one option."""

NO_SETTINGS = (CONFIG, "help", "debug")


def with_config(command: Parser, words: Sequence[str]) -> list[str]:
    """Return the words of a command with those of its ``--config`` put in front.

    Parameters
    ----------
    command : Parser
        Of the command.
    words : sequence of str
        What was given behind its name.

    Returns
    -------
    list of str
        The words themselves where there is no ``--config``.

    Raises
    ------
    InputError
        If the file cannot be read, is no JSON object of settings of this command, or holds a value
        that no option takes.
    """
    given, rest = _options_alone(command).parse_known_args(list(words))
    if getattr(given, CONFIG, None) is None:
        return list(words)
    path: Path = getattr(given, CONFIG)
    settings = _read(path)
    known = _names(command)
    options: list[str] = []
    places: dict[str, list[str]] = {}
    if settings.get(RANGE) is not None and settings.get(PERCENTILES) is not None:
        raise InputError(f"{path}: has both {RANGE} and {PERCENTILES}; keep one of them")
    for name, value in settings.items():
        action = known.get(RANGE if name == PERCENTILES else name)
        if action is None or (name == PERCENTILES and not isinstance(action, RangeAction)):
            raise InputError(
                f"{path}: {shown(repr(name))} is no setting of {command.prog}"
                f"{nearest(name, known)}; give a file of settings of this command"
            )
        texts = list(_words(path, action, name, value))
        if not action.option_strings:
            places[action.dest] = texts
        elif not hasattr(given, action.dest):
            options += texts
    behind = [text for a in command._actions for text in places.get(a.dest, [])]
    if not behind or any(word not in ("-h", "--help") for word in rest):
        return [*options, *words]
    return [*options, *words, "--", *behind]


def _names(command: Parser) -> dict[str, argparse.Action]:
    """Return what a command takes by the names of the settings, and by those of the options."""
    actions = [action for action in command._actions if action.dest not in NO_SETTINGS]
    found = {
        text.removeprefix("--").replace("-", "_"): action
        for action in actions
        for text in action.option_strings
        if text.startswith("--") and not text.startswith("--no-")
    }
    return found | {action.dest: action for action in actions}


def _options_alone(command: Parser) -> Parser:
    """Return a parser of the options of a command, of which none is required or has a default."""
    bare = Parser(prog=command.prog, add_help=False)
    for action in command._actions:
        if action.option_strings and not isinstance(action, argparse._HelpAction):
            own = copy.copy(action)
            own.required, own.default = False, argparse.SUPPRESS
            bare._add_action(own)
    return bare


def _read(path: Path) -> dict[str, Any]:
    with open_regular(path) as file:
        data = file.read(MOST + 1)
    try:
        found = json.loads(data) if len(data) <= MOST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: no file of settings; give a JSON object such as the config.json of a training"
        )
    return found


def _words(path: Path, action: argparse.Action, name: str, value: Any) -> Iterator[str]:
    """Yield the words that give an option a value of JSON; none where it is unset."""
    if value is None or value == "":
        return
    if isinstance(value, str) and "***" in value:
        raise InputError(
            f"{path}: {name} has *** where a password or signature was left out; give `{name}` "
            "beside the file"
        )
    flag = next((text for text in action.option_strings if text.startswith("--")), "")
    switch = isinstance(action, argparse.BooleanOptionalAction)
    if switch or action.nargs == 0:
        if not isinstance(value, bool):
            raise _not_taken(path, name, value, "true or false")
        off = [flag.replace("--", "--no-", 1)] if switch else []
        yield from [flag] if value else off
        return
    texts = _texts(path, action, name, value)
    if name == PERCENTILES:
        yield from (FLAGS[RANGE], PERCENTILE + ",".join(texts))
    elif not flag:
        yield from texts
    elif action.nargs == 2:
        yield from (flag, *texts)
    else:
        yield from (f"{flag}={text}" for text in texts)


def _texts(path: Path, action: argparse.Action, name: str, value: Any) -> list[str]:
    """Return the values of an option as words."""
    several = action.nargs in (2, "*") or isinstance(action, argparse._AppendAction)
    values = value if several and isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise _not_taken(path, name, value, "a text, a number or null")
    return [one if isinstance(one, str) else repr(one) for one in values]


def _not_taken(path: Path, name: str, value: Any, accepted: str) -> InputError:
    return InputError(f"{path}: {name} is {shown(json.dumps(value))}; it must be {accepted}")
