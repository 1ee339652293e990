"""From a mask to numbered cells, against a literal re-writing of the release's rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import label, regionprops

from paper_unet.errors import InputError
from paper_unet.metrics.instances import (
    FIELD_OF_INTEREST,
    MIN_AREA,
    cell_instances,
    cells_of_map,
    grow_back,
)
from paper_unet.weight_map import separate_touching


def literal(mask: np.ndarray, min_area: int, border: int) -> np.ndarray:
    """Region by region: an area above the smallest, and a pixel far from all four sides."""
    rows, columns = mask.shape
    out = np.zeros(mask.shape, np.int32)
    for region in regionprops(label(mask, connectivity=2)):
        y, x = region.coords.T
        inside = (y >= border) & (y < rows - border) & (x >= border) & (x < columns - border)
        if region.area > min_area and inside.any():
            out[y, x] = out.max() + 1
    return out


MASKS = arrays.arrays(
    np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.booleans()
)


def blobs(seed: int, shape: tuple[int, int] = (60, 90)) -> np.ndarray:
    """Regions of many sizes, as a network leaves them."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2) > 0.05


@given(mask=MASKS, min_area=st.integers(0, 12), border=st.integers(0, 8))
def test_the_release_rules_literally(mask, min_area, border):
    found = cell_instances(mask, min_area=min_area, border=border)
    np.testing.assert_array_equal(found, literal(mask, min_area, border))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("min_area", "border"), [(0, 0), (20, 0), (20, 9), (100, 20), (0, 31)])
def test_the_release_rules_on_larger_masks(seed, min_area, border):
    mask = blobs(seed)
    found = cell_instances(mask, min_area=min_area, border=border)
    np.testing.assert_array_equal(found, literal(mask, min_area, border))
    if (min_area, border) == (20, 9):  # both rules had something to do
        assert 0 < found.max() < label(mask, connectivity=2).max()


@given(mask=MASKS, min_area=st.integers(0, 12), border=st.integers(0, 8))
def test_numbers_run_without_a_gap_and_mean_regions_of_the_mask(mask, min_area, border):
    found = cell_instances(mask, min_area=min_area, border=border)
    assert found.dtype == np.int32 and found.shape == mask.shape
    np.testing.assert_array_equal(np.unique(found[found > 0]), np.arange(1, found.max() + 1))
    assert not found[~mask].any()
    # each kept region whole: a kept pixel's neighbours in the mask have its number
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        rows, columns = mask.shape
        here = found[: rows - dy, max(0, -dx) : columns - max(0, dx)]
        there = found[dy:, max(0, dx) : columns + min(0, dx)]
        one = mask[: rows - dy, max(0, -dx) : columns - max(0, dx)]
        other = mask[dy:, max(0, dx) : columns + min(0, dx)]
        np.testing.assert_array_equal(here[one & other], there[one & other])


@given(mask=MASKS, smaller=st.integers(0, 6), more=st.integers(0, 6), border=st.integers(0, 4))
def test_stricter_settings_keep_fewer_pixels(mask, smaller, more, border):
    loose = cell_instances(mask, min_area=smaller, border=border) > 0
    strict = cell_instances(mask, min_area=smaller + more, border=border + more) > 0
    assert not (strict & ~loose).any()


@given(mask=MASKS, min_area=st.integers(0, 9), border=st.integers(0, 5))
def test_turned_and_mirrored_masks_give_the_same_cells(mask, min_area, border):
    found = cell_instances(mask, min_area=min_area, border=border) > 0
    for turn in (np.rot90, np.fliplr, np.flipud, np.transpose):
        again = cell_instances(turn(mask), min_area=min_area, border=border) > 0
        np.testing.assert_array_equal(again, turn(found))


