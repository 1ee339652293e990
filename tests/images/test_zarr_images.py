"""What a Zarr group holds: one image is read, of several they are named; old versions, codecs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from image_helpers import GREY

from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.readers import zarr as zarr_reader

SCALE = [1.0, 1.0, 0.05, 0.004, 0.008]
AXES = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
    {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
]


def image(group: Any, name: str, stack: Any, version: str = "0.4", axes: Any = AXES) -> None:
    inner = group.create_group(name) if name else group
    for level in (0, 1):
        pixels = np.ascontiguousarray(stack[None, None, :, :: 1 + level, :: 1 + level])
        inner.create_array(str(level), data=pixels, chunks=(1, 1, 1, 16, 16))
    transform = {"type": "scale", "scale": SCALE}
    datasets = [
        {"path": str(k), **({"coordinateTransformations": [transform]} if version > "0.3" else {})}
        for k in (0, 1)
    ]
    about = {"datasets": datasets, **({"axes": axes} if axes is not None else {})}
    if version == "0.5":
        inner.attrs["ome"] = {"version": version, "multiscales": [about]}
    else:
        inner.attrs["multiscales"] = [{"version": version, **about}]


def root(path: Path, version: str, **about: Any) -> Any:
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    group.attrs.update({"ome": {"version": version, **about}} if version == "0.5" else about)
    return group


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_one_image_that_bioformats2raw_wrote(tmp_path: Path, version: str) -> None:
    """With its pixel size, through the root."""
    group = root(tmp_path / "in.zarr", version, **{"bioformats2raw.layout": 3})
    image(group, "0", GREY, version)
    group.create_group("OME")
    with open_stack(tmp_path / "in.zarr") as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), GREY)
        assert stack.pixel_size == (0.05, 0.004, 0.008)
        before = stack.identity()
    array = tmp_path / "in.zarr" / "0" / "0"
    (array / ("c/0/0/3/0/0" if version == "0.5" else "0.0.3.0.0")).touch()
    with open_stack(tmp_path / "in.zarr") as stack:
        assert stack.identity() != before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_several_images_are_named_in_their_order(tmp_path: Path, version: str) -> None:
    group = root(tmp_path / "in.zarr", version, **{"bioformats2raw.layout": 3})
    for number in range(11):
        image(group, str(number), GREY if number == 10 else GREY[:1], version)
    with pytest.raises(InputError, match=r"holds 11, give the path of one: 0, 1, 2, .*7, \.\.\.$"):
        open_stack(tmp_path / "in.zarr")
    np.testing.assert_array_equal(read_stack(tmp_path / "in.zarr" / "10"), GREY)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("inner", ["", "0"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_consolidated_metadata_that_are_older_than_the_array(
    tmp_path: Path, version: str, inner: str
) -> None:
    """What an array says of itself is newer: its shape, and its type."""
    path = tmp_path / "in.zarr"
    group = root(path, version)
    image(group, inner, GREY[:2], version)
    consolidated = path / inner
    zarr.consolidate_metadata(consolidated, zarr_format=3 if version == "0.5" else 2)
    array = zarr.open_array(consolidated / "0", mode="r+")
    array.resize((1, 1, *GREY.shape))
    array[0, 0] = GREY
    np.testing.assert_array_equal(read_stack(path), GREY)
    shutil.rmtree(consolidated / "0")
    zarr.create_array(
        consolidated / "0", data=GREY[None, None].astype(np.uint16) + 300,
        zarr_format=3 if version == "0.5" else 2,
    )  # fmt: skip
    np.testing.assert_array_equal(read_stack(path), GREY.astype(np.uint16) + 300)


def plate(path: Path, version: str, fields: int) -> None:
    wells = [{"path": "A/1"}, {"path": "B/12"}][: 1 if fields == 1 else 2]
    group = root(path, version, plate={"wells": wells})
    for well in wells:
        inner = group.create_group(well["path"])
        found = {"well": {"images": [{"path": str(k)} for k in range(fields)]}}
        inner.attrs.update({"ome": {"version": version, **found}} if version == "0.5" else found)
        for k in range(fields):
            image(inner, str(k), GREY, version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_fields_of_a_plate(tmp_path: Path, version: str) -> None:
    plate(tmp_path / "one.zarr", version, 1)
    np.testing.assert_array_equal(read_stack(tmp_path / "one.zarr"), GREY)
    plate(tmp_path / "two.zarr", version, 2)
    with pytest.raises(InputError, match=r"holds 4, .*: A/1/0, A/1/1, B/12/0, B/12/1$"):
        open_stack(tmp_path / "two.zarr")
    with pytest.raises(InputError, match=r"holds 2, give the path of one: 0, 1$"):
        open_stack(tmp_path / "two.zarr" / "B" / "12")
    np.testing.assert_array_equal(read_stack(tmp_path / "two.zarr" / "B" / "12" / "1"), GREY)


def test_a_plate_of_many_wells(tmp_path: Path) -> None:
    """The first are looked at, and all are counted."""
    plate(tmp_path / "in.zarr", "0.4", 2)
    group = zarr.open_group(tmp_path / "in.zarr", mode="r+")
    wells = [{"path": "A/1"}, {"path": "B/12"}] * 4 + [
        {"path": f"not there/{k}"} for k in range(900)
    ]
    group.attrs["plate"] = {"wells": wells}
    with pytest.raises(InputError, match=r"holds 908 or more, give the path of one: A/1/0, A/1/1"):
        open_stack(tmp_path / "in.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scales_of_the_level_and_of_the_image_are_multiplied(tmp_path: Path, version: str) -> None:
    group = root(tmp_path / "in.zarr", version)
    image(group, "", GREY, version)
    about = dict(group.attrs)
    pyramid = about.get("ome", about)["multiscales"][0]
    whole = {"type": "scale", "scale": [1, 1, 2, 0.5, 10]}
    pyramid["coordinateTransformations"] = [whole, {"type": "translation", "translation": [9] * 5}]
    group.attrs.update(about)
    with open_stack(tmp_path / "in.zarr") as stack:
        assert stack.pixel_size == pytest.approx((0.1, 0.002, 0.08))


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize(
    ("version", "axes"),
    [("0.1", None), ("0.2", None), ("0.3", ["t", "c", "z", "y", "x"]), ("0.4", AXES)],
)
def test_versions_of_ome_zarr(tmp_path: Path, version: str, axes: Any, separator: str) -> None:
    """Before 0.3 the axes are always the same five; before 0.4 there is no scale."""
    group = zarr.open_group(tmp_path / "in.zarr", mode="w", zarr_format=2)
    image(group, "", GREY, version, axes)
    if separator == "/":
        document = tmp_path / "in.zarr" / "0" / ".zarray"
        about = json.loads(document.read_text())
        document.write_text(json.dumps({**about, "dimension_separator": "/"}))
        for chunk in (tmp_path / "in.zarr" / "0").glob("*.*.*.*.*"):
            place = chunk.parent.joinpath(*chunk.name.split("."))
            place.parent.mkdir(parents=True, exist_ok=True)
            chunk.rename(place)
    with open_stack(tmp_path / "in.zarr") as stack:
        np.testing.assert_array_equal(np.stack(list(stack)), GREY)
        assert stack.pixel_size == ((0.05, 0.004, 0.008) if version == "0.4" else (None,) * 3)


def described(path: Path, version: int, codec: dict[str, Any]) -> Path:
    """A store whose documents name a codec."""
    zarr.create_array(path, data=GREY, zarr_format=version)  # type: ignore[arg-type]
    document = path / ("zarr.json" if version == 3 else ".zarray")
    about = json.loads(document.read_text())
    about["codecs" if version == 3 else "compressor"] = (
        [{"name": "bytes"}, codec] if version == 3 else codec
    )
    document.write_text(json.dumps(about))
    return path


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_a_codec_that_is_not_known_is_named(tmp_path: Path, version: int, grouped: bool) -> None:
    """It is no damage."""
    codec = {"id": "of_tomorrow", "name": "of_tomorrow"}
    if version == 3:
        codec = {"name": "of_tomorrow"}
    path = tmp_path / "in.zarr"
    if grouped:
        group = zarr.open_group(path, mode="w", zarr_format=version)  # type: ignore[arg-type]
        image(group, "", GREY, "0.5" if version == 3 else "0.4")
        described(tmp_path / "other.zarr", version, codec)
        document = "zarr.json" if version == 3 else ".zarray"
        (path / "0" / document).unlink()
        (tmp_path / "other.zarr" / document).rename(path / "0" / document)
    else:
        described(path, version, codec)
    with pytest.raises(InputError, match=r"is compressed by the codec of_tomorrow, ") as refusal:
        open_stack(path)
    assert "damaged" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_not_installed_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs.numcodecs", None)
    path = described(tmp_path / "in.zarr", 2, {"id": "of_tomorrow"})
    with pytest.raises(InputError, match=r"pip install imagecodecs"):
        open_stack(path)


@pytest.mark.parametrize("codec", ["jpeg2k", "jpegxl", "lzw"])
def test_the_codecs_of_imagecodecs(tmp_path: Path, codec: str) -> None:
    """They are known without the user's doing where the package is installed."""
    imagecodecs = pytest.importorskip("imagecodecs")
    encode = getattr(imagecodecs, f"{codec}_encode")
    options = {"jpeg2k": {"level": 0}, "jpegxl": {"lossless": True}, "lzw": {}}[codec]
    about = {
        "zarr_format": 2, "shape": GREY.shape, "chunks": [1, 16, 32], "dtype": "|u1", "order": "C",
        "compressor": {"id": f"imagecodecs_{codec}", **options}, "fill_value": 0, "filters": None,
    }  # fmt: skip
    path = tmp_path / "in.zarr"
    path.mkdir()
    (path / ".zarray").write_text(json.dumps(about))
    for z, section in enumerate(GREY):
        data = encode(section.tobytes() if codec == "lzw" else section, **options)
        (path / f"{z}.0.0").write_bytes(data)
    np.testing.assert_array_equal(read_stack(path), GREY)


def test_the_words_of_libraries_for_an_unknown_codec() -> None:
    for said in ("codec not available: ''foo.bar''", "Unknown codec: 'foo.bar'"):
        assert zarr_reader._unknown_codec(ValueError(said)) == "foo.bar"
    assert zarr_reader._unknown_codec(ValueError("of no codec")) is None
    assert re.fullmatch(r"\w+", zarr_reader._unknown_codec(ValueError("Unknown codec: x")) or "")
