"""Labels are mapped, or refused."""

import numpy as np
import pytest

from paper_unet.datasets import map_labels
from paper_unet.errors import InputError


def test_labels_are_mapped_explicitly():
    labels = np.array([[0, 255], [255, 0]], np.uint16)
    found = map_labels(labels)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(map_labels(labels, {255: 0, 0: 2}), [[2, 0], [0, 2]])


@pytest.mark.parametrize(
    ("labels", "listing"),
    [
        (np.array([0, 1, 255], np.uint8), r"1 unknown label values \(1\)"),
        (np.array([0, 254.5, 255]), r"1 unknown label values \(254\.5\)"),
        (np.arange(256).astype(np.uint8), r"254 unknown label values \(1, 2, .*, \.\.\.\)"),
    ],
)
def test_other_labels_are_listed(labels, listing):
    with pytest.raises(InputError, match=rf"gt\.tif: {listing}; accepted are 0 \(class 0\), 255"):
        map_labels(labels, name="gt.tif")
