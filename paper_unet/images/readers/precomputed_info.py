"""What the document ``info`` of a Neuroglancer precomputed volume says, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.errors import InputError, shown
from paper_unet.images.axes import Axes
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.precomputed import DOCUMENT, UNKNOWN, VOLUME
from paper_unet.images.readers.foreign import LARGEST_DOCUMENT, describes, json_of
from paper_unet.images.readers.zarr_names import inside
from paper_unet.images.stack import PixelSize
from paper_unet.system.files import open_regular

TYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32",
)  # fmt: skip
ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation")
MOST_PIXELS, MOST_ABOVE, MOST_NAMED, MOST_CHANNELS = 2**60, 4, 12, 2**16

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Sharding:
    """How chunks are put together in files; see `precomputed_shards`."""

    preshift_bits: int
    minishard_bits: int
    shard_bits: int
    hash: str
    minishard_index_encoding: str
    data_encoding: str


@dataclass(frozen=True)
class Scale:
    """One scale of a volume; all triples are in the order X, Y, Z of the document.

    Attributes
    ----------
    volume : Path
        The folder of the volume.
    key : str
        Of the scale: its folder in that of the volume.
    segmentation : bool
        Whether the values are numbers of segments.
    dtype : numpy.dtype
    channels : int
    size, offset : tuple of int
        Voxels, and the place of the first one.
    resolution : tuple of float
        Nanometres.
    unknown : tuple of str
        Axes of which the resolution stands for nothing.
    chunks : tuple of tuple of int
        Sizes of chunks, in each of which all voxels are there.
    encoding : str
        One of `ENCODINGS`.
    block : tuple of int
        Of compressed_segmentation.
    sharding : Sharding or None
    others : tuple of str
        Keys of the other scales.
    """

    volume: Path
    key: str
    segmentation: bool
    dtype: np.dtype[Any]
    channels: int
    size: Triple
    offset: Triple
    resolution: tuple[float | None, ...]
    unknown: tuple[str, ...]
    chunks: tuple[Triple, ...]
    encoding: str
    block: Triple
    sharding: Sharding | None
    others: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its chunks are."""
        return self.volume / self.key

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as numpy has it, (Z, Y, X), or (C, Z, Y, X) of several channels."""
        colours = (self.channels,) if self.channels > 1 else ()
        return *colours, *reversed(self.size)

    @property
    def axes(self) -> str:
        """One letter for each axis of `shape`."""
        return "CZYX" if self.channels > 1 else "ZYX"

    def pixel_size(self, axes: Axes) -> PixelSize:
        """Return the size of a pixel, micrometres, along the axes of a stack."""
        known = [
            None if name in self.unknown else micrometres(value, "nm")
            for name, value in zip("xyz", self.resolution, strict=True)
        ]
        lengths = dict(enumerate(reversed(known), start=len(self.shape) - 3))
        z, y, x = (None if k is None else lengths.get(k) for k in (axes.z, axes.y, axes.x))
        return z, y, x


def is_precomputed(path: Path) -> bool:
    """Whether a folder is a precomputed volume, or that of one of its scales."""
    own = path.is_dir() and describes(path / DOCUMENT, "scales", "@type", "data_type")
    return own or (path.is_dir() and _above(path) is not None)


def _above(path: Path) -> Path | None:
    """Return the volume of which a folder is that of a scale."""
    whole = path.absolute()
    for volume in list(whole.parents)[:MOST_ABOVE]:
        scales = (json_of(volume / DOCUMENT) or {}).get("scales")
        key = whole.relative_to(volume).as_posix()
        if isinstance(scales, list) and key in [_key(scale) for scale in scales]:
            return volume
    return None


def _key(scale: Any) -> str | None:
    key = scale.get("key") if isinstance(scale, dict) else None
    return key.strip("/") if isinstance(key, str) else None


def find_scale(path: Path) -> Scale:
    """Read the scale that a folder is, or the first one of the volume that it is.

    Raises
    ------
    InputError
        If the document is damaged, or of something else than a volume.
    """
    volume = path if (path / DOCUMENT).exists() else _above(path) or path
    document = volume / DOCUMENT
    about = json_of(document)
    if about is None:
        with open_regular(document):  # may it be read?
            pass
        raise InputError(
            f"{document}: is no JSON document of less than {LARGEST_DOCUMENT} bytes; copy or "
            "export the volume again"
        )
    kind = about.get("@type", VOLUME)
    scales = about.get("scales")
    if kind != VOLUME or not isinstance(scales, list) or not scales:
        what = shown(kind) if kind != VOLUME else "a volume without scales"
        raise InputError(
            f"{path}: a Neuroglancer folder, of {what}; give that of a volume of images or of a "
            "segmentation"
        )
    keys = [_key(scale) for scale in scales]
    wanted = path.absolute().relative_to(volume.absolute()).as_posix()
    chosen = keys.index(wanted) if volume != path else 0
    try:
        return _read(path, volume, about, scales[chosen], keys[chosen], keys)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else shown(error, 200)
        raise InputError(
            f"{document}: scale {chosen} {reason}; copy or export the volume again"
        ) from error


def _read(
    path: Path, volume: Path, about: dict[str, Any], scale: Any, key: str | None, keys: list[Any]
) -> Scale:
    if key is None:
        raise ValueError("has no key")
    if inside(key) is None:
        raise ValueError(f"has the key {shown(key)}, which leads out of the volume")
    name, encoding = str(about["data_type"]).lower(), scale["encoding"]
    if name not in TYPES:
        raise InputError(
            f"{path}: values of type {shown(name)}; accepted are {', '.join(TYPES)}: save it as "
            "one of these"
        )
    if encoding not in ENCODINGS:
        raise InputError(
            f"{path}: encoded as {shown(encoding)}; accepted are {', '.join(ENCODINGS)}: save it "
            "as one of these"
        )
    size = _triple(scale["size"], "size", 0)
    if math.prod(size) > MOST_PIXELS:
        raise ValueError(f"is of size {size}, more than any disk holds")
    channels = about.get("num_channels", 1)
    if type(channels) is not int or not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"is of {shown(channels)} channels")
    chunks = scale["chunk_sizes"]
    if not isinstance(chunks, list) or not chunks:
        raise ValueError(f"has chunk_sizes {shown(chunks)}")
    packed = encoding == "compressed_segmentation"
    if packed and name not in ("uint32", "uint64"):
        raise ValueError(f"has {name} encoded as {encoding}, which is for uint32 and uint64")
    block = scale["compressed_segmentation_block_size"] if packed else [1, 1, 1]
    return Scale(
        volume=volume,
        key=key,
        segmentation=about.get("type") == "segmentation",
        dtype=np.dtype(name),
        channels=channels,
        size=size,
        offset=_triple(scale.get("voxel_offset", [0, 0, 0]), "voxel_offset", -(2**62)),
        resolution=_resolution(scale.get("resolution")),
        unknown=tuple(map(str, scale.get(UNKNOWN) or ())),
        chunks=tuple(_triple(one, "chunk_sizes", 1) for one in chunks),
        encoding=encoding,
        block=_triple(block, "compressed_segmentation_block_size", 1),
        sharding=_sharding(scale.get("sharding")),
        others=tuple(str(one) for one in keys if one != key),
    )


def _triple(values: Any, name: str, least: int) -> Triple:
    sound = isinstance(values, list) and len(values) == 3
    if not sound or not all(type(k) is int and least <= k <= 2**62 for k in values):
        raise ValueError(f"has the {name} {shown(values)}, where three integers are needed")
    x, y, z = values
    return x, y, z


def _resolution(values: Any) -> tuple[float | None, ...]:
    """Return three lengths; a damaged one is no reason to refuse the pixels."""
    if not isinstance(values, list) or len(values) != 3:
        return None, None, None
    return tuple(value if isinstance(value, int | float) else None for value in values)


def _sharding(about: Any) -> Sharding | None:
    if about is None:
        return None
    if about["@type"] != "neuroglancer_uint64_sharded_v1":
        raise ValueError(f"is sharded as {shown(about['@type'])}")
    bits = [about[name] for name in ("preshift_bits", "minishard_bits", "shard_bits")]
    if not all(type(k) is int and 0 <= k <= 64 for k in bits) or bits[1] + bits[2] > 64:
        raise ValueError(f"is sharded by {shown(bits)} bits")
    index, data = (about.get(f"{name}_encoding", "raw") for name in ("minishard_index", "data"))
    if about["hash"] not in ("identity", "murmurhash3_x86_128"):
        raise ValueError(f"is sharded by the hash {shown(about['hash'])}")
    if not {index, data} <= {"raw", "gzip"}:
        raise ValueError(f"is sharded with the encodings {shown((index, data))}")
    preshift, minishard, shard = bits
    return Sharding(preshift, minishard, shard, about["hash"], index, data)
