"""Every setting of a segmentation from file to file in one flat table."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Annotated, Literal

from paper_unet.errors import InputError, shown
from paper_unet.large.memory import bytes_of
from paper_unet.metrics.table import METRICS
from paper_unet.settings import Limits, check

FROM = "from:"
"""Before the name of a file of scores, where a threshold is to be taken from it."""

RANKED_BY = "v_rand"
"""The metric whose best threshold is taken: the one that the challenge ranks by."""


@dataclass(frozen=True)
class SegmentConfig:
    """Every setting of a segmentation from file to file.

    The command line of ``paper-unet segment`` is made from these fields and their descriptions.
    """

    source: Annotated[
        str,
        "volume of P(cell): TIFF, PNG, a folder of these, Zarr, OME-Zarr, HDF5, MRC, N5, "
        "precomputed",
    ]
    out: Annotated[
        str,
        "numbers of cells: .tif, .btf (BigTIFF), .ome.tif, .h5, .zarr, .precomputed (a "
        "segmentation) or IMAGE.zarr/labels/NAME",
    ]
    method: Annotated[
        Literal["components", "watershed"],
        "connected parts of what is above the threshold, or these cut at their necks",
    ] = "components"
    dims: Annotated[
        int, "3: cells run through sections; 2: each section has its own", Limits(2, 3, closed=True)
    ] = 3
    threshold: Annotated[
        str | float,
        "probability above which a voxel is in a cell; from:SCORES.json takes the best one for "
        "V_rand out of what an evaluation printed as JSON, from:SCORES.json:rand_error another",
    ] = "0.5"
    min_size: Annotated[
        int, "cells of fewer voxels (pixels, where `dims` is 2) become background", Limits(0)
    ] = 0
    connectivity: Annotated[
        int, "1: voxels touch by faces (4 or 6 neighbours); 2: edges, too; 3: corners, too",
        Limits(1, 3, closed=True),
    ] = 1  # fmt: skip
    # of the watershed
    seeds: Annotated[
        Literal["distance", "probability"],
        "of the watershed: parts far from the background, or of high probability",
    ] = "distance"
    seed_distance: Annotated[
        float, "of seeds from the background, more than so many pixels (along x)", Limits(0)
    ] = 5.0
    seed_threshold: Annotated[
        float, "probability above which a voxel is in a seed", Limits(0, 1)
    ] = 0.9
    context: Annotated[
        int, "voxels on each side of a block that its watershed sees, too", Limits(0)
    ] = 16
    # which voxels
    slices: Annotated[str | None, "such as 24:30; default: all"] = None
    axes: Annotated[str | None, "of the file, such as ZYX; wins over what it says itself"] = None
    series: Annotated[int | None, "of a file that has several"] = None
    channel: Annotated[
        str | int | None, "of a file that has several: its number, from 0, or its name"
    ] = None
    time: Annotated[
        int | None, "number of the time point, from 0, of a file that has several", Limits(0)
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        "values that mean 0 and 1; default: 0 1, of uint8 0 255, of uint16 0 65535",
    ] = None
    missing: Annotated[
        Literal["fail", "fill"], "of a Zarr without some of its chunks: refuse it, or fill them"
    ] = "fail"
    # how
    block: Annotated[
        str, "sections x rows x columns that are worked on at a time; a watershed depends on it"
    ] = "32x512x512"
    ome_zarr: Annotated[
        Literal["0.5", "0.4"], "version of OME-Zarr: 0.5 is Zarr v3, 0.4 is Zarr v2"
    ] = "0.5"
    shard: Annotated[
        int,
        "pixels of a side of the shards of OME-Zarr 0.5, each one file of many chunks, a multiple "
        "of 512 of which rows and columns of a block are multiples; 0: a file for each chunk",
        Limits(0),
    ] = 0
    memory: Annotated[
        str | None, "what the process may take, such as 2GB; default: most of what is free"
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.channel, int) and not isinstance(self.channel, bool):
            object.__setattr__(self, "channel", str(self.channel))
        number: object = self.threshold  # which NumPy's are, too
        if not isinstance(number, bool) and isinstance(number, Real):
            object.__setattr__(self, "threshold", str(float(number)))
        check(self)
        if self.dims == 2 and self.connectivity == 3:
            raise InputError("connectivity is 3; within a section it must be 1 or 2")
        if not str(self.threshold).startswith(FROM):
            threshold_of(self.threshold)
        block_of(self.block)
        if self.memory is not None:
            bytes_of(self.memory)


def block_of(text: str) -> tuple[int, int, int]:
    """Read the size of a block: three numbers with an x between."""
    words = text.lower().split("x")
    if len(words) != 3 or not all(word.strip().isdecimal() for word in words):
        raise InputError(f"block is {shown(text)!r}; give Z x Y x X such as 32x512x512")
    depth, height, width = (min(int(word[:18]), 2**31) for word in map(str.strip, words))
    if min(depth, height, width) < 1:
        raise InputError(f"block is {shown(text)!r}; each of its sides must be at least 1")
    return depth, height, width


def threshold_of(given: str | float) -> float:
    """Return a threshold, which a file of scores may hold.

    Parameters
    ----------
    given : str or float
        A number in [0, 1), or ``from:FILE`` or ``from:FILE:METRIC``, where FILE holds what
        ``paper-unet evaluate --json`` prints.

    Raises
    ------
    InputError
        If it is neither.
    """
    text = str(given)
    if text.startswith(FROM):
        return _checked(_from_scores(text.removeprefix(FROM)), text)
    try:
        return _checked(float(text), text)
    except ValueError:
        raise _no_threshold(text) from None


def _checked(value: object, text: str) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1 or not math.isfinite(value):  # type: ignore[operator,arg-type]
        raise _no_threshold(text)
    return float(value)  # type: ignore[arg-type]


def _no_threshold(text: str) -> InputError:
    return InputError(
        f"threshold is {shown(text)!r}; give a number in [0, 1), or {FROM}SCORES.json with what "
        "an evaluation printed as JSON"
    )


def _from_scores(text: str) -> object:
    """Return the threshold in a file of scores that was best for a metric."""
    file, colon, metric = text.rpartition(":")
    if not colon or metric not in METRICS:
        file, metric = text, RANKED_BY
    name = shown(file, 200)
    try:
        thresholds = json.loads(Path(file).read_text())["thresholds"]
    except OSError as error:
        raise InputError(
            f"threshold: {name} cannot be read ({error.strerror}); give the file that an "
            "evaluation was printed to as JSON"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"threshold: {name} holds no scores; give what an evaluation prints as JSON"
        ) from error
    if not isinstance(thresholds, dict) or metric not in thresholds:
        raise InputError(f"threshold: {name} has none for {metric}; give another metric")
    return thresholds[metric]
