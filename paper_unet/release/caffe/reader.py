"""Reading a network file of Caffe, old style (2014) or new."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.release.caffe.frame import NO_CAFFE, check_frame
from paper_unet.release.caffe.schema import network_class
from paper_unet.system.files import check_regular, open_regular
from paper_unet.system.memory import current_budget

LARGEST_FILE: Final = 2**30
"""Bytes; the release's network has 124 MB."""

TIMES: Final = 4
"""Bytes of memory for each of a file: itself, its message, the weights, and the network."""

OLD_KINDS: Final = {
    3: "concat",
    4: "convolution",
    6: "dropout",
    17: "pooling",
    18: "relu",
    22: "split",
    39: "deconvolution",
}
"""Numbers that old files have for the type of a layer, as new files spell them."""


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a network file.

    Attributes
    ----------
    name : str
    kind : str
        Type of the layer in lower case, such as ``convolution``.
    bottoms, tops : tuple of str
        The maps that it reads and writes.
    blobs : tuple of ndarray of float32
        Its weights, if it has any: kernels (out, in, y, x), then biases.
    settings : dict
        What the file says about it; see `paper_unet.release.caffe.mapping`.
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[NDArray[np.float32], ...]
    settings: dict[str, object]


@dataclass(frozen=True)
class CaffeNetwork:
    """A network file: its own name, its SHA-256, and its layers in order."""

    name: str
    sha256: str
    layers: tuple[CaffeLayer, ...]


def read_network(path: str | Path) -> CaffeNetwork:
    """Read a ``.caffemodel``.

    Parameters
    ----------
    path : str or Path
        A binary ``NetParameter`` with ``layers`` of the old style, or ``layer`` of the new one.

    Returns
    -------
    CaffeNetwork

    Raises
    ------
    InputError
        If the file is missing, too large, truncated or of another kind, holds no layers, or
        weights whose number does not match their shape, or that are not finite; if protobuf is not
        installed.
    """
    path = Path(path)
    data = _bytes_of(path)
    try:
        check_frame(data)
        message = _parse(data)
        name, sha256 = _text(message.name), hashlib.sha256(data).hexdigest()
        return CaffeNetwork(name, sha256, _layers(message))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def quoted(name: str) -> str:
    """Return a name out of a file as it can be shown: printable, on one line, not long."""
    shown = ascii(name)
    return shown if len(shown) <= 60 else f"{shown[:56]}...'"


def _bytes_of(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path}: no such file; give phseg_v5.caffemodel of the release")
    size = check_regular(path)
    if size > LARGEST_FILE:
        raise InputError(
            f"{path}: {size} bytes, accepted are {LARGEST_FILE}; phseg_v5.caffemodel has about 124 "
            "million: give that file"
        )
    current_budget().allow(TIMES * size, path, f"is a network file of {size} bytes")
    try:
        with open_regular(path) as file:
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy it again") from error


def _parse(data: bytes) -> Any:
    network = network_class()
    from google.protobuf.message import DecodeError

    try:
        return network.FromString(data)
    except DecodeError as error:
        raise InputError(f"not a network file ({error}); {NO_CAFFE}") from error


def _layers(message: Any) -> tuple[CaffeLayer, ...]:
    if message.layers and message.layer:
        raise InputError(
            f"holds {len(message.layers)} layers of the old style and {len(message.layer)} of the "
            "new; a file of one style is needed"
        )
    if not message.layers and not message.layer:
        raise InputError(f"holds no layers; {NO_CAFFE}")
    return tuple(_layer(layer) for layer in message.layers or message.layer)


def _layer(layer: Any) -> CaffeLayer:
    name = _text(layer.name)
    if isinstance(layer.type, int):
        kind = OLD_KINDS.get(layer.type, f"type {layer.type}")
    else:
        kind = _text(layer.type).lower()
    return CaffeLayer(
        name,
        kind,
        tuple(_text(bottom) for bottom in layer.bottom),
        tuple(_text(top) for top in layer.top),
        tuple(_blob(blob, name) for blob in layer.blobs),
        _settings(layer, kind),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _blob(blob: Any, name: str) -> NDArray[np.float32]:
    """Return the weights of one blob, in their shape."""
    shape = _shape(blob, name)
    data = b"".join(blob.data)
    if len(data) != 4 * math.prod(shape):
        raise InputError(
            f"layer {quoted(name)}: {len(data)} bytes of float32 weights, and shape {shape} needs "
            f"{4 * math.prod(shape)}; {NO_CAFFE}"
        )
    weights = np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)
    bad = weights.size - np.count_nonzero(np.isfinite(weights))
    if bad:
        raise InputError(
            f"layer {quoted(name)}: {bad} of {weights.size} weights are NaN or infinite; use "
            "a sound copy of the file"
        )
    return weights


def _shape(blob: Any, name: str) -> tuple[int, ...]:
    sides = ("num", "channels", "height", "width")
    old = tuple(getattr(blob, side) for side in sides)
    new = tuple(blob.shape.dim)
    has_old = any(blob.HasField(side) for side in sides)
    if has_old and new and old != new:
        raise InputError(f"layer {quoted(name)}: weights of shape {old} and {new[:8]}; {NO_CAFFE}")
    shape = old if has_old else new
    if not 1 <= len(shape) <= 8 or min(shape) < 1:
        raise InputError(
            f"layer {quoted(name)}: weights of shape {shape[:8]}; sides from 1 are needed"
        )
    return shape


def _settings(layer: Any, kind: str) -> dict[str, object]:
    """Return what the file says about how a layer computes; empty where it says nothing."""
    if kind in ("convolution", "deconvolution"):
        said = layer.HasField("convolution_param")
        return _convolution(layer.convolution_param) if said else {}
    if kind == "pooling":
        return _pooling(layer.pooling_param)
    if kind == "relu":
        return {"slope": layer.relu_param.negative_slope}
    if kind == "concat":
        said = [name for name in ("axis", "concat_dim") if layer.concat_param.HasField(name)]
        return {"axis": getattr(layer.concat_param, said[0]) if said else 1}
    return {}


def _convolution(found: Any) -> dict[str, object]:
    return {
        "stride": _pair(found, "stride") or (1, 1),
        "pad": _pair(found, "pad") or (0, 0),
        "dilation": max(found.dilation, default=1),
        "group": found.group if found.HasField("group") else 1,
    }


def _pooling(found: Any) -> dict[str, object]:
    return {
        "pool": found.pool,
        "kernel": _pair(found, "kernel", "kernel_size"),
        "stride": _pair(found, "stride") or (1, 1),
        "pad": _pair(found, "pad") or (0, 0),
        "global": found.global_pooling,
    }


def _pair(found: Any, name: str, both: str = "") -> tuple[int, int] | None:
    """Return a setting along y and x: given for each, once for both, or not at all."""
    if found.HasField(f"{name}_h") or found.HasField(f"{name}_w"):
        return getattr(found, f"{name}_h"), getattr(found, f"{name}_w")
    value = getattr(found, both or name)
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1]) if any(values) else None
