"""Caffe files written by hand: the wire format byte by byte, and the text that OpenCV reads."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

# kind, name, bottoms, top, and the channels that come out, in widths
NETWORK = """
conv    conv_d0a-b         data      d0b  1
relu    relu_d0b           d0b       d0b
conv    conv_d0b-c         d0b       d0c  1
relu    relu_d0c           d0c       d0c
pool    pool_d0c-1a        d0c       d1a
conv    conv_d1a-b         d1a       d1b  2
relu    relu_d1b           d1b       d1b
conv    conv_d1b-c         d1b       d1c  2
relu    relu_d1c           d1c       d1c
pool    pool_d1c-2a        d1c       d2a
conv    conv_d2a-b         d2a       d2b  4
relu    relu_d2b           d2b       d2b
conv    conv_d2b-c         d2b       d2c  4
relu    relu_d2c           d2c       d2c
pool    pool_d2c-3a        d2c       d3a
conv    conv_d3a-b         d3a       d3b  8
relu    relu_d3b           d3b       d3b
conv    conv_d3b-c         d3b       d3c  8
relu    relu_d3c           d3c       d3c
dropout dropout_d3c        d3c       d3c
pool    pool_d3c-4a        d3c       d4a
conv    conv_d4a-b         d4a       d4b  16
relu    relu_d4b           d4b       d4b
conv    conv_d4b-c         d4b       d4c  16
relu    relu_d4c           d4c       d4c
dropout dropout_d4c        d4c       d4c
upconv  upconv_d4c_u3a     d4c       u3a  8
relu    relu_u3a           u3a       u3a
crop    crop_d3c-d3cc      d3c,u3a   d3cc
concat  concat_d3cc_u3a-b  u3a,d3cc  u3b
conv    conv_u3b-c         u3b       u3c  8
relu    relu_u3c           u3c       u3c
conv    conv_u3c-d         u3c       u3d  8
relu    relu_u3d           u3d       u3d
upconv  upconv_u3d_u2a     u3d       u2a  4
relu    relu_u2a           u2a       u2a
crop    crop_d2c-d2cc      d2c,u2a   d2cc
concat  concat_d2cc_u2a-b  u2a,d2cc  u2b
conv    conv_u2b-c         u2b       u2c  4
relu    relu_u2c           u2c       u2c
conv    conv_u2c-d         u2c       u2d  4
relu    relu_u2d           u2d       u2d
upconv  upconv_u2d_u1a     u2d       u1a  2
relu    relu_u1a           u1a       u1a
crop    crop_d1c-d1cc      d1c,u1a   d1cc
concat  concat_d1cc_u1a-b  u1a,d1cc  u1b
conv    conv_u1b-c         u1b       u1c  2
relu    relu_u1c           u1c       u1c
conv    conv_u1c-d         u1c       u1d  2
relu    relu_u1d           u1d       u1d
upconv  upconv_u1d_u0a     u1d       u0a  2
relu    relu_u0a           u0a       u0a
crop    crop_d0c-d0cc      d0c,u0a   d0cc
concat  concat_d0cc_u0a-b  u0a,d0cc  u0b
conv    conv_u0b-c         u0b       u0c  1
relu    relu_u0c           u0c       u0c
conv    conv_u0c-d         u0c       u0d  1
relu    relu_u0d           u0d       u0d
"""
CROPPED = {"d3cc": 4, "d2cc": 16, "d1cc": 40, "d0cc": 88}  # Fig. 1: pixels on each side
KINDS = {
    "conv": (4, "Convolution"),
    "upconv": (39, "Deconvolution"),
    "relu": (18, "ReLU"),
    "pool": (17, "Pooling"),
    "dropout": (6, "Dropout"),
    "concat": (3, "Concat"),
    "crop": (0, "Crop"),  # old files have no number for it that others know
    "split": (22, "Split"),
    "power": (26, "Power"),
    "data": (9, "HDF5Data"),
}


@dataclass(frozen=True)
class Spec:
    """One layer, to be written."""

    kind: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[NDArray[np.float32], ...] = ()
    settings: dict[str, int] = field(default_factory=dict)

    def but(self, **changes: object) -> Spec:
        return replace(self, **changes)  # type: ignore[arg-type]


def network(width: int, *, classes: int = 2, channels: int = 1, seed: int = 0) -> list[Spec]:
    """The release's layers with random weights of the size that training begins with."""
    rng = np.random.default_rng(seed)
    depth, layers = {"data": channels}, []
    score = "conv conv_u0d-score u0d score"
    for line in [*NETWORK.split("\n"), score]:
        if not line:
            continue
        kind, name, joined, top, *out = line.split()
        bottoms, blobs, settings = tuple(joined.split(",")), (), {}
        depth_in = sum(depth[b] for b in bottoms) if kind == "concat" else depth[bottoms[0]]
        depth[top] = depth_in
        if "conv" in kind:
            depth[top] = int(out[0]) * width if out else classes
            side = 2 if kind == "upconv" else 3 if out else 1
            pair = (depth_in, depth[top]) if kind == "upconv" else (depth[top], depth_in)
            incoming = depth_in * (1 if kind == "upconv" else side * side)
            kernels = rng.normal(0, np.sqrt(2 / incoming), (*pair, side, side))
            blobs = kernels.astype("f4"), rng.normal(0, 0.1, depth[top]).astype("f4")
            settings = {"num_output": depth[top], "kernel_size": side, "stride": 1 + (side == 2)}
        if kind == "pool":
            settings = {"pool": 0, "kernel_size": 2, "stride": 2}
        layers.append(Spec(kind, name, bottoms, (top,), blobs, settings))
    return layers


