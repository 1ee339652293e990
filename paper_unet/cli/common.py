"""What the commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from paper_unet.errors import InputError
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


def headline(scores: Isbi2012Scores) -> dict[str, Any]:
    """Return the five numbers and their thresholds, ready for JSON."""
    everything = scores.to_dict()
    return {name: everything[name] for name in (*METRICS, "thresholds")}


def print_scores(scores: Isbi2012Scores) -> None:
    """Print the five metrics, each with the threshold that is best for it."""
    numbers = headline(scores)
    for name, text in METRICS.items():
        print(f"{text:<34} {numbers[name]:.6f}  at threshold {numbers['thresholds'][name]:.1f}")


def progress(items: Sequence[int], unit: str) -> Any:
    """Show a progress bar while going through the items."""
    from tqdm import tqdm

    return tqdm(items, unit=unit)


def named(name: str, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Call, with the name of what was worked on in front of an input error."""
    try:
        return call(*args, **more)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
