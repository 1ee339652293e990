"""ISBI 2012: neuronal membranes in serial-section EM, the data of the paper's section 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.datasets.expected import DataSet, ExpectedStack, read_verified
from paper_unet.datasets.fetching import fetch
from paper_unet.errors import InputError
from paper_unet.system.folders import data_folder

SHAPE = (30, 512, 512)
TRAIN_VOLUME = ExpectedStack(
    "train-volume.tif", SHAPE, "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760"
)
TRAIN_LABELS = ExpectedStack(
    "train-labels.tif",
    SHAPE,
    "a7cb64000a1a7e542682927e19c91339f58f9f178e0bcce4e207371116f0ca36",
    labels=True,
)
TEST_VOLUME = ExpectedStack(
    "test-volume.tif", SHAPE, "1b58fa7ec1d0ff9d39a855622db3ff66a97863036339b0d04be51b2f5a99b0e9"
)
# published only after the challenge had closed; no second source to take a hash from
TEST_LABELS = ExpectedStack("test-labels.tif", SHAPE, None, required=False, labels=True)

ISBI2012 = DataSet(
    name="isbi2012",
    url="https://downloads.imagej.net/ISBI-2012-challenge.zip",
    parts=(TRAIN_VOLUME, TRAIN_LABELS, TEST_VOLUME, TEST_LABELS),
    terms=(
        "ISBI 2012 EM segmentation challenge: free to use for generating or testing "
        "non-commercial image segmentation software. Cite Cardona et al. 2010, "
        "doi:10.1371/journal.pbio.1000502, and Arganda-Carreras et al. 2015, "
        "doi:10.3389/fnana.2015.00142."
    ),
    pixel_size=0.004,
)

# grey value in the label files -> class
MEMBRANE_AND_CELL = MappingProxyType({0: 0, 255: 1})


@dataclass(frozen=True)
class Isbi2012:
    """The three published stacks, verified.

    Attributes
    ----------
    images : ndarray of uint8, shape (30, 512, 512)
        Training sections; 4 x 4 nm a pixel, 50 nm thick.
    labels : ndarray of uint8, shape (30, 512, 512)
        0 membrane, 1 cell.
    test_images : ndarray of uint8, shape (30, 512, 512)
        Sections of the challenge's test, without labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]


def fetch_isbi2012(
    to: str | Path | None = None, source: str | Path | None = None, *, progress: bool = False
) -> Path:
    """Fetch the stacks of ISBI 2012; show `ISBI2012.terms` to whoever does.

    Parameters
    ----------
    to, source, progress
        As for `paper_unet.datasets.fetch`.

    Returns
    -------
    Path
        The folder with train-volume.tif, train-labels.tif and test-volume.tif, each verified,
        and test-labels.tif if the source has it: of that one only the shape is checked.

    Raises
    ------
    InputError
        If a file cannot be had, or its pixels are not those published.
    """
    return fetch(ISBI2012, to, source, progress=progress)


def load_isbi2012(folder: str | Path | None = None) -> Isbi2012:
    """Load the stacks of ISBI 2012 and verify their pixels.

    Parameters
    ----------
    folder : str or Path, optional
        The folder with train-volume.tif; default ``isbi2012`` in `data_folder`.

    Returns
    -------
    Isbi2012
        Images, labels, and test images.

    Raises
    ------
    InputError
        If a file is missing, or its pixels are not those published.
    """
    folder = Path(folder) if folder is not None else data_folder() / ISBI2012.name
    if not (folder / TRAIN_VOLUME.name).is_file():
        raise InputError(
            f"{folder}: has no {TRAIN_VOLUME.name}; fetch it (paper-unet fetch isbi2012) or set "
            f"PAPER_UNET_DATA to the folder that holds {ISBI2012.name}/"
        )
    images, labels, test_images = (
        read_verified(folder / stack.name, stack)
        for stack in (TRAIN_VOLUME, TRAIN_LABELS, TEST_VOLUME)
    )
    return Isbi2012(images, map_labels(labels, name=TRAIN_LABELS.name), test_images)


def map_labels(
    labels: NDArray[Any],
    classes: Mapping[int, int] = MEMBRANE_AND_CELL,
    *,
    name: str = "labels",
) -> NDArray[np.uint8]:
    """Map the grey values of a label image to classes.

    Parameters
    ----------
    labels : ndarray of integers, any shape
        As stored in the file.
    classes : mapping of int to int
        The class, 0 to 255, of each grey value that may occur; default 0 membrane, 255 cell.
    name : str
        What to call the image in an error.

    Returns
    -------
    ndarray of uint8, same shape
        The class of each pixel.

    Raises
    ------
    InputError
        If another value occurs.
    """
    found = np.unique(labels)
    unknown = [value for value in found.tolist() if value not in classes]
    if unknown:
        listing = ", ".join(f"{value:g}" for value in unknown[:8]) + ", ..." * (len(unknown) > 8)
        accepted = ", ".join(f"{grey} (class {kind})" for grey, kind in sorted(classes.items()))
        raise InputError(
            f"{name}: {len(unknown)} unknown label values ({listing}); accepted are {accepted}: "
            f"map them first"
        )
    mapped = np.zeros(labels.shape, np.uint8)
    for grey, kind in classes.items():
        mapped[labels == grey] = kind
    return mapped
