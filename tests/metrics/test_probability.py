"""What a prediction's values mean: a perfect map is perfect in every container, or refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.metrics import as_probability, isbi2012_scores

LABELS = np.zeros((2, 40, 40), np.uint8)
LABELS[:, 3:18, 3:37] = LABELS[:, 21:37, 3:18] = LABELS[:, 21:37, 21:37] = 1
NOISE = np.random.default_rng(0).random(LABELS.shape)
CERTAIN = np.where(LABELS > 0, 0.8 + 0.2 * NOISE, 0.2 * NOISE)
CERTAIN[0, 5, 5] = 1
"""Probabilities that are perfect at the threshold of 0.5."""

NUMBERS = LABELS.astype(np.uint16)
NUMBERS[:, 21:37, 3:18], NUMBERS[:, 21:37, 21:37] = 2, 3
"""A number for each cell."""


def perfect(interior: Any, **more: Any) -> bool:
    scores = isbi2012_scores(LABELS, interior, workers=1, compiled=False, **more)
    return (scores.pixel_error, scores.rand_error, scores.v_rand) == (0, 0, 1)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("top", [1, 100, 255, 4095])
def test_a_binary_map_is_perfect_in_every_container(dtype: str, top: int) -> None:
    if top > 255 and dtype == "u1":
        top = 7
    assert perfect(LABELS.astype(dtype) * np.dtype(dtype).type(top))


@pytest.mark.parametrize(("dtype", "top"), [("u1", 255), ("u2", 65535), ("u4", 2**32 - 1)])
def test_the_largest_of_an_unsigned_type_means_1(dtype: str, top: int) -> None:
    stored = np.rint(CERTAIN * top).astype(dtype)
    assert perfect(stored)
    np.testing.assert_array_equal(
        as_probability(stored), (stored / np.float64(top)).astype(np.float32)
    )


@pytest.mark.parametrize("dtype", ["u2", "u4", "i2", "i4", "f4", "f8"])
def test_eight_bits_in_a_wider_container(dtype: str) -> None:
    stored = np.rint(CERTAIN * 255).astype(dtype)
    with pytest.raises(InputError, match=r"from 0 to 255.*accepted.*`value_range` LOW HIGH"):
        isbi2012_scores(LABELS, stored)
    assert perfect(stored, value_range=(0, 255))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4"])
@pytest.mark.parametrize("times", [1, 80])
def test_numbers_of_cells_are_no_probabilities(dtype: str, times: int) -> None:
    with pytest.raises(InputError, match=r"accepted are .*`value_range`"):
        isbi2012_scores(LABELS, (NUMBERS * times).astype(dtype))


def test_numbers_that_reach_the_upper_half_are_known_by_their_neighbours() -> None:
    cells = np.arange(15 * 17, dtype=np.uint8).reshape(15, 17)
    many = np.kron(cells, np.ones((1, 12, 12), np.uint8))
    assert many.max() == 254
    with pytest.raises(InputError, match="neighbours are nearly all alike"):
        isbi2012_scores(np.ones_like(many), many)


def test_values_that_are_not_finite_are_counted() -> None:
    broken = CERTAIN.copy()
    broken[1, :2, 0] = np.nan, np.inf
    with pytest.raises(InputError, match=r"2 of 3200 values that are not finite"):
        isbi2012_scores(LABELS, broken)
    with pytest.raises(InputError, match=r"2 of 3200 values that are not finite"):
        isbi2012_scores(LABELS, broken, value_range=(0, 1))


@pytest.mark.parametrize("pair", [(1, 0), (0, 0), (0, np.inf), (np.nan, 1)])
def test_ranges_that_are_none(pair: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="two finite numbers, the lower one first"):
        isbi2012_scores(LABELS, CERTAIN, value_range=pair)


def command(tmp_path: Path, capsys: Any, *more: str) -> tuple[int, str, str]:
    code = main(["evaluate", str(tmp_path / "labels.tif"), str(tmp_path / "map.tif"), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_line_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", LABELS * 255, photometric="minisblack")
    for stored in (np.rint(CERTAIN * 255).astype("u2"), np.rint(CERTAIN * 255).astype("f4")):
        tifffile.imwrite(tmp_path / "map.tif", stored, photometric="minisblack")
        code, _, said = command(tmp_path, capsys)
        assert code == 2
        assert "say which values mean 0 and 1 with --range LOW HIGH" in said
        code, found, said = command(tmp_path, capsys, "--range", "0", "255")
        assert (code, "0 means 0 and 255 means 1" in said) == (0, True)
        assert re.search(r"V_rand \(thin\), higher is better +1\.000000", found)
    tifffile.imwrite(tmp_path / "map.tif", (LABELS * 255).astype("u2"), photometric="minisblack")
    code, found, _ = command(tmp_path, capsys)
    assert (code, "1.000000" in found) == (0, True)
    broken = CERTAIN.astype("f4")
    broken[0, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "map.tif", broken, photometric="minisblack")
    code, _, said = command(tmp_path, capsys)
    assert (code, said.count("\n")) == (2, 1)
    assert "map.tif: interior holds 1 of 3200 values that are not finite" in said


@pytest.mark.parametrize(("value", "dtype"), [(1, "u1"), (15, "u1"), (255, "u2"), (65535, "u2")])
def test_labels_of_one_value_whichever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int, dtype: str
) -> None:
    tifffile.imwrite(
        tmp_path / "labels.tif",
        LABELS.astype(dtype) * np.dtype(dtype).type(value),
        photometric="minisblack",
    )
    tifffile.imwrite(tmp_path / "map.tif", CERTAIN.astype("f4"), photometric="minisblack")
    code, found, _ = command(tmp_path, capsys)
    assert (code, "1.000000" in found) == (0, True)


@pytest.mark.parametrize("kind", ["labels", "map", "both"])
def test_masks_that_imagej_shows_inverted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """With an inverting table, 255 is the object: labels and masks are what is stored."""
    for name in ("labels", "map"):
        white = "miniswhite" if kind in (name, "both") else "minisblack"
        tifffile.imwrite(tmp_path / f"{name}.tif", LABELS * 255, photometric=white)
    code, found, _ = command(tmp_path, capsys)
    assert code == 0
    assert re.search(r"pixel error, lower is better +0\.000000", found)


def test_probabilities_with_white_as_zero_are_inverted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "labels.tif", LABELS * 255, photometric="minisblack")
    stored = np.rint(CERTAIN * 255).astype("u1")
    found = []
    for kind, values in (("minisblack", stored), ("miniswhite", 255 - stored)):
        tifffile.imwrite(tmp_path / "map.tif", values, photometric=kind)
        code, scores, said = command(tmp_path, capsys)
        assert (code, "inverted, a value v is read as 255 - v" in said) == (0, kind == "miniswhite")
        found.append(scores)
    assert found[0] == found[1]
