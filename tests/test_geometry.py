"""Sizes and tiles against a literal walk through the network's layers, mirrors against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paper_unet.errors import InputError
from paper_unet.geometry import (
    HALO,
    PAPER,
    PAPER_TILE,
    SMALLEST_INPUT,
    input_size,
    is_input_size,
    mirror_indices,
    mirror_window,
    nearest_input_sizes,
    output_size,
)


def walk_through_the_network(side: int) -> int | None:
    """The side that comes out, layer by layer; None where a pool sees an odd side or nothing."""
    for _level in range(4):
        side -= 2  # 3x3 convolution
        side -= 2  # 3x3 convolution
        if side <= 0 or side % 2:
            return None
        side //= 2  # 2x2 max-pool
    side -= 4  # two convolutions at the bottom
    for _level in range(4):
        if side <= 0:
            return None
        side *= 2  # 2x2 up-convolution
        side -= 4  # two convolutions
    return side if side > 0 else None


SIDES = range(-20, 1501)
LEGAL = [side for side in SIDES if walk_through_the_network(side) is not None]
TILES = [side for side in LEGAL if side >= 204]


def test_the_walk_gives_the_sizes_of_the_paper() -> None:
    assert walk_through_the_network(572) == 388  # Fig. 1
    assert walk_through_the_network(512) is None  # its third pool would see 121
    assert LEGAL[:3] == [188, 204, 220]
    assert LEGAL[0] == SMALLEST_INPUT
    assert PAPER_TILE == 572
    assert HALO == (572 - 388) / 2


def test_legal_sides_are_those_that_every_pool_can_halve() -> None:
    assert [side for side in SIDES if is_input_size(side)] == LEGAL


def test_output_sizes() -> None:
    assert [output_size(side) for side in LEGAL] == [walk_through_the_network(n) for n in LEGAL]


@pytest.mark.parametrize("side", sorted(set(SIDES) - set(LEGAL))[::7])
def test_the_error_of_an_illegal_side_names_the_nearest_legal_ones(side: int) -> None:
    below = max((n for n in LEGAL if n < side), default=LEGAL[0])
    above = min(n for n in LEGAL if n > side)
    wanted = f"use {below} or {above}," if below != above else f"use {above},"
    with pytest.raises(InputError, match=f"input side of {side} pixels .*{wanted}"):
        output_size(side)


def test_nearest_sizes() -> None:
    for side in range(1, 1400):
        below = max((n for n in LEGAL if n <= side), default=LEGAL[0])
        above = min(n for n in LEGAL if n >= side)
        assert nearest_input_sizes(side) == (below, above)


def test_input_size_is_the_smallest_whose_output_covers() -> None:
    for side in range(1, 1300):
        covering = [n for n in LEGAL if (walk_through_the_network(n) or 0) >= side]
        assert input_size(side) == covering[0]


@pytest.mark.parametrize("side", [0, -3])
def test_an_output_of_nothing_is_refused(side: int) -> None:
    with pytest.raises(InputError, match=f"{side} pixels .* at least 1"):
        input_size(side)


@given(side=st.integers(1, 3000), tile=st.sampled_from(TILES))
@settings(deadline=None)
def test_exact_tiles_cover_once_on_the_lattice(side: int, tile: int) -> None:
    spans = PAPER.tiles(side, tile)
    covered = np.zeros(side, int)
    for span in spans:
        covered[span.start : span.start + span.core] += 1
        assert span.start % 16 == 0  # all pool on the same grid
        assert (span.low, span.skip) == (span.start - 92, 0)
        assert 1 <= span.core <= (walk_through_the_network(span.side) or 0)
        assert span.side <= tile
    assert (covered == 1).all()
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert len({span.side for span in spans}) == 1


@given(side=st.integers(1, 3000), tile=st.sampled_from(TILES))
@settings(deadline=None)
def test_exact_tiling_uses_no_more_and_no_larger_tiles_than_needed(side: int, tile: int) -> None:
    spans = PAPER.tiles(side, tile)
    largest = (tile - 184) // 16 * 16  # the most of its output that a tile can be moved by
    fewest = -(-side // largest)
    stride = spans[0].side - 188
    assert len(spans) <= fewest
    assert stride % 16 == 0
    assert (stride - 16) * fewest < side  # one step of the lattice less would leave a rest


@given(side=st.integers(1, 3000), tile=st.sampled_from(LEGAL))
@settings(deadline=None)
def test_abutting_tiles_are_those_of_the_paper(side: int, tile: int) -> None:
    output = tile - 184
    spans = PAPER.tiles(side, tile, "abutting")
    assert [span.start for span in spans] == list(range(0, side, output))
    assert all(span.side == tile for span in spans)
    assert all(span.core == output for span in spans[:-1])
    assert sum(span.core for span in spans) == side


def test_a_stack_of_1024_pixels_with_the_paper_tile() -> None:
    assert [s.start for s in PAPER.tiles(1024, 572, "abutting")] == [0, 388, 776]
    exact = PAPER.tiles(1152, 572)  # three times 384
    assert [(s.start, s.core, s.side) for s in exact] == [
        (0, 384, 572),
        (384, 384, 572),
        (768, 384, 572),
    ]


def test_tilings_that_cannot_be() -> None:
    with pytest.raises(InputError, match="too small to tile exactly: use 204"):
        PAPER.tiles(100, 188)
    assert len(PAPER.tiles(100, 188, "abutting")) == 25  # 4 pixels each
    with pytest.raises(InputError, match="side of 0 pixels"):
        PAPER.tiles(0, 572)
    with pytest.raises(InputError, match="508 or 524"):
        PAPER.tiles(100, 512, "abutting")
    with pytest.raises(InputError, match="'exact' or 'abutting'"):
        PAPER.tiles(100, 572, "seamless")  # type: ignore[arg-type]


@given(side=st.integers(1, 40), before=st.integers(0, 300), after=st.integers(0, 300))
@settings(deadline=None)
def test_mirrored_indices_are_numpys(side: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(side), (before, after), mode="reflect")
    np.testing.assert_array_equal(mirror_indices(-before, side + after, side), expected)
    # and any part of the range
    start, stop = -before + 5, side + after - 2
    if start < stop:
        np.testing.assert_array_equal(mirror_indices(start, stop, side), expected[5:-2])


def test_the_edge_pixel_is_not_repeated() -> None:
    np.testing.assert_array_equal(mirror_indices(-4, 8, 3), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1])
    np.testing.assert_array_equal(mirror_indices(-2, 4, 2), [0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 3), (2, 5, 4), (1, 2, 3, 2)])
def test_a_mirrored_window_is_numpys_padding(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 60_000, shape, dtype=np.uint16)
    rows, columns = shape[-2:]
    padding = [(0, 0)] * (len(shape) - 2) + [(92, 100), (93, 5)]
    expected = np.pad(image, padding, mode="reflect")
    window = mirror_window(image, (-92, rows + 100), (-93, columns + 5))
    assert window.dtype == np.uint16
    np.testing.assert_array_equal(window, expected)


def test_a_mirrored_window_is_a_copy() -> None:
    image = np.zeros((5, 5))
    mirror_window(image, (1, 4), (1, 4))[:] = 1
    assert not image.any()
