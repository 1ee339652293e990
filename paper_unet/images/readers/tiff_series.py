"""Which images of a TIFF file are the stack, and whether it holds as many as it declares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from paper_unet.errors import InputError
from paper_unet.images.readers.tiff_budget import PARSED, check_document
from paper_unet.images.readers.tiff_structure import Structure, check_structure
from paper_unet.system.files import check_regular
from paper_unet.system.memory import Budget


class OmeFile(tifffile.TiffFile):  # type: ignore[misc]
    """A TIFF file whose OME-XML lies in a file beside it, if it says so.

    Attributes
    ----------
    companion : Path or None
        That file.
    """

    companion: Path | None = None
    _document: str | None = None

    @property
    def ome_metadata(self) -> str | None:
        """The OME-XML: the companion's, if there is one."""
        return self._document or super().ome_metadata


def open_tiff(path: Path, budget: Budget) -> OmeFile:
    """Open a TIFF file, and read the companion file that it names."""
    file = OmeFile(path)
    try:
        if file.is_ome:
            _read_companion(path, file, budget)
    except BaseException:
        file.close()
        raise
    return file


def _read_companion(path: Path, file: OmeFile, budget: Budget) -> None:
    check_document(path, file.pages.first.description, budget)
    try:
        root = ElementTree.fromstring(file.pages.first.description)  # noqa: S314  (expat limits it)
    except ElementTree.ParseError:
        return  # tifffile, too, then reads the pages as they are
    named = next((one for one in root if one.tag.rpartition("}")[2] == "BinaryOnly"), None)
    if named is None:
        return
    companion = Path(file.filehandle.path).parent / Path(named.get("MetadataFile", "")).name
    if not companion.is_file():
        raise InputError(
            f"{path}: is one file of a set that {named.get('MetadataFile') or 'another file'} "
            f"describes, which is not in this folder, {companion.parent}; put all files of the "
            "set together"
        )
    budget.allow(PARSED * check_regular(companion), companion, "OME-XML")
    try:
        text = companion.read_text("utf-8")
        check_document(companion, text, budget)
        document = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"{companion}: describes {path.name} and is no OME-XML that can be read ({error}); "
            "copy or export the set again"
        ) from error
    document.set("UUID", root.get("UUID", ""))  # so that this file is known as one of the set
    file.companion, file._document = companion, ElementTree.tostring(document, "unicode")


def choose_series(
    path: Path, file: OmeFile, pages: int, series: int | None, axes: str | None
) -> Any:
    """Return the image series that is asked for, or the only one.

    Parameters
    ----------
    path : Path
        For messages.
    file : OmeFile
    pages : int
        How many the file has.
    series : int, optional
        Its number.
    axes : str, optional
        Given by the user: if the file declares another number of images than it has, all of them
        are read as these say.

    Raises
    ------
    InputError
        If there are several and none is asked for, or the file declares another number of images.
    """
    found: Sequence[Any] = file.series
    if file.is_imagej:
        found = _imagej_images(path, file, found, pages, axes)
    if series is None and len(found) == 1:
        return _with_all_pages(path, file, found, pages, axes)
    listing = ", ".join(f"{k}: {s.axes} {s.shape} {s.dtype}" for k, s in enumerate(found[:8]))
    listing += ", ..." if len(found) > 8 else ""
    if series is None:
        raise InputError(
            f"{path}: holds {len(found)} image series ({listing}); choose one with `series` K"
        )
    if not 0 <= series < len(found):
        raise InputError(f"{path}: no series {series}; the file has {listing}")
    chosen = found[series]
    if chosen.kind == "shaped" and (used := _described(found)) < pages:
        raise InputError(
            f"{path}: its descriptions declare {used} pages and the file has {pages}; save it again"
        )
    return chosen


def other_files(path: Path, file: OmeFile, series: Any) -> dict[Path, Structure]:
    """Return the other files of a series, sorted; check that each is whole and of one layout."""
    if series.kind != "ome":
        return {}
    pages = [page for page in series.pages if page is not None and page.parent is not file]
    names = sorted({Path(page.parent.filehandle.path) for page in pages})
    others = {other: check_structure(other) for other in names}
    for other, structure in others.items():
        used = _used(file.series, str(other))
        if structure.pages > used:
            raise InputError(
                f"{path}: its slices lie in several files; of the {structure.pages} pages of "
                f"{other.name} it names {used}; save the stack as one file"
            )
    for page in pages:
        # what is read is located and decoded by the layout of the series, and of its own file
        if page.keyframe.parent is not page.parent or page.keyframe.hash != series.keyframe.hash:
            raise InputError(
                f"{path}: its slices lie in several files, and {page.parent.filename} is stored "
                "in another way than the first; save the stack as one file"
            )
    return others


