"""What the commands share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from paper_unet.metrics import Isbi2012Scores
from paper_unet.settings import Option, options

Settings = TypeVar("Settings")

Commands = Any
"""What `argparse.ArgumentParser.add_subparsers` returns; argparse keeps its type private."""

METRICS = {
    "v_rand": "V_rand (thin), higher is better",
    "v_info": "V_info (thin), higher is better",
    "pixel_error": "pixel error, lower is better",
    "rand_error": "Rand error, lower is better",
    "warping_error": "warping error, lower is better",
}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, "", False)
        return action.help if silent else super()._get_help_string(action)


def add_command(
    commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add one command that calls ``run`` with its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, formatter_class=_HelpFormatter
    )
    command.set_defaults(run=run)
    return command


def add_settings(
    command: argparse.ArgumentParser, kind: type, *, required: tuple[str, ...] = ()
) -> None:
    """Turn every field of a configuration into one option, unless the command has it already."""
    there = {action.dest for action in command._actions}
    for option in options(kind):
        if option.name not in there:
            _add_option(command, option, required=option.name in required)


def _add_option(command: argparse.ArgumentParser, option: Option, *, required: bool) -> None:
    more: dict[str, Any] = {"help": option.help, "default": option.default, "dest": option.name}
    if option.default in (None, MISSING):
        more["default"] = argparse.SUPPRESS
    if option.kind is bool:
        more["action"] = argparse.BooleanOptionalAction
    elif option.choices is not None:
        more["choices"] = tuple(option.choices.table())
        if option.choices.renamed:
            more["type"] = option.choices.word
    elif option.kind is tuple:
        more |= {"type": float, "nargs": 2, "metavar": ("LOW", "HIGH")}
    else:
        more |= {"type": option.kind, "required": required or option.required}
    command.add_argument(option.flag, **more)


def given_settings(given: argparse.Namespace, kind: type[Settings]) -> Settings:
    """Return the settings from the options that `add_settings` made."""
    names = [option.name for option in options(kind)]
    return kind(**{name: getattr(given, name) for name in names if hasattr(given, name)})


def go_on_with(arguments: Sequence[str]) -> None:
    """Tell how to go on after a signal."""
    print(f"to go on: {shlex.join(['paper-unet', *arguments])}", file=sys.stderr)


def headline(scores: Isbi2012Scores) -> dict[str, Any]:
    """Return the five numbers and their thresholds, ready for JSON."""
    everything = scores.to_dict()
    return {name: everything[name] for name in (*METRICS, "thresholds")}


def print_scores(scores: Isbi2012Scores) -> None:
    """Print the five metrics, each with the threshold that is best for it."""
    numbers = headline(scores)
    for name, text in METRICS.items():
        print(f"{text:<34} {numbers[name]:.6f}  at threshold {numbers['thresholds'][name]:.1f}")
