"""What a package is tested with: a made-up section, and what prediction here says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.export.graph import Probabilities
from paper_unet.figures.style import figure, picture
from paper_unet.images import to_unit_range
from paper_unet.inference.predict import predict_image
from paper_unet.networks.base import Network
from paper_unet.synthetic import synthetic_stack

SHAPE: Final = (224, 288)
"""Pixels, plus what the sides of a network are offset by; of a padded one its halo's, too."""

INTEGERS: Final = ("uint8", "uint16", "int8", "int16", "uint32", "int32")
"""Types of grey values that a package can name."""


@dataclass(frozen=True)
class Tensors:
    """An input and its output.

    Attributes
    ----------
    grey : ndarray of the images' type, shape (1, C, H, W)
    unit : ndarray of float32, shape (1, C, H, W)
        The same in [0, 1].
    probability : ndarray of float32, shape (1, K, h, w)
    """

    grey: NDArray[Any]
    unit: NDArray[np.float32]
    probability: NDArray[np.float32]


def grey_ranges(model: Network) -> dict[str, tuple[float, float]]:
    """Return the grey values that a network knows, by type, and those of float32 if it learnt so.

    Floating values without a range are in [0, 1]; whatever their width, a package names float32.
    """
    known = dict(model.grey_ranges)
    if _named(learnt := _recorded_type(model)) == "float32":
        known["float32"] = known.get(learnt, (0.0, 1.0))
    return known


def _recorded_type(model: Network) -> str:
    """Return the type of the images of the training, if it is recorded."""
    return str(model.record.get("grey_type", ""))


def _named(dtype: str) -> str:
    """Return what a package calls a type."""
    return "float32" if dtype.startswith("float") else dtype


def grey_type(model: Network, wanted: str | None = None) -> str:
    """Return the type of the images of a package: the wanted one, or what the network learnt from.

    Raises
    ------
    InputError
        If the network knows no range of the wanted type.
    """
    known = [name for name in grey_ranges(model) if name in INTEGERS or name == "float32"]
    if wanted is not None and wanted not in known:
        raise InputError(
            f"`grey_type` is {wanted}; the network knows the grey values of {', '.join(known)}"
        )
    if not known:
        raise InputError("the network knows no grey values that a package could name")
    return wanted or _learnt_from(model, known)


def _learnt_from(model: Network, known: list[str]) -> str:
    """Return the type of the images of the training, as far as the record says it."""
    if (learnt := _named(_recorded_type(model))) in known:
        return learnt
    config = model.record.get("config")  # the record of an older version has no more
    given = config.get("value_range") if isinstance(config, Mapping) else None
    others = [name for name in known if name != "uint8"]
    ranges = grey_ranges(model)
    same = [name for name in known if given and list(ranges[name]) == list(given)]
    if len(same) == 1:
        return same[0]
    if "uint8" in known and (not others or config is None):
        return "uint8"
    if len(others) > 1:
        raise InputError(
            f"the network knows the grey values of {', '.join(known)}; choose one with `grey_type`"
        )
    return others[0]


def make_tensors(model: Network, graph: Probabilities, dtype: str) -> Tensors:
    """Return a made-up section of electron microscopy, and what this package predicts for it."""
    low, high = grey_ranges(model)[dtype]
    offset = graph.sides.base or 2 * max(0, getattr(graph, "halo", 0) - 96)
    shape = (SHAPE[0] + offset, SHAPE[1] + offset)
    section = synthetic_stack(sections=1, shape=shape).images[0] / 255
    grey = low + (high - low) * section
    if np.dtype(dtype).kind != "f":
        grey = np.rint(grey)
    image = np.stack([grey] * model.config.in_channels).astype(dtype)
    unit = np.asarray(to_unit_range(image, (low, high)), np.float32)
    if graph.lost:
        with torch.inference_mode():
            found = graph(torch.from_numpy(unit)[None]).numpy()
    else:
        classes = range(model.config.out_channels) if not model.sigmoid else (None,)
        given = image if len(image) > 1 else image[0]
        found = np.stack(
            [predict_image(model, given, of_class=k, value_range=(low, high)) for k in classes]
        )[None]
    return Tensors(image[None], unit[None], found)


def cover(tensors: Tensors) -> bytes:
    """Return a PNG of the section and of the last class' probability, twice as wide as high."""
    lost = (tensors.unit.shape[2] - tensors.probability.shape[2]) // 2
    kept = slice(lost, -lost or None)
    section = tensors.unit[0].mean(axis=0)[kept, kept]
    side = min(section.shape)
    with figure("column", 3.35 / 2) as page:
        for axes, pixels in zip(
            page.subplots(1, 2), (section, tensors.probability[0, -1]), strict=True
        ):
            axes.imshow(pixels[:side, :side], vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
    return picture(page, "png")
