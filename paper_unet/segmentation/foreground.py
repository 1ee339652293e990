"""Which voxels are in a cell: of a probability above the threshold, as the metrics have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.metrics import as_probability

RANGES = {"bool": (0.0, 1.0), "uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
"""Values that mean 0 and 1, by type: never by content, of which a block shows a part alone."""


@dataclass(frozen=True)
class Scale:
    """How the values of a volume are read as probabilities.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the values.
    value_range : tuple of two floats, optional
        The values that mean 0 and 1; None: they are probabilities.
    """

    dtype: np.dtype[Any]
    value_range: tuple[float, float] | None

    def probability(self, values: NDArray[Any], name: object) -> NDArray[np.float32]:
        """Return values as probabilities.

        Parameters
        ----------
        values : ndarray of `dtype`, any shape
        name : object
            What they are of, for the message.

        Raises
        ------
        InputError
            If some are not finite, or not in [0, 1] although nobody says what they mean.
        """
        if self.dtype.kind == "f":
            _check(values, self.value_range is None, name)
        if self.value_range is None:
            return values.astype(np.float32)
        if self.dtype.name in RANGES:
            return self._steps()[values.astype(np.uint16)]
        return as_probability(values, self.value_range)

    def above(self, values: NDArray[Any], threshold: float, name: object) -> NDArray[np.bool_]:
        """Return where the probability, rounded to 32 bits, is above a threshold in [0, 1)."""
        if self.dtype.name in RANGES and self.value_range is not None:
            steps: NDArray[np.bool_] = self._steps().astype(np.float64) > threshold
            return steps[values.astype(np.uint16)]
        limit = np.float32(threshold)
        if float(limit) > threshold:  # of the numbers of 32 bits, the last one not above it
            limit = np.nextafter(limit, np.float32(0))
        return np.asarray(self.probability(values, name) > limit)

    def _steps(self) -> NDArray[np.float32]:
        """Return the probability of every value that the type has."""
        count = {"bool": 2, "uint8": 2**8, "uint16": 2**16}[self.dtype.name]
        return as_probability(np.arange(count, dtype=np.uint32), self.value_range)


def scale_of_probabilities(
    dtype: np.dtype[Any], given: tuple[float, float] | None, name: object
) -> Scale:
    """Return how values of a type are read.

    Raises
    ------
    InputError
        If the type does not say, and nobody does.
    """
    if given is not None:
        if not (np.isfinite(given).all() and given[0] < given[1]):
            raise InputError(
                f"value_range is {given[0]:g} to {given[1]:g}; accepted are two finite numbers, "
                "the lower one first"
            )
        return Scale(dtype, given)
    if dtype.kind == "f" or dtype.name in RANGES:
        return Scale(dtype, RANGES.get(dtype.name))
    raise InputError(
        f"{name}: values of {dtype} have no scale of their own as probabilities; say which values "
        "mean 0 and 1 with `value_range` LOW HIGH"
    )


def _check(values: NDArray[Any], as_they_are: bool, name: object) -> None:
    good = int(np.count_nonzero(np.isfinite(values)))
    if good < values.size:
        raise InputError(
            f"{name}: {values.size - good} of {values.size} values are NaN or infinite; accepted "
            "are probabilities: predict again where it failed, or set them to 0, background"
        )
    low, high = values.min(initial=0), values.max(initial=0)
    if as_they_are and not (low >= 0 and high <= 1):
        raise InputError(
            f"{name}: values from {low:g} to {high:g}; accepted are probabilities in [0, 1]: say "
            "which values mean 0 and 1 with `value_range` LOW HIGH"
        )
