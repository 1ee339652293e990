"""What training starts from: a network that is drawn from a seed, or trained weights."""

from __future__ import annotations

from dataclasses import asdict

import torch

from paper_unet.errors import InputError
from paper_unet.networks.base import Network, initialise
from paper_unet.networks.known_weights import terms_of
from paper_unet.networks.table import make_network
from paper_unet.networks.weights_file import load_model, read_network
from paper_unet.training.config import TrainConfig


def class_count(config: TrainConfig) -> int:
    """Return how many classes the network of a configuration tells apart; one logit, two."""
    with torch.device("meta"):
        model = make_network(config.network, 1, config.classes, 1, config.dropout)
    return max(model.config.out_channels, 2)


def new_network(config: TrainConfig, in_channels: int = 1) -> Network:
    """Return the untrained network of a configuration, drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        model = make_network(
            config.network, in_channels, config.classes, config.width, config.dropout
        )
        if config.init is not None and config.init != model.initial:
            initialise(model, config.init)
        return model


def start_network(config: TrainConfig, in_channels: int = 1) -> Network:
    """Return what training starts from: an untrained network, or ``config.start``'s weights.

    Raises
    ------
    InputError
        If the weights cannot be read, or are those of another network.
    """
    model = new_network(config, in_channels)
    if not config.start:
        return model
    trained = load_model(config.start)
    theirs, ours = _told_apart_by(trained), _told_apart_by(model)
    if unlike := [key for key in ours if theirs.get(key) != ours[key]]:
        its = ", ".join(f"{key} {theirs.get(key)}" for key in unlike)
        asked = ", ".join(f"{key} {ours[key]}" for key in unlike)
        raise InputError(
            f"{config.start}: holds a network of {its}, the settings ask for {asked}; give the "
            "settings of the weights"
        )
    model.load_state_dict(trained.state_dict())
    model.grey_ranges = dict(trained.grey_ranges)
    if not model.context.padded:
        absorb_shift(model, -config.centre)  # training sees centred grey values
    elif trained.centre != config.centre:
        raise InputError(
            f"{config.start}: was trained with centre = {trained.centre:g}, now {config.centre:g}; "
            "a network with padding keeps its own: give it with `centre`"
        )
    return model


def _told_apart_by(model: Network) -> dict[str, object]:
    """Return what weights have to agree in; drop-out has none."""
    facts = {"network": model.variant, **asdict(model.config)}
    del facts["dropout"]
    return facts


def start_terms(config: TrainConfig) -> str:
    """Return the terms of the weights that training starts from; they hold for what it makes."""
    return terms_of(read_network(config.start).record, config.start) if config.start else ""


@torch.no_grad()
def absorb_shift(model: Network, centre: float) -> None:
    """Change the first biases so that the network gives for v what it gave for v - ``centre``.

    A convolution without padding is linear in a constant, so this is exact up to rounding. It lets
    training see centred values, which momentum 0.99 needs to stay stable, while the network that
    comes out takes grey values in [0, 1] and nothing else. The zeros of padding are no part of the
    constant, so networks with padding keep their centre beside the weights.
    """
    if model.context.padded:
        model.centre = centre
        return
    first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    if first.bias is None:
        raise ValueError(f"the network {model.variant} has no first biases to move a constant into")
    first.bias -= centre * first.weight.sum(dim=(1, 2, 3))
