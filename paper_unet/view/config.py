"""Every setting of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from paper_unet.settings import Limits, check


@dataclass(frozen=True)
class ViewConfig:
    """Every setting of a page."""

    axes: Annotated[str | None, "of the image, such as ZYX; wins over what it says itself"] = None
    series: Annotated[int | None, "of an image that has several"] = None
    channel: Annotated[
        str | int | None, "of each file that has several: its number, from 0, or its name"
    ] = None
    time: Annotated[
        int | None, "number of the time point, from 0, of each file that has several", Limits(0)
    ] = None
    port: Annotated[int, "of the page; 0: one that is free", Limits(0, 65535, closed=True)] = 0
    refresh: Annotated[
        float, "seconds between two looks for what a run has written meanwhile", Limits(0)
    ] = 5.0
    cors: Annotated[
        bool,
        "serve the folders of OME-Zarr, N5 and precomputed, too, with a token in the address, so "
        "that Neuroglancer elsewhere opens them",
    ] = False

    def __post_init__(self) -> None:
        if isinstance(self.channel, int) and not isinstance(self.channel, bool):
            object.__setattr__(self, "channel", str(self.channel))
        check(self)
