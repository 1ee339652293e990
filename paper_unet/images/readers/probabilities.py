"""Opening probabilities: grey values where they are some, and masks as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paper_unet.images.grey_values import NotGreyError
from paper_unet.images.readers import open_stack
from paper_unet.images.stack import Stack
from paper_unet.system.address import Address

BAND = 512
"""Rows that are looked at at once."""


def open_probabilities(path: str | Path | Address, **choices: Any) -> Stack:
    """Open a stack of probabilities, or a mask.

    They are read as grey values are: what is stored with white as zero is inverted. As they are
    stored, as labels are: places in a palette, integers of 64 bits or of 8 with a sign, and masks
    (0 and one other value), for ImageJ writes those with white as zero where 255 is the object.

    Parameters
    ----------
    path, **choices
        As `open_stack` takes them, but ``channels`` and ``labels``.

    Returns
    -------
    Stack
        Its ``labels`` say whether it is read as stored.

    Raises
    ------
    InputError
        As `open_stack`.
    """
    try:
        stack = open_stack(path, **choices)
    except NotGreyError:
        return open_stack(path, labels=True, **choices)
    if not stack.white_is_zero:
        return stack
    try:
        mask = _is_mask(path, choices)
    except BaseException:
        stack.close()
        raise
    if not mask:
        return stack
    stack.close()
    stored = open_stack(path, labels=True, **choices)
    stored.notes += (
        f"{path}: a mask, 0 and one other value, with white as zero; it is read as it is stored",
    )
    return stored


def _is_mask(path: str | Path | Address, choices: dict[str, Any]) -> bool:
    """Whether one value is stored beside 0, at most; a map shows more in its first rows."""
    found: set[Any] = set()
    with open_stack(path, labels=True, **choices) as stack:
        count, height, width = stack.shape
        for z in range(count):
            for top in range(0, height, BAND):
                rows = stack.window(z, (top, min(top + BAND, height)), (0, width))
                found |= set(np.unique(rows).tolist()) - {0}
                if len(found) > 1:
                    return False
    return True
