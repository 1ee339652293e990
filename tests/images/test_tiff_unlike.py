"""A page that is stored in another way than the others of its stack, anywhere in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from test_ome_files import PLANES, several, xml
from tiff_bytes import ASCII, LONG, SHORT, Page, grey, write_pages

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack

STACK = np.random.default_rng(0).integers(1, 255, (10, 32, 48)).astype(np.uint8)
ODD = 3
PLAIN: dict[str, Any] = {"photometric": "minisblack"}
DEFLATE: dict[str, Any] = {"compression": "zlib"}
TILED: dict[str, Any] = {"tile": (16, 16)}

OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="48" '
    'SizeY="32" SizeZ="10" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    '<TiffData IFD="0" PlaneCount="10"/></Pixels></Image></OME>'
)
WRITERS = {
    "plain": None,
    "ImageJ": "ImageJ=1.54f\nimages=10\nslices=10\nloop=false\n",
    "OME": OME,
    "shaped": '{"shape": [10, 32, 48], "axes": "ZYX"}',
}

# the odd page: what of it, its own options, those of the others, and what the refusal says
KINDS: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], dict[str, Any], dict[str, Any], str]]
KINDS = {
    "white is zero": (
        lambda a: 255 - a, {"photometric": "miniswhite"}, {},
        "colour model MINISWHITE, not MINISBLACK",
    ),
    "compressed": (lambda a: a, DEFLATE, {}, "compression ADOBE_DEFLATE, not NONE"),
    "not compressed": (lambda a: a, {}, DEFLATE, "compression NONE, not ADOBE_DEFLATE"),
    "16 bits": (lambda a: a.astype(np.uint16) * 257, {}, {}, "bits for each value 16, not 8"),
    "16 bits, deflate": (
        lambda a: a.astype(np.uint16) * 257, DEFLATE, DEFLATE, "bits for each value 16, not 8",
    ),
    "signed": (lambda a: a.astype(np.int8), {}, {}, "sample format INT, not UINT"),
    "floats": (lambda a: a.astype(np.float16), {}, {}, "sample format IEEEFP, not UINT"),
    "RGB": (
        lambda a: np.stack([a] * 3, -1), {"photometric": "rgb"}, {},
        "values for each pixel 3, not 1",
    ),
    "separate channels": (
        lambda a: np.stack([a] * 3), {"planarconfig": "separate", "photometric": "rgb"}, {},
        "planar configuration SEPARATE, not CONTIG",
    ),
    "predictor": (
        lambda a: a, {**DEFLATE, "predictor": 2}, DEFLATE, "predictor HORIZONTAL, not NONE",
    ),
    "transposed": (lambda a: a.T, {}, {}, "width 32, not 48; height 48, not 32"),
    "transposed, deflate": (lambda a: a.T, DEFLATE, DEFLATE, "width 32, not 48"),
    "smaller": (lambda a: a[:16, :16], {}, {}, "height 16, not 32"),
    "strips": (lambda a: a, {"rowsperstrip": 16}, {}, "rows in a strip 16, not 32"),
    "strips of other rows": (
        lambda a: a, {"rowsperstrip": 20}, {"rowsperstrip": 16}, "rows in a strip 20, not 16",
    ),
    "tiled": (lambda a: a, TILED, {}, "columns in a tile 16, not none"),
    "one tile": (lambda a: a, {"tile": (32, 48)}, {}, "columns in a tile 48, not none"),
    "other tiles": (lambda a: a, {"tile": (16, 32)}, TILED, "columns in a tile 32, not 16"),
    "turned tiles": (lambda a: a, {"tile": (16, 48)}, {"tile": (32, 32)}, "rows in a tile 16"),
    "palette": (
        lambda a: a, {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, {},
        "colour model PALETTE, not MINISBLACK",
    ),
}  # fmt: skip


def write(
    path: Path,
    writer: str,
    image: NDArray[Any],
    own: dict[str, Any],
    rest: dict[str, Any],
    **file: Any,
) -> Path:
    """Write ten pages, each behind its own tags, of which one is another."""
    with tifffile.TiffWriter(path, **file) as tif:
        for z, plane in enumerate(STACK):
            odd = z == ODD
            tif.write(
                image if odd else plane,
                description=WRITERS[writer] if z == 0 else None,
                contiguous=False,
                metadata=None,
                **{**PLAIN, **(own if odd else rest)},
            )
    return path


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_page_of_another_kind(tmp_path: Path, kind: str, writer: str) -> None:
    """It is named with what differs, and never read as if it were like the others."""
    change, own, rest, said = KINDS[kind]
    path = write(tmp_path / "a.tif", writer, change(STACK[ODD]), own, rest)
    with pytest.raises(InputError, match=rf"page {ODD} is stored in another way than .*{said}"):
        open_stack(path)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("rest", [{}, DEFLATE, TILED, {"rowsperstrip": 8}])
def test_pages_that_are_alike_are_read(tmp_path: Path, rest: dict[str, Any], writer: str) -> None:
    path = write(tmp_path / "a.tif", writer, STACK[ODD], rest, rest)
    np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize("file", [{"bigtiff": True}, {"byteorder": ">"}])
@pytest.mark.parametrize("kind", ["white is zero", "compressed", "16 bits", "transposed"])
def test_other_forms_of_tiff(tmp_path: Path, kind: str, file: dict[str, Any]) -> None:
    change, own, rest, said = KINDS[kind]
    path = write(tmp_path / "a.tif", "plain", change(STACK[ODD]), own, rest, **file)
    with pytest.raises(InputError, match=rf"page {ODD} .*{said}"):
        open_stack(path)
    path = write(tmp_path / "b.tif", "plain", STACK[ODD], {}, {}, **file)
    np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize("odd", [0, 1, 7, 9])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_odd_page_is_at_one_that_the_library_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, writer: str, odd: int
) -> None:
    """Then it is refused here, or as several series; never are some pages taken for all."""
    monkeypatch.setattr("test_tiff_unlike.ODD", odd)
    change, own, rest, _ = KINDS[kind]
    path = write(tmp_path / "a.tif", writer, change(STACK[odd]), own, rest)
    with pytest.raises(InputError) as refusal:
        open_stack(path)
    assert "damaged" not in str(refusal.value)


def test_the_first_page_is_not_of_the_declared_size(tmp_path: Path) -> None:
    """The library then takes it for the whole stack."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for z, plane in enumerate(STACK):
            text = {"description": WRITERS["shaped"]} if z == 0 else {}
            size = 16 if z == 0 else 32
            tif.write(plane[:size, :size], contiguous=False, metadata=None, **PLAIN, **text)
    with pytest.raises(InputError, match="declares 1 pages and the file has 10"):
        open_stack(path)


