"""A watershed in blocks: the whole volume's where a block sees enough; never a voxel lost."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from segmentation_helpers import labels_of, renumbered, settings, smooth, touching, write
from skimage.segmentation import watershed

from paper_unet.images import create_output
from paper_unet.large.report import Report
from paper_unet.metrics import cell_scores
from paper_unet.segmentation import segment_file
from paper_unet.segmentation.flood import adopted, deep
from paper_unet.segmentation.plan import make_job, open_source

CHOICES = {"threshold": "0.45", "seed_distance": 1.5, "seed_threshold": 0.7, "method": "watershed"}


def distances(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each voxel to the nearest one outside, by trying all."""
    outside = np.argwhere(~inside)
    found = np.zeros(inside.shape)
    for place in np.argwhere(inside):
        found[tuple(place)] = np.sqrt(((outside - place) ** 2).sum(axis=1).min())
    return found


def whole(
    volume: NDArray[np.float32], dims: int, seeds: str, min_size: int = 0
) -> NDArray[np.int64]:
    """The watershed of the whole volume with scikit-image, seeds made as the settings say."""
    structure, inside = touching(dims, 1), volume.astype(np.float64) > 0.45
    if seeds == "probability":
        there = volume.astype(np.float64) > 0.7
    elif dims == 2:
        there = np.stack([distances(section) > 1.5 for section in inside])
    else:
        there = distances(inside) > 1.5
    markers, count = ndimage.label(there, structure)
    parts, number = ndimage.label(inside, structure)
    alone = ~np.isin(np.arange(number + 1), parts[there])
    alone[0] = False
    markers = np.where(alone[parts], parts + count, markers)
    cells = watershed(-volume, markers, mask=inside, connectivity=structure)
    sizes = np.bincount(cells.reshape(-1))
    return renumbered(np.where(sizes[cells] >= min_size, cells, 0))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("seeds", ["distance", "probability"])
def test_blocks_that_see_enough_give_the_watershed_of_the_whole(
    folder: Path, dims: int, seeds: str
) -> None:
    expected = whole(labels_of(folder / "p.tif"), dims, seeds)
    assert expected.max() > 5
    for block, context in (("6x32x48", 0), ("3x16x32", 40)):
        config = settings(
            folder, f"{block}.tif", dims=dims, seeds=seeds, block=block, context=context, **CHOICES
        )
        done = segment_file(config)
        assert done.cells == expected.max()
        np.testing.assert_array_equal(labels_of(done.path), expected)
    assert {path.name for path in folder.iterdir()} == {"p.tif", "6x32x48.tif", "3x16x32.tif"}


def test_small_cells_of_a_watershed(folder: Path) -> None:
    expected = whole(labels_of(folder / "p.tif"), 3, "distance", min_size=40)
    config = settings(folder, block="3x16x32", context=40, min_size=40, **CHOICES)
    np.testing.assert_array_equal(labels_of(segment_file(config).path), expected)


@pytest.mark.parametrize("context", [0, 3])
def test_every_voxel_of_the_foreground_is_in_a_cell(folder: Path, context: int) -> None:
    """Also where the seed lies farther away than a block sees; and near the whole's watershed."""
    volume = labels_of(folder / "p.tif")
    expected = whole(volume, 3, "distance")
    config = settings(folder, "out.zarr", block="2x16x16", context=context, **CHOICES)
    done = segment_file(config)
    found = labels_of(done.path)
    np.testing.assert_array_equal(found > 0, volume > np.float32(0.45))
    assert done.cells == found.max() == len(np.unique(found)) - 1
    np.testing.assert_array_equal(found, renumbered(found))
    assert cell_scores(expected, found).adapted_rand_error < 0.1


def test_a_long_neck_goes_to_the_cell_that_it_hangs_on(tmp_path: Path) -> None:
    """A cell of one seed, and a thread from it that runs through three blocks which see none."""
    volume = np.zeros((1, 16, 80), np.float32)
    volume[0, 3:13, 2:12] = 0.9
    volume[0, 8, 12:78] = 0.8
    write(tmp_path / "p.tif", volume)
    config = settings(tmp_path, dims=2, block="1x16x16", context=2, **CHOICES)
    done = segment_file(config)
    assert done.cells == 1
    np.testing.assert_array_equal(labels_of(done.path), (volume > 0.45).astype(np.uint32))


