"""``paper-unet train``: its options are the fields of `TrainConfig`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from paper_unet.cli.common import (
    Commands,
    add_command,
    add_settings,
    given_settings,
    go_on_with,
    print_scores,
    say,
    saying,
)
from paper_unet.errors import InputError
from paper_unet.metrics.table import headline
from paper_unet.settings import recorded
from paper_unet.system.stop import Stopped
from paper_unet.training.config import TrainConfig

if TYPE_CHECKING:
    from paper_unet.training.labels import Labels


def add(commands: Commands) -> None:
    """Add the command."""
    text = "train a network on annotated sections (sec. 3)"
    command = add_command(commands, "train", text, _run)
    add_settings(command, TrainConfig, required=("images", "labels"))
    command.add_argument(
        "--validate",
        metavar="SLICES",
        default=argparse.SUPPRESS,
        help="sections of the same stacks to score at the end, and whose loss --validate-every "
        "follows: 24:30",
    )
    text = "go on from the folder's checkpoint, or begin if it has none"
    command.add_argument("--resume", action="store_true", help=text)
    command.add_argument("--overwrite", action="store_true", help="replace an earlier run")
    command.add_argument(
        "--tensorboard",
        action="store_true",
        help="write events for TensorBoard, too: loss, rate, and of --validate-every the loss of "
        "the held-out sections and what is wrong on the first",
    )
    command.add_argument("--dry-run", action="store_true", help="print the settings and stop")


def _run(options: argparse.Namespace) -> None:
    import numpy as np

    from paper_unet.inference.scoring import score_sections
    from paper_unet.large.greys import warn_of_scaling
    from paper_unet.metrics import doubts
    from paper_unet.networks.weights_file import read_network
    from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
    from paper_unet.training.loop import train
    from paper_unet.training.reading import (
        grey_range,
        open_images,
        read_training_set,
        sampled_range,
    )
    from paper_unet.training.run_folder import save_scores

    config = given_settings(options, TrainConfig)
    if options.dry_run:
        print(json.dumps(recorded(config), indent=2))
        return
    validate = getattr(options, "validate", "")
    held_out = _held_out(config, validate)
    sampled = sampled_range(config)  # once: all that follows is scaled by the same range
    _describe(config, grey_range(config, sampled))
    if config.start:
        asked = config.value_range is not None or config.percentiles is not None
        warn_of_scaling(saying(options.command), read_network(config.start).record, asked)
    followed = config.validate_every > 0
    unseen = None
    if followed:
        unseen = read_training_set(replace(config, slices=validate), sampled)
    if options.resume and not (Path(config.out) / CHECKPOINT).exists():
        say(f"{config.out} has no checkpoint: training begins at its first step")
    try:
        model = train(
            config,
            held_out=unseen,
            resume=options.resume,
            overwrite=options.overwrite,
            tensorboard=options.tensorboard,
            sampled=sampled,
        )
    except Stopped:
        go_on_with([a for a in sys.argv[1:] if a not in ("--resume", "--overwrite")] + ["--resume"])
        raise
    weights = Path(config.out) / WEIGHTS
    print(f"wrote {weights}")
    if validate and config.label_kind == "membrane":
        with open_images(config) as stack:
            images = np.stack([stack[z] for z in held_out])
            own = stack.value_range(grey_range(config, sampled), model.grey_ranges)
        labels, ignored = _labels_of(config, held_out)
        if ignored is not None:
            say("not scored: the scores of whole sections cannot leave ignored pixels out")
            return
        scores = score_sections(model, images, labels, value_range=own, progress=True)
        found = headline(scores)
        print_scores(found)
        for line in doubts(scores):
            say(f"careful: {line}")
        model.record["held_out"] = {"sections": validate, **found}
        save_scores(Path(config.out), model)


def _describe(config: TrainConfig, value_range: tuple[float, float] | None) -> None:
    """Tell what the grey values of the first section become, before hours of training."""
    import numpy as np

    from paper_unet.images import describe_section, parse_slices, to_unit_range
    from paper_unet.metrics import doubt_of_numbers
    from paper_unet.training.reading import open_images

    with open_images(config) as stack:
        to_unit_range(np.zeros(1, stack.dtype), value_range, name=str(config.images))
        first = parse_slices(config.slices, len(stack))[0]
        for line in describe_section(stack, first, value_range):
            say(line)
    if config.label_kind == "instance" and config.labels:
        labels, ignored = _labels_of(config, [first])
        if doubt := doubt_of_numbers(labels[0] if ignored is None else labels[0] * ~ignored[0]):
            say(f"careful: {config.labels}: section {first}: {doubt}")


def _labels_of(config: TrainConfig, sections: list[int]) -> Labels:
    """Return the labels of sections as training takes them, and which pixels are ignored."""
    from paper_unet.training.reading import chosen_labels, read_labels

    return chosen_labels(config, read_labels(config, say=_nothing)[sections])


def _nothing(line: str) -> None:
    """Say nothing: it was said when the training began."""


def _held_out(config: TrainConfig, validate: str) -> list[int]:
    """Return the sections to score in the end, checked before hours of training."""
    from paper_unet.images import parse_slices
    from paper_unet.training.reading import open_images

    if not validate:
        if config.validate_every:
            raise InputError("--validate-every needs held-out sections; name them with --validate")
        return []
    if config.label_kind != "membrane" and not config.validate_every:
        raise InputError(
            "--validate scores membrane labels; of other labels follow the loss with "
            "--validate-every, or leave it out"
        )
    with open_images(config) as stack:
        held_out = parse_slices(validate, len(stack))
        shared = set(held_out) & set(parse_slices(config.slices, len(stack)))
    if shared:
        raise InputError(
            f"--validate {validate} shares section {min(shared)} with the training sections; give "
            "--slices and --validate that do not overlap"
        )
    maps = config.label_map is not None or config.ignore is not None
    if maps and not config.validate_every and _labels_of(config, list(held_out))[1] is not None:
        raise InputError(
            f"--validate {validate} has ignored pixels, which the scores of whole sections cannot "
            "leave out; follow the loss of these sections with --validate-every"
        )
    return list(held_out)
