"""Which axes of a file are Z, C, Y and X, in grey and in colour; or an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, shown
from paper_unet.images.choice import KINDS, KNOWN, WHOLE, Choice, choosing

COLOUR = "[ZQI]?([CS]YX|YX[CS])|CZYX"
"""The axes of a stack in colour."""

UNNAMED = "QI"
"""Letters that stand for what a file does not name."""

AXIS_NAMES = {"C": "channels", "S": "samples", "T": "time points"}

LETTERS = {
    **dict.fromkeys(("z", "slice", "slices", "section", "sections", "plane", "planes"), "Z"),
    **dict.fromkeys(("depth", "zslice", "zslices"), "Z"),
    **dict.fromkeys(("y", "row", "rows", "height"), "Y"),
    **dict.fromkeys(("x", "column", "columns", "col", "cols", "width"), "X"),
    **dict.fromkeys(("c", "channel", "channels", "band", "bands", "color", "colour"), "C"),
    **dict.fromkeys(("s", "sample", "samples"), "S"),
    **dict.fromkeys(("t", "time", "times", "frame", "frames", "timepoint", "timepoints"), "T"),
}  # fmt: skip
"""Words that files have for an axis, without spaces, lines and "axis" at their end."""

UNKNOWN = "U"
"""The letter of an axis whose name says nothing."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Axes:
    """Positions among the axes of a file, and the size that follows.

    Attributes
    ----------
    z, c : int or None
        None where the file has no such axis. All axes that are not named here have length 1, or
        one place along them is taken.
    y, x : int
    shape : tuple of int, (Z, Y, X)
    taken : tuple of (int, int)
        Axes longer than 1 of which one place is taken, and which: a channel, a time point.
    """

    z: int | None
    c: int | None
    y: int
    x: int
    shape: tuple[int, int, int]
    taken: tuple[tuple[int, int], ...] = ()

    @property
    def channels_first(self) -> bool:
        """Whether all sections of a channel come before those of the next."""
        return self.c is not None and self.z is not None and self.c < self.z and self.shape[0] > 1

    @property
    def in_order(self) -> bool:
        """Whether sections of rows of X follow each other; axes of length 1 lie anywhere."""
        places = zip((self.z, self.y, self.x), self.shape, strict=True)
        long = [place for place, length in places if place is not None and length > 1]
        return long == sorted(long)


def letter(name: object) -> str:
    """Return the letter of an axis by the name that a file gives it.

    A longer word that is not known may begin with any letter (condition, tile): it stands for
    itself where that means nothing, and is never taken for what another word means.
    """
    word = re.sub(r"[\s_-]|axis$", "", str(name).lower())
    initial = word[:1].upper() if word[:1].isascii() and word[:1].isalnum() else UNKNOWN
    if word in LETTERS or len(word) == 1:
        return LETTERS.get(word, initial)
    return UNKNOWN if initial in KNOWN + UNNAMED else initial


def unnamed(count: int) -> str:
    """Return the letters of so many axes without names: the last ones are Z, Y and X."""
    return (UNNAMED * count)[: max(count - 3, 0)] + "ZYX"[max(3 - count, 0) :]


def stack_axes(
    path: Path,
    found: str,
    shape: tuple[int, ...],
    given: str | None,
    channels: int = 1,
    chosen: Choice = WHOLE,
    names: Sequence[str] = (),
) -> Axes:
    """Resolve the axes that a file names, or those given, to a stack.

    Parameters
    ----------
    path : Path
        For messages.
    found : str
        One letter for each axis, as the file has them, in any order.
    shape : tuple of int
        Of the file.
    given : str, optional
        Wins over what the file says.
    channels : int
        Values for each pixel; 1 is grey.
    chosen : Choice
        Channel and time point, where there are several.
    names : sequence of str
        Of the channels, as far as the file has any.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If this is not one stack of so many channels.
    """
    if len(shape) < 2:
        raise InputError(f"{path}: an array of shape {shape} is no image; accepted are ZYX and YX")
    axes = letters_of(path, found, shape, given, channels)
    y, x = axes.rfind("Y"), axes.rfind("X")
    taken = chosen.find(path, axes, shape, names) if chosen else {}
    kept = [k for k, n in enumerate(shape) if (n != 1 or k in (y, x)) and k not in taken]
    letters = "".join(axes[k] for k in kept)
    if not _is_stack(letters, channels):
        raise _refusal(path, axes, shape, letters, channels, names)
    c = next((k for k in kept if axes[k] in "CS"), None)
    if c is not None and shape[c] != channels:
        raise _refusal(path, axes, shape, letters, channels, names)
    # of one section too, the position tells its size
    z = next((k for k in [*kept, axes.find("Z")] if k not in (c, y, x, -1)), None)
    size = 1 if z is None else shape[z], shape[y], shape[x]
    if 0 in size:
        raise InputError(f"{path}: shape {shape} has no pixels; export it again")
    return Axes(z, c, y, x, size, tuple(sorted(taken.items())))


