"""``--help`` in groups: what most need comes first.

A command without a line in `GROUPS` shows its options as they were added; an option that no group
has stands in the last one.
"""

from __future__ import annotations

import argparse
from typing import Final

FIRST: Final = "what most need"

GROUPS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "predict": {
        FIRST: (
            "out", "weights", "slices", "value_range", "memory", "device", "dtype", "average",
            "overwrite", "config",
        ),
        "which pixels": ("axes", "series", "channel", "time", "missing", "fill"),
        "the output": ("of_class", "all_classes", "argmax", "ome_zarr", "shard"),
        "how it is computed": (
            "engine", "tile", "tiling", "halo", "precision", "threads", "timings", "verify",
        ),
        "several machines": ("dask", "part", "join", "print_sbatch"),
        "the authors' release of 2015": (
            "release", "strips", "min_area", "field_of_interest", "fill_holes",
        ),
    },
    "train": {
        FIRST: (
            "images", "labels", "out", "slices", "validate", "steps", "width", "device", "resume",
            "config",
        ),
        "labels and images": (
            "label_kind", "label_map", "ignore", "value_range", "missing", "channels", "axes",
            "series", "channel", "time",
        ),
        "the network": ("network", "classes", "dropout", "init", "start"),
        "the loss": ("weighting", "balance", "w0", "sigma", "gap", "normalise"),
        "the optimisation": (
            "optimizer", "lr", "momentum", "warmup", "decay", "weight_decay", "tile", "centre",
            "seed",
        ),
        "the augmentation": (
            "grid", "elastic", "rotate", "mirror", "shift", "grey", "extrapolation",
        ),
        "the run": (
            "log_every", "checkpoint_every", "validate_every", "precision", "channels_last",
            "overwrite", "dry_run", "tensorboard",
        ),
    },
    "segment": {
        FIRST: (
            "out", "method", "threshold", "min_size", "dims", "slices", "memory", "dask",
            "overwrite", "config",
        ),
        "the watershed": ("seeds", "seed_distance", "seed_threshold", "context"),
        "which voxels": ("axes", "series", "channel", "time", "value_range", "missing"),
        "how it is computed": ("connectivity", "block", "verify"),
        "the output": ("ome_zarr", "shard"),
    },
}  # fmt: skip
"""The options of a command by their names as settings, at most ten of which come first."""


def grouped_help(command: argparse.ArgumentParser) -> str:
    """Return the help of a command in groups; empty if it has none."""
    groups = GROUPS.get(command.prog.rpartition(" ")[2])
    if groups is None:
        return ""
    options = {a.dest: a for a in command._actions if a.option_strings}
    named = {name for names in groups.values() for name in names}
    formatter = command._get_formatter()
    formatter.add_usage(_usage(command), command._actions, [], prefix=None)
    formatter.add_text(command.description)
    _add(formatter, None, [a for a in command._actions if not a.option_strings])
    for title, names in groups.items():
        _add(formatter, title, [options[name] for name in names if name in options])
    _add(formatter, "more", [action for name, action in options.items() if name not in named])
    return formatter.format_help()


def _add(
    formatter: argparse.HelpFormatter, title: str | None, actions: list[argparse.Action]
) -> None:
    if actions:
        formatter.start_section(title or "what it works on")
        formatter.add_arguments(actions)
        formatter.end_section()


def _usage(command: argparse.ArgumentParser) -> str:
    """Return how the command is used: what has to be given, then ``[options]``."""
    places = [str(a.metavar or a.dest) for a in command._actions if not a.option_strings]
    needed = [
        f"{action.option_strings[0]} {action.metavar or action.dest.upper()}"
        for action in command._actions
        if action.option_strings and action.required
    ]
    return " ".join([command.prog, *places, *needed, "[options]"])
