"""Weights on disk: a file of tensors with the network's configuration and its record."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paper_unet.errors import InputError, shown
from paper_unet.model import UNet
from paper_unet.networks.base import Network, NetworkConfig
from paper_unet.networks.known_weights import locate
from paper_unet.networks.stored_config import (
    stored_centre,
    stored_network,
    stored_ranges,
    stored_record,
    stored_variant,
)
from paper_unet.networks.table import first_name, network_class
from paper_unet.networks.tensor_file import digest_of, opened_tensors, write_tensors
from paper_unet.system.stop import interrupts_wait

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types that stored weights may have."""


def save_model(
    path: Path | str,
    model: Network,
    *,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = True,
    token: str = "",
) -> None:
    """Write a network with its configuration, grey ranges and record.

    Parameters
    ----------
    path : path-like
        Replaced atomically.
    model : Network
    dtype : torch.dtype
        How the weights are stored; ``torch.float16`` halves the file.
    overwrite, token
        As `paper_unet.system.files.write_atomic` takes them.
    """
    tensors = {name: _stored(value, dtype) for name, value in model.state_dict().items()}
    write_tensors(path, tensors, describe(model), overwrite=overwrite, token=token)


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to("cpu", dtype if value.is_floating_point() else value.dtype)


@interrupts_wait()  # safetensors and PyTorch take it for damage
def load_model(path: Path | str | None = None, device: str | torch.device = "cpu") -> Network:
    """Read a network, ready to predict.

    Parameters
    ----------
    path : path-like or str, optional
        A file that `save_model` or training wrote, or the name of weights that has no file of its
        own: one of `paper_unet.networks.known_weights`; default: the bundled weights.
    device : str or torch.device
        Where to put it.

    Returns
    -------
    Network
        In evaluation mode, float32.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged (SHA-256), of another format, not what was
        published under its name, or does not hold the network that it declares.

    Notes
    -----
    It is one of `paper_unet.networks.table.NETWORKS`.
    """
    path, published = locate(path)
    with opened_tensors(path, published) as stored:
        if "step" in stored.about:
            raise InputError(
                f"{path}: is the checkpoint of an unfinished training; give the "
                "weights.safetensors that the finished one leaves beside it, or finish it with "
                "`resume`"
            )
        model = _network_of(stored.about, path)
        check_shapes(model, stored.shapes(), path)  # before anything is allocated
        load_weights(model, stored.tensors(), path)
    return model.to(device).eval()


def weights_digest(model: Network) -> str:
    """Return the SHA-256 of a network's configuration and weights, as they are in memory."""
    network = json.dumps([asdict(model.config), model.grey_ranges], sort_keys=True)
    network += "" if model.variant == UNet.variant else first_name(model.variant)
    network += f" centre {model.centre}" if model.centre else ""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return digest_of(tensors, network)


def describe(model: Network) -> dict[str, Any]:
    """Return what is stored beside the weights of a network."""
    return {
        "network": asdict(model.config),
        **({} if model.variant == UNet.variant else {"variant": model.variant}),
        **({"centre": model.centre} if model.centre else {}),
        "grey_ranges": model.grey_ranges,
        "record": model.record,
    }


def _network_of(about: Mapping[str, Any], path: Path) -> Network:
    """Build the network that a file declares, on the meta device: shapes without memory."""
    with _declared(path):
        config = stored_network(about)
        kind = network_class(stored_variant(about, UNet.variant))
        model = copy.deepcopy(_unfilled(kind.from_config, json.dumps(asdict(config))))
        model.grey_ranges, model.record = stored_ranges(about), stored_record(about)
        model.centre = stored_centre(about)
    return model


@contextmanager
def _declared(path: Path) -> Iterator[None]:
    """Turn what is wrong with the description of a network into one line."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: declares no network that this version knows ({shown(error, 200)}); it needs "
            "a file written by paper-unet train"
        ) from error


@lru_cache(maxsize=8)  # on the meta device it takes longer to build one than to copy it
def _unfilled(make: Callable[[NetworkConfig], Network], config: str) -> Network:
    with torch.device("meta"):
        return make(NetworkConfig(**json.loads(config)))


def check_shapes(model: Network, found: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raise InputError unless these are the names and shapes of a network's tensors."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if expected != found:
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        first = wrong[0]
        raise InputError(
            f"{path}: {len(wrong)} tensors do not fit the network of width {model.config.width}; "
            f"the first is {shown(first)}: found {found.get(first)}, needed {expected.get(first)}"
        )


def load_weights(model: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a network after checking names, shapes, types and values.

    Parameters
    ----------
    model : Network
        May be on the meta device: then it is on the CPU afterwards.
    tensors : mapping of str to Tensor
        Floating values in float16, bfloat16, float32 or float64; they become float32.
    path : Path
        For messages.

    Raises
    ------
    InputError
        If a tensor is missing, of another shape or type, or holds what no training leaves: values
        that are not finite, or a variance below zero.
    """
    check_shapes(model, {name: tuple(value.shape) for name, value in tensors.items()}, path)
    expected = model.state_dict()
    on_meta = any(value.is_meta for value in expected.values())
    weights = {
        name: _sound(name, value, expected[name].dtype, path) for name, value in tensors.items()
    }
    model.load_state_dict(weights, assign=on_meta)


def _sound(name: str, value: Tensor, dtype: torch.dtype, path: Path) -> Tensor:
    """Return a copy in the type of the network, if it is one that a network can have."""
    accepted = FLOATS if dtype.is_floating_point else (dtype,)
    if value.dtype not in accepted:
        words = " or ".join(str(one).removeprefix("torch.") for one in accepted)
        raise InputError(
            f"{path}: the tensor {name} is {str(value.dtype).removeprefix('torch.')}, needed is "
            f"{words}; give weights that paper-unet train wrote"
        )
    kept = value.to(dtype, copy=True)
    if not all(bool(torch.isfinite(end)) for end in kept.aminmax()):  # NaN spreads to both ends
        bad = kept.numel() - int(torch.isfinite(kept).sum())
        raise InputError(
            f"{path}: {bad} of {kept.numel()} values of {name} are NaN or infinite; use a sound "
            "copy, or the weights of a training that did not diverge"
        )
    if name.endswith("running_var") and bool((kept < 0).any()):
        raise InputError(
            f"{path}: {name} has a variance below zero; use a sound copy of the weights"
        )
    return kept


@interrupts_wait()
def read_network(path: Path | str | None) -> Network:
    """Return the network of a file with its record, without its weights, which stay unread.

    Raises
    ------
    InputError
        If the file is missing or truncated, or declares no network.
    """
    path, published = locate(path)
    with opened_tensors(path, published) as stored:
        return _network_of(stored.about, path)


@interrupts_wait()
def read_config(path: Path | str | None) -> NetworkConfig:
    """Return the configuration of a file's network, and build none.

    Raises
    ------
    InputError
        If the file is missing or truncated, or declares no network.
    """
    path, published = locate(path)
    with opened_tensors(path, published) as stored, _declared(path):
        return stored_network(stored.about)
