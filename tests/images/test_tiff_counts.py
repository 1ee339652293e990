"""How many images a TIFF declares and how many it has, both ways; and where its pixels begin."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_helpers import GREY, PIXELS
from tiff_bytes import ASCII, LONG, SHORT, Page, grey, write_pages

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack

STACK = PIXELS[:, :12, :10]
TYPES = {"uint8": 8, "uint16": 16, "float32": 32}


def imagej(**counts: int) -> tuple[int, str]:
    lines = "".join(f"{name}={count}\n" for name, count in counts.items())
    return ASCII, f"ImageJ=1.54f\n{lines}loop=false\n"


def in_one(stack: Any, bits: int, order: str, text: tuple[int, str]) -> Page:
    """Return one page behind which all images follow, as ImageJ writes large stacks."""
    page = grey(stack, bits, order, t270=text)
    format_ = {339: (SHORT, [3])} if stack.dtype.kind == "f" else {}
    page.tags = {**page.tags, **format_, 279: (LONG, [stack[0].nbytes])}
    return page


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", TYPES)
def test_where_the_pixels_begin_is_all_one(
    tmp_path: Path, dtype: str, shift: int, order: str
) -> None:
    """They follow each other; that they begin at no multiple of their size is no matter."""
    stack = STACK.astype(dtype)
    text = imagej(images=6, slices=6)
    write_pages(tmp_path / "a.tif", [in_one(stack, TYPES[dtype], order, text)], order, shift)
    with open_stack(tmp_path / "a.tif") as opened:
        assert opened.dtype == dtype
        np.testing.assert_array_equal(np.stack(list(opened)), stack)
        np.testing.assert_array_equal(opened.window(4, (3, 9), (2, 7)), stack[4, 3:9, 2:7])


@pytest.mark.parametrize("shift", [1, 3])
def test_pages_of_their_own_at_any_place(tmp_path: Path, shift: int) -> None:
    write_pages(tmp_path / "a.tif", [grey(image, 16) for image in STACK], "<", shift)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize("shift", [0, 1])
def test_one_page_that_was_cut_short(tmp_path: Path, shift: int) -> None:
    page = in_one(STACK, 16, ">", imagej(images=9, slices=9))
    write_pages(tmp_path / "a.tif", [page], ">", shift)
    with pytest.raises(InputError, match=r"9 (images|slices)"):
        open_stack(tmp_path / "a.tif")


# --- ImageJ -------------------------------------------------------------------------------------


def pages_with(path: Path, text: tuple[int, str], stack: Any = STACK) -> Path:
    first, *rest = (grey(image, 16) for image in stack)
    first.tags = {**first.tags, 270: text}
    write_pages(path, [first, *rest])
    return path


@pytest.mark.parametrize(
    "counts",
    [
        {"images": 3, "slices": 3}, {"images": 6, "slices": 3}, {"slices": 3}, {"slices": 5},
        {"images": 3, "frames": 3}, {"images": 2, "channels": 2}, {"images": 1, "slices": 2},
    ],
)  # fmt: skip
def test_more_pages_than_imagej_declares(tmp_path: Path, counts: dict[str, int]) -> None:
    """Which of the two is right, the user says; then all are read."""
    path = pages_with(tmp_path / "a.tif", imagej(**counts))
    declared = max(v for k, v in counts.items() if k != "images")
    with pytest.raises(InputError, match="`axes`, such as ZYX, to read all") as refusal:
        open_stack(path)
    assert str(declared) in str(refusal.value).split("a.tif:")[1]
    assert "6" in str(refusal.value).split("a.tif:")[1]
    np.testing.assert_array_equal(read_stack(path, axes="ZYX"), STACK)


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize(
    "counts",
    [
        {"images": 6, "slices": 6}, {"images": 6, "slices": 6, "frames": 1, "channels": 1},
        {"images": 6}, {"slices": 6},
    ],
)  # fmt: skip
def test_as_many_as_imagej_declares(tmp_path: Path, counts: dict[str, int], pages: bool) -> None:
    """Older versions write how many images there are, and nothing of slices."""
    path = tmp_path / "a.tif"
    if pages:
        pages_with(path, imagej(**counts))
    else:
        write_pages(path, [in_one(STACK, 16, "<", imagej(**counts))])
    np.testing.assert_array_equal(read_stack(path), STACK)


def test_one_page_of_more_images_than_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_pages(path, [in_one(STACK, 16, "<", imagej(images=6, slices=3))])
    with pytest.raises(InputError, match="declares 6 images, and 3 slices of 1 channels"):
        open_stack(path)
    np.testing.assert_array_equal(read_stack(path, axes="ZYX"), STACK)


def test_one_strip_that_is_longer_than_declared(tmp_path: Path) -> None:
    page = in_one(STACK, 16, "<", imagej(images=3, slices=3))
    page.tags = {**page.tags, 279: (LONG, [STACK.nbytes])}
    write_pages(tmp_path / "a.tif", [page])
    with pytest.raises(InputError, match="6 images, and 3 slices"):
        open_stack(tmp_path / "a.tif")


@pytest.mark.parametrize("counts", [{"images": 9, "slices": 9}, {"slices": 9}, {"images": 7}])
def test_fewer_pages_than_imagej_declares(tmp_path: Path, counts: dict[str, int]) -> None:
    path = pages_with(tmp_path / "a.tif", imagej(**counts))
    with pytest.raises(InputError, match=r"declares (7|9) (images|slices).* (has|holds|and) "):
        open_stack(path)


def test_channels_and_frames_of_imagej_are_no_sections(tmp_path: Path) -> None:
    for name, what in [("channels", "channels"), ("frames", "time points")]:
        path = pages_with(tmp_path / f"{name}.tif", imagej(images=6, **{name: 2, "slices": 3}))
        with pytest.raises(InputError, match=f"2 {what}"):
            open_stack(path)


def test_pages_of_other_sizes_are_not_joined(tmp_path: Path) -> None:
    first, *rest = (grey(image, 16) for image in STACK)
    first.tags = {**first.tags, 270: imagej(images=3, slices=3)}
    write_pages(tmp_path / "a.tif", [first, *rest[:4], grey(STACK[5, :5], 16)])
    with pytest.raises(InputError, match="to read all"):
        open_stack(tmp_path / "a.tif", axes="ZYX")


# --- OME ----------------------------------------------------------------------------------------

SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome(sizes: dict[str, int], data: str = "<TiffData/>", uuid: str = "") -> str:
    size = "".join(f' Size{axis}="{sizes.get(axis, 1)}"' for axis in "ZCT")
    about = f' UUID="{uuid}"' if uuid else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SPACE}"{about}><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="32" SizeY="16"{size}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


def ome_file(path: Path, stack: Any, text: str) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for k, image in enumerate(stack):
            more = {"description": text} if k == 0 else {}
            writer.write(image, photometric="minisblack", metadata=None, contiguous=False, **more)
    return path


EACH = "".join(f'<TiffData IFD="{k}" FirstZ="{k}" PlaneCount="1"/>' for k in range(3))


@pytest.mark.parametrize("data", ["<TiffData/>", '<TiffData PlaneCount="3"/>', EACH])
@pytest.mark.parametrize("axis", ["Z", "T"])
def test_more_pages_than_ome_declares(tmp_path: Path, data: str, axis: str) -> None:
    data = data.replace("FirstZ", f"First{axis}")
    path = ome_file(tmp_path / "a.ome.tif", GREY, ome({axis: 3}, data))
    axes = None if axis == "Z" else "ZYX"
    with pytest.raises(InputError, match=r"declares 3 pages and the file has 6; name the axes"):
        open_stack(path)
    if axes is None:
        np.testing.assert_array_equal(read_stack(path, axes="ZYX"), GREY)
    ome_file(path, GREY[:3], ome({axis: 3}, data))
    np.testing.assert_array_equal(read_stack(path, axes=axes), GREY[:3])


@pytest.mark.parametrize("data", ["<TiffData/>", '<TiffData PlaneCount="9"/>'])
def test_fewer_pages_than_ome_declares(tmp_path: Path, data: str) -> None:
    path = ome_file(tmp_path / "a.ome.tif", GREY, ome({"Z": 9}, data))
    with pytest.raises(InputError, match=r"declares 9 slices and has 6"):
        open_stack(path)


IDS = [f"urn:uuid:1c2d3e4f-0000-4000-8000-00000000000{k}" for k in range(4)]


def companion_set(folder: Path, stack: Any, named: str = "set.companion.ome") -> list[Path]:
    """Files of one section each that only say where their description is."""
    data, files = "", []
    for k, image in enumerate(stack):
        only = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SPACE}" UUID="{IDS[k]}">'
            f'<BinaryOnly MetadataFile="{named}" UUID="{IDS[3]}"/></OME>'
        )
        files.append(ome_file(folder / f"s{k}.ome.tiff", [image], only))
        data += (
            f'<TiffData IFD="0" FirstZ="{k}" PlaneCount="1"><UUID FileName="s{k}.ome.tiff">'
            f"{IDS[k]}</UUID></TiffData>"
        )
    text = ome({"Z": len(stack)}, data, IDS[3])
    size = 'PhysicalSizeZ="0.05" PhysicalSizeY="0.004" PhysicalSizeX="0.004"'
    (folder / "set.companion.ome").write_text(text.replace("<Pixels ", f"<Pixels {size} "))
    return files


def test_a_companion_file_describes_the_set(tmp_path: Path) -> None:
    """Whichever of its files is given, and what it says of them counts."""
    files = companion_set(tmp_path, GREY[:3])
    for file in files:
        with open_stack(file) as stack:
            np.testing.assert_array_equal(np.stack(list(stack)), GREY[:3])
            assert stack.pixel_size == (0.05, 0.004, 0.004)
            assert set(stack.files) == {*files, tmp_path / "set.companion.ome"}


def test_the_companion_file_lies_beside_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not beside a link to it; by a relative name it is found, too."""
    (tmp_path / "in").mkdir()
    companion_set(tmp_path / "in", GREY[:3])
    monkeypatch.chdir(tmp_path)
    Path("link.tiff").symlink_to("in/s1.ome.tiff")
    for path in (Path("link.tiff"), Path("in/s1.ome.tiff")):
        with open_stack(path) as stack:
            assert all((stack[z] == GREY[z]).all() for z in range(3))
            assert tmp_path / "in" / "set.companion.ome" in stack.files


