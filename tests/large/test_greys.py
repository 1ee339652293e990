"""What is said of grey values before the work and while it goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from large_helpers import Fails, content, settings

from paper_unet.errors import InputError
from paper_unet.images import (
    GreyCount,
    count_section,
    describe_section,
    grey_count,
    open_stack,
    read_stack,
    to_unit_range,
)
from paper_unet.images.grey_count import scale_of
from paper_unet.large import predict_file
from paper_unet.large.executor import LocalExecutor
from paper_unet.large.report import Report

RNG = np.random.default_rng(0)


def counted(window: Any, value_range: tuple[float, float]) -> GreyCount:
    count = GreyCount()
    count.add(window, value_range)
    return count


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize(
    "value_range", [(0, 255), (10, 90), (9.5, 90.5), (-1e3, 1e3), (-7, 40), (300, 400), (-9, -3)]
)
def test_counts_are_those_of_the_scaled_image(dtype: str, value_range: Any) -> None:
    low = 0 if dtype[0] == "u" else -50
    image = RNG.integers(low, 120, (60, 70)).astype(dtype)
    count, unit = counted(image, value_range), to_unit_range(image, value_range)
    assert count.values == image.size
    assert count.black == np.count_nonzero(unit == 0)
    assert count.white == np.count_nonzero(unit == 1)
    wide = image.astype(float)
    beyond = np.count_nonzero((wide < value_range[0]) | (wide > value_range[1]))
    assert count.clipped == beyond
    assert (count.least, count.most) == (image.min(), image.max())


def test_windows_add_up_and_what_is_not_finite_is_left_out() -> None:
    image = RNG.random((40, 30)).astype(np.float32)
    image[3, 4:9] = np.nan, np.inf, -np.inf, 0, 1
    whole, parts = counted(image, (0, 1)), GreyCount()
    for rows in (image[:7], image[7:30], image[30:]):
        parts.merge(counted(rows, (0, 1)))
    assert parts == whole
    assert (whole.values, whole.clipped) == (image.size - 3, 0)
    assert counted(np.full(5, np.nan), (0, 1)) == GreyCount()
    assert GreyCount().warning() is None
    assert GreyCount().describe(image.dtype, (0, 1)) == "none of its grey values is finite"


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((9, 9), 7, "u1"), "all grey values are 7; look at it"),
        (
            np.arange(100, dtype="u2") + 300,
            "all grey values become white; look at it, and at the range",
        ),
        (np.arange(100, dtype="f4") - 99.5, "all grey values become black"),
        (np.arange(1000, dtype="u2") // 999 * 100, "nearly all grey values become black"),
        (np.arange(100, dtype="u2") // 98 * 100, None),
        (np.arange(200, dtype="u1"), None),
    ],
)
def test_warnings(image: Any, says: str | None) -> None:
    found = counted(image, (0, 200)).warning()
    assert (found is None) == (says is None)
    assert found is None or found.startswith(says or "")


def test_the_scale_is_the_rule_of_the_dtype() -> None:
    for dtype in ("u1", "f4", "f8"):
        low, high = scale_of(np.dtype(dtype), None)
        ends = to_unit_range(np.array([low, high], dtype))
        np.testing.assert_array_equal(ends, [0, 1])
    assert scale_of(np.dtype("u2"), (3, 9)) == (3, 9)


def test_a_section_is_counted_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = RNG.integers(0, 250, (3, 700, 40)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    with open_stack(tmp_path / "a.tif") as stack:
        heights: list[int] = []
        window = stack.window

        def read(z: int, rows: Any, columns: Any) -> Any:
            heights.append(rows[1] - rows[0])
            return window(z, rows, columns)

        monkeypatch.setattr(stack, "window", read)
        assert count_section(stack, 1, (0, 255)) == counted(image[1], (0, 255))
    assert heights == [256, 256, 188]


def said_by(folder: Path, stack: Any, **given: Any) -> list[str]:
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    lines: list[str] = []
    predict_file(settings(folder, **given), overwrite=True, report=Report(lines.append))
    return [line for line in lines if "grey" in line or "warning" in line]


def test_of_a_very_large_section_some_rows_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.full((40, 30), 100, np.uint8)
    image[1], image[5], image[36] = 0, 255, 7  # the second is in rows that are left out
    tifffile.imwrite(tmp_path / "in.tif", image, photometric="minisblack")
    monkeypatch.setattr(grey_count, "ROWS", 4)
    monkeypatch.setattr(grey_count, "SAMPLE", 5 * 4 * 30)
    with open_stack(tmp_path / "in.tif") as stack:
        (line,) = describe_section(stack, 0, None)
        assert "grey values of section 0, 20 of 40 rows: uint8 from 0 to 100;" in line
        monkeypatch.setattr(grey_count, "SAMPLE", 10 * 4 * 30)
        (line,) = describe_section(stack, 0, None)
        assert "grey values of section 0: uint8 from 0 to 255;" in line


def test_the_first_section_is_described_before_the_work(folder: Path) -> None:
    stack = RNG.integers(100, 300, (2, 60, 50)).astype(np.uint16)
    stack[0, 0, :30], stack[0, 1, :15] = 50, 900
    said = said_by(folder, stack, value_range=(60.0, 800.0))
    assert said == [
        "grey values of section 0: uint16 from 50 to 900; 60 is black and 800 white, 45 of 3000 "
        "(1.5 %) lie beyond and are clipped"
    ]


def test_a_range_that_is_wrong_is_warned_of(folder: Path) -> None:
    stack = RNG.integers(30000, 34000, (1, 60, 50)).astype(np.uint16)
    said = said_by(folder, stack, value_range=(0.0, 900.0))
    assert "3000 of 3000 (100.0 %) lie beyond and are clipped" in said[0]
    assert said[1].startswith("warning: section 0: all grey values become white")


def test_odd_sections_are_warned_of_by_number(folder: Path) -> None:
    """By that in the input, once each."""
    stack = RNG.integers(20, 200, (6, 300, 210)).astype(np.uint8)
    stack[2], stack[4], stack[5, 2:] = 9, 255, 0
    said = said_by(folder, stack, slices="1:6")
    assert said[0].startswith("grey values of section 1: uint8 from 20 to 199; 0 is black and 255")
    assert said[1:] == [
        "warning: section 2: all grey values are 9; look at it",
        "warning: section 4: all grey values are 255; look at it",
        "warning: section 5: nearly all grey values become black; look at it, and at the range",
    ]


@pytest.mark.slow
def test_a_cluster_says_the_same(folder: Path) -> None:
    pytest.importorskip("distributed")
    from paper_unet.large.cluster import connect

    stack = RNG.integers(20, 200, (4, 300, 210)).astype(np.uint8)
    stack[2] = 9
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    lines: list[str] = []
    with connect("local:2", 1) as executor:
        predict_file(settings(folder), executor=executor, report=Report(lines.append))
    assert "warning: section 2: all grey values are 9; look at it" in lines


def test_that_values_are_inverted_is_said(folder: Path) -> None:
    stack = RNG.integers(20, 200, (1, 60, 50)).astype(np.uint8)
    tifffile.imwrite(folder / "in.tif", 255 - stack, photometric="miniswhite")
    lines: list[str] = []
    inverted = predict_file(settings(folder), report=Report(lines.append))
    assert [line for line in lines if "white is stored as zero; inverted" in line]
    assert "grey values of section 0: uint8 from 20 to 199" in "\n".join(lines)
    found = read_stack(inverted)
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack")
    predict_file(settings(folder), overwrite=True)
    np.testing.assert_array_equal(found, read_stack(folder / "out.tif"))


class Two(LocalExecutor):
    """Fails after two pieces."""

    def pieces(self, *arguments: Any) -> Any:
        for count, index in enumerate(super().pieces(*arguments)):
            if count == 2:
                raise Fails
            yield index


def test_a_fill_is_given_after_the_error_that_asks_for_it(folder: Path) -> None:
    """What is finished stays: it had nothing to fill."""
    stack = RNG.random((3, 300, 100)).astype(np.float32)
    stack[1, 290, 3] = np.nan
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    expected = content(predict_file(settings(folder, "whole.tif", fill=0.25)))
    with pytest.raises(InputError, match=r"1 of 30000 pixels are NaN .* with `fill`"):
        predict_file(settings(folder))
    lines: list[str] = []
    predict_file(settings(folder, fill=0.25), report=Report(lines.append))
    assert any(line.startswith("going on: ") for line in lines)
    assert content(folder / "out.tif") == expected


def test_two_fills_are_two_runs(folder: Path) -> None:
    stack = RNG.random((3, 300, 100)).astype(np.float32)
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Two())
    with pytest.raises(Fails):
        predict_file(settings(folder, fill=0.25), executor=Two())
    for fill, shown in ((0.5, "0.5"), (None, "null")):
        with pytest.raises(InputError, match=rf"had fill = 0.25, this one has {shown}; give the"):
            predict_file(settings(folder, fill=fill))
