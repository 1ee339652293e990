"""What grey values and shapes mean, and which are refused."""

import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from predict_helpers import (
    NARROW,
    SECTIONS,
    noise,
    one_pass,
    probability_of_the_last,
    random_network,
)

from paper_unet import predict_image
from paper_unet.errors import InputError


def test_uint8_is_divided_by_255() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8)
    as_float = image.astype(np.float32) / np.float32(255)
    assert np.array_equal(predict_image(NARROW, image), predict_image(NARROW, as_float))
    assert np.array_equal(
        predict_image(NARROW, image), predict_image(NARROW, as_float.astype(np.float64))
    )


def test_other_integers_need_a_range_that_is_given_or_stored_with_the_weights() -> None:
    image = np.random.default_rng(0).integers(100, 5000, (30, 30), dtype=np.uint16)
    unit = ((image - 100.0) / 4900).astype(np.float32)
    expected = predict_image(NARROW, unit)
    with pytest.raises(InputError, match="uint16 has no scale of its own"):
        predict_image(NARROW, image)
    assert np.array_equal(predict_image(NARROW, image, value_range=(100, 5000)), expected)
    model = random_network(2)
    model.grey_ranges["uint16"] = (100.0, 5000.0)
    assert np.array_equal(predict_image(model, image), expected)
    # what is given wins over what is stored
    other = predict_image(model, image, value_range=(0, 65535))
    assert np.array_equal(other, predict_image(NARROW, (image / 65535).astype(np.float32)))
    # whatever the order of the bytes
    assert np.array_equal(predict_image(model, image.astype(">u2")), expected)
    # and of another dtype nothing is known
    with pytest.raises(InputError, match="int32 has no scale"):
        predict_image(model, image.astype(np.int32))


def test_a_stored_range_of_uint8_is_used() -> None:
    image = np.random.default_rng(0).integers(0, 100, (30, 30), dtype=np.uint8)
    model = random_network(2)
    model.grey_ranges["uint8"] = (0.0, 100.0)
    expected = predict_image(NARROW, (image / 100).astype(np.float32))
    assert np.array_equal(predict_image(model, image), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.full((4, 4), 1.5),
            "float64 values from 1.5 to 1.5, accepted without a range is 0 to 1",
        ),
        (np.full((4, 4), -0.1, np.float32), "values from -0.1"),
        (np.full((4, 4), np.nan), "16 of 16 pixels are NaN or infinite"),
        (np.array([[0, np.inf]], np.float32), "1 of 2 pixels are NaN or infinite"),
        (np.zeros((4, 4), bool), "grey values of bool"),
        (np.zeros((4, 4), complex), "grey values of complex128"),
    ],
)
def test_values_that_have_no_meaning_are_refused(image: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict_image(NARROW, image)


def test_floats_beyond_0_to_1_are_taken_with_a_range() -> None:
    image = noise(0, 20, 20)
    found = predict_image(NARROW, image * 64 - 32, value_range=(-32, 32))
    assert np.array_equal(found, predict_image(NARROW, image))


def test_weights_that_are_not_finite_are_named_as_the_cause() -> None:
    model = random_network(2)
    assert model.head.bias is not None
    model.head.bias.data[0] = math.nan
    with pytest.raises(InputError, match=r"scores are not finite.*diverged"):
        predict_image(model, SECTIONS[0])


@pytest.mark.parametrize("shape", [(5, 5, 3), (3, 5, 5), (0, 5), (5, 0), (5,), (), (1, 1, 5, 5)])
def test_shapes_that_are_no_grey_image_are_refused(shape: tuple[int, ...]) -> None:
    message = f"the image has shape {shape}; (Y, X) with at least one pixel is needed"
    with pytest.raises(InputError, match=re.escape(message)):
        predict_image(NARROW, np.zeros(shape, np.uint8))


def test_a_network_of_several_channels_takes_as_many() -> None:
    model, image = random_network(2, in_channels=3), noise(0, 3, 12, 9)
    expected = probability_of_the_last(one_pass(model, image))
    np.testing.assert_allclose(predict_image(model, image), expected, rtol=1e-4, atol=1e-6)
    for wrong in (image[0], image[:2], image.transpose(1, 2, 0)):
        with pytest.raises(InputError, match=r"\(3, Y, X\)"):
            predict_image(model, wrong)
