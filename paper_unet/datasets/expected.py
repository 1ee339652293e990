"""What a published data set must hold, and whether a folder holds it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import open_stack

# A container adds tags to the pixels, and may even be less compact than they are.
CONTAINER_ALLOWANCE = 8 * 2**20  # bytes


class Part(Protocol):
    """One file, or one folder of frames: what is verified, and put in its place, as a whole."""

    @property
    def name(self) -> str:
        """Its file or folder, relative to the folder of the data set."""

    @property
    def required(self) -> bool:
        """False if some copies of the data set do not have it."""

    @property
    def files(self) -> tuple[str, ...]:
        """All of its files, relative to the folder of the data set."""

    @property
    def max_bytes(self) -> int:
        """Most bytes that one of its files may have."""

    def is_there(self, folder: Path) -> bool:
        """Whether a folder of the data set has it, right or wrong."""

    def verify(self, folder: Path) -> None:
        """Raise InputError unless it is as published."""


@dataclass(frozen=True)
class ExpectedStack:
    """One stack of a data set, in one file.

    Attributes
    ----------
    name : str
        File name, in the archive and on disk.
    shape : tuple of int, (Z, Y, X)
        Its size; the values are uint8.
    sha256 : str or None
        Of the decoded pixels in C order, so any lossless container passes; None if not known.
    required : bool
        False if some copies of the data set do not have it.
    labels : bool
        Whether its values are classes; read as stored, however they are to be shown.
    """

    name: str
    shape: tuple[int, int, int]
    sha256: str | None
    required: bool = True
    labels: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The one file."""
        return (self.name,)

    @property
    def max_bytes(self) -> int:
        """Most bytes that the file may have."""
        return math.prod(self.shape) + CONTAINER_ALLOWANCE

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there, right or wrong."""
        return (folder / self.name).exists()

    def verify(self, folder: Path) -> None:
        """Raise InputError unless the pixels are those published."""
        read_verified(folder / self.name, self)


@dataclass(frozen=True)
class DataSet:
    """A published data set, or whatever else is fetched as one.

    Attributes
    ----------
    name : str
        What the command line calls it, and its folder.
    url : str
        Address of the archive or, without one, of the folder of the files; empty if nothing has
        them yet.
    parts : tuple of ExpectedStack, ExpectedFrames or ExpectedWeights
        What is taken from it, in the order in which the parts get their final names.
    terms : str
        Terms of use and citation, to be shown to whoever fetches it.
    codecs : bool
        True if the archive's files need the extra ``codecs`` to be decoded.
    pixel_size : float, optional
        Width and height of a pixel, micrometres.
    archive : bool
        False if each part is one file that has its own address.
    also : mapping of str to tuple of str
        Other names that copies of a file have.
    """

    name: str
    url: str
    parts: tuple[Part, ...]
    terms: str
    codecs: bool = False
    pixel_size: float | None = None
    archive: bool = True
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def archive_name(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def max_bytes(self) -> int:
        """Most bytes one file may have."""
        return max(part.max_bytes for part in self.parts)

    @property
    def max_archive_bytes(self) -> int:
        """Most bytes the archive may have."""
        return sum(len(part.files) * part.max_bytes for part in self.parts)


def read_verified(path: Path, stack: ExpectedStack) -> NDArray[np.uint8]:
    """Read a stack of a data set.

    Parameters
    ----------
    path : Path
        The file.
    stack : ExpectedStack
        What it must hold.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        The pixels as published.

    Raises
    ------
    InputError
        If the size, the type or the hash of the pixels is another.
    """
    pixels: NDArray[np.uint8] = read_expected(path, stack.shape, "uint8", stack.labels)
    found = hashlib.sha256(pixels.data).hexdigest()
    if stack.sha256 is not None and found != stack.sha256:
        raise InputError(
            f"{path}: other pixels than published (SHA-256 expected {stack.sha256}, found "
            f"{found}); move it away and fetch a lossless copy"
        )
    return pixels


def read_expected(
    path: Path, shape: tuple[int, int, int], dtype: str, labels: bool = False
) -> NDArray[Any]:
    """Read a stack (Z, Y, X), as it is stored if of labels; refuse another shape or type."""
    with open_stack(
        path, labels=labels
    ) as opened:  # its size is checked before memory is taken for it
        if opened.shape != shape or opened.dtype != np.dtype(dtype):
            raise InputError(
                f"{path}: {opened.dtype} of shape {opened.shape}; {path.name} is {dtype} of shape "
                f"{shape}: move it away and fetch it again"
            )
        return np.stack(list(opened))


def listed(names: list[str], most: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
