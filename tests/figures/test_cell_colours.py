"""Colours of cells: touching cells differ, the same cell is the same, anybody can tell them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgb
from skimage.color import rgb2lab

from paper_unet.figures.cell_colours import (
    PALETTE,
    UNMATCHED,
    cell_colours,
    matched_colours,
    paint,
    touching_pairs,
)
from paper_unet.figures.style import CYCLE

frames = arrays(np.int32, (6, 8), elements=st.sampled_from([0, 0, 0, 3, 5, 6, 8, 11, 20, 41]))


def touching(instances: np.ndarray) -> set[tuple[int, int]]:
    """Cells with 8-neighbouring pixels, smaller number first."""
    found = set()
    for y, x in np.ndindex(instances.shape):
        cell = instances[y, x]
        near = instances[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        found |= {(int(cell), int(other)) for other in np.unique(near) if other > cell > 0}
    return found


def matches(truth: np.ndarray, found: np.ndarray) -> dict[int, int]:
    """By the words of the challenge: the found object that covers more than half of a true one."""
    pairs = {}
    for a in np.unique(truth[truth > 0]):
        for b in np.unique(found[found > 0]):
            if (truth[found == b] == a).sum() > 0.5 * (truth == a).sum():
                pairs[int(a)] = int(b)
    return pairs


@given(frames, st.sampled_from([0, 2]))
def test_touching_cells_differ(instances: np.ndarray, reach: int) -> None:
    colours = cell_colours(instances, reach=reach)
    assert colours.keys() == set(np.unique(instances)) - {0}
    assert all(colours[a] != colours[b] for a, b in touching(instances))


@given(frames, frames, st.sampled_from([0, 2]))
def test_matched_cells_agree_and_touching_ones_differ(
    truth: np.ndarray, found: np.ndarray, reach: int
) -> None:
    both = np.where(truth > 8, truth, found)  # some cells that match
    for result in (found, both, truth):
        check(truth, result, *matched_colours(truth, result, reach=reach))


def check(truth: np.ndarray, found: np.ndarray, true: dict, seen: dict) -> None:
    assert true.keys() == set(np.unique(truth)) - {0}
    assert seen.keys() == set(np.unique(found)) - {0}
    for instances, colours in ((truth, true), (found, seen)):
        assert all(colours[a] != colours[b] for a, b in touching(instances))
    pairs = matches(truth, found)
    for result in seen:
        partners = [cell for cell, partner in pairs.items() if partner == result]
        if partners:
            assert seen[result] in [true[cell] for cell in partners]
        else:
            assert len(set(seen[result])) == 1  # white or grey
    for cell, result in pairs.items():
        if list(pairs.values()).count(result) == 1:
            assert true[cell] == seen[result]
    assert all(len(set(colour)) > 1 for colour in true.values())


def test_of_several_a_merger_has_the_colour_of_the_best_covered() -> None:
    truth = np.repeat([[1, 1, 1, 2, 2, 3]], 4, axis=0)
    true, seen = matched_colours(truth, (truth > 0) * 9, reach=0)
    assert seen == {9: true[1]} and len(set(true.values())) > 1


def test_cells_across_a_membrane_differ() -> None:
    instances = np.zeros((10, 60), np.int32)
    for k in range(10):  # each two pixels from the next
        instances[:, 6 * k : 6 * k + 4] = k + 1
    colours = cell_colours(instances)
    assert all(colours[k] != colours[k + 1] for k in range(1, 10))
    assert set(colours.values()) == set(PALETTE)  # none is left out


def test_more_cells_that_all_touch_than_the_palette_has() -> None:
    """Eleven stripes of one pixel, every two of which meet somewhere."""
    pairs = [pair for a, b in combinations(range(1, 12), 2) for pair in (a, b, 0)]
    instances = np.array([pairs])
    assert touching_pairs(instances) == set(combinations(range(1, 12), 2))
    assert len(set(cell_colours(instances, reach=0).values())) == 11


# Machado, Oliveira and Fernandes 2009, severity 1: deuteranopia, protanopia, tritanopia
VISION = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "all cones": np.eye(3).tolist(),
}  # fmt: skip


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_apart_for_every_vision(vision: str) -> None:
    assert nearest([*PALETTE, UNMATCHED[0]], vision) > 10
    assert nearest([to_rgb(name) for name in CYCLE], vision) > 10


def test_the_measure_of_colours_finds_red_and_green() -> None:
    both = [to_rgb("tab:red"), to_rgb("tab:green")]
    assert nearest(both, "all cones") > 100 and nearest(both, "deuteranopia") < 10


def nearest(colours: list, vision: str) -> float:
    """The smallest distance of two colours in CIELAB, as they are seen."""
    srgb = np.array(colours, float)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    coded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(coded[None])[0]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2))


def test_paint() -> None:
    instances = np.array([[0, 7], [7, 900]])
    colours = {7: (1.0, 0.5, 0.0), 900: (0.0, 0.0, 1.0)}
    flat = paint(instances, colours)
    np.testing.assert_array_equal(flat, [[[0, 0, 0], [1, 0.5, 0]], [[1, 0.5, 0], [0, 0, 1]]])
    grey = np.array([[0.3, 0.0], [1.0, 0.5]])
    over = paint(instances, colours, grey, alpha=0.4)
    np.testing.assert_allclose(over[0], [[0.3] * 3, [0.4, 0.2, 0]])
    np.testing.assert_allclose(over[1], [[1, 0.8, 0.6], [0.3, 0.3, 0.7]])
    assert paint(np.zeros((2, 2), int), {}, grey).shape == (2, 2, 3)
