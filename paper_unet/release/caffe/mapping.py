"""From the layers of the release's file to `UNet.release`, by their names.

The names tell what a layer leads from and to: ``conv_d1a-b`` is on the way down, level 1, from the
map ``d1a`` to ``d1b``; ``upconv_d4c_u3a`` leads from the bottom up to level 3. Kernels need no
transposition: Caffe correlates as PyTorch does, and both store (out, in, y, x) for a convolution
and (in, out, y, x) for an up-convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.geometry import DEPTH
from paper_unet.model import UNet
from paper_unet.release.caffe.reader import CaffeLayer, CaffeNetwork, quoted, read_network
from paper_unet.release.caffe.wiring import IMAGE, MAX_POOL, RELU, check_wiring

WIDEST: Final = 1024
"""Channels that are accepted anywhere at full resolution; the release has 64."""

TERMS: Final = (
    "from the authors' release u-net-release-2015-10-02, which carries no licence: ask the authors "
    "before passing it on"
)
GIVE: Final = "give phseg_v5.caffemodel of the release"


@dataclass(frozen=True)
class Part:
    """A layer with weights.

    Attributes
    ----------
    caffe : str
        Its name in the release's file.
    module : str
        Its name in `UNet`.
    source : str
        What enters it, as `paper_unet.release.caffe.wiring` writes that.
    """

    caffe: str
    module: str
    source: str

    @property
    def kind(self) -> str:
        """Caffe's type of the layer."""
        return "deconvolution" if self.caffe.startswith("upconv") else "convolution"

    @property
    def settings(self) -> dict[str, object]:
        """How it must compute: unpadded; up-convolutions with stride 2 (sec. 2)."""
        stride = (2, 2) if self.kind == "deconvolution" else (1, 1)
        return {"stride": stride, "pad": (0, 0), "dilation": 1, "group": 1}


def _parts() -> tuple[Part, ...]:
    """Return the 23 layers in the order of the network."""
    parts, below = [], IMAGE
    for k in range(DEPTH + 1):
        first, second = f"conv_d{k}a-b", f"conv_d{k}b-c"
        parts += [Part(first, f"down{k}.0", below), Part(second, f"down{k}.2", first + RELU)]
        below = second + RELU + MAX_POOL
    source, stage = f"conv_d{DEPTH}b-c{RELU}", f"d{DEPTH}c"
    for k in reversed(range(DEPTH)):
        up, first, second = f"upconv_{stage}_u{k}a", f"conv_u{k}b-c", f"conv_u{k}c-d"
        joined = f"{up}{RELU} + conv_d{k}b-c{RELU}"  # up-sampled map first, then the skip
        parts += [
            Part(up, f"upconv{k}.0", source),
            Part(first, f"up{k}.0", joined),
            Part(second, f"up{k}.2", first + RELU),
        ]
        source, stage = second + RELU, f"u{k}d"
    return (*parts, Part("conv_u0d-score", "head", source))


PARTS: Final = _parts()
"""The 23 layers with weights of the release's network, from top to bottom."""


