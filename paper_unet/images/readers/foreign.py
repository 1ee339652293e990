"""Formats that are not read, by their first bytes or names: so that a refusal says what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.system.files import open_regular

ACCEPTED = (
    "accepted are TIFF, PNG, JPEG, a folder of these, HDF5, MRC, Zarr, OME-Zarr, N5 and "
    "precomputed: convert it (Fiji opens most formats and saves TIFF)"
)

TIFF = "a TIFF file; its name has to end in .tif"
HDF5 = "an HDF5 file; its name has to end in .h5"
MRC = "an MRC file; its name has to end in .mrc"

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (512, b"\x89HDF\r\n\x1a\n", HDF5),
    (0, b"\x0e\x03\x13\x01", "an HDF4 file"),
    (208, b"MAP ", MRC),
    (0, b"\x93NUMPY", "a NumPy file (.npy)"),
    (344, b"n+1\0", "a NIfTI file"),
    (344, b"ni1\0", "a NIfTI header"),
    (4, b"n+2\0", "a NIfTI file"),
    (0, b"version https://git-lfs", "a pointer of Git LFS"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"NRRD0", "an NRRD file"),
    (0, b"ObjectType", "a MetaImage header"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\xd0\xcf\x11\xe0", "an Olympus OIB, Zeiss ZVI or other OLE file"),
    (0, b"II*\0", TIFF),
    (0, b"II+\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"MM\0+", TIFF),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG file; its name has to end in .png"),
    (0, b"\xff\xd8\xff", "a JPEG file; its name has to end in .jpg"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (0, b"GIF8", "a GIF file"),
    (0, b"BM", "a BMP file"),
    (8, b"WEBP", "a WebP file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a file compressed by gzip"),
    (0, b"BZh", "a file compressed by bzip2"),
    (0, b"\xfd7zXZ", "a file compressed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed by Zstandard"),
)
"""Where the bytes are that a format is known by, those bytes, and what it is."""

DIGITAL_MICROGRAPH = re.compile(rb"\0\0\0[\3\4].{4,8}\0\0\0[\0\1]", re.DOTALL)

NAMES = {
    ".npy": "a NumPy file (.npy)",
    ".npz": "a NumPy archive (.npz)", ".nii": "a NIfTI file", ".nii.gz": "a NIfTI file",
    ".dm3": "a Digital Micrograph file", ".dm4": "a Digital Micrograph file",
    ".czi": "a Zeiss CZI file", ".lif": "a Leica LIF file", ".nd2": "a Nikon ND2 file",
    ".oib": "an Olympus OIB file", ".oif": "an Olympus OIF file", ".ser": "a TIA SER file",
    ".emd": "an EMD file (HDF5)", ".nrrd": "an NRRD file", ".mha": "a MetaImage file",
    ".mhd": "a MetaImage header", ".dcm": "a DICOM file", ".jp2": "a JPEG 2000 file",
    ".raw": "raw values without a header", ".dat": "raw values without a header",
    ".zip": "a ZIP archive", ".companion.ome": "the companion file of an OME-TIFF",
    ".xml": "an XML file", ".bmp": "a BMP file", ".gif": "a GIF file", ".webp": "a WebP file",
}  # fmt: skip
"""What a name ends in where the first bytes say nothing."""

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".btf")
"""Endings of the files that sections lie in."""

LARGEST_DOCUMENT = 2**20
"""Bytes of a JSON document that says what a folder is."""

HINTS = {
    "a NumPy file (.npy)": "write it as TIFF (tifffile.imwrite), or give the array to "
    "paper_unet.predict_stack",
    "a pointer of Git LFS": "fetch the file that it stands for (git lfs pull)",
    "a ZIP archive": "unpack it, and give what is in it",
    "the companion file of an OME-TIFF": "give one of the TIFF files that it names",
    "a file compressed by gzip": "unpack it",
}


ADDRESS = re.compile(r"(https?|s3|gs|gcs|ftp|file|precomputed|zarr|n5|abfs|az):/", re.IGNORECASE)
"""How an address of something on a network begins, once it was taken for a path."""


def refuse_address(path: Path) -> None:
    """Raise InputError if a path is an address, which only looks like a file that is missing."""
    if ADDRESS.match(str(path)):
        raise InputError(
            f"{path}: is an address of a kind that is not read; of addresses, https://, s3:// and "
            "gs:// of a Zarr are: download it, or mount it as a folder, and give its path"
        )


def format_of_file(path: Path) -> str | None:
    """Return what a file is that is no TIFF, in words; None if that is not known."""
    try:
        with open_regular(path) as file:
            head = file.read(1024)
    except InputError:
        return None
    for offset, magic, name in MAGIC:
        if head[offset:].startswith(magic) and not _is_named(path, ".nii.gz"):
            return name
    if DIGITAL_MICROGRAPH.match(head):
        return "a Digital Micrograph file"
    lower = path.name.lower()
    return next((name for ending, name in NAMES.items() if lower.endswith(ending)), None)


def _is_named(path: Path, ending: str) -> bool:
    return path.name.lower().endswith(ending)


def json_of(file: Path) -> dict[str, Any] | None:
    """Return a document of a folder, an object; None if it is none, or too large, or damaged."""
    try:
        small = file.is_file() and file.stat().st_size <= LARGEST_DOCUMENT
        return object_of(file.read_bytes()) if small else None
    except OSError:
        return None


def object_of(data: bytes | None) -> dict[str, Any] | None:
    """Return an object of JSON; None if it is none, or damaged."""
    try:
        found = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def describes(file: Path, *members: str) -> bool:
    """Whether a document says what its folder is: it has one of some members.

    A damaged one does, too, so that it is named, unless sections lie beside it, to which it may be
    anything.
    """
    if not file.exists():
        return False
    about = json_of(file)
    if about is not None:
        return any(name in about for name in members)
    return not any(one.suffix.lower() in PICTURES for one in file.parent.iterdir())


def foreign(path: Path, found: str) -> InputError:
    """Return the error that says what a file or folder is, and what is accepted."""
    if "has to end in" in found:
        return InputError(f"{path}: is {found}: rename it")
    remedy = HINTS.get(found)
    if remedy is None:
        return InputError(f"{path}: is {found}, which is not read; {ACCEPTED}")
    return InputError(
        f"{path}: is {found}, which is not read; accepted are TIFF, PNG, JPEG, a folder of these, "
        f"HDF5, MRC, Zarr, OME-Zarr, N5 and precomputed: {remedy}"
    )
