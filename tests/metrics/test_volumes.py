"""Cells in 3-D: by hand, as scikit-image and CREMI have them, in parts and as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.metrics import adapted_rand_error, variation_of_information

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.metrics import Overlap, cell_scores
from paper_unet.metrics import volumes as module


def test_by_hand() -> None:
    """Eight voxels: true cells of 4, 2 and 1 voxels and one of background.

    Overlaps: (1, a) 3, (1, b) 1, (2, b) 2, (3, background) 1.
    Pairs of voxels, without those with itself: in both 6 + 0 + 2 + 0 = 8; in a true cell
    12 + 2 + 0 = 14; in a found one, a: 6, b: 6, background: 0: 12. F = 8 / 13.
    """
    truth = np.array([[[1, 1, 1, 1], [2, 2, 3, 0]]])
    found = np.array([[[5, 5, 5, 9], [9, 9, 0, 9]]])
    scores = cell_scores(truth, found)
    assert scores.adapted_rand_error == pytest.approx(1 - 8 / 13)
    assert scores.adapted_rand_precision == pytest.approx(8 / 12)
    assert scores.adapted_rand_recall == pytest.approx(8 / 14)
    # H(found | truth): 4/7 of the voxels are in cell 1, parted 3 : 1
    split = 4 / 7 * (0.75 * np.log2(4 / 3) + 0.25 * np.log2(4))
    # H(truth | found): 3/7 are in b, parted 1 : 2
    merge = 3 / 7 * (1 / 3 * np.log2(3) + 2 / 3 * np.log2(3 / 2))
    assert scores.voi_split == pytest.approx(split)
    assert scores.voi_merge == pytest.approx(merge)
    # CREMI: squares 9 + 1 + 4, of true cells 16 + 4 + 1, of found ones 9 + 9; and 1 of 8 voxels
    cremi = 1 - 2 * (14 + 1 / 8) / (21 + 18 + 1 / 8)
    assert scores.cremi_adapted_rand_error == pytest.approx(cremi)
    assert scores.cremi_score == pytest.approx(np.sqrt((split + merge) * cremi))
    assert (scores.voxels, scores.true_cells, scores.found_cells) == (7, 3, 2)


def test_what_is_perfect() -> None:
    truth = np.array([[[0, 1, 1], [2, 2, 0]]])
    scores = cell_scores(truth, truth * 7 + 3)  # other numbers, and background is found a cell
    assert scores.adapted_rand_error == scores.voi_split == scores.voi_merge == 0
    assert scores.cremi_adapted_rand_error == scores.cremi_score == 0
    assert scores.adapted_rand_precision == scores.adapted_rand_recall == 1


@pytest.mark.parametrize("dtypes", [("u8", "i8"), ("i8", "u8"), ("u1", "i8", "u8", "?")])
@pytest.mark.parametrize("side", ["truth", "found"])
def test_parts_of_different_types(dtypes: tuple[str, ...], side: str) -> None:
    """Numbers beyond 2^53 stay apart: as floats, those of four cells would be one."""
    cells = 2**60 + np.arange(1, 5)
    kinds = [np.dtype(name) for name in dtypes]
    parts = [(cells if kind.itemsize == 8 else cells > 0).astype(kind) for kind in kinds]
    plain, mixed = Overlap(), Overlap()
    for part in parts:
        for table, other in ((plain, part.astype(np.int64)), (mixed, part)):
            table.add(*((other, cells) if side == "truth" else (cells, other)))
    assert mixed.scores() == plain.scores()
    scores = mixed.scores()
    several = 4 + ("?" in dtypes)  # in small types they are all 1
    wanted = (several, 4) if side == "truth" else (4, several)
    assert (scores.true_cells, scores.found_cells) == wanted


def cremi_by_its_formula(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """With full tables, as CREMI's evaluation defines it."""
    table = np.zeros((truth.max() + 1, found.max() + 1))
    np.add.at(table, (truth.reshape(-1), found.reshape(-1)), 1)
    a, b, c = table[1:], table[1:, 1:], table[1:, 0]
    share = c.sum() / truth.size
    sum_a = (a.sum(axis=1) ** 2).sum()
    sum_b = (b.sum(axis=0) ** 2).sum() + share
    sum_ab = (b**2).sum() + share
    precision, recall = sum_ab / sum_b, sum_ab / sum_a
    return float(1 - 2 * precision * recall / (precision + recall))


