"""The folder of an OME-Zarr image for its labels, made where it is asked for."""

from __future__ import annotations

from pathlib import Path


def make_labels(path: str | Path, version: str) -> None:
    """Make the folder ``labels`` of an OME-Zarr image, if an output is to lie there.

    Parameters
    ----------
    path : str or Path
        Of the output: ``IMAGE.zarr/labels/NAME``, or elsewhere: then nothing is made.
    version : "0.4" or "0.5"
        Of OME-Zarr, of the output.

    Raises
    ------
    InputError
        If the image is of another version.
    """
    if Path(path).parent.name == "labels":
        from paper_unet.images.outputs import zarr_labels  # takes a second

        zarr_labels.make_labels(path, version)
