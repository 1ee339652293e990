"""Every setting of a training run in one flat table."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from paper_unet.augment import AugmentSettings
from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE
from paper_unet.networks.table import NETWORKS, RENAMED, network_class


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run. The defaults are the paper's where it speaks.

    The command line of ``paper-unet train`` is made from these fields and their descriptions.
    """

    # data
    images: Annotated[str, "stack of sections"] = ""
    labels: Annotated[str, "TIFF stack of labels, of the same shape"] = ""
    out: Annotated[str, "folder for weights, checkpoint, log and configuration"] = "runs/unet"
    slices: Annotated[str, "sections to train on, such as 0:24; default: all"] = ""
    label_kind: Annotated[
        Literal["membrane", "instance", "class"],
        "0 = membrane and one value = cell; or a number per cell; or a number per class, from 0, "
        "without border weights",
    ] = "membrane"
    value_range: Annotated[
        tuple[float, float] | None, "grey values that mean 0 and 1; default for uint8: 0 255"
    ] = None
    channels: Annotated[
        int, "values for each pixel of the images: 1 is grey, 3 are red, green and blue (Fig. 1: 1)"
    ] = 1
    # network
    width: Annotated[int, "channels of the first level (Fig. 1: 64)"] = 64
    dropout: Annotated[float, "drop-out rate (sec. 3.1; not in the paper: the rate)"] = 0.5
    network: Annotated[
        Literal[
            "paper", "release", "same_padding", "paper_batch_norm", "annotated", "popular",
            "popular_bilinear", "three_level", "keras", "valid_batchnorm", "batch_norm",
            "batchnorm", "batchnorm_bilinear",
        ],
        "the paper's, the authors' 2015 release, the paper's with one change, or a variant that "
        "people know (docs/variants.md)",
    ] = "paper"  # fmt: skip
    classes: Annotated[
        int | None,
        "scores of the network: 1 is a logit with binary cross-entropy, more are a softmax; "
        "default: 2, or what the variant's author had",
    ] = None
    init: Annotated[
        Literal["gaussian", "pytorch", "glorot"] | None,
        "standard deviation sqrt(2/N) (sec. 3), PyTorch's own, or Keras'; default: gaussian, or "
        "what the variant's author had",
    ] = None
    # loss
    weighting: Annotated[
        Literal["map", "none"] | None,
        "weigh the pixels by the map of Eq. 2, or all alike; default: map, or none as the "
        "variant's author",
    ] = None
    balance: Annotated[
        float, "power of 1 / frequency that w_c is (sec. 3: balanced, 1); 0: all pixels alike"
    ] = 1.0
    w0: Annotated[float, "border weight (sec. 3: 10)"] = 10.0
    sigma: Annotated[float, "width of the border weight, pixels (sec. 3: 5)"] = 5.0
    normalise: Annotated[
        bool,
        "divide the energy by the sum of the weights (not in the paper); without it the rate "
        "must be smaller by about the number of pixels",
    ] = True
    # augmentation
    grid: Annotated[int, "nodes per axis of the elastic deformation (sec. 3.1: 3)"] = 3
    elastic: Annotated[float, "its standard deviation, pixels (sec. 3.1: 10)"] = 10.0
    rotate: Annotated[bool, "by any angle (sec. 3.1; not in the paper: the range)"] = True
    mirror: Annotated[bool, "swap left and right at random (not in the paper)"] = True
    shift: Annotated[bool, "anywhere in the section (sec. 3.1; not in the paper: the range)"] = True
    grey: Annotated[
        float, "strength of the grey-value change (sec. 3.1; not in the paper: the model)"
    ] = 1.0
    extrapolation: Annotated[
        Literal["mirror", "zero"], "what lies outside a section (sec. 1: mirrored)"
    ] = "mirror"
    # optimisation
    start: Annotated[str, "weights to start from, such as another run's; default: random"] = ""
    optimizer: Annotated[
        Literal["sgd", "adam", "rmsprop"], "stochastic gradient descent (sec. 3), or another"
    ] = "sgd"
    centre: Annotated[
        float,
        "subtracted from the input while training, then moved into the first biases, or stored "
        "with the weights of a network with padding (not in the paper)",
    ] = 0.5
    tile: Annotated[
        int,
        "input side of a tile, pixels, 16k + 60, a multiple of 16 with padding; default: 572 "
        "(Fig. 1), or 560",
    ] = 0
    steps: Annotated[int, "how many tiles to learn from (not in the paper)"] = 20_000
    momentum: Annotated[float, "(sec. 3: 0.99)"] = 0.99
    lr: Annotated[float, "learning rate (not in the paper)"] = 1e-3
    warmup: Annotated[int, "steps of linear warm-up (not in the paper)"] = 100
    decay: Annotated[
        float, "last share of the steps, with a cosine down to 0 (not in the paper)"
    ] = 0.4
    weight_decay: Annotated[float, "of all parameters (not in the paper)"] = 0.0
    # run
    seed: Annotated[int, "of the weights, the tiles and the drop-out"] = 0
    device: Annotated[str, "auto, cpu, cuda or cuda:N"] = "auto"
    precision: Annotated[Literal["float32", "tf32", "bfloat16"], "arithmetic of the network"] = (
        "float32"
    )
    channels_last: Annotated[bool, "memory layout of the feature maps"] = False
    log_every: Annotated[int, "steps"] = 20
    checkpoint_every: Annotated[int, "steps"] = 500
    validate_every: Annotated[
        int, "steps between losses of the held-out sections; 0: scores at the end alone"
    ] = 0

    def __post_init__(self) -> None:
        for name in ("images", "labels", "out", "start"):
            object.__setattr__(self, name, os.fspath(getattr(self, name)))
        object.__setattr__(self, "network", RENAMED.get(self.network, self.network))
        known = self.network if self.network in _CHOICES["network"] else "paper"
        kind = network_class(known)
        if self.init is None:
            object.__setattr__(self, "init", kind.initial)
        if self.tile == 0:
            object.__setattr__(self, "tile", 560 if kind.context.padded else PAPER_TILE)
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value < high:
                raise InputError(f"{name} is {value}; it must be in [{low:g}, {high:g})")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr is {self.lr}; it must be finite and above 0")
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it must be one of "
                    f"{', '.join(choice for choice in accepted if choice)}"
                )
        kind.output_side(self.tile)
        least = kind.least_outputs
        if self.classes is not None and self.classes < least:
            raise InputError(
                f"classes is {self.classes}; the network {self.network} needs at least {least}"
                + (", one for each class of its softmax" if least > 1 else "")
            )
        _ = self.augmentation  # has checks of its own

    @property
    def weighted(self) -> bool:
        """Whether the loss is weighed by the map of Eq. 2."""
        if self.weighting is None:
            return network_class(self.network).weighted
        return self.weighting == "map"

    @property
    def augmentation(self) -> AugmentSettings:
        """The settings that `augment` needs."""
        names = [field.name for field in fields(AugmentSettings)]
        return AugmentSettings(**{name: getattr(self, name) for name in names})


_LIMITS = {
    "channels": (1, math.inf),
    "width": (1, math.inf),
    "dropout": (0, 1),
    "balance": (0, 1 + 1e-9),
    "w0": (0, math.inf),
    "sigma": (1e-6, math.inf),
    "centre": (0, 1 + 1e-9),
    "steps": (1, math.inf),
    "momentum": (0, 1),
    "warmup": (0, math.inf),
    "decay": (0, 1 + 1e-9),
    "weight_decay": (0, math.inf),
    "seed": (0, math.inf),
    "log_every": (1, math.inf),
    "checkpoint_every": (1, math.inf),
    "validate_every": (0, math.inf),
}
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "network": tuple(NETWORKS),
    "init": ("gaussian", "pytorch", "glorot"),
    "weighting": (None, "map", "none"),
    "optimizer": ("sgd", "adam", "rmsprop"),
    "label_kind": ("membrane", "instance", "class"),
    "precision": ("float32", "tf32", "bfloat16"),
}


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up, constant, cosine to 0 at the end."""
    rate = config.lr * min(1.0, (step + 1) / max(config.warmup, 1))
    start = (1 - config.decay) * config.steps
    if step > start:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - start) / (config.steps - start)))
    return rate
