"""Every setting of a prediction from file to file in one flat table."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from paper_unet.errors import InputError
from paper_unet.inference.settings import InferenceSettings
from paper_unet.large.memory import bytes_of


@dataclass(frozen=True)
class PredictConfig:
    """Every setting of a prediction from file to file.

    The command line of ``paper-unet predict`` is made from these fields and their descriptions.
    """

    source: Annotated[str, "image or stack: TIFF, PNG, a folder of these, Zarr, OME-Zarr"] = ""
    out: Annotated[str, "output: .tif, .btf (BigTIFF), .ome.tif or .zarr (OME-Zarr)"] = ""
    weights: Annotated[str | None, "default: the bundled ones (ISBI 2012)"] = None
    # which pixels
    slices: Annotated[str | None, "such as 24:30; default: all"] = None
    axes: Annotated[str | None, "of the file, such as ZYX; wins over what it says itself"] = None
    series: Annotated[int | None, "of a file that has several"] = None
    value_range: Annotated[
        tuple[float, float] | None,
        "grey values that mean 0 and 1; needed for uint16 unless the weights know it",
    ] = None
    fill: Annotated[
        float | None, "grey value to take where the image is NaN or infinite; default: refuse"
    ] = None
    # how
    engine: Annotated[
        Literal["stream", "tiles"],
        "stream: rows flow through the network, nothing is computed twice; tiles: Fig. 2; networks "
        "with padding or other layers are always tiled",
    ] = "stream"
    tile: Annotated[
        int,
        "largest input side of a tile, 16k + 60, where there are tiles; networks with padding "
        "take the largest multiple of 16 below it",
    ] = 572
    tiling: Annotated[
        Literal["exact", "abutting"],
        "of tiles; exact: equal to one pass over the whole section; abutting: the paper's grid",
    ] = "exact"
    average: Annotated[
        Literal["none", "flips", "rotations"],
        "mean over the four flips (the authors' release) or seven rotations (sec. 4)",
    ] = "none"
    halo: Annotated[
        int | None,
        "of a network with zero padding: pixels dropped on each side of a tile, a multiple of 16; "
        "default: as far as a pixel sees",
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"], "of the arithmetic; float32 is the reference"
    ] = "float32"
    # the output
    of_class: Annotated[
        int | None, "class whose probability is written, from 0; default: the last one"
    ] = None
    dtype: Annotated[
        Literal["float32", "uint8", "uint16"], "of the probability: 0 to 1, 255 or 65535"
    ] = "float32"
    ome_zarr: Annotated[
        Literal["0.5", "0.4"], "version of OME-Zarr: 0.5 is Zarr v3, 0.4 is Zarr v2"
    ] = "0.5"
    # the machine
    device: Annotated[str, "auto, cpu, cuda or cuda:N"] = "auto"
    threads: Annotated[int | None, "CPU threads of the arithmetic; default: PyTorch's"] = None
    memory: Annotated[
        str | None, "what the process may take, such as 2GB; default: most of what is free"
    ] = None

    def __post_init__(self) -> None:
        for name in ("source", "out"):
            object.__setattr__(self, name, os.fspath(getattr(self, name)))
        if self.value_range is not None:
            object.__setattr__(self, "value_range", tuple(self.value_range))
        _ = self.settings  # has checks of its own
        for name, accepted in _CHOICES.items():
            if getattr(self, name) not in accepted:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(accepted)}"
                )
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads is {self.threads}; it must be at least 1")
        if self.memory is not None:
            bytes_of(self.memory)

    @property
    def settings(self) -> InferenceSettings:
        """How the scores are computed."""
        names = [field.name for field in fields(InferenceSettings)]
        return InferenceSettings(**{name: getattr(self, name) for name in names})


_CHOICES = {
    "precision": ("float32", "bfloat16", "float16"),
    "dtype": ("float32", "uint8", "uint16"),
    "ome_zarr": ("0.5", "0.4"),
}