def test_the_identity_knows_the_companion_file(tmp_path: Path) -> None:
    files = companion_set(tmp_path, GREY[:3])
    with open_stack(files[0]) as stack:
        before = stack.identity()
    document = tmp_path / "set.companion.ome"
    document.write_text(document.read_text().replace("<Image ", "<Image  "))
    with open_stack(files[0]) as stack:
        assert stack.identity() != before


def test_a_companion_file_that_is_not_there(tmp_path: Path) -> None:
    files = companion_set(tmp_path, GREY[:3])
    (tmp_path / "set.companion.ome").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"set that set\.companion\.ome describes, which is not"):
        open_stack(files[0])
    (tmp_path / "set.companion.ome").write_text("<OME")
    with pytest.raises(InputError, match=r"set\.companion\.ome: describes s0.*is no OME-XML"):
        open_stack(files[0])


def test_a_companion_file_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = companion_set(tmp_path / "in", GREY[:3], "../outside.companion.ome")
    (tmp_path / "in" / "set.companion.ome").rename(tmp_path / "outside.companion.ome")
    with pytest.raises(InputError, match="which is not in this folder"):
        open_stack(files[0])


def test_a_set_without_one_of_its_files(tmp_path: Path) -> None:
    files = companion_set(tmp_path, GREY[:3])
    files[1].unlink()
    with pytest.raises(InputError, match="one stack in several files, which hold 2 of its 3"):
        open_stack(files[0])