def square(side: int, top: int, left: int, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_smallest_area_is_one_more_than_the_setting():
    mask = square(3, 5, 5)
    assert cell_instances(mask, min_area=8).max() == 1
    assert cell_instances(mask, min_area=9).max() == 0


@pytest.mark.parametrize(("top", "left"), [(0, 8), (17, 8), (8, 0), (8, 17), (0, 0), (17, 17)])
def test_a_region_in_the_frame_goes_and_one_pixel_beyond_it_saves_it(top, left):
    mask = square(3, top, left)
    assert cell_instances(mask, min_area=0, border=3).max() == 0
    np.testing.assert_array_equal(cell_instances(mask, min_area=0, border=2), mask)
    assert cell_instances(mask, min_area=0).max() == 1


def test_a_saved_region_is_kept_with_its_part_in_the_frame():
    mask = square(4, 0, 8)
    np.testing.assert_array_equal(cell_instances(mask, min_area=0, border=3), mask)


@pytest.mark.parametrize("border", [10, 11, 50, 1000])
def test_a_frame_that_leaves_no_inside_leaves_no_cell(border):
    everything = np.ones((20, 20), bool)
    assert cell_instances(everything, min_area=0, border=9).max() == 1
    assert cell_instances(everything, min_area=0, border=border).max() == 0


def test_corners_join_regions():
    mask = np.eye(5, dtype=bool)
    assert cell_instances(mask, min_area=4).max() == 1
    mask[2, 2] = False
    assert cell_instances(mask, min_area=1).max() == 2


def test_holes_are_filled_only_on_request():
    ring = square(6, 5, 5) & ~square(2, 7, 7)
    np.testing.assert_array_equal(cell_instances(ring, min_area=0), ring)
    np.testing.assert_array_equal(
        cell_instances(ring, min_area=0, fill_holes=True), square(6, 5, 5)
    )
    assert cell_instances(ring, min_area=32).max() == 0
    assert cell_instances(ring, min_area=32, fill_holes=True).max() == 1  # counted when filled
    inside = ring | square(1, 8, 8)
    assert cell_instances(inside, min_area=0).max() == 1  # a hole of 3 joins it at a corner
    assert ring[8, 8] == np.False_


def test_the_defaults_are_the_release_settings():
    assert (MIN_AREA, FIELD_OF_INTEREST) == (500, 50)
    mask = np.zeros((60, 60), bool)
    mask[:25, :20] = True  # 500 pixels
    assert cell_instances(mask).max() == 0
    mask[25, 0] = True
    assert cell_instances(mask).max() == 1


def test_nothing_gives_nothing():
    assert cell_instances(np.zeros((7, 5), bool)).max() == 0
    assert cell_instances(np.zeros((0, 5), bool)).shape == (0, 5)


def test_the_mask_is_left_as_it_was():
    mask = blobs(0)
    before = mask.copy()
    cell_instances(mask, min_area=5, border=5, fill_holes=True)
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((2, 3, 4), bool), r"bool of shape \(2, 3, 4\); bool \(Y, X\) is needed"),
        (np.zeros(4, bool), r"shape \(4,\)"),
        (np.zeros((3, 4), np.uint8), r"uint8 of shape \(3, 4\)"),
        (np.zeros((3, 4)), "float64"),
    ],
)
def test_what_is_no_mask_is_refused(mask, words):
    with pytest.raises(InputError, match=words):
        cell_instances(mask)


@pytest.mark.parametrize("settings", [{"min_area": -1}, {"border": -1}])
def test_negative_sizes_are_refused(settings):
    with pytest.raises(InputError, match="both must be at least 0"):
        cell_instances(np.zeros((3, 4), bool), **settings)


def literal_growth(cells: np.ndarray, gap: float) -> np.ndarray:
    """Pixel by pixel: the nearest cell, if it and a second one are near enough."""
    out = cells.copy()
    points = {c: np.argwhere(cells == c) for c in np.unique(cells[cells > 0])}
    for pixel in np.argwhere(cells == 0):
        far = sorted((np.hypot(*(p - pixel).T).min(), c) for c, p in points.items())
        if len(far) > 1 and far[0][0] < gap and far[1][0] < 2 * gap:
            out[tuple(pixel)] = far[0][1]
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gap", [1.5, 3, 7])
def test_cells_are_grown_back_into_the_gaps_between_them(seed, gap):
    cells = cell_instances(blobs(seed, (40, 50)), min_area=20)
    found, expected = grow_back(cells, gap), literal_growth(cells, gap)
    assert found.dtype == np.int32
    differing = found != expected  # where two cells are equally near, either may have the pixel
    for pixel in np.argwhere(differing):
        distances = [
            np.hypot(*(np.argwhere(cells == c[tuple(pixel)]) - pixel).T).min()
            for c in (found, expected)
        ]
        assert distances[0] == distances[1]
    assert ((found != cells) == (expected != cells)).all()
    assert gap < 3 or (found != cells).any()
    np.testing.assert_array_equal(
        cell_instances(blobs(seed, (40, 50)), min_area=20, gap=gap), found
    )