@pytest.mark.parametrize("subifds", [0, 1])
def test_smaller_copies_behind_a_stack_are_no_odd_pages(tmp_path: Path, subifds: int) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(STACK, subifds=subifds, **PLAIN)
        tif.write(STACK[:, ::2, ::2], subfiletype=1, **PLAIN)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.series[0].levels) == 2
    np.testing.assert_array_equal(read_stack(path), STACK)


# --- tags ---------------------------------------------------------------------------------------

GREYS = [257 * k for k in range(256)] * 3
COLOURS = [0] * 256 + [257 * k for k in range(256)] * 2
PALETTE = {262: (SHORT, [3])}


def by_hand(path: Path, tags: dict[int, Any], rest: dict[int, Any] | None = None) -> Path:
    pages = [grey(plane) for plane in STACK]
    for k, page in enumerate(pages):
        page.tags = tags if k == ODD else rest or {}
    write_pages(path, pages)
    return path


@pytest.mark.parametrize(
    ("tags", "rest", "said"),
    [
        ({266: (SHORT, [2])}, {}, "fill order 2, not 1"),
        ({274: (SHORT, [4])}, {}, "orientation BOTLEFT, not TOPLEFT"),
        ({339: (SHORT, [2])}, {}, "sample format INT, not UINT"),
        ({32997: (LONG, [2])}, {}, "depth 2, not 1"),
        ({258: (SHORT, [4])}, {}, "bits for each value 4, not 8"),
        ({317: (SHORT, [2])}, {}, "predictor HORIZONTAL, not NONE"),
        ({**PALETTE, 320: (SHORT, COLOURS)}, {**PALETTE, 320: (SHORT, GREYS)}, "colour model"),
        ({**PALETTE, 320: (SHORT, GREYS[::-1])}, {**PALETTE, 320: (SHORT, GREYS)}, "MINISWHITE"),
        ({262: (SHORT, [0])}, {262: None}, "colour model MINISWHITE, not MINISBLACK"),
        ({262: (SHORT, [77])}, {}, "colour model 77, not MINISBLACK"),
    ],
)  # fmt: skip
def test_one_page_with_other_tags(
    tmp_path: Path, tags: dict[int, Any], rest: dict[int, Any], said: str
) -> None:
    path = by_hand(tmp_path / "a.tif", tags, rest)
    with pytest.raises(InputError, match=rf"page {ODD} .*{said}"):
        open_stack(path)