@pytest.mark.parametrize("given", [0, 1])
def test_a_file_of_a_set_with_a_page_too_many(tmp_path: Path, given: int) -> None:
    files = companion_set(tmp_path, GREY[:3])
    ome_file(files[1], [GREY[1], GREY[5]], tifffile.tiffcomment(files[1]))
    for axes in (None, "ZYX"):
        with pytest.raises(InputError, match=r"of the 2 pages of s1|declares 1 pages and .* 2;"):
            open_stack(files[given], axes=axes)


def test_a_companion_file_itself_is_named(tmp_path: Path) -> None:
    companion_set(tmp_path, GREY[:3])
    with pytest.raises(InputError, match="give one of the TIFF files that it names"):
        open_stack(tmp_path / "set.companion.ome")


# --- tags that are of no use --------------------------------------------------------------------


@pytest.mark.parametrize("tag", [305, 306, 315, 33432, 34665, 34682, 50839, 65000])
def test_a_tag_beyond_the_end_that_pixels_do_not_need(tmp_path: Path, tag: int) -> None:
    page = grey(STACK[0], 16)
    page.beyond = {tag: (ASCII, 5000, 10**6)}
    write_pages(tmp_path / "a.tif", [page])
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif")[0], STACK[0])


@pytest.mark.parametrize("tag", [270, 273, 279, 320])
def test_a_tag_beyond_the_end_that_they_may_need(tmp_path: Path, tag: int) -> None:
    page = grey(STACK[0], 16)
    page.tags = {**page.tags, tag: None}
    page.beyond = {tag: (LONG, 5000, 10**6)}
    write_pages(tmp_path / "a.tif", [page])
    with pytest.raises(InputError, match=f"truncated: the tag {tag} of page 0"):
        open_stack(tmp_path / "a.tif")
