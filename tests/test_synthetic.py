"""The synthetic stack: its truth is exact and its grey values are those of real sections.

The ranges are those of the ISBI 2012 training volume (30 x 512 x 512), widened a little because
the stacks here are smaller.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.measure import label as connected_components
from skimage.measure import regionprops

from paper_unet.errors import InputError
from paper_unet.synthetic import Appearance, SyntheticStack, synthetic_stack
from paper_unet.synthetic.smooth import SmoothField
from paper_unet.synthetic.tissue import cut_membranes, draw_tissue


@pytest.fixture(scope="module")
def stack() -> SyntheticStack:
    return synthetic_stack(sections=4, side=384, seed=3)


def per_section_bodies(cells: np.ndarray) -> list[int]:
    return [ndi.label(section)[1] for section in cells]


def test_same_seed_same_stack_and_another_seed_another() -> None:
    first, again, other = (synthetic_stack(2, 96, seed) for seed in (7, 7, 8))
    for field in dataclasses.fields(SyntheticStack):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
        assert not np.array_equal(getattr(first, field.name), getattr(other, field.name))


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not be used
    synthetic_stack(1, 32)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("sections", "shape"), [(1, (32, 32)), (3, (64, 64)), (2, (40, 150)), (2, (151, 33))]
)
def test_any_size(sections: int, shape: tuple[int, int]) -> None:
    made = synthetic_stack(sections, shape=shape, seed=1)
    assert made.images.shape == made.labels.shape == made.instances.shape == (sections, *shape)
    assert (made.images.dtype, made.labels.dtype) == (np.uint8, np.uint8)
    assert made.instances.dtype == np.int32
    assert made.images.std() > 15


def test_labels_are_where_instances_are(stack: SyntheticStack) -> None:
    assert np.array_equal(stack.labels, np.where(stack.instances > 0, 255, 0))
    present = np.unique(stack.instances)
    assert np.array_equal(present, np.arange(present[-1] + 1))


def test_one_number_is_one_body_through_the_sections(stack: SyntheticStack) -> None:
    bodies = connected_components(stack.instances, background=0, connectivity=1)
    pairs = np.unique(np.stack([bodies.ravel(), stack.instances.ravel()]), axis=1)
    assert pairs.shape[1] == stack.instances.max() + 1


def test_touching_pixels_are_of_one_cell(stack: SyntheticStack) -> None:
    """Membrane separates cells: 4-neighbours in a section never carry two numbers."""
    for axis in (1, 2):
        a, b = (np.delete(stack.instances, edge, axis) for edge in (0, -1))
        assert np.array_equal(a[(a > 0) & (b > 0)], b[(a > 0) & (b > 0)])


def test_cells_move_but_go_on(stack: SyntheticStack) -> None:
    """From one section to the next most of the cells' area keeps its number, but not all."""
    below, above = stack.instances[:-1], stack.instances[1:]
    both = (below > 0) & (above > 0)
    kept = np.mean((below == above)[both])
    assert 0.7 < kept < 0.99
    labels = stack.labels.astype(float)
    agreement = np.corrcoef(labels[0].ravel(), labels[1].ravel())[0, 1]
    assert 0.1 < agreement < 0.5  # ISBI 2012: 0.18


def test_no_piece_is_smaller_than_the_smallest_cell(stack: SyntheticStack) -> None:
    for section in stack.labels > 0:
        areas = np.bincount(ndi.label(section)[0].ravel())[1:]
        assert areas.min() >= Appearance().smallest_cell


def test_cells_as_many_as_large_and_as_varied_as_in_real_sections(stack: SyntheticStack) -> None:
    cells = stack.labels > 0
    scale = 512**2 / 384**2
    # ISBI 2012: 88 to 137 in 512 x 512; cut cells at the border add some to smaller images.
    assert all(80 < scale * n < 180 for n in per_section_bodies(cells))
    assert all(0.73 < section.mean() < 0.86 for section in cells)
    areas = np.concatenate([np.bincount(ndi.label(s)[0].ravel())[1:] for s in cells])
    low, high = np.percentile(areas, [25, 95])
    assert high > 10 * low