@pytest.mark.parametrize(
    ("tags", "rest"),
    [
        ({256: (SHORT, [48]), 258: (LONG, [8])}, {}),
        ({262: None, 277: None, 259: None, 278: None}, {}),
        ({278: (LONG, [2**32 - 1])}, {}),
        ({266: (SHORT, [1]), 274: (SHORT, [1]), 284: (SHORT, [2]), 338: (SHORT, [0])}, {}),
        ({**PALETTE, 320: (SHORT, GREYS)}, {}),
        ({}, {**PALETTE, 320: (SHORT, GREYS)}),
        ({320: (SHORT, COLOURS), 530: (SHORT, [1, 1])}, {}),
        ({305: (ASCII, "other software"), 282: (LONG, [7]), 254: (LONG, [2])}, {}),
    ],
)
def test_tags_that_make_no_difference(
    tmp_path: Path, tags: dict[int, Any], rest: dict[int, Any]
) -> None:
    path = by_hand(tmp_path / "a.tif", tags, rest)
    np.testing.assert_array_equal(read_stack(path), STACK)


@pytest.mark.parametrize(
    "tags",
    [{262: (SHORT, [0])}, {**PALETTE, 320: (SHORT, COLOURS)}, {262: (SHORT, [4])}],
)
def test_how_labels_are_to_be_shown_makes_no_difference(
    tmp_path: Path, tags: dict[int, Any]
) -> None:
    path = by_hand(tmp_path / "a.tif", tags)
    np.testing.assert_array_equal(read_stack(path, labels=True), STACK)
    with pytest.raises(InputError, match=rf"page {ODD} .*colour model"):
        open_stack(path)


def test_labels_of_another_type_are_refused(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "a.tif", {339: (SHORT, [2])})
    with pytest.raises(InputError, match=rf"page {ODD} .*sample format INT"):
        open_stack(path, labels=True)


