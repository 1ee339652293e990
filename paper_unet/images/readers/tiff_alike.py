"""Are all pages of a stack in a TIFF stored alike? What is read trusts the layout of one of them.

The reader of TIFF looks at one page of a stack and takes the others to be like it: it knows where
their pixels lie, and nothing else. So each page's own tags, which `check_structure` has read, are
compared with those of that page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images.readers.tiff_layout import Layout, differences
from paper_unet.images.readers.tiff_structure import Structure, check_structure

UNLIKE = ("incompatible keyframe", "page hash mismatch")
"""What the library says of a page that is stored in another way than it needs."""


def count_alike(
    path: Path, structures: dict[Path, Structure], series: Any, expected: int, labels: bool
) -> int:
    """Count the slices that have a page; a missing one is None, or the list ends early.

    Parameters
    ----------
    path : Path
        For messages.
    structures : dict
        Of the files that are known; those of others that hold pages are added.
    series : tifffile.TiffPageSeries
    expected : int
        Pages that it is to have.
    labels : bool
        Whether the values are labels; how they are to be shown then makes no difference.

    Raises
    ------
    InputError
        If a page is stored in another way than the first of the series.
    """
    first = series.keyframe
    known: dict[Any, Structure] = {}  # by the open file, of which there are fewer than pages

    def layout(page: Any) -> Layout:
        if page.parent not in known:
            known[page.parent] = _structure(structures, page)
        return known[page.parent].layout(page.offset)

    wanted = layout(first)
    found = 0
    for k in range(expected):
        try:
            page = series.pages[k]
        except IndexError:
            break
        if page is None:
            continue
        found += 1
        if not page.offset:
            continue  # it has no directory of its own
        its = layout(page)
        if its is not wanted and (apart := differences(its, wanted, labels)):
            named = path if page.parent is first.parent else Path(page.parent.filehandle.path)
            number = _number(known[page.parent], page)
            raise _unlike(named, number, "the first of its stack", apart)
    return found


def _structure(structures: dict[Path, Structure], page: Any) -> Structure:
    path = Path(page.parent.filehandle.path)
    if path not in structures:
        structures[path] = check_structure(path)
    return structures[path]


def _number(structure: Structure, page: Any) -> str:
    """Return which page of the file it is; pages within pages are numbered behind a point."""
    numbers = {offset: k for k, offset in enumerate(structure.layouts)}
    return str(numbers.get(page.offset, ".".join(map(str, page.treeindex))))


def _unlike(path: Path, number: object, than: str, apart: str) -> InputError:
    return InputError(
        f"{path}: page {number} is stored in another way than {than}: {apart}; all pages of a "
        "stack must be alike: convert it, and save them in one way"
    )


@contextmanager
def naming_unlike(path: Path, structure: Structure) -> Iterator[None]:
    """Say which page the library means that cannot read it by the layout of another."""
    try:
        yield
    except RuntimeError as error:
        if str(error) not in UNLIKE:
            raise
        pages = list(structure.layouts.values())
        # several stacks in one file may differ: the odd page is the one of which there are fewest
        many = Counter(layout for layout in pages if layout != pages[0])
        if not many:
            raise InputError(
                f"{path}: its slices lie in several files, of which one has pages that are stored "
                "in several ways; save the stack as one file"
            ) from error
        odd = pages.index(min(many, key=lambda layout: many[layout]))
        apart = differences(pages[odd], pages[odd - 1], False)
        raise _unlike(path, odd, f"page {odd - 1}", apart) from error
