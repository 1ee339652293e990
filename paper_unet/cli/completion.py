"""``paper-unet completion``: a script by which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
from typing import Final

from paper_unet.cli.common import Commands, add_command
from paper_unet.system.libraries import needed

SHELLS: Final = ("bash", "zsh", "tcsh", "fish")

PLACES: Final = (
    "config", "images", "labels", "out", "outputs", "plot", "prediction", "report", "result",
    "source", "start", "to", "truth", "weights",
)  # fmt: skip
"""What is the name of a file or a folder, wherever it is asked for."""


def add(commands: Commands, parser: argparse.ArgumentParser) -> None:
    """Add the command, which completes what a parser knows."""
    text = "print a script by which a shell completes commands, options and files"
    command = add_command(commands, "completion", text, _run)
    command.add_argument("shell", choices=SHELLS, help='bash: eval "$(paper-unet completion bash)"')
    command.set_defaults(parser=parser)


def _run(options: argparse.Namespace) -> None:
    shtab = needed("shtab", "completion", "completion")
    parser: argparse.ArgumentParser = options.parser
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            if action.dest in PLACES and action.nargs != 0 and action.choices is None:
                action.complete = shtab.FILE
    print(shtab.complete(parser, options.shell))
