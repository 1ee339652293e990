"""What the commands share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from paper_unet.metrics import Isbi2012Scores

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
    hints = get_type_hints(kind, include_extras=True)
    there = {action.dest for action in command._actions}
    for field in fields(kind):
        if field.name not in there:
            _add_setting(command, field.name, hints[field.name], field.default, required)


def _add_setting(
    command: argparse.ArgumentParser,
    name: str,
    hint: Any,
    default: object,
    required: tuple[str, ...],
) -> None:
    kind, text = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
    if NoneType in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    flag = "--range" if name == "value_range" else "--" + name.replace("_", "-")
    more: dict[str, Any] = {"help": text, "default": default}
    if default in ("", None):
        more["default"] = argparse.SUPPRESS
    if kind is bool:
        command.add_argument(flag, action=argparse.BooleanOptionalAction, **more)
    elif get_origin(kind) is Literal:
        command.add_argument(flag, choices=get_args(kind), **more)
    elif kind in (int, float, str):
        command.add_argument(flag, type=kind, required=name in required, **more)
    else:  # the one pair of numbers
        command.add_argument(flag, type=float, nargs=2, metavar=("LOW", "HIGH"), dest=name, **more)


def given_settings(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """Return the fields of a configuration from the options that `add_settings` made."""
    given: dict[str, Any] = {
        field.name: getattr(options, field.name, field.default) for field in fields(kind)
    }
    if given["value_range"]:
        given["value_range"] = tuple(given["value_range"])
    return given


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