def test_touching_cells_are_cut_at_their_neck(tmp_path: Path) -> None:
    """What the watershed is for: one component, two cells."""
    y, x = np.mgrid[:32, :64]
    far = np.minimum(np.hypot(y - 16, x - 16), np.hypot(y - 16, x - 44))
    volume = np.clip(1 - far / 32, 0, 1).astype(np.float32)[None]
    write(tmp_path / "p.tif", volume)
    given = {"dims": 2, "threshold": "0.5", "seed_distance": 13.0, "block": "1x32x32"}
    one = segment_file(settings(tmp_path, "one.tif", **given))
    two = segment_file(settings(tmp_path, "two.tif", method="watershed", context=32, **given))
    assert (one.cells, two.cells) == (1, 2)
    left = labels_of(two.path)[0, :, :29]
    assert set(np.unique(left)) == {0, 1}


def test_the_sides_of_a_voxel_count(tmp_path: Path) -> None:
    """Sections ten pixels apart: a plate of three sections is thick."""
    inside = np.zeros((7, 32, 32), bool)
    inside[2:5, 4:28, 4:28] = True
    assert not deep(inside, 3.0, (1.0, 1.0, 1.0), 3).any()
    assert deep(inside, 3.0, (10.0, 1.0, 1.0), 3)[2:5, 10:20, 10:20].all()


@pytest.mark.parametrize(("dims", "depth"), [(2, None), (2, 3.0), (3, None), (3, 3.0)])
def test_the_sides_of_a_pixel_count_where_the_depth_is_not_known(
    tmp_path: Path, dims: int, depth: float | None
) -> None:
    """A plate of 9 x 24 pixels, each twice as high as wide: its middle is 10 from the sides."""
    volume = np.zeros((3, 16, 48), np.float32)
    volume[:, 4:13, 12:36] = 0.9
    output = create_output(tmp_path / "p.tif", volume.shape, "float32", pixel_size=(depth, 2, 1))
    output.prepare(resume=False)
    for z, section in enumerate(volume):
        output.write(z, 0, 0, section)
    output.finish()
    lines: list[str] = []
    config = settings(tmp_path, dims=dims, method="watershed", seed_distance=9.0)
    with open_source(config) as stack:
        assert (stack.pixel_size[0] is None) == (depth is None)
        output = create_output(tmp_path / "o.tif", volume.shape, "uint32", labels=True)
        job = make_job(config, stack, output)
    assert job.sampling == pytest.approx((depth or 1, 2, 1))
    assert deep(volume > 0.5, 9.0, job.sampling, 2)[:, 8, 24].all()
    segment_file(config, report=Report(say=lines.append))
    said = [line for line in lines if "does not say how deep a section is" in line]
    assert len(said) == (dims == 3 and depth is None)


def test_without_background_all_is_far_from_it() -> None:
    assert deep(np.ones((2, 5, 5), bool), 100.0, (1.0, 1.0, 1.0), 3).all()
    sections = np.ones((2, 5, 5), bool)
    sections[1] = False
    assert deep(sections, 100.0, (1.0, 1.0, 1.0), 2).tolist() == sections.tolist()


def test_rests_go_where_they_touch_most_and_the_first_of_equals() -> None:
    """Cells 1 to 3, rests 0 to 4: by hand."""
    #             rest 0: 5 sides with 2, 3 + 3 with 1   -> 1
    #             rest 1: 2 with 3, 2 with 2             -> 2
    #             rest 2: 9 with rest 1 alone            -> 2, in the second round
    #             rest 3: 1 with rest 2                  -> 2, in the third
    #             rest 4: touches nothing that is known  -> 0
    pairs = [
        (0, 2, 5), (0, 1, 3), (0, 1, 3), (1, 3, 2), (1, 2, 2), (2, 3 + 1 + 1, 9), (3, 3 + 1 + 2, 1),
        (4, 3 + 1 + 4, 7),
    ]  # fmt: skip
    rest, neighbour, sides = np.array(pairs).T
    assert adopted(rest, neighbour, sides, 3, 5).tolist() == [1, 2, 2, 2, 0]


def test_a_volume_without_cells(tmp_path: Path) -> None:
    write(tmp_path / "p.tif", np.zeros((2, 16, 32), np.float32))
    done = segment_file(settings(tmp_path, block="1x16x16", **CHOICES))
    assert done.cells == 0
    assert not labels_of(done.path).any()


def test_seeds_never_lie_outside_the_foreground(tmp_path: Path) -> None:
    volume = smooth((2, 16, 32))
    write(tmp_path / "p.tif", volume)
    given = {**CHOICES, "seed_threshold": 0.2, "seeds": "probability"}
    done = segment_file(settings(tmp_path, block="2x16x16", **given))
    expected, _ = ndimage.label(volume > np.float32(0.45), touching(3, 1))
    np.testing.assert_array_equal(labels_of(done.path), renumbered(expected))
