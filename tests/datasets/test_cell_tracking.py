"""The frames of the Cell Tracking Challenge, and what of them is not annotated."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paper_unet.datasets import CellFrames, load_cell_frames
from paper_unet.datasets.cell_tracking import paired_frames, unannotated
from paper_unet.errors import InputError

PARTIAL = {  # set, sequence: frame: cells with a mask, cells tracked
    ("PhC-C2DH-U373", "01"): {},
    ("PhC-C2DH-U373", "02"): {26: (5, 6), 51: (6, 7), 85: (4, 5), 106: (3, 5)},
    ("DIC-C2DH-HeLa", "01"): {34: (12, 13), 39: (13, 14), 67: (3, 18)},
    ("DIC-C2DH-HeLa", "02"): {7: (9, 10), 14: (9, 10), 42: (9, 11), 61: (14, 15), 67: (14, 15)},
}
TOTALS = {"PhC-C2DH-U373": (34, 210, 215), "DIC-C2DH-HeLa": (18, 195, 218)}
"""Frames with masks, masks, tracked cells."""


def write_sequence(
    folder: Path,
    images: dict[int, np.ndarray],
    masks: dict[int, np.ndarray],
    markers: dict[int, np.ndarray],
) -> Path:
    for place, prefix, frames in (
        ("01", "t", images),
        ("01_GT/SEG", "man_seg", masks),
        ("01_GT/TRA", "man_track", markers),
    ):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number, pixels in frames.items():
            tifffile.imwrite(folder / place / f"{prefix}{number:03d}.tif", pixels)
    return folder


def tiny() -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Three frames, two of them segmented; in frame 2 the right cell has no mask."""
    images = {k: np.full((9, 20), 10 + k, np.uint8) for k in range(3)}
    both = np.zeros((9, 20), np.uint16)
    both[2:7, 2:7], both[2:7, 12:17] = 5, 9  # numbers with gaps
    marks = np.zeros((9, 20), np.uint16)
    marks[4, 4], marks[4, 14] = 1, 2
    return images, {0: both, 2: np.where(both == 5, both, 0)}, dict.fromkeys(range(3), marks)


# loading


def test_the_segmented_frames_of_a_sequence(tmp_path):
    images, masks, markers = tiny()
    found = load_cell_frames(write_sequence(tmp_path, images, masks, markers), "01")
    assert isinstance(found, CellFrames)
    assert found.frames == (0, 2)
    np.testing.assert_array_equal(found.images, [images[0], images[2]])
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.instances, [masks[0], masks[2]])
    assert found.instances.dtype == np.int32 and found.ignore.dtype == np.bool_
    assert not found.ignore[0].any()
    # a cell reaches from (4, 4) to its corner (2, 2): what is within sqrt(8) pixels of the marker
    y, x = np.mgrid[:9, :20]
    np.testing.assert_array_equal(found.ignore[1], (y - 4) ** 2 + (x - 14) ** 2 <= 8)


def test_the_order_is_that_of_the_numbers(tmp_path):
    images, masks, markers = tiny()
    many = {1000: masks[0], 7: masks[2], 20: masks[0]}
    folder = write_sequence(
        tmp_path, dict.fromkeys(many, images[0]), many, dict.fromkeys(many, markers[0])
    )
    assert load_cell_frames(str(folder), "01").frames == (7, 20, 1000)


def test_other_files_are_no_frames(tmp_path):
    images, masks, markers = tiny()
    write_sequence(tmp_path, images, masks, markers)
    for name in ("01_GT/SEG/man_seg.tif", "01_GT/SEG/xman_seg001.tif", "01_GT/TRA/man_track.txt"):
        (tmp_path / name).write_bytes(b"")
    assert load_cell_frames(tmp_path, "01").frames == (0, 2)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("01/t002.tif", "t2.tif"),
        ("01_GT/SEG/man_seg002.tif", "man_seg02.tif"),
        ("01_GT/TRA/man_track002.tif", "man_track002.tiff"),
    ],
)
def test_two_files_of_one_frame(tmp_path, name, twin):
    images, masks, markers = tiny()
    file = write_sequence(tmp_path, images, masks, markers) / name
    file.with_name(twin).write_bytes(file.read_bytes())
    first, second = sorted((file.name, twin))
    words = f"{file.parent.name}: {first} and {second} are both frame 2"
    with pytest.raises(InputError, match=re.escape(words)):
        load_cell_frames(tmp_path, "01")