def as_trained(layers: list[Spec]) -> list[Spec]:
    """What Caffe saves: the data layer in front, and a split where two layers read one map."""
    written = [Spec("data", "loaddata", (), ("data", "label"))]
    for k, layer in enumerate(layers):
        written.append(layer)
        top = layer.tops[0]
        later = layers[k + 1 :]
        readers = [one for one in later if top in one.bottoms]
        if len(readers) > 1 and not any(top in one.tops for one in later):
            tops = tuple(f"{top}_{layer.name}_0_split_{i}" for i in range(len(readers)))
            written.append(Spec("split", f"{top}_{layer.name}_0_split", (top,), tops))
            for reader, name in zip(readers, tops, strict=True):
                bottoms = tuple(name if b == top else b for b in reader.bottoms)
                layers = [one.but(bottoms=bottoms) if one is reader else one for one in layers]
    return rewired(written, layers)


def rewired(written: list[Spec], layers: list[Spec]) -> list[Spec]:
    """The written layers with the bottoms that the splits gave them."""
    final = {layer.name: layer for layer in layers}
    return [final.get(layer.name, layer) for layer in written]


# --- the wire format ------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(place: int, value: int) -> bytes:
    return varint(place << 3) + varint(value)


def chunk(place: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(place << 3 | 2) + varint(len(content)) + content


def blob(values: NDArray[np.float32], *, new: bool = False, sides: Iterable[int] = ()) -> bytes:
    """A BlobProto; ``sides`` lies about the shape."""
    sides = tuple(sides) or values.shape
    data = chunk(5, values.astype("<f4").tobytes())
    if new:
        return chunk(7, chunk(1, b"".join(map(varint, sides)))) + data
    sides = (1,) * (4 - len(sides)) + tuple(sides)
    return b"".join(number(k + 1, side) for k, side in enumerate(sides)) + data


CONVOLUTION = {"num_output": 1, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "dilation": 18}
POOLING = {"pool": 1, "kernel_size": 2, "stride": 3, "pad": 4}


def parameters(layer: Spec, *, new: bool) -> bytes:
    places = POOLING if layer.kind == "pool" else CONVOLUTION
    if layer.kind == "relu" and "slope" in layer.settings:
        slope = varint(1 << 3 | 5) + struct.pack("<f", layer.settings["slope"])
        return chunk(123 if new else 30, slope)
    if layer.kind == "concat" and layer.settings:
        axis = number(2, layer.settings["axis"])
        return chunk(104 if new else 9, axis)
    if not layer.settings:
        return b""
    content = b"".join(number(places[name], value) for name, value in layer.settings.items())
    pooling, convolution = (121, 106) if new else (19, 10)
    return chunk(pooling if layer.kind == "pool" else convolution, content)


def old_layer(layer: Spec) -> bytes:
    kind = KINDS[layer.kind][0]
    return b"".join([
        *(chunk(2, name) for name in layer.bottoms),
        *(chunk(3, name) for name in layer.tops),
        chunk(4, layer.name),
        number(5, kind) if kind else b"",
        *(chunk(6, blob(values)) for values in layer.blobs),
        parameters(layer, new=False),
    ])  # fmt: skip


def new_layer(layer: Spec) -> bytes:
    return b"".join([
        chunk(1, layer.name),
        chunk(2, KINDS[layer.kind][1]),
        *(chunk(3, name) for name in layer.bottoms),
        *(chunk(4, name) for name in layer.tops),
        *(chunk(7, blob(values, new=True)) for values in layer.blobs),
        parameters(layer, new=True),
    ])  # fmt: skip


def caffemodel(layers: Iterable[Spec], *, new: bool = False, name: str = "phseg_v5") -> bytes:
    """A binary NetParameter."""
    wrap = (
        (lambda one: chunk(100, new_layer(one))) if new else (lambda one: chunk(2, old_layer(one)))
    )
    return chunk(1, name) + b"".join(map(wrap, layers))


def prototxt(layers: Iterable[Spec], height: int, width: int, channels: int = 1) -> str:
    """The description for OpenCV, which knows Crop in the new style alone."""
    sides = "".join(f"input_dim: {side} " for side in (1, channels, height, width))
    lines = [f'name: "test" input: "data" {sides}']
    for layer in layers:
        maps = "".join(f'bottom: "{name}" ' for name in layer.bottoms)
        maps += "".join(f'top: "{name}" ' for name in layer.tops)
        said = "".join(f"{name}: {value} " for name, value in layer.settings.items())
        more = ""
        if "conv" in layer.kind:
            more = f"convolution_param {{ {said}}}"
        elif layer.kind == "pool":
            more = f"pooling_param {{ {said.replace('pool: 0', 'pool: MAX')}}}"
        elif layer.kind == "crop":
            more = f"crop_param {{ axis: 2 offset: {CROPPED[layer.tops[0]]} }}"
        lines.append(
            f'layer {{ name: "{layer.name}" type: "{KINDS[layer.kind][1]}" {maps}{more} }}'
        )
    return "\n".join(lines)
