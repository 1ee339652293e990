"""Finished rows of a region: read, sent, computed, received, each while the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from paper_unet.inference.averaging import Engine, region_scores
from paper_unet.inference.intake import Intake
from paper_unet.inference.readout import Readout, refuse_infinite
from paper_unet.inference.section import Section, Span
from paper_unet.inference.timings import NO_TIMINGS, Timings
from paper_unet.inference.transfer import Received


class FlawedPixelsError(Exception):
    """A section has grey values without a meaning; who has the section can say which."""


def begun_rows(
    engine: Engine,
    section: Section,
    readout: Readout,
    rows: Span,
    columns: Span,
    *,
    pool: Executor | None = None,
    timings: Timings = NO_TIMINGS,
) -> Iterator[Callable[[], NDArray[Any]]]:
    """Return the output of a region, from top to bottom, as what waits for it.

    Parameters
    ----------
    engine : Streaming or Tiled
    section : Section
    readout : Readout
    rows, columns : (int, int)
        As of `region_scores`.
    pool : Executor, optional
        Its one thread reads ahead, from now on.
    timings : Timings
        Takes the seconds of each stage.

    Returns
    -------
    iterator of callable
        The device begins to compute when one is taken. Called, it gives an ndarray of the readout's
        dtype, shape (n, columns), or raises `FlawedPixelsError` if grey values are not finite, or
        beyond 0 to 1 where there is no range, and InputError if the scores are not finite.
    """
    scores = region_scores(engine, section, rows, columns, pool)  # begins to read
    return _begun(scores, section.intake, readout, timings)


def _begun(
    scores: Iterator[Tensor], intake: Intake, readout: Readout, timings: Timings
) -> Iterator[Callable[[], NDArray[Any]]]:
    while True:
        with timings("compute"):
            part = next(scores, None)
            if part is None:
                return
            values, finite = readout(part)
            flaws = intake.flaws()
        coming = intake.link.receive(values, finite, *([] if flaws is None else [flaws]))
        yield partial(_received, coming, timings)


def _received(coming: Callable[[], Received], timings: Timings) -> NDArray[Any]:
    with timings("receive"):
        values, finite, *flaws = coming()
    if flaws and flaws[0]:
        raise FlawedPixelsError
    refuse_infinite(bool(finite))
    return values