@pytest.mark.parametrize("gap", [2, 3, 5])
def test_what_a_wide_gap_took_comes_back(gap):
    labels = np.zeros((40, 60), np.int32)
    labels[5:35, 5:30], labels[5:35, 30:55] = 1, 2
    parted = separate_touching(labels, gap)
    assert (parted != labels).sum() == 30 * 2 * (gap - 1)
    grown = grow_back(parted, gap)
    np.testing.assert_array_equal(grown[5:35], labels[5:35])
    beyond = np.argwhere((grown != 0) & (labels == 0))  # at the two mouths of the gap
    assert (np.abs(beyond[:, 1] - 29.5) < gap).all()
    assert (np.minimum(np.abs(beyond[:, 0] - 5), np.abs(beyond[:, 0] - 34)) < gap).all()
    np.testing.assert_array_equal(cell_instances(parted != 0, min_area=50, gap=gap), grown)


def test_a_cell_without_a_neighbour_stays_as_it_is():
    alone = square(5, 3, 3).astype(np.int32)
    np.testing.assert_array_equal(grow_back(alone, 4), alone)
    np.testing.assert_array_equal(grow_back(alone * 0, 4), alone * 0)


@pytest.mark.parametrize("gap", [0, 0.5, float("nan"), float("inf")])
def test_a_gap_that_cannot_be_is_refused(gap):
    for function in (grow_back, lambda cells, gap: cell_instances(cells > 0, gap=gap)):
        with pytest.raises(InputError, match=f"gap is {gap} pixels; it must be at least 1"):
            function(square(5, 3, 3).astype(np.int32), gap)


def two_hills(valley: float) -> np.ndarray:
    """Two cells of probability 0.96 with flanks of 0.6, and a border of ``valley`` between them."""
    interior = np.zeros((30, 41), np.float32)
    interior[5:25, 3:38] = 0.6
    interior[8:22, 6:18] = interior[8:22, 23:35] = 0.96
    interior[:, 20] = np.minimum(interior[:, 20], valley)
    return interior


@pytest.mark.parametrize("valley", [0.1, 0.55])
def test_cells_are_told_apart_at_the_core_and_grow_to_the_edge(valley):
    interior = two_hills(valley)
    whole = cell_instances(interior > 0.5, min_area=50)
    assert whole.max() == (1 if valley > 0.5 else 2)  # a leak joins them
    found = cells_of_map(interior, core=0.9, edge=0.5, min_core=50, min_area=50)
    assert found.dtype == np.int32 and found.max() == 2
    assert (found[5:25, 3:20] == 1).all() and (found[5:25, 21:38] == 2).all()
    np.testing.assert_array_equal(found > 0, interior > 0.5)
    # nothing grows where both are the same
    cores = cells_of_map(interior, core=0.9, edge=0.9, min_core=50, min_area=50)
    np.testing.assert_array_equal(cores, cell_instances(interior > 0.9, min_area=50))


