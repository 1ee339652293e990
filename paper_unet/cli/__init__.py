"""The command line ``paper-unet``: parse, call, save."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from paper_unet.errors import shown, without_secrets
from paper_unet.system.explanation import EXIT_FAILED, explain
from paper_unet.system.stop import interrupts_noted

EXIT_INTERRUPTED = 130


def command() -> NoReturn:
    """Run the command line and end the process: what ``paper-unet`` calls."""
    codes: list[int] = []

    def leave() -> None:  # the last thing of all that is to be done at the end
        # else Python may kill itself by SIGINT, if a library's `exec` was interrupted
        if codes == [EXIT_INTERRUPTED]:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or None
                    stream.flush()
            os._exit(EXIT_INTERRUPTED)

    atexit.register(leave)
    codes.append(main())
    sys.exit(codes[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: training diverged, memory or disk ran out, or something unforeseen. 2: the input
    cannot be used; one line says what was found, what is accepted and what to do. 130: interrupted.
    143: terminated.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with interrupts_noted() as interrupted:
        try:
            return _spoken(arguments, interrupted)
        except KeyboardInterrupt:
            return _fail_for_interrupt()


def _spoken(arguments: Sequence[str], interrupted: Callable[[], bool]) -> int:
    """Run the command line with streams that it can rely on; return its exit code."""
    from paper_unet.cli.streams import standard_streams, unwritten_output

    with standard_streams():
        code = _run(arguments, interrupted)
        if (error := unwritten_output()) is not None:
            return _fail(
                f"what was to be printed could not be ({error.strerror or error})", EXIT_FAILED
            )
        return code


def _run(arguments: Sequence[str], interrupted: Callable[[], bool]) -> int:
    try:
        options = _parsed(arguments)
        options.run(options)
    except KeyboardInterrupt:
        return _fail_for_interrupt()
    except Exception as error:
        if "--debug" in arguments:
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        return _fail_for_interrupt() if interrupted() else _explained(error)
    return 0


def _explained(error: Exception) -> int:
    """Say in one line what went wrong, and return the exit code."""
    expected = explain(error, less_memory="a smaller --memory, --tile or --device cpu")
    if expected is not None:
        code, text = expected
        return _fail(text, code)
    return _fail(
        f"unforeseen: {type(error).__name__}: {shown(error, 200)}; this is a fault of paper-unet: "
        "please report it, with what the same command shows with --debug added",
        EXIT_FAILED,
    )


def _fail_for_interrupt() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough; `interrupts_noted` puts it back
    return _fail("interrupted (a training goes on with --resume)", EXIT_INTERRUPTED)


def _fail(error: object, code: int) -> int:
    print(f"paper-unet: {without_secrets(' '.join(str(error).split()))}", file=sys.stderr)
    return code


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    from paper_unet.cli.config_file import with_config

    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for place, word in enumerate(arguments):
        if word in commands.choices:
            behind = arguments[place + 1 :]
            commands.choices[word].check_words(behind)
            arguments = [
                *arguments[: place + 1],
                *with_config(commands.choices[word], behind),
            ]
            break
    return parser.parse_args(arguments)


class _Version(argparse.Action):
    """Prints what a report of a fault needs, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from paper_unet.system.environment import versions

        print("\n".join(f"{name} {value}" for name, value in versions().items()))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; nothing that computes is imported for it."""
    # here, since an interrupt is caught from the first import on
    from paper_unet.cli import (
        completion,
        data,
        demo,
        evaluate,
        export,
        import_caffe,
        predict,
        reproduce,
        segment,
        train,
        view,
    )
    from paper_unet.cli.common import Parser, add_debug

    parser = Parser(
        prog="paper-unet",
        description="The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015).",
    )
    text = "show the versions of paper_unet, PyTorch, CUDA and the kind of processor, and exit"
    parser.add_argument("--version", action=_Version, nargs=0, help=text)
    add_debug(parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        demo, predict, segment, view, train, evaluate, export, data, reproduce, import_caffe,
    ):  # fmt: skip
        module.add(commands)
    completion.add(commands, parser)
    return parser
