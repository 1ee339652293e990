"""MRC files, of electron microscopes and tomography, as one grey stack."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paper_unet.errors import InputError
from paper_unet.images.pixel_size import micrometres
from paper_unet.images.readers.foreign import MRC, foreign, format_of_file
from paper_unet.images.readers.origin import origin_note
from paper_unet.images.stack import PixelSize, Span, Stack
from paper_unet.system.files import open_regular
from paper_unet.system.libraries import needed

SUFFIXES = (".mrc", ".mrcs", ".map", ".rec", ".st")
HEADER = 1024
"""Bytes of the header; the extended one follows, which only programs know that wrote it."""

MODES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16"}
"""Types of values that are read."""

OTHER_MODES = {
    3: "complex values of two int16", 4: "complex values of two float32", 12: "float16",
    101: "4 bits a value",
}  # fmt: skip

IMOD_STAMP, IMOD_SIGNED = 1146047817, 1
"""How IMOD marks its headers, and the flag by which its bytes are signed."""

SIGNED_RANGE = -128.0, 127.0


class MrcStack(Stack):
    """A stack in an MRC file: images or sections of a volume, as they are stored."""

    format = "MrcStack"

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Whether the name ends as that of an MRC file."""
        return path.suffix.lower() in SUFFIXES and not path.is_dir()

    def __init__(
        self,
        path: Path,
        *,
        axes: str | None = None,
        series: int | None = None,
        channels: int = 1,
        labels: bool = False,
    ) -> None:
        super().__init__(path, channels=channels, labels=labels)
        if channels != 1:
            raise InputError(
                f"{path}: an MRC file is read as grey, the network takes {channels} channels; give "
                "a TIFF, an HDF5 file, or a folder of PNG or JPEG files"
            )
        if axes is not None and axes.upper() not in ("ZYX", "YX"):
            raise InputError(f'{path}: axes "{axes}" for an MRC file, which is ZYX; leave them out')
        self._file = open_regular(path)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        header, order = _read_header(self.path, self._file.read(HEADER))
        self.shape = _shape(self.path, header)
        self._stored = self._find_type(header, order)
        self.dtype = self._stored.newbyteorder("=")
        self._offset = HEADER + int(header["nsymbt"])
        need = self._offset + math.prod(self.shape) * self.dtype.itemsize
        have = self.path.stat().st_size
        if not HEADER <= self._offset <= need <= have:
            raise InputError(
                f"{self.path}: truncated: {self.shape[0]} sections need {need} bytes and the file "
                f"has {have}; copy or export it again"
            )
        if have > need:
            self.notes += (
                f"{self.path}: {have - need} bytes behind the last section that its header has are "
                "left out",
            )
        self.pixel_size = _pixel_size(header)
        self.notes += origin_note(self.path, [header["origin"][k] for k in "zyx"], ["angstrom"] * 3)

    def _find_type(self, header: Any, order: str) -> np.dtype[Any]:
        mode = int(header["mode"])
        if mode not in MODES:
            found = OTHER_MODES.get(mode, "which is none that is known")
            raise InputError(
                f"{self.path}: values of mode {mode}, {found}; accepted are the modes 0, 1, 2 and "
                "6 (int8, int16, float32, uint16): convert it (IMOD: newstack -mode)"
            )
        if mode:
            return np.dtype(f"{order}{np.dtype(MODES[mode]).str[1:]}")
        why = _why_unsigned(header, order)
        if why:
            self.notes += (f"{self.path}: its bytes (mode 0) are unsigned, {why}",)
            return np.dtype("uint8")
        self.own_range = SIGNED_RANGE
        self.notes += (
            f"{self.path}: its bytes (mode 0) are signed: -128 is black and 127 white unless "
            "`value_range` says otherwise",
        )
        return np.dtype("int8")

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._file.close()

    def _read_window(self, z: int, rows: Span, columns: Span) -> NDArray[Any]:
        """Read rows where they lie: a memory map of a file cut short would kill the process."""
        _, height, width = self.shape
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self._stored)
        start = self._offset + ((z * height + rows[0]) * width + columns[0]) * out.itemsize
        if out.shape[1] == width:
            self._read_into(out, start, z)
        else:
            for k, row in enumerate(out):
                self._read_into(row, start + k * width * out.itemsize, z)
        return out.astype(self.dtype, copy=False)

    def _read_into(self, values: NDArray[Any], start: int, z: int) -> None:
        self._file.seek(start)
        if self._file.readinto(values.view(np.uint8).data) != values.nbytes:  # type: ignore[attr-defined]
            raise InputError(
                f"{self.path}: slice {z} cannot be read: the file became shorter; keep it as it is"
            )