@pytest.mark.parametrize("name", ["man_seg000.tif", "mask000.tif"])
def test_two_files_of_one_frame_are_not_scored(tmp_path, name):
    for file in ("man_seg000.tif", "mask000.tif", name.replace("000", "0")):
        tifffile.imwrite(tmp_path / file, np.ones((4, 5), np.uint16))
    words = f"{name.replace('000', '0')} and {name} are both frame 0"
    with pytest.raises(InputError, match=re.escape(words)):
        paired_frames(tmp_path, tmp_path)


def test_errors_of_a_sequence(tmp_path):
    def refused(words: str, sequence: str = "01") -> None:
        with pytest.raises(InputError) as caught:
            load_cell_frames(tmp_path, sequence)
        assert words in str(caught.value) and "\n" not in str(caught.value)

    refused("01: no such folder; give one with tTTT.tif")
    images, masks, markers = tiny()
    write_sequence(tmp_path, images, {}, markers)
    refused("SEG: has no man_segTTT.tif")
    refused("02: no such folder", "02")
    write_sequence(tmp_path, {}, masks | {7: masks[0], 8: masks[0]}, {7: markers[0]})
    refused("01: has no frame 7, which")
    write_sequence(tmp_path, {7: images[0], 8: images[0]}, {}, {})
    refused("TRA: has no frame 8, which")
    write_sequence(tmp_path, {}, {}, {8: markers[0][:, :-1]})
    refused("man_track008.tif: (9, 19) pixels, ")
    (tmp_path / "01_GT/SEG/man_seg008.tif").write_bytes(b"no TIFF")
    refused("man_seg008.tif")


def test_masks_of_another_size_than_the_images(tmp_path):
    images, masks, markers = tiny()
    folder = write_sequence(tmp_path, {k: v[1:] for k, v in images.items()}, masks, markers)
    with pytest.raises(InputError, match=r"frames of \(8, 20\), masks of \(9, 20\), markers of"):
        load_cell_frames(folder, "01")


# what is not annotated


