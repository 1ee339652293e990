"""Colours of cells: touching cells differ, and a cell has one colour in truth and result."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from skimage.segmentation import expand_labels

from paper_unet.figures.style import BLUE, GREEN, ORANGE, PURPLE, SKY, YELLOW
from paper_unet.metrics.seg import matched_objects

Instances = NDArray[np.integer[Any]]
Colour = tuple[float, float, float]

PALETTE: Final = tuple(to_rgb(name) for name in (ORANGE, SKY, GREEN, YELLOW, BLUE, PURPLE))
"""Of cells; apart for readers with any colour vision."""
UNMATCHED: Final = tuple((grey, grey, grey) for grey in (1.0, 0.72, 0.5))
"""Of cells that were found where the truth has none: white and greys, the only ones without hue."""
REACH = 4
"""Pixels: cells that are no further apart than twice this, across a membrane, differ too."""


def cell_colours(instances: Instances, *, reach: float = REACH) -> dict[int, Colour]:
    """Choose the colours of the cells of one image.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X)
        0 = background.
    reach : float, pixels
        By which cells are grown, as far as they meet, before it is looked at which ones touch.

    Returns
    -------
    dict of int to (float, float, float)
        RGB in [0, 1] by the number of the cell. Cells that touch have different colours.
    """
    numbers = cell_numbers(instances)
    pairs = touching_pairs(_grown(instances, reach))
    return _choose(numbers, _neighbours(pairs), PALETTE)


def matched_colours(
    truth: Instances, found: Instances, *, reach: float = REACH
) -> tuple[dict[int, Colour], dict[int, Colour]]:
    """Choose the colours of the cells of a truth and a result, so that the same cell has the same.

    Parameters
    ----------
    truth, found : ndarray of int, shape (Y, X)
        0 = background.
    reach : float, pixels
        As for `cell_colours`.

    Returns
    -------
    two dict of int to (float, float, float)
        Of the truth's cells and of those found; RGB in [0, 1]. Cells that touch in either image
        have different colours there. A cell that was found has the colour of the true cell that
        it matches by the criterion of SEG; of several, the one it covers best. A cell that
        matches none has one of `UNMATCHED`, which no true cell has.
    """
    of_truth = _best_partner(truth, found)
    pairs = touching_pairs(_grown(truth, reach))
    lonely: set[tuple[int, int]] = set()
    for one, other in touching_pairs(_grown(found, reach)):
        if one in of_truth and other in of_truth:
            first, second = sorted((of_truth[one], of_truth[other]))
            pairs.add((first, second))
        elif one not in of_truth and other not in of_truth:
            lonely.add((one, other))
    true = _choose(cell_numbers(truth), _neighbours(pairs), PALETTE)
    unmatched = _choose(cell_numbers(found) - of_truth.keys(), _neighbours(lonely), UNMATCHED)
    return true, unmatched | {number: true[partner] for number, partner in of_truth.items()}


def paint(
    instances: Instances,
    colours: Mapping[int, Colour],
    grey: NDArray[np.floating] | None = None,
    alpha: float = 0.4,
) -> NDArray[np.float64]:
    """Paint cells, opaque on black or as glass on an image.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X)
        0 = background.
    colours : mapping of int to (float, float, float)
        Of every cell.
    grey : ndarray of float, shape (Y, X), optional
        Image in [0, 1].
    alpha : float
        Share of the colour, over an image.

    Returns
    -------
    ndarray of float64, shape (Y, X, 3)
        RGB in [0, 1].
    """
    numbers, places = np.unique(instances, return_inverse=True)
    table = np.array([colours[int(n)] if n else (0.0, 0.0, 0.0) for n in numbers])
    flat = table[places.reshape(instances.shape)]
    if grey is None:
        return flat
    share = np.where(instances == 0, 0.0, alpha)[..., None]
    mixed: NDArray[np.float64] = (1 - share) * grey[..., None] + share * flat
    return mixed


def cell_numbers(instances: Instances) -> set[int]:
    """Return the numbers of the cells in a label image, any shape."""
    return {int(label) for label in np.unique(instances)} - {0}


def touching_pairs(instances: Instances) -> set[tuple[int, int]]:
    """Return the pairs of cells that touch, smaller number first.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X)
        0 = background.

    Returns
    -------
    set of (int, int)
        Cells that have 8-neighbouring pixels.
    """
    views = (
        (instances[:, :-1], instances[:, 1:]),
        (instances[:-1], instances[1:]),
        (instances[:-1, :-1], instances[1:, 1:]),
        (instances[:-1, 1:], instances[1:, :-1]),
    )
    pairs: set[tuple[int, int]] = set()
    for one, other in views:
        meet = (one != other) & (one != 0) & (other != 0)
        both = np.stack([one[meet], other[meet]], axis=1)
        pairs |= {(int(low), int(high)) for low, high in np.unique(np.sort(both, axis=1), axis=0)}
    return pairs


def _best_partner(truth: Instances, found: Instances) -> dict[int, int]:
    """Give the true cell of each found one that matches any: of several, the best covered."""
    best: dict[int, tuple[float, int]] = {}
    for cell, (partner, jaccard) in matched_objects(truth, found).items():
        best[partner] = max(best.get(partner, (0.0, 0)), (jaccard, cell))
    return {partner: cell for partner, (_, cell) in best.items()}


def _grown(instances: Instances, reach: float) -> Instances:
    grown: Instances = expand_labels(instances, reach)  # type: ignore[no-untyped-call]
    return grown


def _neighbours(pairs: Set[tuple[int, int]]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for one, other in pairs:
        if one != other:
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return found


def _choose(
    numbers: Set[int], neighbours: Mapping[int, Set[int]], palette: tuple[Colour, ...]
) -> dict[int, Colour]:
    """Give each cell the rarest colour that no neighbour has; the most constrained cell first.

    Brelaz, "New methods to color the vertices of a graph", 1979, doi:10.1145/359094.359101.
    """
    chosen: dict[int, int] = {}
    uses = [0] * len(palette)
    taken: dict[int, set[int]] = {number: set() for number in numbers}
    waiting = set(numbers)
    while waiting:
        cell = max(waiting, key=lambda n: (len(taken[n]), len(neighbours.get(n, ())), -n))
        waiting.remove(cell)
        place = min(
            (place for place in range(len(uses)) if place not in taken[cell]),
            key=uses.__getitem__,
            default=len(uses),
        )
        uses += [0] * (place == len(uses))  # more than the palette has
        uses[place] += 1
        chosen[cell] = place
        for other in neighbours.get(cell, ()):
            taken[other].add(place)
    return {cell: _nth(palette, place) for cell, place in chosen.items()}


def _nth(colours: tuple[Colour, ...], place: int) -> Colour:
    """Return a colour of a palette; beyond its end the same again, ever darker."""
    red, green, blue = colours[place % len(colours)]
    shade = 0.8 ** (place // len(colours))
    return red * shade, green * shade, blue * shade
