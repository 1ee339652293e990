"""Training data from arrays: the class and the weight of each pixel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from paper_unet.errors import InputError
from paper_unet.weight_map import checked_mask, class_weights, separate_touching, weight_map

IGNORED = 255
"""The class of pixels that count nothing; where there are any, other classes are below it."""


@dataclass(frozen=True)
class TrainingSet:
    """Annotated sections, ready to be looked at.

    Attributes
    ----------
    images : ndarray of float32, shape (Z, C, Y, X)
        Grey values in [0, 1].
    classes : ndarray of uint8, shape (Z, Y, X)
        0 is background or membrane, 1 is cell; or any classes from 0. `IGNORED` where a pixel is
        to be ignored, if that is to hold for every pixel of a tile that shows it.
    weights : ndarray of float32, shape (Z, Y, X)
        w(x) of Eq. 2; 0 where a pixel is to be ignored.
    """

    images: NDArray[np.float32]
    classes: NDArray[np.uint8]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[0] == 0:
            raise InputError(
                f"images have shape {self.images.shape}; (Z, C, Y, X) is needed, Z >= 1"
            )
        expected = (self.images.shape[0], *self.images.shape[2:])
        for name in ("classes", "weights"):
            found = getattr(self, name).shape
            if found != expected:
                raise InputError(
                    f"{name} have shape {found}, the images {expected}; give one label image of "
                    "the same size for each section"
                )

    def unweighted(self) -> TrainingSet:
        """Return the same with a weight of 1 wherever a pixel counts."""
        return replace(self, weights=(self.weights > 0).astype(np.float32))

    def without(self, ignored: NDArray[np.bool_] | None) -> TrainingSet:
        """Return the same without some pixels: no pixel of a tile that shows one counts.

        A weight of 0 alone is not enough: tiles take weights between pixels, and classes from the
        nearest one, so at the edge an ignored pixel's class would have a part of a weight.

        Parameters
        ----------
        ignored : ndarray of bool, shape (Z, Y, X), or None
            None: all count.
        """
        if ignored is None:
            return self
        classes, weights = self.classes.copy(), self.weights.copy()
        classes[ignored], weights[ignored] = IGNORED, 0
        return replace(self, classes=classes, weights=weights)

    def fingerprint(self) -> str:
        """Return a SHA-256 over everything in it: what a resumed run has to be resumed with."""
        digest = hashlib.sha256()
        for values in (self.images, self.classes, self.weights):
            digest.update(f"{values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()


def instances_from_membranes(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Give each cell of a membrane label image a number: 4-connected regions, per section.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        0 = membrane, one other value = cell (ISBI 2012: 255).

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        0 = membrane, 1.. = cells; numbering starts again in each section.

    Raises
    ------
    InputError
        If there are other than these two values; the message lists what was found.
    """
    values = np.unique(labels)
    if labels.size == 0 or len(values) > 2 or values[0] != 0:
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        raise InputError(
            f"membrane labels hold the values {shown}; exactly two are accepted, 0 for membrane "
            "and one other for cell: map them first, or say that they are instance labels"
        )
    instances = np.zeros(labels.shape, np.int32)
    for section, numbered in zip(labels, instances, strict=True):
        ndimage.label(section, output=numbered)
    return instances


