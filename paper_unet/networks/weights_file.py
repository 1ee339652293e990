"""Weights on disk: safetensors with the network's configuration, its record and a SHA-256.

Nothing here can run code from a file. A file is written beside its final name and moved there when
it is complete and on the disk, so a crash leaves the previous one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from paper_unet.errors import InputError
from paper_unet.model import UNet
from paper_unet.networks.base import Network, NetworkConfig
from paper_unet.networks.table import RENAMED, network_class
from paper_unet.system.files import write_atomic
from paper_unet.system.stop import interrupts_wait

FORMAT = "paper_unet-1"
BUNDLED = Path(__file__).parent / "weights" / "isbi2012.safetensors"
"""The weights that come with the package: `predict` and `demo` use them by default."""


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
    path : path-like, optional
        A file that `save_model` or training wrote; default: the bundled weights.
    device : str or torch.device
        Where to put it.

    Returns
    -------
    Network
        In evaluation mode, float32.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged (SHA-256), of another format, or does not hold
        the network that it declares.

    Notes
    -----
    It is one of `paper_unet.networks.table.NETWORKS`.
    """
    path = BUNDLED if path is None else Path(path)
    tensors, about = read_tensors(path)
    if "step" in about:
        raise InputError(
            f"{path}: is the checkpoint of an unfinished training; give the weights.safetensors "
            "that the finished one leaves beside it, or finish it with `resume`"
        )
    model = _network_of(about, path)
    load_weights(model, tensors, path)
    return model.to(device).eval()


def weights_digest(model: Network) -> str:
    """Return the SHA-256 of a network's configuration and weights, as they are in memory."""
    network = json.dumps([asdict(model.config), model.grey_ranges], sort_keys=True)
    network += "" if model.variant == UNet.variant else _first_name(model.variant)
    network += f" centre {model.centre}" if model.centre else ""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return _digest(tensors, network)


def _first_name(variant: str) -> str:
    """Return the name that journals know a network by: its first one."""
    return next((old for old, new in RENAMED.items() if new == variant), variant)


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
    """Build the network that a file declares, its weights still random."""
    try:
        model = network_class(about.get("variant", UNet.variant)).from_config(
            NetworkConfig(**about["network"])
        )
        ranges = {k: (float(low), float(high)) for k, (low, high) in about["grey_ranges"].items()}
        model.grey_ranges, model.record = ranges, dict(about["record"])
        model.centre = float(about.get("centre", 0.0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: declares no network that this version knows ({error}); it needs a file "
            "written by paper-unet train"
        ) from error
    return model


def load_weights(model: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a network after checking names and shapes."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        first = wrong[0]
        raise InputError(
            f"{path}: {len(wrong)} tensors do not fit the network of width {model.config.width}; "
            f"the first is {first}: found {found.get(first)}, needed {expected.get(first)}"
        )
    model.load_state_dict(tensors)


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    about: object,
    *,
    overwrite: bool = True,
    token: str = "",
) -> None:
    """Write tensors and a JSON description, with a SHA-256 over both, as `write_atomic` does."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    # one entry, because safetensors writes several in no fixed order
    metadata = {FORMAT: json.dumps({"about": text, "sha256": _digest(tensors, text)})}
    data = to_bytes(dict(tensors), metadata)
    write_atomic(Path(path), data, overwrite=overwrite, token=token)


def has_description(path: Path) -> bool:
    """Whether a file says of itself that `write_tensors` wrote it, sound or not."""
    with path.open("rb") as file:
        return f'"{FORMAT}"'.encode() in file.read(2**16)


@interrupts_wait()
def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote and verify its SHA-256.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged or of another format.
    """
    tensors, text, expected = _parsed(Path(path), weights=True)
    if _digest(tensors, text) != expected:
        raise InputError(
            f"{path}: damaged, its SHA-256 is not the one it was written with; fetch or train it "
            "again"
        )
    return tensors, json.loads(text)


@interrupts_wait()
def channels_of(path: Path | str | None) -> int:
    """Return how many values for each pixel the network of a file takes; its weights stay unread.

    Raises
    ------
    InputError
        If the file is missing or truncated, or declares no network.
    """
    path = BUNDLED if path is None else Path(path)
    about = json.loads(_parsed(path, weights=False)[1])
    with torch.device("meta"):
        return _network_of(about, path).config.in_channels


def _parsed(path: Path, *, weights: bool) -> tuple[dict[str, Tensor], str, str]:
    """Return the tensors, or none, the description as JSON, and the SHA-256 of both."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; give a .safetensors file")
    size = path.stat().st_size
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if weights else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a complete safetensors file ({size} bytes: {error}); fetch or train it "
            "again"
        ) from error
    if FORMAT not in metadata:
        raise InputError(
            f"{path}: holds no {FORMAT!r} description; a file written by paper-unet train is needed"
        )
    try:
        entry = json.loads(metadata[FORMAT])
        text, expected = str(entry["about"]), str(entry["sha256"])
        about = json.loads(text)
    except (ValueError, TypeError, KeyError):
        about = None
    if not isinstance(about, dict):
        raise InputError(f"{path}: has no description of its network; fetch or train it again")
    return tensors, text, expected


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of the description and of each tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
