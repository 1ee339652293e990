"""Reading stacks: which reader a file or folder has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.readers.colour import ColourStack
from paper_unet.images.readers.folder import FolderStack, PngStack
from paper_unet.images.readers.tiff import TiffStack
from paper_unet.images.readers.zarr import ZarrStack, is_zarr
from paper_unet.images.stack import Stack


def open_stack(
    path: str | Path, *, axes: str | None = None, series: int | None = None, channels: int = 1
) -> Stack:
    """Open a stack of images without reading its pixels.

    Parameters
    ----------
    path : str or Path
        A TIFF file (classic or BigTIFF, ImageJ hyperstack, OME-TIFF; striped, tiled, compressed), a
        PNG file, a folder of PNG or of TIFF sections in natural order, a Zarr array (version 2 or
        3), or an OME-Zarr image (0.4 or 0.5), of which the full resolution is taken.
    axes : str, optional
        One letter for each axis of the file, such as ``ZYX``; wins over what the file says.
    series : int, optional
        Which image series of a TIFF file; needed only where there are several.
    channels : int
        Values for each pixel, 1 is grey. Colour comes from a TIFF, PNG or JPEG file, or a folder of
        one of these.

    Returns
    -------
    Stack
        ``stack[z]`` reads one slice, ``stack.window`` a part of one; use it in a ``with``
        statement or close it.

    Raises
    ------
    InputError
        If the file is missing, of another kind, damaged, or not one stack of so many channels.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give a TIFF or PNG file, a folder or a Zarr")
    if series is not None and (path.is_dir() or path.suffix.lower() == ".png"):
        raise InputError(f"{path}: --series is for TIFF files of several; leave it out")
    stored = path.is_dir() and is_zarr(path)
    if stored and channels != 1:
        raise InputError(
            f"{path}: a Zarr is read as grey, the network takes {channels} channels; give a TIFF, "
            "or a folder of PNG or JPEG files"
        )
    if any(name.endswith(".partial") for name in (path.parts if stored else [path.name])):
        raise InputError(f"{path}: is the partial output of a run; let it finish first")
    if path.is_dir() and path.suffix.lower() == ".zarr" and not stored:
        raise InputError(
            f"{path}: a folder without Zarr metadata (zarr.json, .zarray or .zgroup); copy or "
            "export it again"
        )
    if channels != 1:
        return ColourStack(path, channels=channels, axes=axes, series=series)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"{path}: a JPEG is read in colour alone; use a network of 3 channels")
    if path.is_dir():
        return ZarrStack(path, axes=axes) if stored else FolderStack(path, axes=axes)
    if path.suffix.lower() == ".png":
        return PngStack(path)
    return TiffStack(path, axes=axes, series=series)


def read_stack(
    path: str | Path, *, axes: str | None = None, series: int | None = None, channels: int = 1
) -> NDArray[Any]:
    """Read a whole stack of images or labels.

    Parameters
    ----------
    path, axes, series, channels
        As for `open_stack`.

    Returns
    -------
    ndarray, shape (Z, Y, X), or (Z, C, Y, X) in colour
        The values as stored, in the dtype of the file.

    Raises
    ------
    InputError
        As `open_stack`, and if a slice cannot be decoded or the stack does not fit in memory.
    """
    with open_stack(path, axes=axes, series=series, channels=channels) as stack:
        colours = () if channels == 1 else (channels,)
        try:
            pixels = np.empty((len(stack), *colours, *stack.shape[1:]), stack.dtype)
        except (MemoryError, ValueError) as error:
            raise InputError(
                f"{path}: {stack.dtype} of shape {stack.shape} does not fit in memory; read it "
                f"slice by slice, or copy it again if this size is wrong"
            ) from error
        for z in range(len(stack)):
            pixels[z] = stack[z]
    return pixels