@given(seed=st.integers(0, 99), edge=st.floats(-1, 1), more=st.floats(0, 1))
def test_grown_cells_fill_what_a_core_reaches_and_no_more(seed, edge, more):
    """Of the regions above the edge, those with a core: each whole, and cores keep their cells."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal((30, 40))
    interior = gaussian_filter(noise, 2).astype(np.float32)
    interior /= interior.std()
    core = edge + more
    found = cells_of_map(interior, core=core, edge=edge, min_core=0, min_area=0)
    regions = label(interior > edge, connectivity=2)
    reached = np.isin(regions, np.unique(regions[interior > core]))
    np.testing.assert_array_equal(found > 0, reached & (regions > 0))
    cores = label(interior > core, connectivity=2)
    assert found.max() == cores.max()
    for k in range(1, cores.max() + 1):
        assert len(np.unique(found[cores == k])) == 1


def test_cells_at_the_border_hold_their_place_while_the_others_grow():
    interior = np.full((40, 60), 0.6, np.float32)
    interior[10:30, 2:8] = interior[10:30, 20:30] = 0.96
    found = cells_of_map(interior, core=0.9, edge=0.5, min_core=20, min_area=20, border=9)
    assert found.max() == 2  # grown, both reach beyond the border
    interior[:, 12:18] = 0
    found = cells_of_map(interior, core=0.9, edge=0.5, min_core=20, min_area=20, border=13)
    assert found.max() == 1 and not found[:, :18].any()  # dropped when all have grown


def test_a_wide_gap_is_given_back_to_grown_cells():
    interior = two_hills(0.1)
    found = cells_of_map(interior, core=0.9, min_core=50, min_area=50, gap=2)
    assert (found[5:25, 3:38] > 0).all() and not cells_of_map(interior, core=0.9, min_core=50)[
        5:25, 20
    ].any()


def bridged(width: int) -> np.ndarray:
    """Two sure cells, one of them at the side, and as sure a bridge of so many rows."""
    interior = np.full((40, 80), 0.1, np.float32)
    interior[:30, 5:35] = interior[5:35, 45:75] = 0.99
    interior[15 : 15 + width, 35:45] = 0.98
    return interior


@pytest.mark.parametrize(("width", "count"), [(1, 2), (6, 2), (7, 1)])
def test_a_neck_no_wider_than_twice_as_much_joins_no_cells(width, count):
    interior = bridged(width)
    assert cells_of_map(interior, core=0.9, min_area=50).max() == 1
    found = cells_of_map(interior, core=0.9, min_area=50, neck=3)
    assert found.max() == count
    np.testing.assert_array_equal(found > 0, interior > 0.5)  # nothing is lost by it
    if count == 2:
        assert (found[:30, 5:35] == 1).all() and (found[5:35, 45:75] == 2).all()


def test_beyond_the_image_no_cell_ends():
    interior = np.full((40, 60), 0.1, np.float32)
    interior[:4, 10:40] = 0.99
    sizes = {"core": 0.9, "min_core": 20, "min_area": 20}
    assert cells_of_map(interior, **sizes, neck=3).max() == 1  # it may be wider than what is seen
    assert cells_of_map(np.roll(interior, 5, axis=0), **sizes, neck=3).max() == 0
    assert (cells_of_map(np.ones_like(interior), **sizes, neck=3) == 1).all()


@pytest.mark.parametrize("neck", [0, 2, 5])
@pytest.mark.parametrize(("radius", "count"), [(6, 0), (9, 1)])
def test_the_smallest_core_is_that_of_a_disk_whatever_the_neck(radius, count, neck):
    y, x = np.mgrid[:40, :40] - 20
    interior = np.where(y**2 + x**2 <= radius**2, 0.95, 0.1).astype(np.float32)
    found = cells_of_map(interior, core=0.9, min_area=0, min_core=200, neck=neck)
    assert found.max() == count  # 113 and 253 pixels


def test_what_cells_of_map_refuses():
    interior = two_hills(0.1)
    with pytest.raises(InputError, match="the map is bool of shape"):
        cells_of_map(interior > 0.5, core=0.5)
    with pytest.raises(InputError, match=r"the map is float32 of shape \(2, 30, 41\)"):
        cells_of_map(np.stack([interior] * 2), core=0.5)
    with pytest.raises(InputError, match=r"core is 0\.3, edge 0\.5"):
        cells_of_map(interior, core=0.3)
    with pytest.raises(InputError, match="core is nan"):
        cells_of_map(interior, core=float("nan"))
    with pytest.raises(InputError, match="min_core is -1"):
        cells_of_map(interior, core=0.9, min_core=-1)
    with pytest.raises(InputError, match="min_area is -1"):
        cells_of_map(interior, core=0.9, min_area=-1)
    with pytest.raises(InputError, match="gap is 0 pixels"):
        cells_of_map(interior, core=0.9, gap=0)
    for neck in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"neck is {neck} pixels"):
            cells_of_map(interior, core=0.9, neck=neck)