def _is_stack(letters: str, channels: int) -> bool:
    """Whether axes are those of a stack; grey ones in any order, but one without a name first."""
    if channels > 1:
        return bool(re.fullmatch(COLOUR, letters))
    named = "".join(sorted(letters.lstrip(UNNAMED)))
    unknown = len(letters) - len(named)
    return unknown <= 1 and named in ("XY", "XY" if unknown else "XYZ")


def read_in_order(
    read: Callable[[int, Span, Span], NDArray[Any]],
    shape: tuple[int, ...],
    axes: Axes,
    spans: tuple[Span, Span, Span],
) -> NDArray[Any]:
    """Read a window of a stack whose axes a file has in another order.

    Parameters
    ----------
    read : callable
        Gives the window (rows, columns) of a page of the file, ndarray (rows, columns).
    shape : tuple of int
        Of the file, without axes of length 1 at its end; a page has the last two.
    axes : Axes
        Where in it the axes are.
    spans : three (int, int)
        Half-open ranges of Z, Y and X.

    Returns
    -------
    ndarray, shape (Z, Y, X) of the ranges
    """
    wanted: dict[int | None, Span] = dict(zip((axes.z, axes.y, axes.x), spans, strict=True))
    wanted |= {place: (k, k + 1) for place, k in axes.taken}
    ranges = [wanted.get(k, (0, 1)) for k in range(len(shape))]
    leading = [range(*span) for span in ranges[:-2]]
    pages = [int(np.ravel_multi_index(place, shape[:-2])) for place in product(*leading)]
    windows = [read(page, ranges[-2], ranges[-1]) for page in pages]
    block = np.reshape(windows, [last - first for first, last in ranges])
    order = [k for k in (axes.z, axes.y, axes.x) if k is not None and k < len(shape)]
    block = np.moveaxis(block, order, range(len(order)))
    return np.ascontiguousarray(block.reshape([last - first for first, last in spans]))


def letters_of(
    path: Path, found: str, shape: tuple[int, ...], given: str | None, channels: int
) -> str:
    """Return one letter for each axis: as the file has them, or those given, once these can be."""
    if given is None:
        return found
    axes = given.upper()
    if len(axes) != len(shape) or len(set(axes)) != len(axes):
        raise InputError(
            f'{path}: axes "{shown(axes)}" for an image of shape {shape} ({found}); give one '
            f"letter for each of its {len(shape)} axes, such as {_example(shape, channels)}"
        )
    return axes


def _example(shape: tuple[int, ...], channels: int) -> str:
    """Return axes that may be those of a shape."""
    if channels > 1:
        return ("T" * len(shape) + "ZCYX")[-len(shape) :]
    wide = [k for k, size in enumerate(shape) if size > 1]
    spare = iter("CTSQI")
    names = dict(zip(wide, "ZYX"[max(3 - len(wide), 0) :], strict=False))
    if len(wide) == len(names) == 3:
        return "".join(names.get(k) or next(spare, "Q") for k in range(len(shape)))
    return ("TC" + "ZYX")[-len(shape) :]


def _refusal(
    path: Path,
    axes: str,
    shape: tuple[int, ...],
    letters: str,
    channels: int,
    names: Sequence[str] = (),
) -> InputError:
    """Return the error that says what the file has, and what to do."""
    if channels > 1:
        return InputError(
            f"{path}: axes {axes} of shape {shape}; a stack of {channels} values for each pixel "
            "is needed, (Z)YXS, (Z)CYX or CZYX: save it so, or name the axes with `axes`"
        )
    extra = [axis for axis in dict.fromkeys(letters) if axis not in "ZYX"]
    doubtful = not {"Y", "X"} <= set(letters) or set(extra) & set(UNNAMED)
    if doubtful or not extra or len(set(letters)) < len(letters):
        return InputError(
            f"{path}: axes {axes} of shape {shape}; accepted are Z, Y and X in any order: name the "
            f"axes with `axes`, one letter for each, such as {_example(shape, channels)}"
        )
    axis = extra[0]
    count = shape[axes.index(axis)]
    kinds = {KINDS[one][0] for one in extra if one in KINDS}
    remedy = "save one of them"
    if len(kinds) == len(extra) and not _taken_twice(axes, shape):
        choices = [choosing(one, shape[axes.index(one)], names) for one in extra]
        remedy = f"choose {', and '.join(choices)}"
    found = (
        f"{path}: {count} {AXIS_NAMES.get(axis, f'along axis {axis}')} (axes {axes}, shape "
        f"{shape}); one grey stack is accepted: {remedy}"
    )
    if len(extra) > 1 or "Z" in letters:
        return InputError(found)
    # a Z of length 1 gives its letter away
    renamed = axes.translate({ord(axis): "Z", ord("Z"): axis})
    return InputError(f"{found}, or say `axes` {renamed} if these are sections")


def _taken_twice(axes: str, shape: tuple[int, ...]) -> bool:
    """Whether there are channels and samples, of which a choice takes the first alone."""
    return all(one in axes and shape[axes.index(one)] > 1 for one in "CS")