def test_some_cells_are_bent_and_some_long(stack: SyntheticStack) -> None:
    """Solidity is the share of its convex hull that a cell fills; a polygon of Voronoi has 1."""
    cells = [c for c in regionprops(ndi.label(stack.labels[0])[0]) if c.area > 200]
    assert sum(c.solidity < 0.85 for c in cells) >= 3
    assert sum(c.axis_major_length > 2.5 * c.axis_minor_length for c in cells) >= 3


def test_membrane_truth_is_several_pixels_wide(stack: SyntheticStack) -> None:
    membrane = stack.labels[0] == 0
    depth = ndi.distance_transform_edt(np.pad(membrane, 8, mode="reflect"))[8:-8, 8:-8]
    ridge = (depth == ndi.maximum_filter(depth, 7)) & membrane
    assert 2 <= np.median(depth[ridge]) <= 4.5


def test_membranes_are_darker_than_cells(stack: SyntheticStack) -> None:
    """ISBI 2012: 85 against 138, by 52 grey levels."""
    for image, label in zip(stack.images, stack.labels, strict=True):
        difference = image[label > 0].mean() - image[label == 0].mean()
        assert 35 < difference < 85


def test_grey_values_are_those_of_real_sections(stack: SyntheticStack) -> None:
    """ISBI 2012: sections of mean 99 to 143 and deviation 34 to 51, hardly any saturation."""
    for image in stack.images:
        assert 95 < image.mean() < 160
        assert 32 < image.std() < 56
        assert np.mean((image == 0) | (image == 255)) < 0.02


def test_noise_is_that_of_real_sections(stack: SyntheticStack) -> None:
    """ISBI 2012: 19 grey levels inside cells after the blurred image (1.5 pixels) is taken off."""
    image, label = stack.images[0].astype(float), stack.labels[0]
    inside = ndi.distance_transform_edt(label) > 6
    assert 13 < (image - ndi.gaussian_filter(image, 1.5))[inside].std() < 23


def test_cells_hold_dark_things_that_are_not_membrane(stack: SyntheticStack) -> None:
    """Mitochondria and vesicles darken cells and leave the truth as it is."""
    bare = dataclasses.replace(Appearance(), mitochondrion_share=0.0, vesicles_per_area=0.0)
    plain = synthetic_stack(4, 384, 3, look=bare)

    def dark_share(made: SyntheticStack) -> float:
        smooth = ndi.gaussian_filter(made.images.astype(float), (0, 2, 2))
        inside = np.stack([ndi.distance_transform_edt(s) > 6 for s in made.labels])
        return float(np.mean(smooth[inside] < 95))

    assert np.array_equal(stack.instances, plain.instances)
    assert dark_share(stack) > 1.5 * dark_share(plain) + 0.01


def test_sections_differ_in_brightness(stack: SyntheticStack) -> None:
    assert np.ptp(stack.images.mean(axis=(1, 2))) > 2


def test_oblique_membranes_are_broad_and_faint() -> None:
    """A thicker section has more truth membrane, and less of its membranes is fully dark."""
    rng = np.random.default_rng(5)
    tissue = draw_tissue(rng, 1, (128, 128), Appearance(smudge_width=0.0))
    thick = dataclasses.replace(tissue, look=Appearance(smudge_width=0.0, slab=0.9))
    (thin_cells, thin_stain), (thick_cells, thick_stain) = (
        cut_membranes(t, 0.0) for t in (tissue, thick)
    )
    assert np.mean(thick_cells == 0) > np.mean(thin_cells == 0)
    assert np.mean(thick_stain > 0.8) < np.mean(thin_stain > 0.8)


def test_smooth_field_has_unit_variance_and_its_scale() -> None:
    field = SmoothField.draw(np.random.default_rng(2), (1, 600, 600), 10, 1)
    plane = field.at(0, (600, 600))
    assert plane.std() == pytest.approx(1, abs=0.1)
    neighbours = np.corrcoef(plane[:, :-1].ravel(), plane[:, 1:].ravel())[0, 1]
    far = np.corrcoef(plane[:, :-60].ravel(), plane[:, 60:].ravel())[0, 1]
    assert neighbours > 0.98
    assert abs(far) < 0.1


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"sections": 0}, "sections is 0"),
        ({"side": 31}, "31x31"),
        ({"shape": (64, 20)}, "64x20"),
        ({"shape": (64, 64, 64)}, "64x64x64"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, object], found: str) -> None:
    with pytest.raises(InputError, match=found) as caught:
        synthetic_stack(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert "give" in str(caught.value)
