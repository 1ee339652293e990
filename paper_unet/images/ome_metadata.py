"""The metadata of an OME-Zarr image and its pyramid, built and checked by the format's models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper_unet.images.stack import PixelSize


def ome_attributes(
    version: str, levels: int, pixel_size: PixelSize, *, labels: bool = False
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

    Returns
    -------
    dict
        As JSON, with the scale of each level, and the shift of its pixels' centres.
    """
    # imported where needed: these take a second
    if version == "0.4":
        from ome_zarr_models.v04.axes import Axis as Axis04
        from ome_zarr_models.v04.image import ImageAttrs as Image04
        from ome_zarr_models.v04.multiscales import Dataset as Dataset04
        from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04

        pyramid = _pyramid(
            Multiscale04, Dataset04, Axis04, levels, pixel_size, labels, version="0.4"
        )
        return {**_json(Image04(multiscales=[pyramid])), **_label(version, labels)}
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    pyramid = _pyramid(Multiscale, Dataset, Axis, levels, pixel_size, labels)
    image = _json(ImageAttrs(multiscales=[pyramid], version="0.5"))
    return {"ome": {**image, **_label(version, labels)}}


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
    multiscale: Any, dataset: Any, axis: Any, levels: int, pixel_size: PixelSize, labels: bool,
    **more: str,
) -> Any:  # fmt: skip
    axes = [
        axis(name=name, type="space", unit=None if size is None else "micrometer")
        for name, size in zip("zyx", pixel_size, strict=True)
    ]
    sizes = [1.0 if size is None else float(size) for size in pixel_size]
    datasets = [
        dataset.build(
            path=str(k),
            scale=_scale(sizes, k),
            translation=None if labels else _shift(sizes, k),  # the first pixel stays where it is
        )
        for k in range(levels)
    ]
    return multiscale(axes=axes, datasets=datasets, type="nearest" if labels else "mean", **more)


def _scale(sizes: list[float], level: int) -> list[float]:
    return [sizes[0], sizes[1] * 2**level, sizes[2] * 2**level]


def _shift(sizes: list[float], level: int) -> list[float] | None:
    """Where the centre of the first pixel lies; level 0 is at 0.

    A pixel of level k covers 2^k pixels of level 0, whose centres are 0 to 2^k - 1.
    """
    half = (2**level - 1) / 2
    return [0.0, sizes[1] * half, sizes[2] * half] if level else None


def _json(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return found