def import_caffe(path: str | Path) -> UNet:
    """Read the authors' released network.

    Parameters
    ----------
    path : str or Path
        ``phseg_v5.caffemodel`` of the release, or a file of the same layers of another width.

    Returns
    -------
    UNet
        ``UNet.release`` in evaluation mode, on the CPU. Its ``record`` tells where it came from;
        whole numbers as grey values are divided by the largest one of their type, as the authors'
        driver does.

    Raises
    ------
    InputError
        If the file cannot be read, or holds another network: a layer is missing, doubled, of
        another kind or shape, wired in another way, or there is one more. One line.
    """
    path = Path(path)
    network = read_network(path)
    try:
        model, wired = release_network(network.layers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    model.record = _record(path, network, wired)
    model.grey_ranges |= {"uint16": (0.0, 65535.0)}
    return model


def _record(path: Path, network: CaffeNetwork, wired: bool) -> dict[str, object]:
    return {
        "origin": {
            "file": path.name,
            "sha256": network.sha256,
            "network": network.name,
            "layers": {part.caffe: part.module for part in PARTS},
            "wiring": "checked" if wired else "not in the file",
        },
        "terms": TERMS,
    }


def release_network(layers: tuple[CaffeLayer, ...]) -> tuple[UNet, bool]:
    """Return `UNet.release` with the weights of these layers.

    Parameters
    ----------
    layers : tuple of CaffeLayer
        All layers of the file.

    Returns
    -------
    UNet
        In evaluation mode.
    bool
        Whether the file says how its layers are connected; what it says was checked then.

    Raises
    ------
    InputError
        As `import_caffe`.
    """
    found = _named(layers)
    for part in PARTS:
        _check_kind(part, found[part.caffe])
    weights = _weights(found)
    width, in_channels, out_channels = _channels(weights)
    with torch.device("meta"):  # shapes alone, no memory
        expected = UNet.release(in_channels, out_channels, width).state_dict()
    for part in PARTS:
        for name in ("weight", "bias"):
            key = f"{part.module}.{name}"
            _check_shape(part.caffe, name, weights[key].shape, tuple(expected[key].shape), width)
    wired = check_wiring(layers, {part.caffe: part.source for part in PARTS})
    model = UNet.release(in_channels, out_channels, width)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model.eval(), wired


def _named(layers: tuple[CaffeLayer, ...]) -> dict[str, CaffeLayer]:
    """Return the 23 layers by name: each there once, and no other has weights."""
    names = [part.caffe for part in PARTS]
    relevant = [layer for layer in layers if layer.blobs or layer.name in names]
    found = {layer.name: layer for layer in relevant}
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"has no layer {missing[0]}; {len(missing)} of the {len(names)} layers with weights "
            f"are missing: {GIVE}, complete"
        )
    for layer in relevant:
        if layer is not found[layer.name]:
            raise InputError(f"has two layers {quoted(layer.name)}, needed is one; {GIVE}")
        if layer.name not in names:
            raise InputError(
                f"layer {quoted(layer.name)} has weights, and the release's network has no such "
                f"layer: another architecture; {GIVE}"
            )
    return found


def _check_kind(part: Part, layer: CaffeLayer) -> None:
    if layer.kind != part.kind:
        raise InputError(
            f"layer {part.caffe} is a {quoted(layer.kind)}, needed is a {part.kind}: another "
            f"architecture; {GIVE}"
        )
    if len(layer.blobs) != 2:
        raise InputError(
            f"layer {part.caffe} has {len(layer.blobs)} arrays of weights, needed are 2, kernels "
            f"and biases; {GIVE}"
        )
    for name, needed in part.settings.items():
        if (said := layer.settings.get(name, needed)) != needed:
            raise InputError(
                f"layer {part.caffe} has {name} {said}, needed is {needed}: another architecture; "
                f"{GIVE}"
            )


def _weights(found: Mapping[str, CaffeLayer]) -> dict[str, NDArray[np.float32]]:
    """Return kernels and biases under the names of `UNet`."""
    weights: dict[str, NDArray[np.float32]] = {}
    for part in PARTS:
        kernels, biases = found[part.caffe].blobs
        if biases.size == biases.shape[-1]:  # old files have (1, 1, 1, n)
            biases = biases.reshape(-1)
        weights |= {f"{part.module}.weight": kernels, f"{part.module}.bias": biases}
    return weights


def _channels(weights: Mapping[str, NDArray[np.float32]]) -> tuple[int, int, int]:
    """Return width, channels of the image, and classes, as the first and last layers have them."""
    first, last = weights[f"{PARTS[0].module}.weight"], weights[f"{PARTS[-1].module}.weight"]
    for part, kernels in ((PARTS[0], first), (PARTS[-1], last)):
        if kernels.ndim != 4 or max(kernels.shape[:2]) > WIDEST:
            raise InputError(
                f"layer {part.caffe}: weights of shape {kernels.shape}, needed is (out, in, y, x) "
                f"with up to {WIDEST} channels; {GIVE}"
            )
    return first.shape[0], first.shape[1], last.shape[0]


def _check_shape(
    layer: str, name: str, found: tuple[int, ...], needed: tuple[int, ...], width: int
) -> None:
    if found != needed:
        raise InputError(
            f"layer {layer}: {name} of shape {found}, needed is {needed} in the release's network "
            f"of width {width}; {GIVE}"
        )
