"""Slices by their numbers, and grey values between 0 and 1."""

import numpy as np
import pytest
from image_helpers import GREY

from paper_unet.errors import InputError
from paper_unet.images import parse_slices, to_unit_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, range(30)),
        ("24:30", range(24, 30)),
        ("24:", range(24, 30)),
        (":6", range(6)),
        (":", range(30)),
        ("3", range(3, 4)),
        (" 0 : 1 ", range(1)),
    ],
)
def test_slices(text, expected):
    assert parse_slices(text, 30) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "1:2:3", "-6:", "30", "24:31", "6:6", "7:6", "1,2", "1 2", "²"]
)
def test_slices_that_are_none(text):
    with pytest.raises(InputError, match=r"30"):
        parse_slices(text, 30)


# grey values


def test_uint8_is_divided_by_255():
    every = np.arange(256, dtype=np.uint8)
    found = to_unit_range(every)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (np.arange(256) / 255).astype(np.float32))


def test_the_rule_never_looks_at_the_content():
    dark = np.array([0, 1], np.uint8)
    np.testing.assert_array_equal(to_unit_range(dark), np.float32([0, 1 / 255]))
    with pytest.raises(InputError, match=r"a: uint16 has no scale .*`value_range` LOW HIGH"):
        to_unit_range(dark.astype(np.uint16), name="a")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_a_range_is_linear_and_clips_beyond_it(dtype):
    found = to_unit_range(np.array([0, 50, 100, 200], dtype), (50, 150))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0, 0.5, 1], atol=1e-7)


def test_floats_stay_as_they_are_within_0_and_1():
    image = np.array([[0, 0.25], [0.5, 1]])
    np.testing.assert_array_equal(to_unit_range(image), image.astype(np.float32))
    for wrong in (-0.5, 255.0):
        with pytest.raises(InputError, match=rf"values from .*{wrong:g}.*`value_range` LOW HIGH"):
            to_unit_range(np.array([0, wrong, 1]))


@pytest.mark.parametrize("value_range", [None, (0, 255)])
def test_nan_and_infinity_are_counted(value_range):
    image = np.zeros((3, 4), np.float32)
    image[1, :2] = np.nan, -np.inf
    with pytest.raises(InputError, match="slice 7: 2 of 12 pixels are NaN or infinite"):
        to_unit_range(image, value_range, name="slice 7")


@pytest.mark.parametrize("value_range", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_ranges_that_are_none(value_range):
    with pytest.raises(InputError, match="LOW < HIGH"):
        to_unit_range(GREY, value_range)


@pytest.mark.parametrize("dtype", [np.bool_, np.complex64])
def test_no_grey_values(dtype):
    with pytest.raises(InputError, match="convert to uint8 or float32"):
        to_unit_range(np.zeros(3, dtype))
