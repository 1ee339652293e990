"""Writing stacks: which output a name means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from paper_unet.errors import InputError
from paper_unet.images.outputs import tiff, zarr
from paper_unet.images.outputs.output import Output, check_kind, check_pixel_size
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize


def create_output(
    path: str | Path,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size: PixelSize = UNKNOWN_SIZE,
    overwrite: bool = False,
    ome_zarr: str = "0.5",
) -> Output:
    """Describe an output that is to be written window by window; nothing is made yet.

    Parameters
    ----------
    path : str or Path
        Its folder must exist. Ends in .tif or .tiff (TIFF, BigTIFF beyond 4 GB), .btf or .tf8
        (BigTIFF), .ome.tif (the same with OME metadata) or .zarr (OME-Zarr).
    shape : tuple of int, (Z, Y, X)
        The size of the stack.
    dtype : uint8, uint16, uint32 or float32
        Of its values.
    pixel_size : tuple of float or None, (z, y, x)
        In micrometres; None where it is not known.
    overwrite : bool
        Whether an existing output may be replaced; it stays until the new one is complete.
    ome_zarr : str
        Version of OME-Zarr: ``0.5`` is Zarr v3, ``0.4`` is Zarr v2.

    Returns
    -------
    Output
        Call its `prepare` first.

    Raises
    ------
    InputError
        If the output exists, its folder does not, or name, shape, dtype, pixel size or version
        cannot be.

    Examples
    --------
    >>> output = create_output("out.zarr", (30, 512, 512), "uint8")  # doctest: +SKIP
    >>> output.prepare(resume=False)  # doctest: +SKIP
    >>> for z, section in enumerate(stack):  # doctest: +SKIP
    ...     output.write(z, 0, 0, section)
    ...     output.sync(z, (0, 512), (0, 512))
    >>> for stage in output.stages():  # doctest: +SKIP
    ...     for task in stage:
    ...         output.run(task)
    >>> output.finish()  # doctest: +SKIP
    """
    path = Path(path)
    suffix, kind = path.suffix.lower(), np.dtype(dtype).newbyteorder("=")
    accepted = (*tiff.SUFFIXES, *zarr.SUFFIXES)
    if suffix not in accepted:
        raise InputError(
            f"{path}: output of an unknown kind; end its name in one of {', '.join(accepted)}"
        )
    if ome_zarr not in zarr.VERSIONS:
        raise InputError(f"OME-Zarr version {ome_zarr!r}; accepted are {', '.join(zarr.VERSIONS)}")
    check_kind(path, shape, kind)
    check_pixel_size(path, pixel_size)
    size = (shape[0], shape[1], shape[2])
    if suffix in tiff.SUFFIXES:
        return tiff.TiffOutput(path, size, kind, pixel_size, overwrite=overwrite)
    return zarr.ZarrOutput(path, size, kind, pixel_size, overwrite=overwrite, version=ome_zarr)