def training_set(
    images: NDArray[np.float32],
    instances: NDArray[np.integer],
    *,
    ignore: NDArray[np.bool_] | None = None,
    w0: float = 10.0,
    sigma: float = 5.0,
    balance: float = 1.0,
    separate: bool = True,
    gap: float = 1.0,
) -> TrainingSet:
    """Turn sections and their instances into classes and loss weights (sec. 3).

    Parameters
    ----------
    images : ndarray of float32, shape (Z, Y, X) or (Z, C, Y, X)
        Grey values in [0, 1].
    instances : ndarray of int, shape (Z, Y, X)
        0 = background or membrane, 1.. = cells.
    ignore : ndarray of bool, shape (Z, Y, X), optional
        Pixels that are not annotated; they weigh 0.
    w0, sigma : float
        The border term of Eq. 2 (sec. 3: 10 and 5 pixels).
    balance : float
        Power of the inverse frequency that w_c of Eq. 2 is; 1 balances the classes (sec. 3).
    separate : bool
        Draw the gap between touching cells first.
    gap : float
        Its width as `separate_touching` takes it, pixels.

    Returns
    -------
    TrainingSet
        The frequencies are those of all sections together.

    Raises
    ------
    InputError
        If the arrays do not fit each other, or nothing is annotated.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.shape[:1] + images.shape[2:] != instances.shape:
        raise InputError(
            f"images are {images.shape[0]} x {images.shape[2:]}, labels {instances.shape[0]} x "
            f"{instances.shape[1:]}; give one label image of the same size for each section"
        )
    ignore = checked_mask(ignore, instances.shape)
    _check_unit_range(images)
    if separate:
        instances = separate_touching(instances, gap)
    classes = (instances != 0).astype(np.uint8)
    if ignore is not None and ignore.all():
        raise InputError("every pixel is marked as not annotated; nothing to learn from")
    w_c = class_weights(classes, ignore, power=balance)
    weights = np.empty(classes.shape, np.float32)
    for z, section in enumerate(instances):
        unknown = None if ignore is None else ignore[z]
        weights[z] = weight_map(section, w0, sigma, balance=w_c, ignore=unknown)
    return TrainingSet(np.require(images, np.float32, ["C", "W"]), classes, weights)


def training_set_of_classes(
    images: NDArray[np.float32],
    classes: NDArray[np.integer],
    count: int,
    balance: float = 1.0,
    *,
    ignore: NDArray[np.bool_] | None = None,
) -> TrainingSet:
    """Turn sections and the class of each pixel into training data.

    Parameters
    ----------
    images : ndarray of float32, shape (Z, Y, X) or (Z, C, Y, X)
        Grey values in [0, 1].
    classes : ndarray of int, shape (Z, Y, X)
        From 0 to ``count`` - 1.
    count : int
        Number of classes K.
    balance : float
        As in `training_set`.
    ignore : ndarray of bool, shape (Z, Y, X), optional
        Pixels that are not annotated; they weigh 0.

    Returns
    -------
    TrainingSet
        The weights are w_c of Eq. 2 alone: without instances there are no borders between cells.

    Raises
    ------
    InputError
        If there is another class, or the arrays do not fit each other.
    """
    images = images[:, None] if images.ndim == 3 else images
    _check_unit_range(images)
    ignore = checked_mask(ignore, classes.shape)
    counted = classes if ignore is None else classes[~ignore]
    low, high = int(counted.min()), int(counted.max())
    if IGNORED < high < count:
        raise InputError(f"labels hold classes up to {high}; accepted are 0 to {IGNORED}")
    if ignore is not None and ignore.any() and count > IGNORED:
        raise InputError(
            f"the network has {count} classes; with pixels that are ignored it may have {IGNORED}"
        )
    if low < 0 or high >= count:
        raise InputError(
            f"labels hold classes from {low} to {high}; the network has {count}, from 0 to "
            f"{count - 1}: renumber them, or give `classes`"
        )
    kinds = (classes if ignore is None else np.where(ignore, 0, classes)).astype(np.uint8)
    weights = class_weights(kinds, ignore, count, balance).astype(np.float32)[kinds]
    if ignore is not None:
        weights[ignore] = 0
    return TrainingSet(np.require(images, np.float32, ["C", "W"]), kinds, weights)


def _check_unit_range(images: NDArray[np.floating]) -> None:
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        raise InputError(
            f"images are {images.dtype} from {images.min()} to {images.max()}; floats in [0, 1] "
            "are needed, see paper_unet.images.to_unit_range"
        )