def _read_header(path: Path, data: bytes) -> tuple[Any, str]:
    """Return the header as mrcfile knows it, and the order of bytes that it says, "<" or ">".

    The library's own opening reads the extended header, too, by a length that it takes as it is.
    """
    dtype = needed("mrcfile.dtypes", f"{path}: MRC", "mrc").HEADER_DTYPE
    byte_order = needed("mrcfile.utils", f"{path}: MRC", "mrc").byte_order_from_machine_stamp
    if len(data) < HEADER:
        raise InputError(
            f"{path}: truncated: the header of an MRC file has {HEADER} bytes and the file has "
            f"{len(data)}; copy or export it again"
        )
    header = np.frombuffer(data, dtype)[0]
    if bytes(header["map"])[:3] != b"MAP":
        found = format_of_file(path)
        if found not in (None, MRC):
            raise foreign(path, str(found))
        raise InputError(
            f"{path}: is no MRC file, though its name says so, or one of before 2000, without MAP "
            "in its header; convert it (IMOD: newstack writes it anew)"
        )
    try:
        order: Literal["<", ">"] = byte_order(header["machst"])
    except ValueError:
        stamp = bytes(header["machst"]).hex(" ")
        raise InputError(
            f"{path}: its machine stamp is {stamp}, by which the order of bytes is not known; "
            "write its header anew (IMOD: newstack)"
        ) from None
    return np.frombuffer(data, dtype.newbyteorder(order))[0], order


def _shape(path: Path, header: Any) -> tuple[int, int, int]:
    """Return (Z, Y, X)."""
    z, y, x = (int(header[name]) for name in ("nz", "ny", "nx"))
    if min(x, y, z) < 1:
        raise InputError(
            f"{path}: its header declares {x} x {y} x {z} pixels; each must be at least 1: copy or "
            "export it again"
        )
    order = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
    if order != (1, 2, 3):
        raise InputError(
            f"{path}: its columns, rows and sections lie along the axes {order}; accepted are "
            "(1, 2, 3), X, Y and Z: convert it (IMOD: clip flipyz, newstack)"
        )
    if 401 <= int(header["ispg"]) <= 630 and int(header["mz"]) != z:
        raise InputError(
            f"{path}: a stack of several volumes (space group {int(header['ispg'])}); save one of "
            "them"
        )
    return z, y, x


def _why_unsigned(header: Any, order: str) -> str:
    """Return by what bytes are known to be unsigned; "" if they are signed, as is the rule."""
    extra = np.frombuffer(bytes(header["extra2"])[40:48], f"{order}i4")
    if int(extra[0]) == IMOD_STAMP:
        return "" if int(extra[1]) & IMOD_SIGNED else "as IMOD's flag in its header says"
    most = float(header["dmax"])
    if SIGNED_RANGE[1] < most <= 255 and float(header["dmin"]) >= 0:
        return f"since its header has {most:g} as the largest"
    return ""


def _pixel_size(header: Any) -> PixelSize:
    """Return the size of the cell over its samples, in micrometres."""
    z, y, x = (
        micrometres(float(header["cella"][axis]) / int(header[f"m{axis}"]), "angstrom")
        if int(header[f"m{axis}"]) > 0
        else None
        for axis in "zyx"
    )
    return z, y, x
