"""How the layers of a Caffe file are connected, written as one line for each layer with weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from paper_unet.errors import InputError
from paper_unet.release.caffe.reader import CaffeLayer, quoted

IMAGE: Final = "image"
RELU, MAX_POOL = " > relu", " > 2x2 max-pool"

LONGEST: Final = 300
"""Characters; a file may join a map with itself so often that its line would fill the memory."""

MOST_SOURCES: Final = 3
"""Of a layer that are looked at; none of the release's has more than two."""

MAX_POOLING: Final = {"pool": 0, "kernel": (2, 2), "stride": (2, 2), "pad": (0, 0), "global": False}


def check_wiring(layers: tuple[CaffeLayer, ...], expected: Mapping[str, str]) -> bool:
    """Check what enters each layer with weights.

    Parameters
    ----------
    layers : tuple of CaffeLayer
        In the order of the file, which is that of the computation.
    expected : dict of str to str
        For each layer with weights, what enters it: the layer before it and what is done on the
        way, such as ``conv_d0b-c > relu > 2x2 max-pool``; joined maps with a plus between them.

    Returns
    -------
    bool
        Whether the file says anything about it; one of weights alone does not.

    Raises
    ------
    InputError
        If it says something else.
    """
    if not any(layer.bottoms for layer in layers if layer.name in expected):
        return False
    maps: dict[str, str] = {}
    last = ""
    for layer in layers:
        sources = [maps.get(bottom, IMAGE) for bottom in layer.bottoms[:MOST_SOURCES]]
        if layer.name in expected:
            _compare(layer.name, " + ".join(sources), expected[layer.name])
            line = last = layer.name
        else:
            line = _result(layer, sources)[:LONGEST]
        maps |= dict.fromkeys(layer.tops, line)
    _check_end(layers, maps, last)
    return True


def _result(layer: CaffeLayer, sources: list[str]) -> str:
    """Return what a layer without weights makes of its sources."""
    if not sources:
        return IMAGE
    if layer.kind == "concat" and layer.settings["axis"] == 1:
        return " + ".join(sources)
    if layer.kind in ("dropout", "split"):  # nothing in prediction; a copy
        return sources[0]
    if layer.kind == "crop" or layer.name.startswith("crop"):  # no number of its own in old files
        return sources[0]
    if layer.kind == "relu":
        return sources[0] + (RELU if layer.settings["slope"] == 0 else " > leaky relu")
    if layer.kind == "pooling" and layer.settings == MAX_POOLING:
        return sources[0] + MAX_POOL
    return f"{sources[0]} > {layer.kind}"


def _compare(layer: str, found: str, needed: str) -> None:
    if found != needed:
        raise InputError(
            f"what enters layer {layer} is {quoted(found[:50])}, needed is '{needed}': another "
            "architecture; give phseg_v5.caffemodel of the release"
        )


def _check_end(layers: tuple[CaffeLayer, ...], maps: Mapping[str, str], last: str) -> None:
    """Refuse anything that is done in place to the scores."""
    tops = next(layer.tops for layer in reversed(layers) if layer.name == last)
    for top in tops:
        _compare("score", maps[top], last)
