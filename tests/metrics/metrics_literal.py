"""The definitions written out, without any regard to speed. Images are (Y, X)."""

from collections import deque

import numpy as np
from skimage.measure import label


def is_simple(patch: np.ndarray) -> bool:
    """Whether setting or clearing the centre keeps the number of pieces of both kinds."""
    counts = []
    for centre in (0, 1):
        image = patch.astype(int).copy()
        image[1, 1] = centre
        counts.append((label(image, connectivity=1).max(), label(1 - image, connectivity=2).max()))
    return counts[0] == counts[1]


def warp(truth: np.ndarray, interior: np.ndarray, threshold: float) -> np.ndarray:
    """Pass over all mismatches until nothing flips; returns the warped labels."""
    height, width = truth.shape
    warped = np.pad(truth.astype(int), 1)
    probability = interior.astype(np.float64)
    predicted = np.pad((probability > threshold).astype(int), 1)
    pending = [
        (x, y)
        for x in range(1, width + 1)
        for y in range(1, height + 1)
        if warped[y, x] != predicted[y, x]
    ]
    pending.sort(key=lambda p: -np.float32(abs(probability[p[1] - 1, p[0] - 1] - threshold)))
    changed = True
    while changed:
        changed = False
        for x, y in list(pending):
            if is_simple(warped[y - 1 : y + 2, x - 1 : x + 2]):
                warped[y, x] = 1 - warped[y, x]
                pending.remove((x, y))
                changed = True
    return warped[1:-1, 1:-1]


def classes(truth: np.ndarray, interior: np.ndarray, threshold: float) -> np.ndarray:
    """Names of the mismatches after the warp, as text."""
    names = np.full(truth.shape, "none", dtype=object)
    warped = warp(truth, interior, threshold)
    pieces = label(warped, connectivity=1)
    predicted = interior.astype(np.float64) > threshold
    for y, x in np.argwhere(warped != predicted):
        if truth.all() or not truth.any():
            names[y, x] = "object_addition"
        else:
            names[y, x] = _name(warped, pieces, y, x)
    return names


def _name(warped: np.ndarray, pieces: np.ndarray, y: int, x: int) -> str:
    found = around(pieces, y, x)
    white = warped[y, x] == 1
    if found <= {0}:
        return "object_deletion" if white else "object_addition"
    if len(found) > 2:
        return "split" if white else "merger"
    if 0 not in found:
        return "hole_addition" if white else "hole_deletion"
    if not white:
        return "hole_addition"
    without = warped.copy()
    without[y, x] = 0
    if min(warped.shape) >= 20:
        near = np.zeros_like(without)
        window = np.s_[max(y - 20, 0) : y + 21, max(x - 20, 0) : x + 21]
        near[window] = without[window]
        without = near
    return (
        "split" if len(around(label(without, connectivity=1), y, x) - {0}) > 1 else "hole_deletion"
    )


def around(image: np.ndarray, y: int, x: int) -> set[int]:
    """Values of the eight neighbours inside the image."""
    height, width = image.shape
    return {
        int(image[j, i])
        for j in range(y - 1, y + 2)
        for i in range(x - 1, x + 2)
        if (j, i) != (y, x) and 0 <= j < height and 0 <= i < width
    }


def thin(interior: np.ndarray) -> np.ndarray:
    """Watershed of a binary image; 0 on the lines."""
    if not interior.any():
        return np.ones(interior.shape, dtype=int)
    regions = label(interior, connectivity=1).astype(int)
    queued = np.zeros(interior.shape, dtype=bool)

    queue = deque()
    for x, y in np.ndindex(interior.T.shape):
        if not interior[y, x] and any(regions[j, i] > 0 for i, j in beside(interior, x, y)):
            queue.append((x, y))
            queued[y, x] = True
    while queue:
        x, y = queue.popleft()
        seen = set()
        for i, j in beside(interior, x, y):
            if regions[j, i] > 0:
                seen.add(regions[j, i])
            elif not interior[j, i] and not queued[j, i]:
                queue.append((i, j))
                queued[j, i] = True
        if len(seen) == 1:
            regions[y, x] = seen.pop()
    return regions


def beside(image: np.ndarray, x: int, y: int) -> list[tuple[int, int]]:
    """Give the (x, y) of the four neighbours inside the image."""
    height, width = image.shape
    four = [(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)]
    return [(i, j) for i, j in four if 0 <= i < width and 0 <= j < height]


def rand_pairs(objects: np.ndarray, regions: np.ndarray) -> tuple[int, int, int]:
    """Ordered pairs of object pixels: together in both, in the regions, in the objects."""
    pixels = [(o, r) for o, r in zip(objects.flat, regions.flat, strict=True) if o > 0]
    both = in_regions = in_objects = 0
    for i, (object_1, region_1) in enumerate(pixels):
        for j, (object_2, region_2) in enumerate(pixels):
            same_object = object_1 == object_2
            same_region = i == j or (region_1 == region_2 and region_1 > 0)
            both += same_object and same_region
            in_regions += same_region
            in_objects += same_object
    return both, in_regions, in_objects
