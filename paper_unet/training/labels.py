"""Labels as people have them: any value for any class, and pixels that are not annotated."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.training.label_map import Meanings, Value

NAMED = 3
"""Values that a message names."""

Labels = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Labels, 0 where they are to be ignored, and where that is; None: nowhere."""


def mapped_labels(labels: NDArray[Any], meanings: Meanings, name: str) -> Labels:
    """Put a class in the place of every value.

    Parameters
    ----------
    labels : ndarray of numbers, shape (Z, Y, X)
        As stored.
    meanings : dict
        What each value becomes; None: ignored.
    name : str
        Of the labels, for messages.

    Returns
    -------
    ndarray of unsigned integers, shape (Z, Y, X), and ndarray of bool, same shape, or None

    Raises
    ------
    InputError
        If there are values that are not mapped; names them and says how many pixels they have.
    """
    largest = max((meaning or 0 for meaning in meanings.values()), default=0)
    result = np.zeros(labels.shape, np.min_scalar_type(largest))
    ignored = np.zeros(labels.shape, np.bool_)
    unknown: Counter[Value] = Counter()
    for section, classes, left_out in zip(labels, result, ignored, strict=True):
        values, places, counts = np.unique(section, return_inverse=True, return_counts=True)
        known = [value if value in meanings else None for value in values.tolist()]
        for value, mapped, count in zip(values.tolist(), known, counts.tolist(), strict=True):
            if mapped is None:
                unknown[value if value == value else math.nan] += count  # one object for all
        becomes = [0 if value is None else meanings[value] for value in known]
        places = places.reshape(section.shape)
        classes[:] = np.array([meaning or 0 for meaning in becomes], result.dtype)[places]
        left_out[:] = np.array([meaning is None for meaning in becomes])[places]
    if unknown:
        raise _unmapped(unknown, name)
    return result, ignored if ignored.any() else None


def without(labels: NDArray[Any], ignore: int) -> Labels:
    """Return labels with 0 in the place of a value, and where it was; all others stay."""
    ignored: NDArray[np.bool_] = np.asarray(labels == ignore)
    if not ignored.any():
        return labels, None
    return np.where(ignored, labels.dtype.type(0), labels), ignored


def _unmapped(unknown: Counter[Value], name: str) -> InputError:
    some = [f"{value} ({count} pixels)" for value, count in list(unknown.items())[:NAMED]]
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    what = f"value {some[0]} is" if len(unknown) == 1 else f"values {', '.join(some)}{more} are"
    return InputError(
        f"{name}: the {what} in the labels and not in `label_map`; give a class for each, or ignore"
    )
