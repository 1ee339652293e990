"""Where pixels go: what every output on disk offers, whatever its format."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs.place import Place
from paper_unet.images.outputs.stored import Stored
from paper_unet.images.outputs.tasks import Task
from paper_unet.images.pyramid import Chunk
from paper_unet.images.said import SAYS_LABELS
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize, Span

DTYPES = ("uint8", "uint16", "uint32", "float32")
LABEL_DTYPES = ("uint8", "uint16", "uint32", "uint64")

OPENING = Lock()
"""Several threads may write to one output; one of them opens its files."""


class Output(Place):
    """A stack that is written window by window, in any order, by several processes and threads.

    Made by `paper_unet.images.create_output`. One process, the driver, calls `prepare`, hands
    copies to others (it can be pickled; files are opened where they are used), does the `stages`
    and calls `finish`. The pixels are under the final name only then.

    Attributes
    ----------
    path, partial, notes, guarded
        As of `Place`.
    shape : tuple of int, (Z, Y, X)
        The size of the stack.
    dtype : numpy.dtype
        Of its values.
    alignment : tuple of int, (rows, columns)
        Windows begin at multiples of it, and end at one or at the edge of the image.
    pixel_size : tuple of float or None, (z, y, x)
        In micrometres; None where it is not known.
    version : str
        Of OME-Zarr; other formats have none to choose.
    labels : bool
        Whether the values are numbers of cells, which are never averaged.
    channels : tuple of str
        What the values of a pixel are called, where it has several: then the stack is
        (C, Z, Y, X) on disk. Empty where a pixel has one value.
    about : dict
        What else is said of the pixels, as JSON; empty where there is nothing.
    shards : bool
        Whether the format has shards, files of many chunks.
    shard : int
        Pixels of a side of these; 0 where there are none.
    tasks_at_once : int or None
        How many tasks may be done at a time; None: as many as there are threads.
    """

    alignment: tuple[int, int] = (1, 1)
    holds_channels = False  # of a format
    shards: bool = False
    shard: int = 0
    tasks_at_once: int | None = None

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        pixel_size: PixelSize = UNKNOWN_SIZE,
        *,
        overwrite: bool = False,
        ome_zarr: str = "0.5",
        labels: bool = False,
        channels: tuple[str, ...] = (),
    ) -> None:
        super().__init__(path, overwrite)
        self.shape = shape
        self.dtype = dtype
        self.pixel_size = pixel_size
        self.version = ome_zarr
        self.labels = labels
        self.channels = channels
        self.about: dict[str, Any] = {}
        self._check_stack()
        self.shape = (shape[0], shape[1], shape[2])  # a list may be given
        self._look()

    @property
    def said(self) -> dict[str, Any]:
        """What a format says of the pixels that has no word of its own for labels."""
        return {**(SAYS_LABELS if self.labels else {}), **self.about}

    @property
    def waiting(self) -> float:
        """Bytes for each value of a window that are kept until what follows from it is written."""
        return 0.0

    @property
    def format(self) -> list[str | int]:
        """What has to agree for the files to be the same: kind, version, and shards if any."""
        return [type(self).__name__, self.version, *([self.shard] if self.shard else [])]

    def use_shards(self, shard: int) -> None:
        """Write shards of so many pixels a side, 0: none; before `prepare`."""

    @abstractmethod
    def write(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> Stored | None:
        """Store a window; doing so twice does no harm.

        Parameters
        ----------
        z, row, column : int
            Section, and where the window begins.
        pixels : ndarray of the output's dtype, shape (rows, columns), or (C, rows, columns)
            The window.

        Returns
        -------
        Stored or None
            What `stored` finds as long as nobody changes it: taken from the bytes as they are
            written. None where the format has no checksum.

        Raises
        ------
        InputError
            If the disk is full, or nothing was prepared.
        ValueError
            If the window is not aligned or not of this output.
        """

    @abstractmethod
    def sync(self, z: int, rows: Span, columns: Span) -> None:
        """Return when a written window, rows and columns half-open, is on disk to stay."""

    def stored(self, z: int, rows: Span, columns: Span) -> Stored | None:
        """Read the bytes on disk of a window that was written; None as `write` does.

        What is missing counts as no bytes.
        """
        return None

    def size_stored(self, z: int, rows: Span, columns: Span) -> int | None:
        """Return how many bytes `stored` would read, without reading them; None if not known."""
        return None

    def read(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Return a window of the partial output, of which all must have been written.

        Raises
        ------
        ValueError
            If the format does not offer it.
        """
        raise ValueError(f"{self.place}: a {type(self).__name__} is not read before it is finished")

    def frame(self) -> Stored | None:
        """Read what `prepare` wrote beside the pixels, which stays as it is; None if not known."""
        return None

    def looks_written(self, z: int, rows: Span, columns: Span) -> bool:
        """Whether a window, of which no checksum is known, can have been written."""
        return True

    def derive(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> list[Chunk]:
        """Compute what follows from a window that was written, and return when it is on disk.

        Only what follows from windows that this process was given: what others were given, and what
        takes too much memory to wait for, is left to the `stages`.

        Parameters
        ----------
        z, row, column, pixels
            As `write` took them.

        Returns
        -------
        list of Chunk
            What is done; for `leave_out`.
        """
        return []

    def leave_out(self, chunks: Iterable[Chunk]) -> None:
        """Leave chunks out of the `stages`: `derive` has computed them; of the driver.

        No window under them may be written with other pixels any more.
        """

    def stored_derived(self, chunk: Chunk) -> Stored:
        """Read the bytes on disk of a chunk that `derive` computed; none where it is not there."""
        return Stored(0, 0)

    def size_derived(self, chunk: Chunk) -> int:
        """Return how many bytes `stored_derived` would read."""
        return 0

    def stages(self) -> Sequence[Sequence[Task]]:
        """Return what is to be computed when all windows are written; no tasks unless it says so.

        The tasks of a stage in any order and in parallel, the stages one after the other.
        """
        return []

    def run(self, task: Task) -> None:
        """Do one task, and return when it is on disk; doing so twice does no harm."""
        raise ValueError(f"{self.place}: {task} of an output without tasks")

    def _check_stack(self) -> None:
        """Raise InputError unless shape, dtype and pixel size are those of a stack."""
        accepted = LABEL_DTYPES if self.labels else DTYPES
        if self.dtype.name not in accepted:
            raise InputError(
                f"{self.place}: output of {self.dtype}; accepted are {', '.join(accepted)}"
            )
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(
                f"{self.place}: output of shape {self.shape}; accepted is (Z, Y, X), each at least "
                "1"
            )
        known = [size for size in self.pixel_size if size is not None]
        if len(self.pixel_size) != 3 or not all(math.isfinite(size) and size > 0 for size in known):
            raise InputError(
                f"{self.place}: pixel size {self.pixel_size}; give three positive numbers "
                "(z, y, x) in micrometres, None where not known"
            )

    @property
    def planes(self) -> int:
        """Sections of all channels together; section z of channel c is plane ``c * Z + z``."""
        return self.shape[0] * max(1, len(self.channels))

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape on disk: (Z, Y, X), or (C, Z, Y, X)."""
        return (len(self.channels), *self.shape) if self.channels else self.shape

    def _planes(self, z: int) -> range:
        """Return the planes of a section, one for each channel."""
        return range(z, self.planes, self.shape[0])

    def _windows(
        self, z: int, row: int, column: int, pixels: NDArray[Any]
    ) -> list[tuple[int, NDArray[Any]]]:
        """Return the plane and the window (rows, columns) of each channel.

        Raises
        ------
        ValueError
            If the window is not aligned, in the stack, and of its dtype and channels.
        """
        inside = pixels.ndim == (3 if self.channels else 2) and pixels.dtype == self.dtype
        inside &= 0 <= z < self.shape[0]
        inside &= not self.channels or len(pixels) == len(self.channels)
        for start, length, size, step in zip(
            (row, column), pixels.shape[-2:], self.shape[1:], self.alignment, strict=False
        ):
            stop = start + length
            inside &= 0 <= start < stop <= size and start % step == 0
            inside &= stop % step == 0 or stop == size
        if not inside:
            raise ValueError(
                f"{self.place}: window of {pixels.dtype} and shape {pixels.shape} at "
                f"{(z, row, column)}; the stack is {self.dtype} of shape {self.full_shape}, in "
                f"steps of {self.alignment}"
            )
        return list(zip(self._planes(z), pixels if self.channels else [pixels], strict=True))

    def _check_window(self, z: int, row: int, column: int, pixels: NDArray[Any]) -> None:
        """Raise ValueError unless the window is aligned, in the stack, and of its dtype."""
        self._windows(z, row, column, pixels)
