"""Reading stacks: which reader a file or folder has."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.choice import Choice
from paper_unet.images.inside import file_of, local_path
from paper_unet.images.readers.foreign import refuse_address
from paper_unet.images.remote import require_obstore
from paper_unet.images.stack import Stack
from paper_unet.system.address import Address, address_of
from paper_unet.system.memory import Budget, spending

LOG = logging.getLogger(__name__)

READERS: list[str | type[Stack]] = [
    "paper_unet.images.readers.zarr:ZarrStack",
    "paper_unet.images.readers.n5:N5Stack",
    "paper_unet.images.readers.precomputed:PrecomputedStack",
    "paper_unet.images.readers.folder:FolderStack",
    "paper_unet.images.readers.hdf5:Hdf5Stack",
    "paper_unet.images.readers.mrc:MrcStack",
    "paper_unet.images.readers.picture:PictureStack",
    "paper_unet.images.readers.tiff:TiffStack",
]
"""The first that accepts a path reads it; as text it is imported when it is asked."""


def reader_of(path: Path) -> type[Stack]:
    """Return the class that reads a file or folder; the last ones of `READERS` take any."""
    readers = (entry if isinstance(entry, type) else resolve_name(entry) for entry in READERS)
    found: type[Stack] = next(reader for reader in readers if reader.accepts(path))
    return found


Missing = Literal["fail", "fill"]


def open_stack(
    path: str | Path | Address,
    *,
    axes: str | None = None,
    series: int | None = None,
    channels: int = 1,
    labels: bool = False,
    missing: Missing = "fail",
    channel: int | str | None = None,
    time: int | None = None,
    budget: Budget | None = None,
) -> Stack:
    """Open a stack of images without reading its pixels.

    Parameters
    ----------
    path : str, Path or Address
        A TIFF file (classic or BigTIFF, ImageJ hyperstack, OME-TIFF; striped, tiled, compressed), a
        PNG or JPEG file, a folder of sections of one of these in natural order, a data set of an
        HDF5 file (``FILE.h5:/DATASET``), an MRC file, a Zarr array (version 2 or 3) or an OME-Zarr
        image (0.1 to 0.5), in a folder or in a ZIP file (``.ozx``, ``.zarr.zip``), a data set of an
        N5 store (``STORE.n5/DATASET``), or a Neuroglancer precomputed volume
        (``precomputed://file:///FOLDER``, too). Of a pyramid the full resolution is taken. A Zarr
        may be an address, too: ``https://HOST/PATH``, ``s3://BUCKET/KEY`` or ``gs://BUCKET/KEY``
        (extra ``remote``).
    axes : str, optional
        One letter for each axis of the file, such as ``ZYX``; wins over what the file says.
    series : int, optional
        Which image series of a TIFF file; needed only where there are several.
    channels : int
        Values for each pixel, 1 is grey. Colour comes from a TIFF, PNG, JPEG or HDF5 file, a
        folder of one of the first three, an N5 store or a precomputed volume.
    labels : bool
        Whether the values are numbers of cells or classes: read as they are stored, however they
        are to be shown (inverted, or by a palette).
    missing : {"fail", "fill"}
        Whether a Zarr, HDF5, N5 or precomputed of which chunks are missing is refused, or has its
        fill value there.
    channel : int or str, optional
        Which channel of a file that has several: its number, from 0, or its name where the file
        has names (OME-Zarr, OME-TIFF, ImageJ's labels, colours).
    time : int, optional
        Which time point of a file that has several, from 0.
    budget : Budget, optional
        What the file may make this process allocate; default: most of the memory that is free.

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
    chosen = Choice(channel, time)
    choices: dict[str, Any] = {"axes": axes, "channels": channels}
    if (address := address_of(path)) is not None:
        choices |= {"labels": labels, "missing": missing}
        return _open_remote(address, choices, series, chosen, budget)
    path = local_path(path)  # type: ignore[arg-type]  # no address
    file = file_of(path)
    if not file.exists():
        refuse_address(path)
        raise InputError(
            f"{file}: no such file; give a TIFF, PNG, JPEG, HDF5 or MRC file, a folder, a Zarr, an "
            "N5 store or a precomputed volume"
        )
    reader = reader_of(path)
    if series is not None and not reader.several:
        raise InputError(f"{path}: `series` is for TIFF files of several; leave it out")
    if reader.unfinished(path):
        raise InputError(f"{path}: is the partial output of a run; let it finish first")
    choices["series"] = series
    if labels:
        choices["labels"] = True
    if reader.sparse:
        choices["missing"] = missing
    if chosen:
        _check_choice(path, reader, chosen, channels)
        choices["chosen"] = chosen
    with spending(budget):
        return reader(path, **choices)


def needed_choices(
    path: str | Path | Address, missing: Missing = "fail", **given: Any
) -> dict[str, Any]:
    """Return which choices labels need that were made for the images beside them.

    Parameters
    ----------
    path, missing
        As for `open_stack`, of labels or of a prediction.
    **given : str, int or None
        ``axes``, ``channel``, ``time`` as for `open_stack`; None is not given.

    Returns
    -------
    dict
        Those given; none where the file is one stack as it is.
    """
    made = {name: value for name, value in given.items() if value is not None}
    if made:
        try:
            open_stack(path, labels=True, missing=missing).close()
        except InputError:
            return made
    return {}


def _check_choice(path: Path | Address, reader: type[Stack], chosen: Choice, channels: int) -> None:
    if not reader.chooses:
        given = "`channel`" if chosen.channel is not None else "`time`"
        raise InputError(f"{path}: {given} is for files of several; leave it out")
    if channels > 1 and chosen.channel is not None:
        raise InputError(
            f"{path}: one channel is chosen, and the network takes {channels}; leave `channel` out"
        )


def _open_remote(
    address: Address,
    choices: dict[str, Any],
    series: int | None,
    chosen: Choice,
    budget: Budget | None,
) -> Stack:
    """Open a Zarr on a network."""
    require_obstore(address)
    from paper_unet.images.readers.remote import RemoteZarrStack

    if series is not None:
        raise InputError(f"{address}: `series` is for TIFF files of several; leave it out")
    _check_choice(address, RemoteZarrStack, chosen, choices["channels"])
    with spending(budget):
        # it stands in messages alone
        return RemoteZarrStack(cast(Any, address), chosen=chosen, **choices)


def read_stack(
    path: str | Path | Address,
    *,
    axes: str | None = None,
    series: int | None = None,
    channels: int = 1,
    labels: bool = False,
    missing: Missing = "fail",
    channel: int | str | None = None,
    time: int | None = None,
    say: Callable[[str], object] = LOG.warning,
) -> NDArray[Any]:
    """Read a whole stack of images or labels.

    Parameters
    ----------
    path, axes, series, channels, labels, missing, channel, time
        As for `open_stack`.
    say : callable
        Takes the notes of the stack, line by line; default: the log.

    Returns
    -------
    ndarray, shape (Z, Y, X), or (Z, C, Y, X) in colour
        The values as stored, in the dtype of the file.

    Raises
    ------
    InputError
        As `open_stack`, and if a slice cannot be decoded or the stack does not fit in memory.
    """
    with open_stack(
        path, axes=axes, series=series, channels=channels, labels=labels, missing=missing,
        channel=channel, time=time,
    ) as stack:  # fmt: skip
        return pixels_of(stack, say)


def pixels_of(stack: Stack, say: Callable[[str], object] = LOG.warning) -> NDArray[Any]:
    """Read all of a stack that is open, as `read_stack` does."""
    for note in stack.notes:
        say(note)
    colours = () if stack.channels == 1 else (stack.channels,)
    shape = (len(stack), *colours, *stack.shape[1:])
    need = math.prod(shape) * stack.dtype.itemsize + stack.cache_bytes
    stack.budget.allow(need, stack.path, f"reads all of {stack.dtype} of shape {shape}")
    try:
        pixels = np.empty(shape, stack.dtype)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"{stack.path}: {stack.dtype} of shape {stack.shape} does not fit in memory; read it "
            f"slice by slice, or copy it again if this size is wrong"
        ) from error
    for z in range(len(stack)):
        pixels[z] = stack[z]
    return pixels
