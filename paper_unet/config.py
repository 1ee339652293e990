"""Every setting of a training run in one flat table."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from paper_unet.augment import AugmentSettings
from paper_unet.errors import InputError
from paper_unet.variants import network_class


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run. The defaults are the paper's where it speaks.

    The command line of ``paper-unet train`` is made from these fields and their descriptions.
    """

    # data
    images: Annotated[str, "TIFF stack of grey sections"] = ""
    labels: Annotated[str, "TIFF stack of labels, of the same shape"] = ""
    out: Annotated[str, "folder for weights, checkpoint, log and configuration"] = "runs/unet"
    slices: Annotated[str, "sections to train on, such as 0:24; default: all"] = ""
    label_kind: Annotated[
        Literal["membrane", "instance"], "0 = membrane and one value = cell, or a number per cell"
    ] = "membrane"
    value_range: Annotated[
        tuple[float, float] | None, "grey values that mean 0 and 1; default for uint8: 0 255"
    ] = None
    # network
    width: Annotated[int, "channels of the first level (Fig. 1: 64)"] = 64
    dropout: Annotated[float, "drop-out rate (sec. 3.1; not in the paper: the rate)"] = 0.5
    network: Annotated[
        Literal["paper", "release", "same_padding", "batch_norm"],
        "the paper's, the authors' 2015 release, or the paper's with one change",
    ] = "paper"
    init: Annotated[
        Literal["gaussian", "pytorch"], "standard deviation sqrt(2/N) (sec. 3), or PyTorch's own"
    ] = "gaussian"
    # loss
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
        Literal["mirror", "zero"], "what lies outside a section (sec. 2: mirrored)"
    ] = "mirror"
    # optimisation
    start: Annotated[str, "weights to start from, such as another run's; default: random"] = ""
    optimizer: Annotated[Literal["sgd", "adam"], "stochastic gradient descent (sec. 3)"] = "sgd"
    centre: Annotated[
        float,
        "subtracted from the input while training, then moved into the first biases "
        "(not in the paper)",
    ] = 0.5
    tile: Annotated[int, "input side of a tile, pixels, 16k + 60 (Fig. 1: 572)"] = 572
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

    def __post_init__(self) -> None:
        for name in ("images", "labels", "out", "start"):
            object.__setattr__(self, name, os.fspath(getattr(self, name)))
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value < high:
                raise InputError(f"{name} is {value}; it must be in [{low:g}, {high:g})")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr is {self.lr}; it must be finite and above 0")
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(accepted)}"
                )
        network_class(self.network).output_side(self.tile)
        _ = self.augmentation  # has checks of its own

    @property
    def augmentation(self) -> AugmentSettings:
        """The settings that `augment` needs."""
        names = [field.name for field in fields(AugmentSettings)]
        return AugmentSettings(**{name: getattr(self, name) for name in names})


_LIMITS = {
    "width": (1, math.inf),
    "dropout": (0, 1),
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
}
_CHOICES = {
    "network": ("paper", "release", "same_padding", "batch_norm"),
    "init": ("gaussian", "pytorch"),
    "optimizer": ("sgd", "adam"),
    "label_kind": ("membrane", "instance"),
    "precision": ("float32", "tf32", "bfloat16"),
}


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up, constant, cosine to 0 at the end."""
    rate = config.lr * min(1.0, (step + 1) / max(config.warmup, 1))
    start = (1 - config.decay) * config.steps
    if step > start:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - start) / (config.steps - start)))
    return rate
