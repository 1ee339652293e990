"""The metadata of an OME-Zarr image and its pyramid, built and checked by the format's models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.images.stack import PixelSize

COLOURS = ("0072B2", "E69F00", "009E73", "D55E00", "CC79A7", "56B4E9", "F0E442")
"""Of channels, as viewers show them; told apart by the colour-blind (Okabe and Ito, 2008)."""


def ome_attributes(
    version: str,
    levels: int,
    pixel_size: PixelSize,
    *,
    labels: bool = False,
    channels: tuple[str, ...] = (),
    dtype: np.dtype[Any] | type = np.float32,
    places: Sequence[tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Return the attributes of the group that holds the levels ``0``, ``1``, ...

    Parameters
    ----------
    version : "0.4" or "0.5"
        Of OME-Zarr.
    levels : int
        Of the pyramid, each half as high and wide as the one before.
    pixel_size : tuple of float or None, (z, y, x)
        Of level 0, in micrometres; where it is not known the scale has no unit.
    labels : bool
        Whether it is a label image: smaller levels hold the first of 2 x 2 pixels, else their mean.
    channels : tuple of str
        What the values of a pixel are called, where the levels are (C, Z, Y, X); else empty.
    dtype : numpy.dtype
        Of the channels: probabilities, whose range is shown.
    places : sequence of (float, float), optional
        Along z, y and x how far apart the pixels of level 0 are, and where the first one lies, in
        the unit of the axis; default: by their size, from 0.

    Returns
    -------
    dict
        As JSON, with the scale of each level, and the shift of its pixels' centres.
    """
    if places is None:
        places = [(1.0 if size is None else float(size), 0.0) for size in pixel_size]
    # imported where needed: these take a second
    if version == "0.4":
        from ome_zarr_models.v04.axes import Axis as Axis04
        from ome_zarr_models.v04.image import ImageAttrs as Image04
        from ome_zarr_models.v04.multiscales import Dataset as Dataset04
        from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04

        pyramid = _pyramid(
            Multiscale04, Dataset04, Axis04, levels, pixel_size, places, labels, channels,
            version="0.4",
        )  # fmt: skip
        more = {**_label(version, labels), **_omero(channels, np.dtype(dtype))}
        return {**_json(Image04(multiscales=[pyramid])), **more}
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    pyramid = _pyramid(Multiscale, Dataset, Axis, levels, pixel_size, places, labels, channels)
    image = _json(ImageAttrs(multiscales=[pyramid], version="0.5"))
    more = {**_label(version, labels), **_omero(channels, np.dtype(dtype))}
    return {"ome": {**image, **more}}


def _omero(channels: tuple[str, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return what viewers show of channels: their names, colours and range."""
    if not channels:
        return {}
    white = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    window = {"min": 0.0, "max": white, "start": 0.0, "end": white}
    return {
        "omero": {
            "channels": [
                {
                    "label": name,
                    "color": COLOURS[k % len(COLOURS)],
                    "window": window,
                    "active": True,
                }
                for k, name in enumerate(channels)
            ]
        }
    }


def _label(version: str, labels: bool) -> dict[str, Any]:
    """Return what makes a label image of an image."""
    said = {"version": version} if version == "0.4" else {}  # later versions say it once, above
    return {"image-label": said} if labels else {}


def check_ome(folder: Path, version: str, *, labels: bool = False) -> None:
    """Raise ValueError unless a group is a valid OME-Zarr image (of labels) of this version."""
    import zarr
    from ome_zarr_models.v04.image import Image as Image04
    from ome_zarr_models.v04.image_label import ImageLabelAttrs as Label04
    from ome_zarr_models.v05.image import Image
    from ome_zarr_models.v05.image_label import ImageLabelAttrs as Label

    group = zarr.open_group(folder, mode="r")
    if version == "0.4":
        Image04.from_zarr(group)
        if labels:
            Label04.model_validate(dict(group.attrs))
    else:
        Image.from_zarr(group)
        if labels:
            Label.model_validate(group.attrs["ome"])


def _pyramid(
    multiscale: Any, dataset: Any, axis: Any, levels: int, pixel_size: PixelSize,
    places: Sequence[tuple[float, float]], labels: bool, channels: tuple[str, ...], **more: str,
) -> Any:  # fmt: skip
    before = [axis(name="c", type="channel")] if channels else []
    axes = [
        *before,
        *(
            axis(name=name, type="space", unit=None if size is None else "micrometer")
            for name, size in zip("zyx", pixel_size, strict=True)
        ),
    ]
    sizes, starts = ([place[k] for place in places] for k in (0, 1))
    datasets = [
        dataset.build(
            path=str(k),
            scale=[1.0] * len(before) + _scale(sizes, k),
            translation=_placed(len(before), starts, None if labels else _shift(sizes, k)),
        )
        for k in range(levels)
    ]
    return multiscale(axes=axes, datasets=datasets, type="nearest" if labels else "mean", **more)


def _placed(before: int, starts: list[float], shift: list[float] | None) -> list[float] | None:
    """Return where the first pixel lies, also along the axes before Z, Y, X; None if all at 0.

    Of labels it stays where it is.
    """
    if shift is None:
        return [0.0] * before + starts if any(starts) else None
    return [0.0] * before + [a + b for a, b in zip(starts, shift, strict=True)]


def _scale(sizes: list[float], level: int) -> list[float]:
    return [sizes[0], sizes[1] * 2**level, sizes[2] * 2**level]


def _shift(sizes: list[float], level: int) -> list[float] | None:
    """How far the centre of the first pixel lies from that of level 0; None of this one.

    A pixel of level k covers 2^k pixels of level 0, whose centres are 0 to 2^k - 1.
    """
    half = (2**level - 1) / 2
    return [0.0, sizes[1] * half, sizes[2] * half] if level else None


def _json(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return found
