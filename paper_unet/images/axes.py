"""What the axes of a file mean: one grey stack, (Z, Y, X), or an error."""

from __future__ import annotations

import math
from pathlib import Path

from paper_unet.errors import InputError

UNKNOWN_AXES = "QI"
AXIS_NAMES = {"C": "channels", "S": "samples", "T": "time points"}


def grey_stack_axes(
    path: Path, found: str, shape: tuple[int, ...], given: str | None
) -> tuple[int | None, tuple[int, int, int]]:
    """Read a shape as (Z, Y, X) by the axes that a file names, or by those given.

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

    Returns
    -------
    position : int or None
        Which axis of the file is Z; None if all but Y and X have length 1.
    shape : tuple of int, (Z, Y, X)

    Raises
    ------
    InputError
        If this is not one grey stack.
    """
    axes = found
    if len(shape) < 2:
        raise InputError(f"{path}: an array of shape {shape} is no image; accepted are ZYX and YX")
    if given is not None:
        axes = given.upper()
        if len(axes) != len(shape) or len(set(axes)) != len(axes):
            raise InputError(
                f'{path}: axes "{axes}" for an image of shape {shape} ({found}); give one letter '
                f"for each of its {len(shape)} axes, such as ZYX"
            )
    if not axes.endswith("YX"):
        raise InputError(
            f"{path}: axes {axes} of shape {shape}; accepted are ZYX and YX: save it so, or name "
            "the axes with --axes"
        )
    leading = [(k, axes[k], n) for k, n in enumerate(shape[:-2]) if n != 1]
    for _, axis, length in leading:
        if axis not in "Z" + UNKNOWN_AXES:
            raise InputError(
                f"{path}: {length} {AXIS_NAMES.get(axis, f'along axis {axis}')} (axes {axes}, "
                f"shape {shape}); one grey stack is accepted: save one of them, or say --axes "
                f"with Z in place of {axis} if these are sections"
            )
    if len(leading) > 1:
        raise InputError(
            f"{path}: axes {axes} of shape {shape}; accepted are ZYX and YX: save one stack, or "
            f"name the axes with --axes"
        )
    size = math.prod(n for _, _, n in leading), shape[-2], shape[-1]
    if 0 in size:
        raise InputError(f"{path}: shape {shape} has no pixels; export it again")
    return (leading[0][0] if leading else None), size
