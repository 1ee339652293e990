"""What is shown: a stack on disk with its smaller versions, read chunk by chunk as it is asked for.

No other module of this package knows the library; this one does not, either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import combinations
from threading import Lock
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images import (
    PixelSize,
    Stack,
    file_of,
    level_paths,
    local_path,
    open_probabilities,
    open_stack,
    open_unfinished,
    unfinished_of,
)
from paper_unet.system.address import address_of
from paper_unet.system.names import journals_of
from paper_unet.view.config import ViewConfig

Kind = Literal["image", "probability", "labels"]
Triple = tuple[int, int, int]

SAMPLE: Final = 1024
"""Pixels of a side of the window by which the greys of an image are spread over black to white."""

SHOWN_AS: Final = {"float16": "float32", "float64": "float32", "int64": "uint64", "bool": "uint8"}
"""Types that the page does not know, and what is sent in their place."""

OF_IMAGE: Final = ("axes", "series")
"""Settings of the page that say how the image is read."""

OF_SEVERAL: Final = ("channel", "time")
"""Settings of the page that say what is shown of each file that has several."""

MOST_REDUCED: Final = 64
"""Voxels, at most, that one of a smaller version is computed from; beyond, levels on disk help."""


class Layer:
    """One stack that is shown.

    Parameters
    ----------
    path : str
        Of an image, or of an output that a run is writing.
    kind : {"image", "probability", "labels"} or None
        None: labels if the file says so, or its integers have 32 bits or more, else a probability.
    config : ViewConfig, optional
        Which axes and series of an image are shown, and which channel and time point of whatever
        has several.

    Attributes
    ----------
    name : str
        Of the file or folder.
    kind : str
    live : bool
        Whether a run is writing it.
    notes : tuple of str
        What a user has to know.
    problem : str
        Why the last look could not open what a run has written; "" if it could.
    chosen : dict
        Which channel and time point were needed to open it.

    Raises
    ------
    InputError
        If it cannot be read.
    """

    def __init__(self, path: str, kind: Kind | None, config: ViewConfig | None = None) -> None:
        self._path, self._file, self._lock = path, file_of(path), Lock()
        self.name = (address_of(path) or self._file).name
        self._levels: list[Stack] = []
        config = config or ViewConfig()
        names = OF_IMAGE if kind == "image" else ()
        self._choices: dict[str, Any] = {name: getattr(config, name) for name in names}
        given = {name: getattr(config, name) for name in OF_SEVERAL}
        self._given = {name: value for name, value in given.items() if value is not None}
        self.live, self.problem = False, ""
        self._open(kind)
        self.kind: Kind = kind or ("labels" if _is_labels(self.stack) else "probability")

    def _open(self, kind: Kind | None) -> None:
        """Open what there is now, then let go of what was open; if that fails, all stays."""
        state = self._written()  # what is written from here on is seen the next time
        live = not self._file.exists() and unfinished_of(self._path) is not None
        if live:
            first, self.chosen = self._needing(partial(open_unfinished, self._path))
            levels = [first]
        else:
            levels = list(self._with_levels(self._opened(kind)))
        with self._lock:
            old, self._levels = self._levels, levels
        for stack in old:
            stack.close()
        self.live, self._state, self.notes = live, state, levels[0].notes

    def _opened(self, kind: Kind | None) -> Stack:
        """Open a stack, an image in grey or in colour."""
        opened = _open_image if kind == "image" else partial(_open_output, kind)
        try:
            stack, self.chosen = self._needing(partial(opened, self._path, **self._choices))
        except InputError:
            self.chosen = self._given
            for channels in (3, 4) if kind == "image" else ():
                with suppress(InputError):
                    return opened(self._path, channels=channels, **self._choices, **self._given)
            raise
        return stack

    def _needing(self, opened: Callable[..., Stack]) -> tuple[Stack, dict[str, Any]]:
        """Open a stack as it is, or by the fewest of the given choices; return these, too."""
        for count in range(len(self._given) + 1):
            for names in combinations(self._given, count):
                made = {name: self._given[name] for name in names}
                try:
                    return opened(**made), made
                except InputError as error:
                    refused = error
        raise refused

    def _with_levels(self, first: Stack) -> Iterator[Stack]:
        """Yield a stack and the smaller versions beside it, as long as each is half as large."""
        yield first
        size, chosen = first.shape, {**self._choices, **self.chosen}
        if (
            first.letters
        ):  # its smaller versions are arrays: they may name neither axes nor channels
            taken = {"T" if first.letters[k] == "T" else "C": number for k, number in first.taken}
            chosen = {"axes": first.letters, "channel": taken.get("C"), "time": taken.get("T")}
        for path in level_paths(local_path(self._path)) if first.channels == 1 else ():
            size = size[0], (size[1] + 1) // 2, (size[2] + 1) // 2
            with suppress(InputError):
                level = open_stack(path, labels=first.labels, missing="fill", **chosen)
                if level.shape == size and level.dtype == first.dtype:
                    yield level
                    continue
                level.close()
            return

    @property
    def stack(self) -> Stack:
        """The full resolution."""
        return self._levels[0]

    @property
    def levels(self) -> int:
        """How many versions are on disk."""
        return len(self._levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z), in colour (X, Y, Z, C)."""
        colours = (self.stack.channels,) if self.stack.channels > 1 else ()
        return *self.stack.shape[::-1], *colours

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what `read` returns."""
        name = self.stack.dtype.name
        return np.dtype(SHOWN_AS.get(name, name))

    @property
    def pixel_size(self) -> PixelSize:
        """Micrometres, (z, y, x)."""
        return self.stack.pixel_size

    def read(self, start: Triple, stop: Triple, factor: Triple) -> NDArray[Any]:
        """Read a box of a smaller version of the stack.

        Parameters
        ----------
        start, stop : tuple of int, (x, y, z)
            Voxels of that version, half-open.
        factor : tuple of int, (x, y, z)
            How many voxels of the stack one of it stands for, powers of 2.

        Returns
        -------
        ndarray, shape (X, Y, Z), in colour (X, Y, Z, C)
            Of images means, of labels the first ones.

        Raises
        ------
        ValueError
            If a voxel would be computed from more than `MOST_REDUCED`.
        """
        level = min(int(math.log2(min(factor[:2]))), self.levels - 1)
        rest = factor[0] >> level, factor[1] >> level, factor[2]
        if math.prod(rest) > MOST_REDUCED:
            raise ValueError("too small a version, which would be computed from too much")
        with self._lock:
            stack = self._levels[level]
            count, height, width = stack.shape
            columns = start[0] * rest[0], min(stop[0] * rest[0], width)
            rows = start[1] * rest[1], min(stop[1] * rest[1], height)
            planes = [
                self._plane(stack, range(z * rest[2], min((z + 1) * rest[2], count)), rows, columns,
                            rest)
                for z in range(start[2], stop[2])
            ]  # fmt: skip
        return np.moveaxis(np.array(planes), (0, -2, -1), (2, 1, 0))

    def _plane(
        self, stack: Stack, sections: range, rows: Any, columns: Any, rest: Triple
    ) -> NDArray[Any]:
        """Return one plane of a version, (Y, X) or (C, Y, X)."""
        if self.kind == "labels":
            window = stack.window(sections[0], rows, columns)
            return window[..., :: rest[1], :: rest[0]].astype(self.dtype, copy=False)
        if rest == (1, 1, 1):
            return stack.window(sections[0], rows, columns).astype(self.dtype, copy=False)
        means = [_mean(stack.window(z, rows, columns), rest[1], rest[0]) for z in sections]
        mean = sum(means) / len(means)
        return np.asarray(mean if self.dtype.kind == "f" else np.rint(mean)).astype(self.dtype)

    def greys(self) -> tuple[float, float]:
        """Return what is shown as black and white.

        The whole range of 8 bits, 0 to 1 of probabilities, what the file or one window in the
        middle says of others.
        """
        stack = self.stack
        if stack.own_range is not None:
            return stack.own_range
        if stack.dtype == np.uint8:
            return 0.0, 255.0
        if self.kind == "probability":
            return (0.0, 65535.0) if stack.dtype == np.uint16 else (0.0, 1.0)
        count, height, width = stack.shape
        top, left = max((height - SAMPLE) // 2, 0), max((width - SAMPLE) // 2, 0)
        rows, columns = (top, min(top + SAMPLE, height)), (left, min(left + SAMPLE, width))
        with self._lock:
            window = stack.window(count // 2, rows, columns)
        finite = window[np.isfinite(window)]
        low, high = (
            (float(k) for k in np.percentile(finite, (0.5, 99.5))) if finite.size else (0, 1)
        )
        return (low, high) if high > low else (low, low + 1.0)

    def check_choice(self, name: str) -> None:
        """Raise InputError unless what is chosen by a setting is all that this image has."""
        if not self.live:
            _open_image(self._path, **self._choices, **{name: self._given[name]}).close()

    def changed(self) -> bool:
        """Look whether a run has written more, and forget what was read before; of live layers.

        What cannot be opened at this moment leaves all as it was; the next look tries again.
        """
        if not self.live:
            return False
        finished = self._file.exists() and unfinished_of(self._path) is None
        if not finished and self._written() == self._state:
            return False
        try:
            self._open(self.kind)
        except InputError as error:
            self.problem = str(error)
            return False
        self.problem = ""
        return True

    def _written(self) -> dict[str, tuple[int, int]]:
        """Return size and time of the records of a run, or of parts, by the part.

        They change with what is finished.
        """
        found = {}
        with suppress(OSError):  # what is gone meanwhile is no record
            for part, entry in journals_of(self._file).items():
                with suppress(OSError):
                    status = entry.stat()
                    found[part] = status.st_size, status.st_mtime_ns
        return found

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for stack in self._levels:
                stack.close()


def _is_labels(stack: Stack) -> bool:
    return stack.dtype.kind in "iu" and (stack.dtype.itemsize >= 4 or stack.says_labels)


def _open_image(path: str, **choices: Any) -> Stack:
    return open_stack(path, missing="fill", **choices)


def _open_output(kind: Kind | None, path: str, **choices: Any) -> Stack:
    """Open labels as they are stored, and probabilities as they are meant."""
    stack = open_stack(path, labels=True, missing="fill", **choices)
    if kind == "labels" or _is_labels(stack) or not stack.white_is_zero:
        return stack
    stack.close()
    return open_probabilities(path, missing="fill", **choices)


def _mean(window: NDArray[Any], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the means of rows x columns pixels; at an edge, of those that exist."""
    mean = window.astype(np.float64)
    for axis, step in ((-2, rows), (-1, columns)):
        starts = np.arange(0, mean.shape[axis], step)
        counts = np.minimum(starts + step, mean.shape[axis]) - starts
        mean = np.add.reduceat(mean, starts, axis)
        mean /= counts[:, None] if axis == -2 else counts
    return mean
