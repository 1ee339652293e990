"""What a training learns from: sections and labels of files, as the configuration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import (
    PercentileRange,
    Stack,
    needed_choices,
    open_stack,
    parse_slices,
    percentile_range,
    read_stack,
    to_unit_range,
)
from paper_unet.networks.weights_file import read_network
from paper_unet.training.config import TrainConfig
from paper_unet.training.data import (
    TrainingSet,
    instances_from_membranes,
    training_set,
    training_set_of_classes,
)
from paper_unet.training.initial_weights import class_count
from paper_unet.training.label_map import meanings_of
from paper_unet.training.labels import Labels, mapped_labels, without


def read_training_set(config: TrainConfig, sampled: PercentileRange | None = None) -> TrainingSet:
    """Read the sections and labels that a configuration names, and weigh them.

    Parameters
    ----------
    config : TrainConfig
    sampled : PercentileRange, optional
        What `sampled_range` gives, if it is known already: the sample is then not read again.

    Raises
    ------
    InputError
        If a file cannot be used, the stacks differ in shape, or the labels are not of the kind
        that the configuration says.
    """
    if config.images is None or config.labels is None:
        raise InputError("images or labels are not given; name a stack of each")
    images = read_stack(config.images, **_choices(config))
    labels = read_labels(config)
    size = (images.shape[0], *images.shape[-2:])
    if size != labels.shape:
        raise InputError(
            f"{config.images} is {size}, {config.labels} is {labels.shape} (Z, Y, X); "
            "give one label section of the same size for each image section"
        )
    chosen = list(parse_slices(config.slices, len(images)))
    value_range = grey_range(config, sampled)
    images = to_unit_range(images[chosen], value_range, name=config.images)
    labels, ignored = chosen_labels(config, labels[chosen])
    counted = labels if ignored is None else labels[~ignored]
    if (counted == counted.flat[0]).all():
        raise InputError(
            f"{config.labels}: labels are {counted.flat[0]} everywhere in the sections chosen, so "
            "there are no cells to tell from what is around them; give other labels or sections"
        )
    kind, count = config.label_kind, class_count(config)
    if config.gap > 1 and kind != "instance":
        raise InputError(
            f"gap is {config.gap}; it is drawn between the cells of instance labels alone: leave "
            f"it out with {kind} labels"
        )
    if kind == "class":
        found = training_set_of_classes(images, labels, count, config.balance, ignore=ignored)
        return found.without(ignored)
    if count > 2:
        raise InputError(
            f"classes is {count}; {kind} labels have two: give a number per class with "
            "`label_kind` class, or leave `classes` out"
        )
    instances = instances_from_membranes(labels) if kind == "membrane" else labels
    found = training_set(
        images,
        instances,
        ignore=ignored,
        w0=config.w0,
        sigma=config.sigma,
        balance=config.balance,
        separate=kind == "instance",
        gap=config.gap,
    )
    return found.without(ignored)


def read_labels(config: TrainConfig, say: Callable[[str], object] | None = None) -> NDArray[Any]:
    """Read all labels that a configuration names, as stored; ``say`` takes what is said of them."""
    name = str(config.labels)
    choices = needed_choices(name, config.missing, axes=config.axes, time=config.time)
    told: dict[str, Any] = {} if say is None else {"say": say}
    try:
        return read_stack(name, labels=True, missing=config.missing, **choices, **told)
    except InputError as error:
        if any(_opens(name, channels=channels) for channels in (3, 4)):
            raise InputError(
                f"{name}: a mask in colours, and labels are numbers, one for each pixel; give each "
                "colour a number first (ImageJ: Image > Type > 8-bit Color, whose numbers are read)"
            ) from error
        if _opens(name, labels=True, channel=0, **choices):
            raise InputError(
                f"{name}: labels of several channels; save the one that is meant as a file of its "
                "own (ImageJ: Image > Color > Split Channels)"
            ) from error
        raise


def _opens(name: str, **choices: Any) -> bool:
    try:
        open_stack(name, **choices).close()
    except InputError:
        return False
    return True


def chosen_labels(config: TrainConfig, labels: NDArray[Any]) -> Labels:
    """Return labels as the configuration maps them, and which pixels it ignores.

    Raises
    ------
    InputError
        If a value is not mapped, none is left, or they are no whole numbers.
    """
    name, ignored = str(config.labels), None
    if (meanings := meanings_of(config.label_map, config.ignore)) is not None:
        labels, ignored = mapped_labels(labels, meanings, name)
    elif config.ignore is not None:
        labels, ignored = without(labels, config.ignore)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{name}: labels are {labels.dtype}; integers are needed: convert them to uint8 or "
            "uint16, or say with `label_map` what each value means"
        )
    if ignored is not None and ignored.all():
        raise InputError(f"{name}: every pixel of the sections chosen is ignored; choose others")
    return labels, ignored


def sampled_range(config: TrainConfig) -> PercentileRange | None:
    """Return the range by percentiles of a sample; None if a configuration asks for none."""
    if config.percentiles is None or config.images is None:
        return None
    with open_images(config) as stack:  # of the whole stack: held-out sections are scaled alike
        return percentile_range(stack, config.percentiles)


def grey_range(
    config: TrainConfig, sampled: PercentileRange | None = None
) -> tuple[float, float] | None:
    """Return the grey values that mean 0 and 1, by the weights that training starts from too.

    What `sampled_range` gives need not be read again.
    """
    if sampled := sampled or sampled_range(config):
        return sampled.grey_range
    known = read_network(config.start).grey_ranges if config.start else None
    with open_images(config) as stack:
        return stack.value_range(config.value_range, known)


def open_images(config: TrainConfig) -> Stack:
    """Open the sections that a configuration names."""
    return open_stack(str(config.images), **_choices(config))


def _choices(config: TrainConfig) -> dict[str, Any]:
    """Return how the images are read, and what of them."""
    names = ("axes", "series", "channels", "missing", "channel", "time")
    return {name: getattr(config, name) for name in names}


def grey_dtype(config: TrainConfig) -> str | None:
    """Return the dtype that the range of grey values is of; of data in memory it is uint8.

    None if the range is of fewer bits than its dtype has.
    """
    if not config.images:
        return "uint8"
    with open_images(config) as stack:
        return None if stack.own_range else str(stack.dtype.name)
