"""What every stack on disk offers, whatever its format."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError


class Stack(ABC):
    """A stack of grey images on disk, read slice by slice.

    Attributes
    ----------
    path : Path
        Where it lies.
    shape : tuple of int, (Z, Y, X)
        Its size; Z is 1 for a single image.
    dtype : numpy.dtype
        Of the values as stored, in native byte order.

    Notes
    -----
    One reader at a time: a stack keeps one file position, so threads need a stack each.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def _read_slice(self, z: int) -> NDArray[Any]:
        """Read slice z, 0 <= z < Z, as a new array of shape (Y, X)."""

    @abstractmethod
    def close(self) -> None:
        """Close the file; calling it twice does no harm."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        count = len(self)
        if not -count <= z < count:
            raise IndexError(f"{self.path}: slice {z} of a stack of {count} slices")
        return self._read_slice(z % count)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[z] for z in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def parse_slices(text: str | None, count: int) -> range:
    """Read a choice of slices in Python's half-open notation.

    Parameters
    ----------
    text : str or None
        ``"24:30"`` for slices 24 to 29, ``"24:"``, ``":6"``, ``"3"`` for slice 3 alone, None for
        all. Slices count from 0.
    count : int
        How many slices the stack has.

    Returns
    -------
    range
        Within ``range(count)`` and never empty.

    Raises
    ------
    InputError
        If the text is not of this form, or names a slice that the stack does not have.
    """
    if text is None:
        return range(count)
    match = re.fullmatch(r"\s*(\d*)\s*(?:(:)\s*(\d*)\s*)?", text, re.ASCII)
    if match is None or not any(match.groups()):
        raise InputError(f'slices "{text}": give START:STOP such as 0:{count}, or one number')
    first, colon, last = match.groups()
    start = int(first or 0)
    stop = int(last or count) if colon else start + 1
    if not 0 <= start < stop <= count:
        raise InputError(
            f'slices "{text}": the stack has {count} slices; '
            f"START:STOP needs 0 <= START < STOP <= {count}"
        )
    return range(start, stop)
