"""The kinds of output, by the ending of a name."""

from __future__ import annotations

from paper_unet.images.outputs.output import Output

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")

OUTPUTS: dict[str, str | type[Output]] = {
    **dict.fromkeys(TIFF_SUFFIXES, "paper_unet.images.outputs.tiff:TiffOutput"),
    **dict.fromkeys((".h5", ".hdf5"), "paper_unet.images.outputs.hdf5:Hdf5Output"),
    ".zarr": "paper_unet.images.outputs.zarr:ZarrOutput",
    ".precomputed": "paper_unet.images.outputs.precomputed:PrecomputedOutput",
}
"""The class for each ending of a name; as text it is imported when it is used."""
