"""What every network declares, and what is stored beside its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from paper_unet.errors import InputError
from paper_unet.geometry import Context
from paper_unet.settings import Limits, check

Initial = Literal["gaussian", "pytorch", "glorot"]
"""Standard deviation sqrt(2 / N) (sec. 3); PyTorch's own rule; Keras' rule, uniform by Glorot."""


CHANNELS = Limits(1, 4096, closed=True)
"""Channels anywhere at full resolution; with 4096 the weights alone take 500 GB."""


@dataclass(frozen=True)
class NetworkConfig:
    """What defines a network; stored with its weights.

    The defaults are the paper's network.
    """

    in_channels: Annotated[int, CHANNELS] = 1  # Fig. 1
    out_channels: Annotated[int, CHANNELS] = 2  # Fig. 1
    width: Annotated[int, CHANNELS] = 64  # Fig. 1: channels of the first level, then doubled
    dropout: Annotated[float, Limits(0, 1)] = 0.5  # not in the paper: the rate (sec. 3.1)
    up_relu: bool = False  # not in the paper: the release has a ReLU after each up-convolution
    last_up_width: Annotated[int | None, CHANNELS] = None  # the release: 2 * width

    def __post_init__(self) -> None:
        check(self)


class Network(nn.Module):
    """A network that turns grey values into raw scores, and says what it needs for that.

    A subclass declares the class variables, makes its layers in ``__init__`` after this one's, with
    a ``head`` that gives the scores, and has ``forward``: (N, C, H, W) to (N, K, h, w).

    Parameters
    ----------
    config : NetworkConfig

    Attributes
    ----------
    config : NetworkConfig
        The argument above.
    grey_ranges : dict of str to (float, float)
        For a dtype name, the grey values that mean 0 and 1 to the network, as in training.
    centre : float
        What training subtracted from the input and prediction has to subtract too; 0 where it
        could be moved into the first biases.
    record : dict
        What is known about the weights: data, recipe, scores, terms, and as ``grey_type`` the dtype
        of the images, where that is not uint8 alone. Empty for a new network.
    """

    variant: ClassVar[str]
    """Its name in `paper_unet.networks.table` and in files of weights."""

    context: ClassVar[Context]
    """What a tile needs around the pixels that are kept, see `paper_unet.geometry`."""

    initial: ClassVar[Initial] = "gaussian"
    """The rule of its initial weights."""

    weighted: ClassVar[bool] = True
    """Whether the loss weighs pixels by the map of Eq. 2, unless told otherwise."""

    streams: ClassVar[bool] = False
    """Whether rows can flow through it: its layers are those of Fig. 1, all valid."""

    tiles: ClassVar[bool] = True
    """Whether tiles on its lattice give what one pass gives, but for what it pads."""

    least_outputs: ClassVar[int] = 1
    """Scores that it has at least; one score is a logit."""

    head: nn.Conv2d

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.grey_ranges: dict[str, tuple[float, float]] = {"uint8": (0.0, 255.0)}
        self.centre = 0.0
        self.record: dict[str, object] = {}

    @classmethod
    def from_config(cls, config: NetworkConfig) -> Self:
        """Return an untrained network of this configuration."""
        return cls(**asdict(config))

    @classmethod
    def output_side(cls, side: int) -> int:
        """Return the side of the scores of a square image of ``side`` pixels.

        Raises
        ------
        InputError
            If a pool would see an odd side; the message names the nearest sides that fit.
        """
        return cls.context.output_side(side, cls.variant)

    @property
    def sigmoid(self) -> bool:
        """Whether the scores are one logit; of several, the probabilities are their softmax."""
        return self.config.out_channels == 1

    def reset_parameters(self) -> None:
        """Draw the weights anew, by the rule that the network declares."""
        initialise(self, self.initial)

    def settle(self, images: Iterable[Tensor]) -> None:
        """Take from training tiles, (N, C, H, W), what only the finished weights can tell: nothing.

        Networks that keep statistics may have something to take.
        """

    def for_prediction(self) -> Network:
        """Return what predicts: this network, or a simpler one that computes the same."""
        return self

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, **more: Any) -> Self:
        """Return a trained network; see `paper_unet.networks.hub.from_pretrained`.

        Parameters
        ----------
        name_or_folder : path-like or str
            A folder that `save_pretrained` or a training wrote, a file of weights, the name of
            weights, or ``owner/name`` on the Hugging Face Hub.
        **more
            ``device``, and for the Hub ``revision``, ``token``, ``cache_dir``, ...

        Returns
        -------
        Network
            In evaluation mode, with its grey ranges, centre and record.
        """
        network: Self = _of_hub("from_pretrained")(cls, name_or_folder, **more)
        return network

    def save_pretrained(self, folder: str | Path, **more: Any) -> Path:
        """Write weights, configuration and a model card into a folder.

        Parameters
        ----------
        folder : path-like
            Made if absent.
        **more
            ``title`` and ``overwrite``; see `paper_unet.networks.hub.save_pretrained`.

        Returns
        -------
        Path
            The folder.
        """
        written: Path = _of_hub("save_pretrained")(self, folder, **more)
        return written

    def push_to_hub(self, repo_id: str, **more: Any) -> str:
        """Put it on the Hugging Face Hub; see `paper_unet.networks.hub.push_to_hub`.

        Parameters
        ----------
        repo_id : str
            ``owner/name``.
        **more
            ``private``, ``token``, ``commit_message``, ...

        Returns
        -------
        str
            The address of the commit.
        """
        address: str = _of_hub("push_to_hub")(self, repo_id, **more)
        return address

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.config.in_channels:
            raise InputError(
                f"the network was given shape {tuple(image.shape)}; it takes (N, "
                f"{self.config.in_channels}, H, W)"
            )
        sides: tuple[Any, ...] = image.shape[2:]  # of torch.export, symbols
        for side in sides:
            if not isinstance(side, Tensor):  # as in TorchScript, where a comparison freezes it
                self.output_side(side)


def _of_hub(name: str) -> Any:
    """Return a function of the module beside this one that writes and reads folders.

    It stands on this one, so it is found when it is called.
    """
    return resolve_name(f"paper_unet.networks.hub:{name}")


@torch.no_grad()
def initialise(network: nn.Module, rule: Initial) -> None:
    """Draw the weights of all convolutions anew, by PyTorch's current random state."""
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        if layer.weight.is_meta:  # no values to draw; PyTorch would take two seconds to find out
            continue
        if rule == "pytorch":
            layer.reset_parameters()
            continue
        if rule == "gaussian":  # sec. 3: N(0, 2 / N), and biases of zero
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
