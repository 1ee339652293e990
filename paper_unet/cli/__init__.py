"""The command line ``paper-unet``: parse, call, save."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from paper_unet import __version__
from paper_unet.cli import data, demo, evaluate, import_caffe, predict, train
from paper_unet.errors import DivergedError, InputError
from paper_unet.system.stop import Stopped

EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SIGNAL = 1, 2, 130, 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: training diverged, memory or disk ran out. 2: the input cannot be used; one line
    says what was found, what is accepted and what to do. 130: interrupted. 143: terminated.
    """
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        return _fail(error, EXIT_INPUT)
    except (torch.OutOfMemoryError, MemoryError) as error:
        return _fail_for_memory(error)
    except (DivergedError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # PyTorch has no type of its own for this
            raise
        return _fail_for_memory(error)
    except KeyboardInterrupt:
        return _fail("interrupted (a training goes on with --resume)", EXIT_INTERRUPTED)
    except Stopped as stopped:
        return _fail(str(stopped), EXIT_SIGNAL + stopped.signal)
    return 0


def _fail_for_memory(error: Exception) -> int:
    first = (str(error).splitlines() or ["no details"])[0]
    return _fail(
        f"out of memory ({first}); use a smaller --memory, --tile or --device cpu", EXIT_FAILED
    )


def _fail(error: object, code: int) -> int:
    print(f"paper-unet: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="paper-unet",
        description="The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015).",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (demo, predict, train, evaluate, data, import_caffe):
        module.add(commands)
    return parser
