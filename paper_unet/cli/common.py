"""What the commands share."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from paper_unet.errors import DivergedError, InputError, nearest, shown, without_secrets
from paper_unet.metrics.table import METRICS
from paper_unet.settings import FLAGS, PERCENTILE, Option, options

Settings = TypeVar("Settings")

Commands = Any
"""What `argparse.ArgumentParser.add_subparsers` returns; argparse keeps its type private."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, "", False)
        return action.help if silent else super()._get_help_string(action)


def _two_words(words: Sequence[str]) -> list[str]:
    """Make two words of a range by percentiles, ``percentile:LOW,HIGH``, as its option takes."""
    result: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if equals and flag == RANGE and value.startswith(PERCENTILE):
            result += [flag, PERCENTILE, value.removeprefix(PERCENTILE)]
        elif word.startswith(PERCENTILE) and result[-1:] == [RANGE]:
            result += [PERCENTILE, word.removeprefix(PERCENTILE)]
        else:
            result.append(word)
    return result


class RangeAction(argparse.Action):
    """Takes two numbers, or the two words that `_two_words` makes."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Put what was given into the namespace."""
        if values[0] == PERCENTILE:
            found: object = "".join(values)
        else:
            try:
                found = [float(value) for value in values]
            except ValueError:
                bad = next(value for value in values if not _is_number(value))
                raise argparse.ArgumentError(self, f"invalid float value: {bad!r}") from None
        setattr(namespace, self.dest, found)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


RANGE = FLAGS["value_range"]
NEGATIVE = r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|-(inf|infinity|nan)"
"""What is a number and no option; argparse itself takes -1e3 for one."""

LIST = r"-\d[\d.]*[,:]"
"""How a list of numbers begins whose first one is below 0."""


class Parser(argparse.ArgumentParser):
    """A parser that suggests the nearest word where one is not known."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._negative_number_matcher = re.compile(rf"(?:{NEGATIVE})$|{LIST}", re.IGNORECASE)

    def check_words(self, arguments: Sequence[str]) -> None:
        """Refuse an option that is none, with the nearest one; argparse would name it last."""
        known = {flag for action in self._actions for flag in action.option_strings}
        passes_on = any(action.nargs == argparse.REMAINDER for action in self._actions)

        def own(word: str) -> bool:
            return word != "--" and (word.startswith("-") or not passes_on)

        for word in takewhile(own, arguments):
            flag = word.partition("=")[0]
            if flag.startswith("--") and not any(name.startswith(flag) for name in known):
                self.error(f"no option is called {flag}{nearest(flag, known)}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; a range by percentiles is one word, and one of grey values two."""
        takes = isinstance(self._option_string_actions.get(RANGE), RangeAction)
        words = _two_words(args) if takes and args is not None else args
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Refuse in one line: how an option is used, ``--help`` says."""
        text = " ".join(message.split())
        text = without_secrets(text)
        self.exit(2, f"paper-unet: {text}; {self.prog} --help shows what is accepted\n")

    def format_help(self) -> str:
        """Say what is accepted, in groups, first what most need."""
        from paper_unet.cli.help import grouped_help

        return grouped_help(self) or super().format_help()

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        try:
            return super()._get_values(action, arg_strings)
        except argparse.ArgumentError as error:
            error.message = shown(error.message, 300)  # which quotes what was given
            raise

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            words = [str(word) for word in action.choices or ()]
            error.message += nearest(str(value), words)
            raise


def add_command(
    commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add one command that calls ``run`` with its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, formatter_class=_HelpFormatter
    )

    def naming_options(options: argparse.Namespace) -> None:
        try:
            run(options)
        except (InputError, DivergedError) as error:
            raise type(error)(with_flags(str(error), command)) from error

    command.set_defaults(run=naming_options, command=command)
    add_debug(command)
    command.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="JSON of options by name, for train the config.json of a run; those given here win",
    )
    return command


def add_debug(command: argparse.ArgumentParser) -> None:
    """Add the option that shows where an error comes from; it may stand before the command, too."""
    text = "show where an error comes from, too"
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=text)


def with_flags(text: str, command: argparse.ArgumentParser) -> str:
    """Put a command's options in place of the settings that a message of the library names.

    The library knows no command line: it writes the name of a setting between backticks.
    """
    flags = {
        action.dest: next(flag for flag in action.option_strings if flag.startswith("--"))
        for action in command._actions
        if any(flag.startswith("--") for flag in action.option_strings)
    }
    return re.sub(r"`(\w+)`", lambda name: flags.get(name[1], name[1]), text)


def saying(command: argparse.ArgumentParser) -> Callable[[str], None]:
    """Return what tells a line of the library by a command's options."""
    return lambda line: say(with_flags(line, command))


def add_settings(
    command: argparse.ArgumentParser, kind: type, *, required: tuple[str, ...] = ()
) -> None:
    """Turn every field of a configuration into one option, unless the command has it already."""
    there = {action.dest for action in command._actions}
    for option in options(kind):
        if option.name not in there and option.flag:
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
        more |= {"action": RangeAction, "nargs": 2, "metavar": ("LOW", "HIGH")}
    else:
        more |= {"type": option.kind, "required": required or option.required}
    command.add_argument(option.flag, **more)


def given_settings(given: argparse.Namespace, kind: type[Settings]) -> Settings:
    """Return the settings from the options that `add_settings` made."""
    names = [option.name for option in options(kind)]
    return kind(**{name: getattr(given, name) for name in names if hasattr(given, name)})


def say(line: str) -> None:
    """Tell what is no result."""
    print(without_secrets(line), file=sys.stderr)


def go_on_with(arguments: Sequence[str]) -> None:
    """Tell how to go on after a signal; what is secret in an address is to be filled in."""
    words = [without_secrets(word) for word in arguments]
    print(f"to go on: {shlex.join(['paper-unet', *words])}", file=sys.stderr)


def print_scores(found: Mapping[str, Any]) -> None:
    """Print every metric of a `headline`, each with the threshold that is best for it."""
    for name in (name for name in METRICS if name in found):
        threshold = found["thresholds"].get(name)
        where = "" if threshold is None else f"  at threshold {threshold:.1f}"
        print(f"{METRICS[name]!s:<34} {found[name]:.6f}{where}")
