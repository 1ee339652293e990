"""Every setting of a prediction from file to file in one flat table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from paper_unet.inference.settings import InferenceSettings, check_dtype_of_argmax
from paper_unet.large.memory import bytes_of
from paper_unet.networks.known_weights import weights_help
from paper_unet.settings import Limits, read_percentiles


@dataclass(frozen=True)
class PredictConfig(InferenceSettings):
    """Every setting of a prediction from file to file.

    The command line of ``paper-unet predict`` is made from these fields and their descriptions.
    """

    source: Annotated[
        str,
        "image or stack: TIFF, PNG, a folder of these, HDF5, MRC, N5, precomputed; Zarr or "
        "OME-Zarr, here or at https://, s3:// or gs://",
    ]
    out: Annotated[
        str,
        "output: .tif, .btf (BigTIFF), .ome.tif, .h5 (HDF5), .precomputed or .zarr (OME-Zarr; "
        "s3://, gs://, too)",
    ]
    weights: Annotated[str | None, weights_help("isbi2012")] = None
    # which pixels
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
        "grey values that mean 0 and 1; needed for uint16 unless the weights know it. Or "
        "percentile:LOW,HIGH, such as percentile:0.5,99.5: the values there in a sample",
    ] = None
    percentiles: Annotated[
        tuple[float, float] | None,
        "of a sample of the stack: the grey values there mean 0 and 1",
    ] = None
    missing: Annotated[
        Literal["fail", "fill"],
        "of a Zarr, HDF5, N5 or precomputed without some of its chunks: refuse it, or fill them",
    ] = "fail"
    fill: Annotated[
        float | None, "grey value to take where the image is NaN or infinite; default: refuse"
    ] = None
    # how, beside the settings of `InferenceSettings`
    precision: Annotated[
        Literal["float32", "tf32", "bfloat16", "float16"],
        "of the arithmetic; float32 is the reference; tf32: of a GPU's tensor cores",
    ] = "float32"
    # the output
    of_class: Annotated[
        int | None, "class whose probability is written, from 0; default: the last one", Limits(0)
    ] = None
    all_classes: Annotated[bool, "write the probabilities of all classes, a channel for each"] = (
        False
    )
    argmax: Annotated[
        bool, "write the number of the most probable class, from 0, as a label image of uint8"
    ] = False
    dtype: Annotated[
        Literal["float32", "uint8", "uint16"], "of the probability: 0 to 1, 255 or 65535"
    ] = "float32"
    ome_zarr: Annotated[
        Literal["0.5", "0.4"], "version of OME-Zarr: 0.5 is Zarr v3, 0.4 is Zarr v2"
    ] = "0.5"
    shard: Annotated[
        int | None,
        "pixels of a side of the shards of OME-Zarr 0.5, each one file of many chunks, a multiple "
        "of 512; 0: a file for each chunk; default: 4096 beyond 100,000 chunks",
        Limits(0),
    ] = None
    # the machine
    device: Annotated[str, "auto, cpu, cuda or cuda:N"] = "auto"
    threads: Annotated[
        int | None,
        "CPU threads of the arithmetic; default: PyTorch's",
        Limits(1, 1024, closed=True),
    ] = None
    timings: Annotated[bool, "say at the end how long each stage took"] = False
    memory: Annotated[
        str | None, "what the process may take, such as 2GB; default: most of what is free"
    ] = None

    def __post_init__(self) -> None:
        read_percentiles(self)
        if isinstance(self.channel, int):
            object.__setattr__(self, "channel", str(self.channel))
        super().__post_init__()
        if self.memory is not None:
            bytes_of(self.memory)
        if self.argmax:
            check_dtype_of_argmax(self.dtype)

    @property
    def stored(self) -> str:
        """The dtype of the output."""
        return "uint8" if self.argmax else self.dtype
