"""Scores that say nothing, or not what they seem to: told beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from paper_unet.metrics._results import Isbi2012Scores

MOST_PIECES, LEAST_PIXELS = 8, 4
"""Pieces that a cell may have in a section, and pixels that a piece must have, on average.

In a map of probabilities of uint8 a value has hundreds of pieces, in one of uint16 a piece a pixel.
"""

LEAST_V_RAND = 0.2
"""Below it cells are hardly told apart; a map that is one region has about so much or less."""


def doubts(
    scores: Isbi2012Scores,
    labels: npt.NDArray[np.generic] | None = None,
    interior: npt.NDArray[np.floating] | None = None,
    numbers: Sequence[int] | None = None,
) -> tuple[str, ...]:
    """Say why scores of a stack should not be taken at their word.

    Parameters
    ----------
    scores : Isbi2012Scores
        Of the stack.
    labels : ndarray, shape (Z, Y, X), optional
        As they were scored, 0 = membrane.
    interior : ndarray of float, shape (Z, Y, X), optional
        P(cell), as it was scored. Without it and the labels only V_rand is looked at.
    numbers : sequence of int, optional
        What the sections are called; default: from 0.

    Returns
    -------
    tuple of str
        A line each; empty where there is no doubt.
    """
    found = []
    if scores.v_rand < LEAST_V_RAND:
        found.append(
            f"V_rand is {scores.v_rand:.3f}, below {LEAST_V_RAND:g}: cells are not told apart, and "
            "the other scores mean little"
        )
    if labels is not None and interior is not None:
        names = numbers if numbers is not None else range(len(labels))
        found += _of_labels(labels, names)
        found += _of_map(scores, labels, interior, names)
    return tuple(found)


def doubt_of_numbers(section: npt.NDArray[np.generic]) -> str:
    """Say why a section may hold something else than a number for each cell.

    Parameters
    ----------
    section : ndarray of integers or bool, shape (Y, X)
        0 is background.

    Returns
    -------
    str
        Empty if there is no doubt: the pixels of a value lie together in few pieces.
    """
    inside = section != 0
    names, numbers = np.unique(section[inside], return_inverse=True)
    values, pixels = len(names), len(numbers)
    if not values:
        return ""
    dense = np.zeros(section.shape, np.int64)  # names may be of any size
    dense[inside] = numbers + 1
    found = label(dense, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    pieces = int(found.max())
    if pieces <= MOST_PIECES * values and pixels >= LEAST_PIXELS * pieces:
        return ""
    return (
        f"its {values} values beside 0 lie in {pieces} pieces of {pixels / pieces:.1f} pixels on "
        "average, and a cell is one: these may be probabilities or a mask, to be segmented first"
    )


def _of_labels(labels: npt.NDArray[np.generic], names: Sequence[int]) -> Iterator[str]:
    bare = [name for name, truth in zip(names, labels, strict=True) if not truth.any()]
    full = [name for name, truth in zip(names, labels, strict=True) if truth.all()]
    if bare:
        yield (
            f"{_sections(bare)} of the labels without any cell: the Rand error of the whole stack "
            "is then 1, and V_rand and V_info are lowered; leave such sections out"
        )
    if full:
        yield (
            f"{_sections(full)} of the labels without any membrane: the warping error counts "
            "nothing there, and V_info is 0; leave such sections out"
        )


def _of_map(
    scores: Isbi2012Scores,
    labels: npt.NDArray[np.generic],
    interior: npt.NDArray[np.floating],
    names: Sequence[int],
) -> Iterator[str]:
    threshold = scores.thresholds["warping_error"]
    constant = [
        name for name, map_ in zip(names, interior, strict=True) if _one_region(map_ > threshold)
    ]
    if constant:
        yield (
            f"the warping error means nothing for {_sections(constant)}: the map is constant there "
            f"at its threshold {threshold:.1f}, and a constant map may have an "
            "excellent one; read V_rand instead"
        )
    inside = labels != 0
    if inside.any() and not inside.all():
        cell, membrane = (
            float(np.mean(interior, where=where, dtype=np.float64)) for where in (inside, ~inside)
        )
        if cell < membrane:
            yield (
                f"the map is {cell:.3f} in cells and {membrane:.3f} in membranes on average: it "
                "looks inverted, as a probability of membrane; give 1 minus it"
            )


def _one_region(above: npt.NDArray[np.bool_]) -> bool:
    return bool(above.all() or not above.any())


def _sections(names: list[int], most: int = 5) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"section{'s' if len(names) > 1 else ''} {shown}{more}"
