"""Where pixels go: what every output on disk offers, whatever its format."""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.outputs.stored import Stored
from paper_unet.images.outputs.tasks import Task
from paper_unet.images.pyramid import Chunk
from paper_unet.images.said import SAYS_LABELS
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize, Span, Stack
from paper_unet.system.claim import Claim, in_the_way, remove
from paper_unet.system.files import (
    check_free_name,
    naming_full_disk,
    no_space,
    refuse_same_file,
    require_folder,
    sync_file,
    sync_folder,
)
from paper_unet.system.identity import stamp_of
from paper_unet.system.names import UNFINISHED, kind_of, name_without_replacing

DTYPES = ("uint8", "uint16", "uint32", "float32")
LABEL_DTYPES = ("uint8", "uint16", "uint32", "uint64")

OPENING = Lock()
"""Several threads may write to one output; one of them opens its files."""


class Output(ABC):
    """A stack that is written window by window, in any order, by several processes and threads.

    Made by `paper_unet.images.create_output`. One process, the driver, calls `prepare`, hands
    copies to others (it can be pickled; files are opened where they are used), does the `stages`
    and calls `finish`. The pixels are under the final name only then.

    Attributes
    ----------
    path : Path
        The final name.
    partial : Path
        File or folder where the pixels are until then: the same name with ``.partial`` behind it.
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
    notes : tuple of str
        What a user has to know about where it is written, each a line.
    guarded : bool
        Whether it sees itself, whenever it writes, that no other run has begun in its place. Else
        the journal beside it says which run that is.
    """

    notes: tuple[str, ...] = ()
    guarded: bool = False
    alignment: tuple[int, int] = (1, 1)
    holds_channels = False  # of a format
    shards: bool = False
    shard: int = 0
    tasks_at_once: int | None = None
    remedy = "make room and run the same command again: it goes on where it stopped"

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
        self.path = path
        self.partial = path.with_name(path.name + UNFINISHED)
        self.shape = shape
        self.dtype = dtype
        self.pixel_size = pixel_size
        self.overwrite = overwrite
        self.version = ome_zarr
        self.labels = labels
        self.channels = channels
        self.about: dict[str, Any] = {}
        self._handle: Any = None  # what is open in this process
        self._claim: Claim | None = None  # of the driver alone
        self._check_stack()
        self.shape = (shape[0], shape[1], shape[2])  # a list may be given
        self._check()
        self._found = stamp_of(path)

    @property
    def said(self) -> dict[str, Any]:
        """What a format says of the pixels that has no word of its own for labels."""
        return {**(SAYS_LABELS if self.labels else {}), **self.about}

    @property
    def place(self) -> object:
        """What messages call it: its path, unless that only stands for it."""
        return self.path

    @property
    def begun(self) -> str:
        """What messages call the partial output."""
        return str(self.partial)

    @property
    def format(self) -> list[str | int]:
        """What has to agree for the files to be the same: kind, version, and shards if any."""
        return [type(self).__name__, self.version, *([self.shard] if self.shard else [])]

    def refuse_input(self, stack: Stack) -> None:
        """Refuse to replace what is read, also where names do not show it; before all else.

        Parameters
        ----------
        stack : Stack
            The input.

        Raises
        ------
        InputError
            If what has the name of the output is the input, or a copy of it.
        """
        for file in stack.files:
            refuse_same_file(file, self.path)

    def take(self, claim: Claim, *, left: bool) -> None:
        """Go by what a claim knows as our own, from now on; of the driver, before all else.

        Parameters
        ----------
        claim : Claim
            Of this output.
        left : bool
            Whether there is a record of an interrupted run: then a partial output that was copied
            here, or is of an earlier version, is taken as its own if it has the right form.

        Raises
        ------
        InputError
            If the output appeared or changed since it was described, or what has the name of the
            partial output is not our own.
        """
        self._check()
        if stamp_of(self.path) != self._found:
            raise InputError(
                f"{self.place}: was written by another process meanwhile; look at it, then run the "
                "same again or choose another name"
            )
        self._claim = claim
        if kind_of(self.partial) is None or claim.owns(self.partial):
            return
        if not (left and self._is_alone() and self._fits()):
            raise self.in_the_way()
        claim.adopt(self.partial)

    def start(self) -> None:
        """Make the partial output anew; what an interrupted run left of it goes.

        It is made under a name of our own and gets its name when it is whole, so what has that name
        is always known. Without `take`, the name must be free.

        Raises
        ------
        InputError
            As `prepare`, or if what has the name of the partial output is not our own.
        """
        self.close()
        if self._claim is None:
            self.prepare(resume=False)
            return
        claim, name = self._claim, self.partial
        claim.clear(name)
        self.partial = claim.own_name(self.path, UNFINISHED)
        try:
            self.prepare(resume=False)
            self.close()
            claim.publish(self.partial, name)
        except BaseException:
            self.close()
            remove(self.partial)
            raise
        finally:
            self.partial = name

    def discard(self) -> None:
        """Remove the partial output, if it is our own."""
        self.close()
        if self._claim is not None and self._claim.owns(self.partial):
            remove(self.partial)

    def _is_alone(self) -> bool:
        """Whether the partial output is a folder, or a file that has no other name."""
        kind = kind_of(self.partial)
        return kind == "folder" or (kind == "file" and self.partial.lstat().st_nlink == 1)

    def _fits(self) -> bool:
        """Whether the partial output has the form of this one; nothing is written."""
        return False

    def use_shards(self, shard: int) -> None:  # noqa: B027  (most formats have none)
        """Write shards of so many pixels a side, 0: none; before `prepare`."""

    @abstractmethod
    def prepare(self, *, resume: bool) -> None:
        """Make the partial output, or take the one that an interrupted run left.

        To be called through `start` where there is a claim.

        Parameters
        ----------
        resume : bool
            Whether to keep what is there.

        Raises
        ------
        InputError
            If the disk has too little room, the output exists, there is nothing to resume, or
            something has the name of the partial output that is to be made.
        """

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

    def leave_out(self, chunks: Iterable[Chunk]) -> None:  # noqa: B027  (some derive nothing)
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

    def finish(self) -> None:
        """Give the output its final name, in one step, when everything is on disk.

        Every window must have been written and synced, and every task done.

        Raises
        ------
        InputError
            If something of that name appeared meanwhile, or parts are seen to be missing.
        """
        self._check()
        with self._naming_full_disk():
            sync_file(self.partial)
        self.close()  # Windows does not rename an open file
        if self.overwrite:
            self.partial.replace(self.path)
        else:
            try:
                name_without_replacing(self.partial, self.path)
            except FileExistsError:
                self._check()
                raise
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the files of this process; they are opened again when needed."""
        self._handle = None

    def _check(self) -> None:
        """Raise InputError unless an output of this name may be written."""
        require_folder(self.path)
        check_free_name(self.path, overwrite=self.overwrite)

    @abstractmethod
    def _size(self) -> int:
        """Return an upper bound of the bytes on disk."""

    def __getstate__(self) -> dict[str, Any]:
        # another process may have another working folder
        absolute = {"path": self.path.absolute(), "partial": self.partial.absolute()}
        return {**self.__dict__, **absolute, "_handle": None, "_claim": None}

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

    def in_the_way(self) -> InputError:
        """Return the error of something else that has the name of the partial output."""
        return in_the_way(self.partial)

    def nothing_left(self, reason: str) -> InputError:
        """Return the error of a partial output that cannot be gone on with."""
        return InputError(
            f"{self.begun}: {reason}, so there is nothing to go on from; start anew with "
            "`overwrite` or another output name"
        )

    def _check_room(self) -> None:
        need = self._size()
        if need > shutil.disk_usage(self.path.parent).free:
            reason = "not enough room on the disk"
            raise no_space(self.path, need, reason, "make room or write elsewhere")

    @contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        """Turn the errors of a full disk into one line that says what to do."""
        with naming_full_disk(self.path, self._size(), self.remedy):
            yield
