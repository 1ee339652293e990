"""The pixel-wise loss weights of Eq. 2 and the gap between touching cells (sec. 3, Fig. 3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from paper_unet.errors import InputError

RELATIVE_CUTOFF = 5e-8
"""Where the border term falls below this share of w0 it is set to 0: 5e-7 for w0 = 10."""


def separate_touching(instances: NDArray[np.integer], gap: float = 1.0) -> NDArray[np.integer]:
    """Draw the background gap between touching instances (sec. 3, Fig. 3c).

    A cell pixel becomes background if its W, NW, N or NE neighbour belongs to another cell, so
    that no two cells are 8-neighbours any more. The gap is one pixel wide where cells lie above one
    another; along vertical borders both can give way, since NE is read before it is changed.

    A wider gap also takes every cell pixel that is nearer than ``gap`` to another cell: 2 (gap - 1)
    pixels between cells that touch along a line.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X) or (Z, Y, X)
        0 is background; each section of a stack stands for itself.
    gap : float
        Pixels, at least 1; a distance between the centres of pixels.

    Returns
    -------
    ndarray, same shape and dtype
        A copy with the gaps set to 0. `metrics.instances.grow_back` undoes it.

    Raises
    ------
    InputError
        If ``instances`` is not an integer image, or the gap is below 1.

    Notes
    -----
    The paper says "using morphological operations"; the rule of one pixel is that of the authors'
    later software (Falk et al. 2019), the wider gap an erosion against the other cells alone.
    """
    labels = _instance_image(instances)
    if not 1 <= gap < np.inf:
        raise InputError(f"gap is {gap} pixels; it must be at least 1, and finite")
    padded = np.pad(labels, [(0, 0)] * (labels.ndim - 2) + [(1, 1), (1, 1)])
    height, width = labels.shape[-2:]
    touching = np.zeros(labels.shape, bool)
    for dy, dx in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
        neighbour = padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        touching |= (neighbour != 0) & (neighbour != labels)
    if gap > 1:
        sections = labels.reshape(-1, height, width)
        touching |= np.stack([_near_another(s, gap) for s in sections]).reshape(labels.shape)
    return np.where(touching, 0, labels).astype(labels.dtype)


def _near_another(labels: NDArray[np.integer], gap: float) -> NDArray[np.bool_]:
    """Return the pixels of cells that are nearer than so much to another cell, shape (Y, X)."""
    cells, margin = _bounded_ids(labels), int(np.ceil(gap))
    near = np.zeros(labels.shape, bool)
    for index, window in _windows(cells, margin):
        cell = cells[window] == index
        others = (cells[window] != 0) & ~cell
        if others.any():
            near[window] |= cell & (ndimage.distance_transform_edt(~others) < gap)
    return near


def border_weight_map(
    instances: NDArray[np.integer], w0: float = 10.0, sigma: float = 5.0
) -> NDArray[np.float32]:
    """Return the border term of Eq. 2, ``w0 * exp(-(d1 + d2)**2 / (2 * sigma**2))``.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X) or (Z, Y, X)
        0 is background; each section of a stack stands for itself. An instance is an id, connected
        or not.
    w0 : float
        Weight where two cells meet (sec. 3: 10).
    sigma : float
        Width of the border, pixels (sec. 3: about 5).

    Returns
    -------
    ndarray of float32, same shape
        On background pixels the term, with d1 and d2 the Euclidean distances to the nearest and
        the second-nearest instance; 0 inside the cells, and everywhere with fewer than two cells.

    Raises
    ------
    InputError
        If ``instances`` is not an integer image, or sigma or w0 make no sense.

    Notes
    -----
    Each cell's distances are computed in its own window, reaching just as far as the term is
    above 5e-8 of w0 (29 pixels for sigma = 5), and only the two smallest are kept: time and
    memory go with the area, not with the number of cells.
    """
    if not sigma > 0:
        raise InputError(f"sigma is {sigma} pixels; it must be above 0")
    if not (w0 >= 0 and np.isfinite(w0)):
        raise InputError(f"w0 is {w0}; it must be finite and at least 0")
    labels = _instance_image(instances)
    if labels.ndim == 3:
        return np.stack([border_weight_map(section, w0, sigma) for section in labels])
    reach = sigma * np.sqrt(-2 * np.log(RELATIVE_CUTOFF))
    nearest, second = two_nearest(labels, reach)
    border = np.zeros(labels.shape, np.float32)
    near = (nearest + second <= reach) & (labels == 0)
    distance = nearest[near].astype(np.float64) + second[near]
    border[near] = w0 * np.exp(-(distance**2) / (2 * sigma**2))
    return border


def class_weights(
    classes: NDArray[np.integer],
    ignore: NDArray[np.bool_] | None = None,
    count: int = 2,
    power: float = 1.0,
) -> NDArray[np.float64]:
    """Return w_c per class: inverse frequency, scaled so that its mean over the pixels is 1.

    Parameters
    ----------
    classes : ndarray of int, any shape
        Class of each pixel of the whole training set, from 0.
    ignore : ndarray of bool, same shape, optional
        Pixels that do not count.
    count : int
        Number of classes K.
    power : float
        Of the inverse frequency: 1 gives each class the same weight in all, 0 each pixel.

    Returns
    -------
    ndarray of float64, shape (K,)
        ``1 / (K' * frequency)`` for the K' classes that occur, 0 for those that do not; with
        another power, ``frequency ** -power`` over its mean. Eq. 2 leaves the value of w_c open.
    """
    counted = classes if ignore is None else classes[~ignore]
    counts = np.bincount(counted.ravel(), minlength=count)
    present = counts > 0
    weights = np.zeros(counts.shape)
    found = counts[present].astype(np.float64)
    weights[present] = counts.sum() / ((found ** (1 - power)).sum() * found**power)
    return weights


def weight_map(
    instances: NDArray[np.integer],
    w0: float = 10.0,
    sigma: float = 5.0,
    *,
    balance: ArrayLike | None = None,
    ignore: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return w(x) of Eq. 2: class balance w_c plus the border term.

    Parameters
    ----------
    instances : ndarray of int, shape (Y, X) or (Z, Y, X)
        0 is background (class 0), everything else a cell (class 1).
    w0, sigma : float
        As in `border_weight_map`.
    balance : array_like of float, shape (2,), optional
        w_c of background and of cells; default: `class_weights` of this very image. Give that of
        the whole training set when its images are weighted one by one.
    ignore : ndarray of bool, same shape, optional
        Pixels that are not annotated: weight 0.

    Returns
    -------
    ndarray of float32, same shape
        At least 0.

    Raises
    ------
    InputError
        If ``instances`` is not an integer image or ``ignore`` has another shape.
    """
    labels = _instance_image(instances)
    ignore = checked_mask(ignore, labels.shape)
    classes = (labels != 0).astype(np.intp)
    if balance is None:
        balance = class_weights(classes, ignore)
    weights = np.asarray(balance, np.float32)[classes] + border_weight_map(labels, w0, sigma)
    return weights if ignore is None else np.where(ignore, np.float32(0), weights)


def checked_mask(ignore: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the mask of pixels to ignore as booleans, after checking its shape."""
    if ignore is None:
        return None
    mask = np.asarray(ignore)
    if mask.shape != shape:
        raise InputError(f"ignore has shape {mask.shape}, the labels {shape}; they must agree")
    return mask.astype(bool)


def two_nearest(
    labels: NDArray[np.integer], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances d1 and d2 to the two nearest instances, where d1 + d2 <= ``reach``.

    In rounds of growing windows: small ones settle every pixel that has two cells close by, as
    most have in dense tissue.

    Parameters
    ----------
    labels : ndarray of int, shape (Y, X)
        Not negative; 0 is background.
    reach : float
        Pixels.

    Returns
    -------
    two ndarrays of float64, shape (Y, X)
        Of background pixels; where the sum is beyond ``reach``, the values are too large, and
        inside the cells they are infinite.
    """
    cells = _bounded_ids(labels)
    nearest = np.full(labels.shape, np.inf)
    second = nearest.copy()
    open_pixels = labels == 0
    for margin in (reach / 4, reach / 2, reach):
        for index, window in _windows(cells, int(margin)):
            undecided = open_pixels[window]
            if undecided.any():
                distance = ndimage.distance_transform_edt(cells[window] != index)
                distance[~undecided] = np.inf
                _keep_two(nearest[window], second[window], distance)
        open_pixels &= second > margin  # no cell within `margin` of a pixel was missed
        if margin >= reach / 2:
            open_pixels &= nearest <= reach / 2  # else d1 + d2 is beyond reach
        if margin < reach:
            nearest[open_pixels] = second[open_pixels] = np.inf
    return nearest, second


def _windows(cells: NDArray[np.int32], margin: int) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Give each cell's number, and the window that holds it and so many pixels around."""
    for index, box in enumerate(ndimage.find_objects(cells), start=1):
        if box:
            yield index, tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)


def _keep_two(
    nearest: NDArray[np.float64], second: NDArray[np.float64], distance: NDArray[np.float64]
) -> None:
    """Sort one more cell's distances into the running pair, in place."""
    np.minimum(second, np.maximum(nearest, distance), out=second)
    np.minimum(nearest, distance, out=nearest)


def _bounded_ids(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Renumber ids that are larger than the image, so that a table of them stays small."""
    if int(labels.max()) <= labels.size:
        return labels.astype(np.int32)
    ids, inverse = np.unique(labels, return_inverse=True)
    first = 0 if ids[0] == 0 else 1
    compact: NDArray[np.int32] = (inverse.reshape(labels.shape) + first).astype(np.int32)
    return compact


def _instance_image(instances: NDArray[np.integer]) -> NDArray[np.integer]:
    labels = np.asarray(instances)
    if labels.size == 0:
        raise InputError(f"instances has shape {labels.shape}; at least one pixel is needed")
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise InputError(
            f"instances has dtype {labels.dtype}; it must be an integer label image with 0 as "
            "background"
        )
    if labels.ndim not in (2, 3):
        raise InputError(f"instances has shape {labels.shape}; it must be (Y, X) or (Z, Y, X)")
    if labels.min() < 0:
        raise InputError(f"instances holds {labels.min()}; ids must be 0 (background) or positive")
    return labels.astype(np.uint8) if labels.dtype == bool else labels
