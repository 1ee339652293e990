"""The folder of an OME-Zarr image for its labels, made where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paper_unet.images.outputs.kinds import LABELS, check_format
from paper_unet.images.stack import PixelSize
from paper_unet.system.address import Address


def make_labels(
    path: str | Path, version: str, shape: tuple[int, int, int], pixel_size: PixelSize
) -> PixelSize:
    """Make the folder ``labels`` of an OME-Zarr image, if an output is to lie there.

    It is made before all checks of the output, which finds its folder; `labels_kept` around them
    takes it away again if nothing is written.

    Parameters
    ----------
    path : str or Path
        Of the output: ``IMAGE.zarr/labels/NAME``, or elsewhere: then nothing is made.
    version : "0.4" or "0.5"
        Of OME-Zarr, of the output.
    shape : tuple of int, (Z, Y, X)
        Of the output.
    pixel_size : tuple of float or None, (z, y, x)
        Of what the output is made of, in micrometres; None where it is not known.

    Returns
    -------
    tuple of float or None, (z, y, x)
        The size that the output's pixels are to have: what is not known is as in the image.

    Raises
    ------
    InputError
        If the image is of another version or shape, or the output is no Zarr.
    """
    if Path(path).parent.name == LABELS:
        check_format(Path(path))
        from paper_unet.images.outputs import zarr_labels  # takes a second

        return zarr_labels.make_labels(path, version, shape, pixel_size)
    return pixel_size


@contextmanager
def labels_kept(path: str | Path | Address) -> Iterator[None]:
    """Take the folder ``labels`` away that `make_labels` made meanwhile, if nothing lies in it.

    Parameters
    ----------
    path : str, Path or Address
        Of the output, wherever it lies.
    """
    folder = Path(str(path)).parent
    there = folder.name != LABELS or folder.exists()
    try:
        yield
    finally:
        if not there and folder.is_dir():
            from paper_unet.images.outputs import zarr_labels

            zarr_labels.remove_empty(folder)
