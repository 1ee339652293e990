"""Writing stacks: which output a name means."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from paper_unet.errors import InputError
from paper_unet.images.inside import split_inside
from paper_unet.images.outputs.kinds import LABELS, check_format
from paper_unet.images.outputs.kinds import OUTPUTS as OUTPUTS
from paper_unet.images.outputs.output import Output
from paper_unet.images.remote import require_obstore
from paper_unet.images.stack import UNKNOWN_SIZE, PixelSize
from paper_unet.system.address import Address, address_of


def create_output(
    path: str | Path | Address,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    pixel_size: PixelSize = UNKNOWN_SIZE,
    overwrite: bool = False,
    ome_zarr: str = "0.5",
    labels: bool = False,
    channels: tuple[str, ...] = (),
    about: dict[str, Any] | None = None,
    shard: int | None = 0,
) -> Output:
    """Describe an output that is to be written window by window; nothing is made yet.

    Parameters
    ----------
    path : str, Path or Address
        Its folder must exist. Ends in .tif or .tiff (TIFF, BigTIFF beyond 4 GB), .btf or .tf8
        (BigTIFF), .ome.tif (the same with OME metadata), .h5 or .hdf5 (HDF5; ``FILE.h5:/DATASET``
        names the data set), .precomputed (Neuroglancer), or .zarr (OME-Zarr), which may be in a
        bucket: ``s3://BUCKET/KEY.zarr`` or ``gs://BUCKET/KEY.zarr`` (extra ``remote``).
    shape : tuple of int, (Z, Y, X)
        The size of the stack.
    dtype : uint8, uint16, uint32 or float32; of labels uint8, uint16, uint32 or uint64
        Of its values.
    pixel_size : tuple of float or None, (z, y, x)
        In micrometres; None where it is not known.
    overwrite : bool
        Whether an existing output may be replaced; it stays until the new one is complete, but in
        a bucket `Output.prepare` removes it.
    ome_zarr : str
        Version of OME-Zarr: ``0.5`` is Zarr v3, ``0.4`` is Zarr v2.
    labels : bool
        Whether the values are numbers of cells: smaller versions of the image then hold some of
        the values, not their means, and OME-Zarr and precomputed say that they are labels. A name
        in the folder ``labels`` of an OME-Zarr image needs no ending then; see `make_labels`.
    channels : tuple of str
        What the values of a pixel are called, where it has several: the output is then
        (C, Z, Y, X), and windows are (C, rows, columns).
    about : dict, optional
        What else is to be said of the pixels, as JSON: kept where the format has a place for it.
    shard : int or None
        Pixels of a side of the shards of OME-Zarr 0.5, each of which is one file of many chunks: a
        multiple of 512. 0: a file for each chunk. None: 4096 where there are more than 100,000
        chunks, or as an interrupted run has them.

    Returns
    -------
    Output
        Call its `prepare` first.

    Raises
    ------
    InputError
        If the output exists, its folder does not, it is no Zarr among the labels of an OME-Zarr
        image, or name, shape, dtype, pixel size or version
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
    if (address := address_of(path)) is not None:
        require_obstore(address)
        from paper_unet.images.outputs.remote import create_remote

        remote = create_remote(
            address, shape, np.dtype(dtype).newbyteorder("="), pixel_size, overwrite=overwrite,
            ome_zarr=ome_zarr, labels=labels, channels=channels, shard=shard,
        )  # fmt: skip
        remote.about = about or {}
        return remote
    path, inside = split_inside(path)  # type: ignore[arg-type]  # no address
    entry = OUTPUTS.get(path.suffix.lower())
    if entry is None and labels and path.parent.name == LABELS:  # of an OME-Zarr image
        entry = OUTPUTS[".zarr"]
    if entry is None:
        raise InputError(
            f"{path}: output of an unknown kind; end its name in one of {', '.join(OUTPUTS)}"
        )
    check_format(path)
    kind: type[Output] = entry if isinstance(entry, type) else resolve_name(entry)
    stored = np.dtype(dtype).newbyteorder("=")
    more: dict[str, Any] = {} if inside is None else {"inside": inside}
    if labels:  # an output from outside need not know of it
        more["labels"] = True
    if channels:
        if not kind.holds_channels:
            raise InputError(
                f"{path}: this format holds one value for each pixel, not {len(channels)}; end its "
                "name in .tif, .ome.tif, .h5 or .zarr"
            )
        more["channels"] = channels
    if kind.shards:
        more["shard"] = shard
    elif shard:
        raise InputError(f"{path}: `shard` is for OME-Zarr 0.5; leave it out")
    output = kind(path, shape, stored, pixel_size, overwrite=overwrite, ome_zarr=ome_zarr, **more)
    output.about = about or {}
    return output
