"""Writing a stack as an uncompressed TIFF file, window by window and in any order."""

from __future__ import annotations

import json
import math
import uuid
from fractions import Fraction
from typing import Any, BinaryIO

import tifffile

from paper_unet.errors import InputError
from paper_unet.images.outputs.block import BlockOutput
from paper_unet.images.said import SAID

BIG_SUFFIXES = (".btf", ".tf8")
# a classic TIFF counts its bytes in 32 bits; this much is kept for the directories
CLASSIC_LIMIT = 2**32 - 2**25
BYTES_PER_PAGE = 512  # more than any directory this module writes
HIGHEST_RESOLUTION = 2**32 - 1  # pixels for each centimetre, as TIFF stores it
IMAGEJ = "1.53t"  # whose form the description has


class TiffOutput(BlockOutput):
    """One TIFF file, one page for each section; see `Output`.

    BigTIFF beyond 4 GB, and where the name ends in .btf or .tf8. OME-TIFF where the name has .ome
    before its end. Pixels lie in one block, so a window is written where it belongs.
    """

    kind = "a TIFF file"

    @property
    def _ome(self) -> bool:
        return ".ome" in (one.lower() for one in self.path.suffixes[-2:-1])

    def _check(self) -> None:
        super()._check()
        if self._ome and self.dtype.name == "uint64":
            raise InputError(
                f"{self.path}: OME-TIFF has no values of {self.dtype}; end it in .tif or .zarr"
            )

    def _big(self) -> bool:
        return self.path.suffix.lower() in BIG_SUFFIXES or self._size() > CLASSIC_LIMIT

    def _size(self) -> int:
        return self._pixel_bytes + BYTES_PER_PAGE * (self.planes + 1)

    def _find_pixels(self) -> int:
        """Read the header; raise InputError if it is not the one of this output."""
        self._require_file()
        try:
            with tifffile.TiffFile(self.partial) as file:
                page, count = file.pages.first, math.prod(self.full_shape)
                offset = int(file.series[0].dataoffset or 0)
                same = (page.dtype, page.is_memmappable) == (self.dtype, True)
                same &= offset > 0 and math.prod(file.series[0].shape) == count
                # columns of one pixel may be stored as one page
                same &= page.imagewidth == self.shape[2] or self.shape[2] == 1
                same &= offset + count * self.dtype.itemsize <= file.filehandle.size
        except FileNotFoundError:
            raise self.nothing_left("is gone") from None
        except Exception as error:  # a damaged header raises errors of many types
            raise self.nothing_left("cannot be read") from error
        if not same:
            raise self.nothing_left(f"does not hold {self.dtype} of shape {self.shape}")
        return offset

    def _write_header(self, file: BinaryIO) -> None:
        """Write everything but the pixels, which are left to be filled in."""
        ome = self._ome
        resolution = self._resolution()
        axes = "CZYX" if self.channels else "ZYX"
        about: dict[str, Any] = {"metadata": {"axes": axes, **self._about()}}
        if ome:
            about["metadata"] = {"axes": axes, **self._about_ome()}
        elif resolution and (text := self._about_imagej()):
            about = {"metadata": None, "description": text}
        # never imagej=True: beyond 4 GB that writes one page and a warning
        with tifffile.TiffWriter(
            file, bigtiff=self._big(), byteorder="<", ome=ome, shaped=not ome
        ) as writer:
            writer.write(
                None,
                shape=self.full_shape,
                dtype=self.dtype,
                photometric="minisblack",
                returnoffset=True,
                **about,
                **resolution,
            )

    def _resolution(self) -> dict[str, Any]:
        """Return the pixels for each centimetre: the unit that ImageJ's own reader knows."""
        _, y, x = self.pixel_size
        if x is None or y is None:
            return {}
        resolution = 1e4 / x, 1e4 / y
        if not all(1 / HIGHEST_RESOLUTION < value < HIGHEST_RESOLUTION for value in resolution):
            return {}
        exact = [_rational(value) for value in resolution]
        return {"resolution": exact, "resolutionunit": "CENTIMETER"}

    def _about_imagej(self) -> str:
        """Return ImageJ's description, by which most readers know the depth of a section.

        Its unit is that of the resolution: ImageJ takes one for all axes, and turns centimetres
        into micrometres. "" where the depth is not known, or no reader would find the axes by it.
        """
        z = self.pixel_size[0]
        if (
            z is None or min(self.shape) == 1 or self.channels
        ):  # ImageJ has channels within sections
            return ""
        count = self.shape[0]
        return (
            f"ImageJ={IMAGEJ}\nimages={count}\nslices={count}\nunit=cm\n"
            f"spacing={z / 1e4!r}\nloop=false\n"
            + (f"{SAID}={json.dumps(self.said)}\n" if self.said else "")
        )

    def _about(self) -> dict[str, Any]:
        z = self.pixel_size[0]
        about: dict[str, Any] = {"channels": list(self.channels)} if self.channels else {}
        about |= {SAID: self.said} if self.said else {}
        return about if z is None else {"spacing": z, "unit": "um", **about}

    def _about_ome(self) -> dict[str, Any]:
        sizes = {
            f"PhysicalSize{axis}": size
            for axis, size in zip("ZYX", self.pixel_size, strict=True)
            if size is not None
        }
        units = {f"{name}Unit": "µm" for name in sizes}
        # the writer's default is a new UUID each time; the same pixels shall give the same bytes
        about = (self.shape, self.dtype.name, self.pixel_size)
        name = repr((*about, self.channels) if self.channels else about)
        said = {"Description": json.dumps(self.said)} if self.said else {}
        fixed = uuid.uuid5(uuid.NAMESPACE_URL, f"paper-unet:{name}")
        channels = {"Channel": {"Name": list(self.channels)}} if self.channels else {}
        return {**sizes, **units, **channels, **said, "UUID": str(fixed), "Creator": "paper_unet"}


def _rational(value: float) -> tuple[int, int]:
    """Return the closest fraction of two numbers of 32 bits, as tifffile does since 2026."""
    exact = Fraction(value).limit_denominator(int(HIGHEST_RESOLUTION / max(1.0, value)))
    return exact.numerator, exact.denominator
