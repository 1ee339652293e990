"""What every stack on disk offers, whatever its format."""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.images.choice import WHOLE, Choice
from paper_unet.system.files import file_stamp
from paper_unet.system.memory import Budget, current_budget
from paper_unet.system.names import UNFINISHED

Span = tuple[int, int]
Window = tuple[int, Span, Span]
"""A section, and rows and columns of it, half-open."""

PixelSize = tuple[float | None, float | None, float | None]
"""Size of a pixel along z, y and x, micrometres; None where a file does not say."""

UNKNOWN_SIZE: PixelSize = (None, None, None)
PROBES, PROBE_SIDE = 16, 64


class Stack(ABC):
    """A stack of images on disk, read slice by slice or window by window.

    Each format is a subclass that says what it accepts, in the table
    `paper_unet.images.readers.READERS`.

    Attributes
    ----------
    path : Path
        Where it lies.
    shape : tuple of int, (Z, Y, X)
        Its size; Z is 1 for a single image.
    channels : int
        Values for each pixel: 1 is grey. With more, slices and windows are (C, Y, X).
    labels : bool
        Whether the values are numbers of cells or classes, and no grey values.
    dtype : numpy.dtype
        Of the values as stored, in native byte order.
    pixel_size : tuple of three floats or None, (z, y, x)
        Micrometres; None where the file does not say.
    cache_bytes : int
        What is kept decoded between windows, and held on the way there, bytes, at most; known
        without decoding.
    own_range : tuple of two floats or None
        The grey values that are black and white by the file itself: of fewer than 8 bits. None
        where the rule of the dtype holds, see `paper_unet.images.to_unit_range`.
    white_is_zero : bool
        Whether it is stored so; grey values are then inverted, labels are not.
    notes : tuple of str
        What a user has to know about how the values are read, such as that they are inverted; each
        a line.
    format : str
        The kind's name in journals, which outlives that of the class; the class's own if empty.
    several : bool
        Whether a file of this kind may hold several image series.
    sparse : bool
        Whether parts of a stack of this kind may be missing.
    chooses : bool
        Whether a file of this kind may have several channels or time points to choose from.
    chosen : Choice
        What was chosen.
    taken : tuple of (int, int)
        What follows: an axis of the file, and which place along it is read.
    letters : str
        Of the axes of the file, one for each; "" where smaller versions of it name their own.
    budget : Budget
        What the file may make this process allocate; of `paper_unet.images.open_stack`.

    Notes
    -----
    One reader at a time: a stack keeps one file position, so threads need a stack each.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pixel_size: PixelSize = UNKNOWN_SIZE
    cache_bytes: int = 0
    own_range: tuple[float, float] | None = None
    white_is_zero: bool = False
    notes: tuple[str, ...] = ()
    format: str = ""
    several: bool = False
    sparse: bool = False
    chooses: bool = False
    taken: tuple[tuple[int, int], ...] = ()
    letters: str = ""
    budget: Budget

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
        chosen: Choice = WHOLE,
    ) -> None:
        self.path, self.channels, self.labels, self.chosen = path, channels, labels, chosen
        self.budget = current_budget()

    @classmethod
    @abstractmethod
    def accepts(cls, path: Path) -> bool:
        """Whether this kind reads a file or folder, by its name or what lies in it."""

    @classmethod
    def unfinished(cls, path: Path) -> bool:
        """Whether it is the partial output of a run."""
        return path.name.endswith(UNFINISHED)

    @abstractmethod
    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window of slice z, 0 <= z < Z, inside it, as a new array."""

    def _stamp(self) -> dict[str, Any]:
        """Return JSON-able facts that change when the files do."""
        return file_stamp(self.path)

    def _sections(self) -> list[Path]:
        """Return the files of the slices."""
        return [self.path]

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read: files or folders, none of which an output may touch."""
        return (self.path,)

    def lies_in(self, place: Any) -> bool:
        """Whether what is read lies in a Zarr store, too, under whatever name.

        Parameters
        ----------
        place : RegularFiles or RemoteStore
            The store; one that does not refuse a chunk that is missing.

        Returns
        -------
        bool
            True if some of the same bytes lie there under the same name. False of formats that are
            no Zarr: they are known by their `files` alone.
        """
        return False

    def value_range(
        self,
        given: tuple[float, float] | None,
        known: Mapping[str, tuple[float, float]] | None = None,
    ) -> tuple[float, float] | None:
        """Return the grey values that are black and white.

        Parameters
        ----------
        given : tuple of two floats, optional
            By the user; wins.
        known : mapping of str to tuple of two floats, optional
            What a network knows, by dtype.

        Returns
        -------
        tuple of two floats or None
            None where the rule of the dtype holds, see `paper_unet.images.to_unit_range`.
        """
        return given or self.own_range or (known or {}).get(self.dtype.name)

    @property
    def says_labels(self) -> bool:
        """Whether the file itself says that its values are numbers of cells or classes."""
        return False

    def check_memory(self, allowed: int) -> None:
        """Refuse a stack of which a single window takes too much; nothing is read or decoded.

        To be called before anything is read, and so before `identity`.

        Parameters
        ----------
        allowed : int
            Bytes that may be taken.

        Raises
        ------
        InputError
            If `cache_bytes` is more.
        """
        if self.cache_bytes > allowed:
            raise InputError(
                f"{self.path}: decoding takes {math.ceil(self.cache_bytes / 1e6)} MB of memory, "
                f"{allowed // 10**6} MB are allowed; allow more, or convert it to a TIFF or Zarr "
                "of small tiles or chunks"
            )

    def close(self) -> None:  # noqa: B027  (some have nothing to close)
        """Close the file; calling it twice does no harm."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        count = len(self)
        if not -count <= z < count:
            raise IndexError(f"{self.path}: slice {z} of a stack of {count} slices")
        return self._read_window(z % count, (0, self.shape[1]), (0, self.shape[2]))

    def window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read a window; only what it needs is read and decoded.

        Parameters
        ----------
        z : int
            Slice, from 0.
        rows, columns : (int, int)
            Half-open ranges inside the slice, pixels.

        Returns
        -------
        ndarray, shape (rows, columns), or (C, rows, columns) in colour
            In the dtype of the file, native byte order.

        Raises
        ------
        InputError
            If the file is damaged there.
        IndexError
            If the window leaves the stack.
        """
        inside = 0 <= rows[0] < rows[1] <= self.shape[1] and 0 <= columns[0] < columns[1]
        if not (inside and columns[1] <= self.shape[2] and 0 <= z < len(self)):
            raise IndexError(f"{self.path}: window {z}, {rows}, {columns} of {self.shape}")
        return self._read_window(z, rows, columns)

    def identity(self) -> dict[str, Any]:
        """Return JSON-able facts that change when the input does; not where it lies.

        Shape, dtype, sizes and times of the files, and the SHA-256 of windows spread over it.
        """
        kind, stamp = self.format or type(self).__name__, self._stamp()
        if self.channels > 1:  # journals have one name for all kinds
            kind = "ColourStack"
            stamp = {"files": digest_of(self._sections()), "channels": self.channels}
        return {
            "format": kind,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            **stamp,
            **({"taken": [list(one) for one in self.taken]} if self.taken else {}),
            "pixels": self._probe(),
        }

    def _probe(self) -> str:
        count, height, width = self.shape
        tall, wide = min(PROBE_SIDE, height), min(PROBE_SIDE, width)
        digest = hashlib.sha256()
        for k in range(PROBES):
            z = k * (count - 1) // (PROBES - 1)
            top = (height - tall) * (7 * k % PROBES) // (PROBES - 1)
            left = (width - wide) * (11 * k % PROBES) // (PROBES - 1)
            digest.update(self.window(z, (top, top + tall), (left, left + wide)).tobytes())
        return digest.hexdigest()

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


def digest_of(files: Iterable[Path]) -> str:
    """Return the SHA-256 of names, sizes and times of files."""
    listing = "".join(f"{file.name} {file_stamp(file)}\n" for file in files)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


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
        raise InputError(
            f'slices "{shown(text)}": give START:STOP such as 0:{count}, or one number'
        )
    first, colon, last = match.groups()
    start = _number(first or "0", count)
    stop = (_number(last, count) if last else count) if colon else start + 1
    if not 0 <= start < stop <= count:
        raise InputError(
            f'slices "{shown(text)}": the stack has {count} slices; '
            f"START:STOP needs 0 <= START < STOP <= {count}"
        )
    return range(start, stop)


def _number(digits: str, count: int) -> int:
    """Return a number of however many digits; what is beyond the count need not be exact."""
    return int(digits.lstrip("0")[: len(str(count)) + 1] or "0")