def test_a_colour_stack_with_a_grey_page(tmp_path: Path) -> None:
    colour = np.stack([STACK, STACK // 2, STACK // 3], -1)
    for name, odd in (("a", {"photometric": "minisblack"}), ("b", {"photometric": "rgb"})):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tif:
            for z, plane in enumerate(colour):
                more = odd if z == ODD else {"photometric": "rgb"}
                tif.write(plane, contiguous=False, metadata=None, planarconfig="contig", **more)
    with pytest.raises(InputError, match=rf"page {ODD} .*colour model MINISBLACK, not RGB"):
        open_stack(tmp_path / "a.tif", channels=3)
    found = read_stack(tmp_path / "b.tif", channels=3)
    np.testing.assert_array_equal(found, np.moveaxis(colour, -1, 1))


# --- several stacks, several files, pages within pages ------------------------------------------


def two_stacks(path: Path, image: NDArray[Any], **own: Any) -> Path:
    """Write five large sections and five small ones, the second last of which is another."""
    with tifffile.TiffWriter(path) as tif:
        for z, plane in enumerate(STACK):
            small = plane if z < 5 else plane[:16, :16]
            shape = [5, *small.shape]
            text = f'{{"shape": {shape}, "axes": "ZYX"}}'
            more = own if z == 8 else {}
            tif.write(
                image if z == 8 else small,
                description=text if z in (0, 5) else None,
                contiguous=False,
                metadata=None,
                **{**PLAIN, **more},
            )
    return path


def test_an_odd_page_of_one_stack_among_several(tmp_path: Path) -> None:
    """It is no matter to the other stack."""
    path = two_stacks(tmp_path / "a.tif", STACK[8, :16, :16], compression="zlib")
    np.testing.assert_array_equal(read_stack(path, series=0), STACK[:5])
    with pytest.raises(InputError, match=r"page 8 .*first of its stack: compression"):
        open_stack(path, series=1)


def test_an_odd_page_that_the_library_cannot_take_is_named(tmp_path: Path) -> None:
    """Of the two kinds of page that are not as the first is, the one that is there once."""
    path = two_stacks(tmp_path / "a.tif", STACK[8, :16, :16], rowsperstrip=8)
    with pytest.raises(InputError, match=r"page 8 .* than page 7: rows in a strip 8, not 16"):
        open_stack(path, series=1)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"photometric": "miniswhite"}, r"s_2\.ome\.tif: page 2 .*MINISWHITE"),
        ({"compression": "zlib"}, r"s_2\.ome\.tif: page 2 .*compression ADOBE_DEFLATE, not NONE"),
        ({"rowsperstrip": 8}, "one has pages that are stored in several ways"),
    ],
)
def test_an_odd_page_in_another_file(tmp_path: Path, own: dict[str, Any], said: str) -> None:
    first, _, last = several(tmp_path, {})
    np.testing.assert_array_equal(read_stack(first), PLANES)
    parts = [("s_0.ome.tif", [2, 4]), ("s_1.ome.tif", [0]), ("s_2.ome.tif", [5, 1, 3])]
    with tifffile.TiffWriter(last) as tif:
        for k, z in enumerate(parts[2][1]):
            more = {**PLAIN, **(own if k == 2 else {})}
            tif.write(PLANES[z], description=xml(parts, 2), metadata=None, **more)
    with pytest.raises(InputError, match=said):
        open_stack(first)


def test_pages_within_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for odd in (False, True):
        with tifffile.TiffWriter(path) as tif:
            for z, plane in enumerate(STACK):
                text = '{"shape": [10, 32, 48], "axes": "ZYX"}'
                first = {"description": text} if z == 0 else {}
                plain = {**PLAIN, "contiguous": False, "metadata": None, **first}
                tif.write(plane, subifds=1, **plain)
                more = DEFLATE if odd and z == ODD else {}
                tif.write(255 - plane, **{**plain, **more})
        np.testing.assert_array_equal(read_stack(path, series=0), STACK)
        if not odd:
            np.testing.assert_array_equal(read_stack(path, series=1), 255 - STACK)
    with pytest.raises(InputError, match=r"page 3\.0 .*compression ADOBE_DEFLATE, not NONE"):
        open_stack(path, series=1)


def test_many_pages_with_a_palette_each(tmp_path: Path) -> None:
    """Palettes are compared, and not kept."""
    pages = [grey(plane) for plane in STACK]
    for k, page in enumerate(pages):
        page.tags = {**PALETTE, 320: (SHORT, [*COLOURS[:-1], k])}
    write_pages(tmp_path / "a.tif", pages)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", labels=True), STACK)


def test_one_directory_for_all_sections(tmp_path: Path) -> None:
    """As ImageJ writes large stacks: there is nothing to compare."""
    text = "ImageJ=1.54f\nimages=10\nslices=10\n"
    page = Page(STACK.tobytes(), (32, 48), 8, {270: (ASCII, text), 279: (LONG, [32 * 48])})
    write_pages(tmp_path / "a.tif", [page])
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), STACK)
