"""What the tests of the images share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

ZYX = {"axes": "ZYX"}
# Every pixel of PIXELS differs from the one at the same place in the other slices.
PIXELS = np.random.default_rng(0).permutation(6 * 16 * 32).reshape(6, 16, 32).astype(np.uint16)
GREY = (PIXELS % 251).astype(np.uint8)


def write_pages(path: Path, stack: NDArray[Any], **options: Any) -> None:
    """One page after the other, each followed by its pixels: what most microscopes write."""
    with tifffile.TiffWriter(path) as writer:
        for image in stack:
            writer.write(image, contiguous=False, metadata=None, **options)


def options(**given: Any) -> Callable[[Path, NDArray[Any]], None]:
    return lambda path, stack: tifffile.imwrite(path, stack, **given)


LAYOUTS: dict[str, Callable[[Path, NDArray[Any]], None]] = {
    "contiguous": options(),
    "contiguous, no metadata": options(metadata=None),
    "page by page": write_pages,
    "page by page, deflate": lambda path, stack: write_pages(path, stack, compression="zlib"),
    "big endian": options(byteorder=">", metadata=ZYX),
    "deflate, predictor": options(compression="zlib", predictor=True, metadata=ZYX),
    "strips": options(rowsperstrip=4, metadata=ZYX),
    "strips, deflate": options(rowsperstrip=4, compression="zlib", metadata=ZYX),
    "tiled": options(tile=(16, 16), metadata=ZYX),
    "tiled, deflate": options(tile=(16, 16), compression="zlib", metadata=ZYX),
    "OME": options(ome=True, metadata=ZYX),
    "OME, tiled": options(ome=True, tile=(16, 16), metadata=ZYX),
    "OME, deflate": options(ome=True, compression="zlib", metadata=ZYX),
    "ImageJ": options(imagej=True, metadata=ZYX),
    "ImageJ, deflate": options(imagej=True, compression="zlib", metadata=ZYX),
    "one page for all": options(truncate=True, metadata=ZYX),
    "BigTIFF": options(bigtiff=True, metadata=ZYX),
    "BigTIFF, deflate": options(bigtiff=True, compression="zlib", metadata=ZYX),
}


def first_page_only(path: Path) -> None:
    """End the chain of pages after the first, as ImageJ writes stacks beyond 4 GB."""
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    data = bytearray(path.read_bytes())
    data[place : place + 4] = bytes(4)
    path.write_bytes(data)