def literal(instances: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Pixel by pixel, in the words of the docstring, squares of distances as integers."""
    reach = 0
    for cells, marks in zip(instances, markers, strict=True):
        for label in set(cells.ravel().tolist()) - {0}:
            inside = np.argwhere((cells == label) & (marks != 0))
            if len(inside):
                apart = np.argwhere(cells == label)[:, None] - inside[None]
                reach = max(reach, int((apart**2).sum(-1).min(1).max()))
    found = np.zeros(instances.shape, bool)
    for t, (cells, marks) in enumerate(zip(instances, markers, strict=True)):
        for label in set(marks.ravel().tolist()) - {0}:
            if (cells[marks == label] != 0).any():
                continue
            places = np.argwhere(marks == label)
            for y, x in np.argwhere(cells == 0):
                found[t, y, x] |= ((places - (y, x)) ** 2).sum(-1).min() <= reach
    return found


SMALL = arrays.arrays(
    np.uint16, (2, 7, 8), elements=st.sampled_from([0, 0, 0, 0, 1, 2, 5]), fill=st.just(0)
)


@given(instances=SMALL, markers=SMALL)
def test_it_is_what_the_docstring_says(instances, markers):
    found = unannotated(instances, markers)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, literal(instances, markers))


@given(instances=SMALL, markers=SMALL)
def test_annotated_pixels_are_never_ignored_and_lost_markers_always(instances, markers):
    found = unannotated(instances, markers)
    assert not (found & (instances != 0)).any()
    for cells, marks, ignored in zip(instances, markers, found, strict=True):
        for label in np.unique(marks[marks != 0]):
            if not cells[marks == label].any():
                assert ignored[marks == label].all()


def test_without_a_lost_cell_nothing_is_ignored():
    cells = np.zeros((1, 5, 5), np.int32)
    assert not unannotated(cells, cells).any()
    cells[0, 1:4, 1:4] = 3
    marks = np.zeros_like(cells)
    assert not unannotated(cells, marks).any()
    marks[0, 1, 1] = 8
    assert not unannotated(cells, marks).any()


def test_a_reach_of_nothing_ignores_the_marker_alone():
    """No annotated cell says how large a cell is."""
    marks = np.zeros((1, 5, 5), np.int32)
    marks[0, 2, 2:4] = 1
    np.testing.assert_array_equal(unannotated(np.zeros_like(marks), marks), marks != 0)


def test_the_largest_cell_of_any_frame_sets_the_reach():
    cells = np.zeros((2, 1, 30), np.int32)
    marks = np.zeros_like(cells)
    cells[0, 0, 3:13], marks[0, 0, 3] = 1, 1  # reaches 9 pixels
    marks[1, 0, 15] = 4
    np.testing.assert_array_equal(np.flatnonzero(unannotated(cells, marks)[1]), np.arange(6, 25))


def test_a_marker_that_touches_a_mask_is_not_lost():
    cells = np.zeros((1, 1, 9), np.int32)
    marks = np.zeros_like(cells)
    cells[0, 0, :4], marks[0, 0, 3:7] = 1, 1
    assert not unannotated(cells, marks).any()


def test_nothing_at_the_border_is_learned():
    """A cell that reaches out of it has a mask: alone it would say that all there is cell."""
    cells = np.zeros((1, 8, 9), np.int32)
    cells[0, 1:4, 3] = 1
    ignore = np.zeros(cells.shape, bool)
    ignore[0, 4, 4] = True
    frames = CellFrames((0,), np.zeros(cells.shape, np.uint8), cells, ignore, border=2)
    expected = ignore.copy()
    expected[0, :2] = expected[0, -2:] = True
    expected[0, :, :2] = expected[0, :, -2:] = True
    np.testing.assert_array_equal(frames.unknown, expected)
    whole = CellFrames((0,), frames.images, cells, ignore)
    np.testing.assert_array_equal(whole.unknown, ignore)


def test_what_is_around_a_mask_in_the_border_can_be_learned():
    """Nearer than three pixels; what is ignored stays so, and a frame without masks has none."""
    cells = np.zeros((2, 9, 9), np.int32)
    cells[0, 0:4, 4] = 1
    ignore = np.zeros(cells.shape, bool)
    ignore[0, 0, 5] = True
    frames = CellFrames((0, 1), np.zeros(cells.shape, np.uint8), cells, ignore, border=2, around=3)
    y, x = np.mgrid[:9, :9]
    near = np.hypot(np.clip(y - 3, 0, None), x - 4) < 3
    inside = np.zeros((9, 9), bool)
    inside[2:-2, 2:-2] = True
    expected = np.stack([~inside & ~near, ~inside])
    expected[0, 0, 5] = True
    np.testing.assert_array_equal(frames.unknown, expected)


# the real sets


@pytest.fixture(scope="module", params=["01", "02"])
def real(request, cell_set_folder) -> tuple[Path, str, CellFrames]:
    return cell_set_folder, request.param, load_cell_frames(cell_set_folder, request.param)


@pytest.mark.data
def test_the_real_frames(real):
    folder, sequence, found = real
    assert (
        len(found.frames)
        == {"PhC-C2DH-U373": {"01": 15, "02": 19}}.get(folder.name, {"01": 9, "02": 9})[sequence]
    )
    assert found.images.dtype == np.uint8
    for t, image, cells in zip(found.frames, found.images, found.instances, strict=True):
        np.testing.assert_array_equal(image, tifffile.imread(folder / sequence / f"t{t:03d}.tif"))
        mask = folder / f"{sequence}_GT/SEG/man_seg{t:03d}.tif"
        np.testing.assert_array_equal(cells, tifffile.imread(mask))


def lost_markers(folder: Path, sequence: str, frame: int, cells: np.ndarray) -> list[np.ndarray]:
    """The markers of a frame that no mask touches, each as a mask; read anew."""
    marks = tifffile.imread(folder / f"{sequence}_GT/TRA/man_track{frame:03d}.tif")
    found = [marks == label for label in np.unique(marks) if label]
    return [marker for marker in found if not cells[marker].any()]


@pytest.mark.data
def test_the_real_frames_that_are_annotated_in_part(real):
    folder, sequence, found = real
    partial = {}
    for t, cells, ignored in zip(found.frames, found.instances, found.ignore, strict=True):
        marks = tifffile.imread(folder / f"{sequence}_GT/TRA/man_track{t:03d}.tif")
        counts = len(np.unique(cells)) - 1, len(np.unique(marks)) - 1
        lost = lost_markers(folder, sequence, t, cells)
        assert counts[1] - counts[0] == len(lost)
        assert ignored.any() == bool(lost)
        assert all(ignored[marker].all() for marker in lost)
        assert not ignored[cells != 0].any()
        if lost:
            partial[t] = counts
    assert partial == PARTIAL[folder.name, sequence]


@pytest.mark.data
def test_no_cell_of_the_real_frames_lies_wholly_outside_the_field_of_interest(real):
    _, _, found = real
    assert found.border == 50
    for cells in found.instances:
        inside = np.unique(cells[50:-50, 50:-50])
        assert np.array_equal(np.union1d(inside, [0]), np.union1d(np.unique(cells), [0]))
    inside = np.s_[:, 50:-50, 50:-50]
    np.testing.assert_array_equal(found.unknown[inside], found.ignore[inside])
    assert found.unknown.sum() == found.unknown.size - (~found.ignore[inside]).sum()


@pytest.mark.data
def test_the_totals_of_the_real_sets(cell_set_folder):
    frames = masks = lost = 0
    for sequence in ("01", "02"):
        found = load_cell_frames(cell_set_folder, sequence)
        frames += len(found.frames)
        masks += sum(len(np.unique(cells)) - 1 for cells in found.instances)
        lost += sum(
            len(lost_markers(cell_set_folder, sequence, t, cells))
            for t, cells in zip(found.frames, found.instances, strict=True)
        )
    assert (frames, masks, masks + lost) == TOTALS[cell_set_folder.name]


SILVER = {("PhC-C2DH-U373", "02"): 5, ("DIC-C2DH-HeLa", "01"): 15, ("DIC-C2DH-HeLa", "02"): 2}
"""Lost cells that the silver truth, which is computed, has a mask of; 22 of 28."""


@pytest.mark.data
def test_what_is_ignored_covers_the_silver_truth_of_the_lost_cells(real):
    """The silver truth is no part of the data sets that are fetched."""
    folder, sequence, found = real
    silver = folder / f"{sequence}_ST" / "SEG"
    if not silver.is_dir():
        pytest.skip("no silver truth beside the data set")
    covered = []
    for t, cells, ignored in zip(found.frames, found.instances, found.ignore, strict=True):
        masks = tifffile.imread(silver / f"man_seg{t:03d}.tif")
        for marker in lost_markers(folder, sequence, t, cells):
            covered += [
                ignored[masks == label].mean() for label in np.unique(masks[marker]) if label
            ]
    assert len(covered) == SILVER.get((folder.name, sequence), 0)
    assert min(covered, default=1) >= 0.95
