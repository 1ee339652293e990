import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_unet.images.pyramid import halved, level_shapes


def literal_means(pixels: np.ndarray) -> list[list[Fraction]]:
    """The mean of the pixels that exist, as fractions."""
    height, width = pixels.shape
    means = []
    for y in range(0, height, 2):
        row = []
        for x in range(0, width, 2):
            there = [
                Fraction(pixels[i, j].item())
                for i in (y, y + 1)
                for j in (x, x + 1)
                if i < height and j < width
            ]
            row.append(sum(there, Fraction()) / len(there))
        means.append(row)
    return means


@settings(deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from(["uint8", "uint16", "uint32"]),
    st.integers(0, 2**32),
)
def test_integers_are_the_mean_of_what_exists_rounded_half_to_even(height, width, dtype, seed):
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 4, (height, width)).astype(dtype)
    for pixels in (few, top - few, rng.integers(0, top, (height, width), dtype, endpoint=True)):
        expected = [[round(mean) for mean in row] for row in literal_means(pixels)]
        found = halved(pixels)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.array(expected, dtype))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (8, 7)])
def test_floats_are_the_nearest_to_the_mean(shape):
    pixels = np.random.default_rng(0).random(shape, np.float32)
    expected = [[np.float32(float(mean)) for mean in row] for row in literal_means(pixels)]
    np.testing.assert_array_equal(halved(pixels), np.array(expected))
    assert halved(pixels).dtype == np.float32


def test_halves():
    pixels = np.array([[0, 1, 0, 3, 255], [0, 1, 0, 3, 254]], np.uint8)
    assert halved(pixels).tolist() == [[0, 2, 254]]  # 0.5, 1.5, 254.5


def test_chunk_by_chunk_is_the_whole():
    pixels = np.random.default_rng(0).random((21, 35), np.float32)
    parts = [
        np.hstack([halved(pixels[y : y + 8, x : x + 16]) for x in range(0, 35, 16)])
        for y in range(0, 21, 8)
    ]
    np.testing.assert_array_equal(np.vstack(parts), halved(pixels))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 1, 1), [(5, 1, 1)]),
        ((5, 512, 512), [(5, 512, 512)]),
        ((5, 513, 20), [(5, 513, 20), (5, 257, 10)]),
        ((1, 100, 2049), [(1, 100, 2049), (1, 50, 1025), (1, 25, 513), (1, 13, 257)]),
    ],
)
def test_levels(shape, expected):
    assert level_shapes(shape, 512) == expected


def test_levels_of_a_large_section():
    levels = level_shapes((7, 20_000, 20_000), 512)
    assert levels[-1] == (7, 313, 313)
    assert len(levels) == 1 + math.ceil(math.log2(20_000 / 512))