def _imagej_images(
    path: Path, file: OmeFile, found: Sequence[Any], pages: int, axes: str | None
) -> Sequence[Any]:
    """Compare ImageJ's own count of images with its axes, and with what is there."""
    about = file.imagej_metadata or {}
    declared = _whole(about.get("images"), 0)
    sizes = [_whole(about.get(name), 1) for name in ("channels", "slices", "frames")]
    if len(found) != 1 or found[0].kind != "imagej" or found[0].keyframe.samplesperpixel != 1:
        if declared and (not found or found[0].kind != "imagej"):
            if declared == pages:
                raise InputError(
                    f"{path}: ImageJ declares {declared} images, and the file has as many pages "
                    "that are not stored as its first one is; convert it, and save them in one way"
                )
            raise InputError(
                f"{path}: ImageJ declares {declared} images and the file has {pages}; "
                "copy or export it again"
            )
        return found
    page = found[0].keyframe
    planes = math.prod(found[0].shape) // max(page.imagewidth * page.imagelength, 1)
    stored = sum(page.databytecounts) // page.nbytes if page.is_final and page.nbytes else 1
    there = max(declared, stored) if pages == 1 else declared
    if there <= planes:
        return found
    if math.prod(sizes) == 1 and declared == there and pages in (1, there):
        axes = axes or "ZYX"  # older versions write how many there are, and nothing of axes
    if axes is None or pages not in (1, there):
        raise InputError(
            f"{path}: ImageJ declares {there} images, and {sizes[1]} slices of {sizes[0]} channels "
            f"and {sizes[2]} frames; name the axes with `axes`, such as ZYX, to read all of them, "
            "or save it again"
        )
    if pages == 1:
        return [_joined([page], there)]
    return [_joined(_all_pages(file), there)]


def _all_pages(file: OmeFile) -> list[Any]:
    """Read every page of a file for itself, not as like the first one."""
    return [file.pages.get(k, aspage=True) for k in range(len(file.pages))]


def _joined(pages: list[Any], count: int) -> Any:
    """Return all pages of a file as one series, or the images that follow each other in its one."""
    page = pages[0]
    shape = (count, page.imagelength, page.imagewidth)
    return tifffile.TiffPageSeries(
        pages, shape, page.dtype, "ZYX", kind="imagej", truncated=len(pages) < count
    )


def _with_all_pages(
    path: Path, file: OmeFile, found: Sequence[Any], pages: int, axes: str | None
) -> Any:
    """Return the only series; or, if axes are given, all pages of a file that has more."""
    series = found[0]
    if series.kind == "imagej":
        page = series.keyframe
        planes = math.prod(series.shape) // (math.prod(page.shape) or 1)
        used = max(planes, 1)
    elif series.kind == "ome":
        used = _used(found, file.filehandle.path)
    elif series.kind == "shaped":
        used = _described(found)
    else:
        return series
    if pages <= used:
        return series
    alone = all(page is None or page.parent is file for page in series.pages)
    if axes is not None and alone and _are_alike(every := _all_pages(file)):
        return _joined(every, pages)
    remedy = "name the axes with `axes`, such as ZYX, to read all of one size, or " if alone else ""
    raise InputError(
        f"{path}: its description declares {used} pages and the file has {pages}; {remedy}save it "
        "again"
    )


def _are_alike(pages: list[Any]) -> bool:
    """Whether all pages are grey ones of one size and layout."""
    first = pages[0]
    return first.samplesperpixel == 1 and all(page.hash == first.hash for page in pages)


def _used(found: Sequence[Any], name: str) -> int:
    """Count the pages of a file that some series has; by its own path, links resolved."""
    pages = (page for series in found for page in series.pages if page is not None)
    return len({page.index for page in pages if page.parent.filehandle.path == name})


def _described(found: Sequence[Any]) -> int:
    """Count the pages that tifffile's descriptions declare, smaller copies among them."""
    levels = (level for series in found for level in series.levels)
    own = (one for one in levels if len(one.keyframe.treeindex) == 1)  # no page within a page
    return sum(max(math.prod(one.shape) // (math.prod(one.keyframe.shape) or 1), 1) for one in own)


def _whole(value: object, fallback: int) -> int:
    try:
        return max(int(value), 0)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return fallback