volumes = st.tuples(
    st.integers(0, 10**6), st.tuples(st.integers(1, 5), st.integers(2, 7), st.integers(2, 7)),
    st.integers(1, 6), st.integers(1, 9),
)  # fmt: skip


def drawn(seed: int, shape: tuple[int, ...], true: int, found: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth, cells = rng.integers(0, true + 1, shape), rng.integers(0, found + 1, shape)
    truth.reshape(-1)[:2] = 1  # two voxels of one cell: else scikit-image divides by 0
    cells.reshape(-1)[:2] = 1
    return truth, cells


@given(volumes)
def test_equal_to_scikit_image_and_to_cremi(given: tuple[Any, ...]) -> None:
    truth, cells = drawn(*given)
    scores = cell_scores(truth, cells)
    error, *shares = adapted_rand_error(truth, cells)  # whichever stands first
    split, merge = variation_of_information(truth, cells, ignore_labels=(0,))
    assert scores.adapted_rand_error == pytest.approx(error, abs=1e-12)
    found = sorted((scores.adapted_rand_precision, scores.adapted_rand_recall))
    assert found == pytest.approx(sorted(shares), abs=1e-12)
    assert scores.voi_split == pytest.approx(split, abs=1e-9)
    assert scores.voi_merge == pytest.approx(merge, abs=1e-9)
    expected = cremi_by_its_formula(cells, truth)
    assert scores.cremi_adapted_rand_error == pytest.approx(expected, abs=1e-12)


@given(volumes, st.integers(1, 40))
def test_parts_add_up_to_the_whole(given: tuple[Any, ...], waiting: int) -> None:
    truth, cells = drawn(*given)
    before = module.WAITING
    module.WAITING = waiting  # so that it adds up in between
    try:
        table = Overlap()
        for one, other in zip(truth, cells, strict=True):
            for rows in (slice(0, 2), slice(2, None)):
                table.add(one[rows], other[rows])
        assert table.scores() == cell_scores(truth, cells)
    finally:
        module.WAITING = before


def test_a_table_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand parts with the same cells, few wait."""
    monkeypatch.setattr(module, "WAITING", 100)
    truth = np.repeat(np.arange(1, 11), 20)[None]
    cells = np.repeat(np.arange(20), 10)[None]
    table, most = Overlap(), 0
    for _ in range(1000):
        table.add(truth, cells)
        most = max(most, sum(len(part[2]) for part in table._waiting))
    assert most < 100 + 4 * 20
    assert table.scores().voxels == 200 * 1000


def test_numbers_of_64_bits() -> None:
    truth = np.array([[2**63 + 5, 2**63 + 5, 1, 0]], np.uint64)
    cells = np.array([[2**40, 2**40, 2**40 + 1, 0]], np.uint64)
    assert cell_scores(truth, cells).adapted_rand_error == 0


@pytest.mark.parametrize(
    ("cells", "error", "precision", "recall"),
    [([4, 4, 5], 1.0, 0.0, 1.0), ([4, 5, 6], 0.0, 1.0, 1.0)],
)
def test_true_cells_of_single_voxels(
    cells: list[int], error: float, precision: float, recall: float
) -> None:
    scores = cell_scores(np.array([[1, 2, 3]]), np.array([cells]))
    assert scores.adapted_rand_error == error
    assert (scores.adapted_rand_precision, scores.adapted_rand_recall) == (precision, recall)


def test_cells_split_into_single_voxels() -> None:
    scores = cell_scores(np.array([[1, 1, 1]]), np.array([[4, 5, 6]]))
    assert (scores.adapted_rand_error, scores.adapted_rand_recall) == (1, 0)
    assert scores.adapted_rand_precision == 1


@pytest.mark.parametrize(
    ("truth", "cells", "reason"),
    [
        (np.ones((1, 2), int), np.ones((2, 1), int), "two equal shapes"),
        (np.ones((1, 2), int), np.ones((1, 2)), "what was found holds float64 values"),
        (np.array([[-1, 2]]), np.ones((1, 2), int), "the truth holds values below 0"),
        (np.zeros((1, 2), int), np.ones((1, 2), int), "no voxel in a cell"),
        (np.zeros((0, 2), int), np.zeros((0, 2), int), "no voxel in a cell"),
    ],
)
def test_what_is_no_pair_of_volumes(truth: Any, cells: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        cell_scores(truth, cells)


# --- the command ----------------------------------------------------------------------------------


def save(path: Path, pixels: NDArray[Any]) -> str:
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    return str(path)


def test_the_command_scores_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, cells = drawn(3, (4, 20, 20), 5, 7)
    one = save(tmp_path / "t.tif", truth.astype(np.uint16))
    other = save(tmp_path / "c.tif", cells.astype(np.uint32))
    assert main(["evaluate", one, other, "--labels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == cell_scores(truth, cells).to_dict()
    assert main(["evaluate", one, other, "--labels", "--slices", "1:3"]) == 0
    said = capsys.readouterr().out
    expected = cell_scores(truth[1:3], cells[1:3])
    assert f"{expected.adapted_rand_error:.6f}" in said and f"{expected.voi_merge:.6f}" in said
    part = save(tmp_path / "part.tif", cells[1:3].astype(np.uint32))
    assert main(["evaluate", one, part, "--labels", "--slices", "1:3"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--plot", "x.png"], "of probabilities"),
        (["--range", "0", "1"], "of probabilities"),
        (["--slices", "0:2"], "4 x 20 x 20"),
    ],
)
def test_what_the_command_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    truth, cells = drawn(3, (4, 20, 20), 5, 7)
    one = save(tmp_path / "t.tif", truth.astype(np.uint16))
    other = save(tmp_path / "c.tif", cells[:3, :10].astype(np.uint32))
    assert main(["evaluate", one, other, "--labels", *more]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert reason in said or "voxels, the labels are" in said


def test_probabilities_are_refused_as_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = save(tmp_path / "t.tif", np.ones((1, 4, 4), np.uint8))
    other = save(tmp_path / "p.tif", np.full((1, 4, 4), 0.5, np.float32))
    assert main(["evaluate", one, other, "--labels"]) == 2
    assert "segment probabilities first" in capsys.readouterr().err


def test_whole_numbers_that_may_be_probabilities_are_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prediction of uint8 or uint16, or a mask, has no number for each cell."""
    cells = np.kron(np.arange(1, 26).reshape(1, 5, 5), np.ones((1, 8, 8), int)).astype(np.uint16)
    cells[:, ::8] = cells[:, :, ::8] = 0
    truth = save(tmp_path / "t.tif", cells)
    grey = np.random.default_rng(1).integers(0, 255, cells.shape)
    for name, found in (("u8", grey), ("u16", 200 * grey), ("mask", 255 * (cells > 0))):
        path = save(tmp_path / f"{name}.tif", found.astype(np.uint16))
        assert main(["evaluate", truth, path, "--labels", "--json"]) == 0
        said = capsys.readouterr()
        assert f"careful: {path}: its " in said.err and "t.tif: its" not in said.err
        assert json.loads(said.out)
    assert main(["evaluate", truth, truth, "--labels"]) == 0
    assert "careful" not in capsys.readouterr().err
