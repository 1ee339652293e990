"""Sections in memory, one after the other; a GPU does not wait between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError, naming, shown
from paper_unet.images import to_unit_range
from paper_unet.inference.intake import Intake
from paper_unet.inference.layers import exact_arithmetic
from paper_unet.inference.readout import Readout
from paper_unet.inference.rows import FlawedPixelsError, begun_rows
from paper_unet.inference.section import whole
from paper_unet.inference.streaming import Streaming
from paper_unet.inference.tiled import Tiled
from paper_unet.inference.transfer import link_to
from paper_unet.networks.base import Network
from paper_unet.networks.classes import class_count
from paper_unet.system.overlap import behind_by

Wait = Callable[[], NDArray[Any]]


@dataclass
class _Job:
    """A section on its way."""

    image: NDArray[Any]  # (C, Y, X)
    name: str | None
    value_range: tuple[float, float] | None
    result: NDArray[Any]
    done: int = 0

    def take(self, wait: Wait) -> bool:
        """Take the next rows; return whether they were the last ones."""
        try:
            part = wait()
        except FlawedPixelsError:
            to_unit_range(self.image, self.value_range)  # counts them
            raise
        self.result[self.done : self.done + len(part)] = part
        self.done += len(part)
        return self.done == len(self.result)


def as_array(given: Any, what: str) -> NDArray[Any]:
    """Return what NumPy takes as an array, such as a list or a tensor; else raise InputError."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:  # of several shapes, on a GPU
        reason = shown(" ".join(str(error).split()), 200)
        raise InputError(f"{what} cannot be taken as one array: {reason}") from error


class InMemory:
    """Predicts sections.

    Parameters
    ----------
    model : Network
    scorer : Streaming or Tiled
    value_range : (float, float) or None
        As of `predict_image`.
    readout : Readout
    """

    def __init__(
        self,
        model: Network,
        scorer: Streaming | Tiled,
        value_range: tuple[float, float] | None,
        readout: Readout,
    ) -> None:
        self._model, self._scorer, self._readout = model, scorer, readout
        self._given = value_range
        self._link = link_to(scorer.device)
        self._intakes: dict[np.dtype[Any], Intake] = {}
        self._shape: tuple[int, ...] = ()

    def __call__(self, images: Iterable[tuple[str | None, NDArray[Any]]]) -> Iterator[NDArray[Any]]:
        """Yield the prediction of each image, (Y, X) or (C, Y, X), in order.

        It is (Y, X), or (K, Y, X) if it is that of all classes.

        Parameters
        ----------
        images : iterable of (str or None, ndarray)
            The name says in an error which one it is.

        Raises
        ------
        InputError
            As `predict_image`.
        """
        for job, wait in behind_by(self._link.behind, self._begun(images)):
            with naming(job.name) if job.name else nullcontext():
                finished = job.take(wait)
            if finished:
                yield self._readout.placed(job.result)

    def _begun(
        self, images: Iterable[tuple[str | None, NDArray[Any]]]
    ) -> Iterator[tuple[_Job, Wait]]:
        for name, image in images:
            with naming(name) if name else nullcontext():
                job, rows = self._begin(name, image)
            while True:
                with (
                    naming(name) if name else nullcontext(),
                    exact_arithmetic(self._scorer.precision),
                ):
                    wait = next(rows, None)
                if wait is None:
                    break
                yield job, wait

    def _begin(self, name: str | None, image: NDArray[Any]) -> tuple[_Job, Iterator[Wait]]:
        channels, image = self._model.config.in_channels, as_array(image, "the image")
        stacked = image[None] if image.ndim == 2 else image
        if stacked.ndim != 3 or stacked.shape[0] != channels or stacked.size == 0:
            wanted = "(Y, X)" if channels == 1 else f"({channels}, Y, X)"
            raise InputError(
                f"the image has shape {image.shape}; {wanted} with at least one pixel is needed (a "
                "colour image must become grey first, a stack goes through predict_stack)"
            )
        shape = stacked.shape[1:]
        if shape != self._shape:
            self._scorer.fit(shape)
            self._shape = shape
        intake = self._intake(stacked.dtype.newbyteorder("="))
        section = whole(stacked, intake)
        rows = begun_rows(self._scorer, section, self._readout, *section.everything)
        result = np.empty(self._readout.shape(shape, class_count(self._model)), self._readout.dtype)
        return _Job(stacked, name, intake.value_range, result), rows

    def _intake(self, dtype: np.dtype[Any]) -> Intake:
        if dtype not in self._intakes:
            known = self._model.grey_ranges.get(dtype.name)
            value_range = known if self._given is None else self._given
            self._intakes[dtype] = Intake(dtype, value_range, link=self._link)
        return self._intakes[dtype]
