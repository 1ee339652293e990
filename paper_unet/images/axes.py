"""Which axes of a file are Z, C, Y and X, in grey and in colour; or an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paper_unet.errors import InputError, shown

GREY, COLOUR = "[ZQI]?YX", "[ZQI]?([CS]YX|YX[CS])"
"""The letters that a stack may have: Q and I stand for what a file does not name."""

AXIS_NAMES = {"C": "channels", "S": "samples", "T": "time points"}


@dataclass(frozen=True)
class Axes:
    """Positions among the axes of a file, and the size that follows.

    Attributes
    ----------
    z, c : int or None
        None where the file has no such axis. All axes that are not named here have length 1.
    y, x : int
    shape : tuple of int, (Z, Y, X)
    """

    z: int | None
    c: int | None
    y: int
    x: int
    shape: tuple[int, int, int]


def stack_axes(
    path: Path, found: str, shape: tuple[int, ...], given: str | None, channels: int = 1
) -> Axes:
    """Resolve the axes that a file names, or those given, to a stack.

    Parameters
    ----------
    path : Path
        For messages.
    found : str
        One letter for each axis, as the file has them.
    shape : tuple of int
        Of the file.
    given : str, optional
        Wins over what the file says.
    channels : int
        Values for each pixel; 1 is grey.

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
    axes = found if given is None else _checked(path, found, shape, given, channels)
    y, x = axes.rfind("Y"), axes.rfind("X")
    kept = [k for k, n in enumerate(shape) if n != 1 or k in (y, x)]
    letters = "".join(axes[k] for k in kept)
    if not re.fullmatch(GREY if channels == 1 else COLOUR, letters):
        raise _refusal(path, axes, shape, letters, channels)
    c = next((k for k in kept if axes[k] in "CS"), None)
    if c is not None and shape[c] != channels:
        raise _refusal(path, axes, shape, letters, channels)
    # of one section too, the position tells its size
    z = next((k for k in [*kept, axes.find("Z")] if k not in (c, y, x, -1)), None)
    size = 1 if z is None else shape[z], shape[y], shape[x]
    if 0 in size:
        raise InputError(f"{path}: shape {shape} has no pixels; export it again")
    return Axes(z, c, y, x, size)


def _checked(path: Path, found: str, shape: tuple[int, ...], given: str, channels: int) -> str:
    axes = given.upper()
    if len(axes) != len(shape) or len(set(axes)) != len(axes):
        such = "ZYX" if channels == 1 else "ZCYX"
        raise InputError(
            f'{path}: axes "{shown(axes)}" for an image of shape {shape} ({found}); give one '
            f"letter for each of its {len(shape)} axes, such as {such}"
        )
    return axes


def _refusal(
    path: Path, axes: str, shape: tuple[int, ...], letters: str, channels: int
) -> InputError:
    """Return the error that says what the file has, and what to do."""
    if channels > 1:
        return InputError(
            f"{path}: axes {axes} of shape {shape}; a stack of {channels} values for each pixel "
            "is needed, (Z)YXS or (Z)CYX: save it so, or name the axes with --axes"
        )
    axis = next((axis for axis in letters.removesuffix("YX") if axis not in "ZQI"), "")
    if not letters.endswith("YX") or not axis:
        return InputError(
            f"{path}: axes {axes} of shape {shape}; accepted are ZYX and YX: save one stack so, "
            "or name the axes with --axes"
        )
    return InputError(
        f"{path}: {shape[axes.index(axis)]} {AXIS_NAMES.get(axis, f'along axis {axis}')} (axes "
        f"{axes}, shape {shape}); one grey stack is accepted: save one of them, or say --axes with "
        f"Z in place of {axis} if these are sections"
    )
