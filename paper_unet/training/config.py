"""Every setting of a training run in one flat table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from paper_unet.errors import InputError
from paper_unet.geometry import PAPER_TILE
from paper_unet.networks.known_weights import weights_help
from paper_unet.networks.table import RENAMED, network_class, network_names
from paper_unet.settings import AugmentSettings, Choices, Limits, part, read_percentiles
from paper_unet.training.label_map import meanings_of

if TYPE_CHECKING:
    import torch


MEMBRANE_RATE: Final = 3e-3
"""Of gradient descent on membranes; with it some runs on the cell tracking sets collapse."""

OTHER_RATE: Final = 1e-3
"""Of gradient descent on cells and classes, and of the other optimizers."""

WARM_UP: Final = 1000
"""Steps; with 100, narrow networks collapse at the rate that wide ones learn fastest with."""


@dataclass(frozen=True)
class TrainConfig(AugmentSettings):
    """Every setting of a training run. The defaults are the paper's where it speaks.

    The command line of ``paper-unet train`` is made from these fields and their descriptions.
    """

    # data
    images: Annotated[str | None, "stack of sections"] = None
    labels: Annotated[str | None, "stack of labels, of the same shape"] = None
    out: Annotated[str, "folder for weights, checkpoint, log and configuration"] = "runs/unet"
    slices: Annotated[str | None, "sections to train on, such as 0:24; default: all"] = None
    label_kind: Annotated[
        Literal["membrane", "instance", "class"],
        "0 = membrane and one value = cell; or a number per cell; or a number per class, from 0, "
        "without border weights",
    ] = "membrane"
    label_map: Annotated[
        str | None,
        "what values of the labels mean: VALUES:CLASSES, such as 0,255:0,1 or "
        "0,1,2,255:0,1,1,ignore; all that occur are needed",
    ] = None
    ignore: Annotated[
        int | None,
        "value of labels that are not annotated: these pixels count nothing",
        Limits(-(2**63), 2**64 - 1, closed=True),
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        "grey values that mean 0 and 1; default for uint8: 0 255. Or percentile:LOW,HIGH, such as "
        "percentile:0.5,99.5: the values there in a sample of the stack",
    ] = None
    percentiles: Annotated[
        tuple[float, float] | None,
        "of a sample of the stack of images: the grey values there mean 0 and 1",
    ] = None
    missing: Annotated[
        Literal["fail", "fill"],
        "of a Zarr or HDF5 without some of its chunks: refuse it, or fill them",
    ] = "fail"
    channels: Annotated[
        int,
        "values for each pixel of the images: 1 is grey, 3 are red, green and blue (Fig. 1: 1)",
        Limits(1, 4096, closed=True),
    ] = 1
    axes: Annotated[
        str | None,
        "of the images, such as ZYX; wins over what they say; and of labels that are no stack "
        "without",
    ] = None
    series: Annotated[int | None, "of images that have several"] = None
    channel: Annotated[
        str | int | None, "of images that have several: its number, from 0, or its name"
    ] = None
    time: Annotated[
        int | None, "number of the time point, from 0, of images that have several", Limits(0)
    ] = None
    # network
    width: Annotated[
        int, "channels of the first level (Fig. 1: 64)", Limits(1, 4096, closed=True)
    ] = 64
    dropout: Annotated[
        float, "drop-out rate (sec. 3.1; not in the paper: the rate)", Limits(0, 1)
    ] = 0.5
    network: Annotated[
        str,
        "the paper's, the authors' 2015 release, the paper's with one change, or a variant that "
        "people know (docs/variants.md)",
        Choices(network_names, RENAMED),
    ] = "paper"
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
        float,
        "power of 1 / frequency that w_c is (sec. 3: balanced, 1); 0: all pixels alike",
        Limits(0, 1, closed=True),
    ] = 1.0
    w0: Annotated[float, "border weight (sec. 3: 10)", Limits(0)] = 10.0
    sigma: Annotated[float, "width of the border weight, pixels (sec. 3: 5)", Limits(1e-6)] = 5.0
    gap: Annotated[
        float,
        "instance labels: pixels nearer than this to two cells become background (sec. 3: a border "
        "by morphological operations; not in the paper: its width); 1: one pixel between them",
        Limits(1),
    ] = 1.0
    normalise: Annotated[
        bool,
        "divide the energy by the sum of the weights (not in the paper); without it the rate "
        "must be smaller by about the number of pixels",
    ] = True
    # augmentation: the settings of `AugmentSettings`
    # optimisation
    start: Annotated[str | None, weights_help("random ones", "weights to start from: ")] = None
    optimizer: Annotated[
        Literal["sgd", "adam", "rmsprop"], "stochastic gradient descent (sec. 3), or another"
    ] = "sgd"
    centre: Annotated[
        float,
        "subtracted from the input while training, then moved into the first biases, or stored "
        "with the weights of a network with padding (not in the paper)",
        Limits(0, 1, closed=True),
    ] = 0.5
    tile: Annotated[
        int | None,
        "input side of a tile, pixels, 16k + 60, a multiple of 16 with padding; default: 572 "
        "(Fig. 1), or 560",
    ] = None
    steps: Annotated[int, "how many tiles to learn from (not in the paper)", Limits(1)] = 20_000
    momentum: Annotated[float, "(sec. 3: 0.99)", Limits(0, 1)] = 0.99
    lr: Annotated[
        float | None,
        "learning rate (not in the paper); default: 1e-3, of sgd on labels of membranes 3e-3",
        Limits(0, above=True),
    ] = None
    warmup: Annotated[
        int | None,
        "steps of linear warm-up (not in the paper); default: 1000, but at most half of the steps",
        Limits(0),
    ] = None
    decay: Annotated[
        float,
        "last share of the steps, with a cosine down to 0 (not in the paper)",
        Limits(0, 1, closed=True),
    ] = 0.4
    weight_decay: Annotated[float, "of all parameters (not in the paper)", Limits(0)] = 0.0
    # run
    seed: Annotated[int, "of the weights, the tiles and the drop-out", Limits(0)] = 0
    device: Annotated[str, "auto, cpu, cuda or cuda:N"] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "tf32", "bfloat16"],
        "arithmetic of the network; auto: bfloat16 on a GPU that has it, else float32",
    ] = "auto"
    channels_last: Annotated[
        bool | None, "memory layout of the feature maps; default: where there is a GPU"
    ] = None
    log_every: Annotated[int, "steps", Limits(1)] = 20
    checkpoint_every: Annotated[
        int | None, "steps; default: 500, on a GPU 2500, which are seconds", Limits(1)
    ] = None
    validate_every: Annotated[
        int,
        "steps between losses of the held-out sections; 0: scores at the end alone",
        Limits(0),
    ] = 0

    def __post_init__(self) -> None:
        read_percentiles(self)
        if isinstance(self.channel, int) and not isinstance(self.channel, bool):
            self._set(channel=str(self.channel))
        super().__post_init__()
        meanings_of(self.label_map, self.ignore)
        kind = network_class(self.network)
        own = 560 if kind.context.padded else PAPER_TILE
        self._set(init=self.init or kind.initial, tile=own if self.tile is None else self.tile)
        if self.lr is None:
            fast = self.optimizer == "sgd" and self.label_kind == "membrane"
            self._set(lr=MEMBRANE_RATE if fast else OTHER_RATE)
        if self.warmup is None:
            self._set(warmup=min(WARM_UP, self.steps // 2))
        kind.output_side(self.input_side)
        least = kind.least_outputs
        if self.classes is not None and self.classes < least:
            raise InputError(
                f"classes is {self.classes}; the network {self.network} needs at least {least}"
                + (", one for each class of its softmax" if least > 1 else "")
            )

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def on(self, device: torch.device) -> Self:
        """Return the configuration with what a device decides: precision, layout, checkpoints."""
        card = device.type == "cuda"
        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if card and _has_bfloat16() else "float32"
        layout = card if self.channels_last is None else self.channels_last
        every = self.checkpoint_every or (2500 if card else 500)
        return replace(self, precision=precision, channels_last=layout, checkpoint_every=every)

    @property
    def input_side(self) -> int:
        """Side of a tile, pixels: ``tile``, which is never unset once it is checked."""
        return PAPER_TILE if self.tile is None else self.tile

    @property
    def rate(self) -> float:
        """The learning rate after the warm-up: ``lr``, which is never unset once it is checked."""
        return self.lr or OTHER_RATE

    @property
    def warm_up(self) -> int:
        """Steps of the warm-up: ``warmup``, which is never unset once it is checked."""
        return self.warmup or 0

    @property
    def weighted(self) -> bool:
        """Whether the loss is weighed by the map of Eq. 2."""
        if self.weighting is None:
            return network_class(self.network).weighted
        return self.weighting == "map"

    @property
    def augmentation(self) -> AugmentSettings:
        """The settings that `augment` needs."""
        return part(self, AugmentSettings)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step (from 0): linear warm-up, constant, cosine to 0 at the end."""
    rate = config.rate * min(1.0, (step + 1) / max(config.warm_up, 1))
    start = (1 - config.decay) * config.steps
    if step > start:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - start) / (config.steps - start)))
    return rate


def _has_bfloat16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported())
