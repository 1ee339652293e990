"""What a TIFF may make us do: planes that are there, strips and tiles of the declared size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from paper_unet.errors import InputError, shown
from paper_unet.images.codecs import check_dictionary, decode_within
from paper_unet.images.picture_size import SIZES
from paper_unet.images.readers.tiff_structure import check_structure
from paper_unet.system.files import check_regular
from paper_unet.system.memory import Budget

PICTURES: Final = {
    6: "jpeg", 7: "jpeg", 33007: "jpeg", 34892: "jpeg", 33003: "jpeg2000", 33004: "jpeg2000",
    33005: "jpeg2000", 34712: "jpeg2000", 34887: "lerc", 34933: "png", 34934: "jpegxr",
    22610: "jpegxr", 50001: "webp", 34927: "webp", 50002: "jpegxl", 52546: "jpegxl",
}  # fmt: skip
"""Compressions of TIFF that are pictures with a size of their own, by `picture_size.SIZES`."""

STREAMS: Final = {8: "zlib", 32946: "zlib", 50013: "zlib", 50000: "zstd", 34926: "zstd"}
LZMA: Final = 34925

OF_DECLARED_SIZE: Final = frozenset(
    {1, 2, 3, 4, 5, 8, 32773, 32946, 50013, 34925, 50000, 34926, 48124, 65000, 65001, 65002}
)
"""Compressions whose decoders are told how much to decode, and stop there."""

PARSED: Final = 30
"""Bytes of memory for each of XML; measured: up to 25."""

FORGIVEN: Final = 2**16
"""Planes that may be declared and not be there before that is refused at once: the reader says it
better, with what the file has."""

LARGEST_FIGURE: Final = 2**63


def check_planes(path: Path, xml: str, pages: int, samples: int, budget: Budget) -> None:
    """Refuse OME-XML that declares far more planes than its files have.

    Parameters
    ----------
    path : Path
        The file that has it.
    xml : str
    pages, samples : int
        Pages of the file, and values of a pixel in its first one.
    budget : Budget

    Raises
    ------
    InputError
        If it does, if a number in it is none, or if what it names is no regular file.
    """
    check_document(path, xml, budget)
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  (expat bounds what entities become)
    except ElementTree.ParseError:
        return  # the reader takes the file as if it had none
    pages += sum(_pages_of(other, path) for other in _named(path, root))
    most = pages * max(samples, 1) + FORGIVEN
    for pixels in _of(root, "Pixels"):
        planes = 1
        for axis in "ZCT":
            planes *= max(_figure(path, pixels, f"Size{axis}", 1), 0)
        _allow(path, planes, most)
        work = 0
        for data in _of(pixels, "TiffData"):
            counts = [_figure(path, data, name, 0) for name in ("PlaneCount", "NumPlanes")]
            for name in ("FirstZ", "FirstC", "FirstT", "IFD"):
                _figure(path, data, name, 0)
            work += max(*counts, 0) or pages
            _allow(path, max(counts), most)
        _allow(path, work, 64 * most)
    for along in (one for name in "ZCT" for one in _of(root, f"ModuloAlong{name}")):
        _check_modulo(path, along, most)


def check_document(path: Path, xml: str, budget: Budget) -> None:
    """Refuse OME-XML that would take much more memory when it is parsed."""
    budget.allow(PARSED * len(xml), path, f"OME-XML of {len(xml)} characters")
    if "<!ENTITY" in xml:
        raise InputError(f"{path}: its OME-XML defines entities, as none does; export it again")


def _allow(path: Path, planes: int, most: int) -> None:
    if planes > most:
        raise InputError(
            f"{path}: its OME-XML declares {shown(planes)} planes, and its files have far fewer; "
            "copy or export it again"
        )


def _of(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (one for one in root.iter() if one.tag.rpartition("}")[2] == name)


def _figure(path: Path, element: ElementTree.Element, name: str, default: int) -> int:
    text = element.attrib.get(name, str(default))
    try:
        value = int(text)
    except ValueError:
        value = LARGEST_FIGURE
    if not -LARGEST_FIGURE < value < LARGEST_FIGURE:
        raise InputError(
            f'{path}: its OME-XML has {name}="{shown(text)}", which is no number that can be; '
            "export it again"
        )
    return value


def _check_modulo(path: Path, along: ElementTree.Element, most: int) -> None:
    """Count the places of an axis that is given by start, end and step before they are made."""
    try:
        start, end, step = (
            float(along.attrib.get(name, default))
            for name, default in (("Start", "0"), ("End", "0"), ("Step", "1"))
        )
        count = abs(end - start) / abs(step)
    except (ValueError, ZeroDivisionError):
        count = float("inf")
    if not count < most:
        raise InputError(
            f"{path}: its OME-XML has an axis of {count:g} places; copy or export it again"
        )


def _named(path: Path, root: ElementTree.Element) -> list[Path]:
    """Return the other files that are there, each once; they lie beside the file, not a link."""
    path = Path(os.path.realpath(path))
    names = {uuid.attrib.get("FileName", "") for uuid in _of(root, "UUID")}
    names.discard(path.name)
    return sorted(other for name in names if name and (other := path.parent / name).exists())


def _pages_of(other: Path, path: Path) -> int:
    check_regular(other)
    try:
        return check_structure(other).pages
    except InputError:
        if other.suffix.lower() in (".ome", ".xml"):
            return 0
        raise


def check_encoded(page: Any, data: bytes, header: bytes, tall: int, wide: int) -> None:
    """Raise ValueError if a strip or tile is a picture larger than the page declares.

    Parameters
    ----------
    page : tifffile.TiffPage
    data : bytes
        Encoded.
    header : bytes
        What a JPEG has elsewhere in the file, in front of it.
    tall, wide : int
        Rows and columns of a strip or tile.
    """
    kind = PICTURES.get(int(page.compression))
    if kind is None:
        if int(page.compression) not in OF_DECLARED_SIZE:
            raise ValueError(
                f"compression {int(page.compression)}, of which the size is not known before it "
                "is decoded"
            )
        if int(page.compression) == LZMA:
            check_dictionary(data)
        stream = STREAMS.get(int(page.compression))
        if stream is not None and find_spec("imagecodecs") is None:
            # what the reader falls back on decodes as much as there is
            decode_within(stream, data, 2 * tall * wide * page.samplesperpixel * 8, bytes)
        return
    rows, columns, values = SIZES[kind](header + data)
    # some writers fill the blocks of 16 that JPEG works in
    if rows > tall + 15 or columns > wide + 15 or values > max(page.samplesperpixel, 4):
        raise ValueError(
            f"a picture of {rows} x {columns} pixels of {values} values in a strip or tile of "
            f"{tall} x {wide}"
        )
