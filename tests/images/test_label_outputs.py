"""Outputs of numbers of cells: never averaged, and said to be labels."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v04.image_label import ImageLabel as Label04
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels
from packaging.version import Version

from paper_unet.errors import InputError
from paper_unet.images import Output, PixelSize, create_output, make_labels, read_stack
from paper_unet.images.ome_metadata import ome_attributes
from paper_unet.images.outputs import zarr as module
from paper_unet.images.pyramid import thinned

SHAPE = (2, 37, 50)
COLOURLESS = Version(version_of("ome-zarr-models")) >= Version("1.7")  # before, it asks for colours


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 16)
    monkeypatch.setattr(module.ZarrOutput, "alignment", (16, 16))


def numbers(dtype: str) -> NDArray[Any]:
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, SHAPE, dtype=dtype, endpoint=True)


def written(path: Path, pixels: NDArray[Any], **more: Any) -> Output:
    output = create_output(path, pixels.shape, pixels.dtype, labels=True, **more)
    output.prepare(resume=False)
    for z, section in enumerate(pixels):
        output.write(z, 0, 0, section)
        output.sync(z, (0, SHAPE[1]), (0, SHAPE[2]))
    for stage in output.stages():
        for task in stage:
            output.run(task)
    return output


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.zarr", "out.h5"])
def test_numbers_come_back(tmp_path: Path, name: str, dtype: str) -> None:
    pixels = numbers(dtype)
    if (name, dtype) == ("out.ome.tif", "uint64"):
        with pytest.raises(InputError, match="OME-TIFF has no values of uint64"):
            written(tmp_path / name, pixels)
        return
    written(tmp_path / name, pixels).finish()
    found = read_stack(tmp_path / name, labels=True)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_an_ome_zarr_says_that_they_are_labels(tmp_path: Path, version: str) -> None:
    pixels = numbers("uint32")
    written(tmp_path / "o.zarr", pixels, ome_zarr=version, pixel_size=(0.05, 0.004, 0.004)).finish()
    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    said: Any = group.attrs["ome"] if version == "0.5" else dict(group.attrs)
    assert "image-label" in said
    (Label04 if version == "0.4" else ImageLabel).from_zarr(group)
    datasets = said["multiscales"][0]["datasets"]
    assert [d["path"] for d in datasets] == ["0", "1", "2"]
    # the first pixel of each level lies where it lay
    assert all(len(d["coordinateTransformations"]) == 1 for d in datasets)
    assert datasets[2]["coordinateTransformations"][0]["scale"] == [0.05, 0.016, 0.016]


def test_smaller_levels_hold_numbers_that_are_there(tmp_path: Path) -> None:
    pixels = numbers("uint32")
    written(tmp_path / "o.zarr", pixels).finish()
    group = zarr.open_group(tmp_path / "o.zarr", mode="r")
    for level in range(3):
        step = 2**level
        np.testing.assert_array_equal(group[str(level)][:], pixels[:, ::step, ::step])


def test_thinned_takes_the_first_of_four() -> None:
    labels = np.arange(15, dtype=np.uint64).reshape(3, 5)
    assert thinned(labels).tolist() == [[0, 2, 4], [10, 12, 14]]


def test_a_zarr_is_read_before_it_is_finished(tmp_path: Path) -> None:
    pixels = numbers("uint32")
    output = written(tmp_path / "o.zarr", pixels)
    np.testing.assert_array_equal(output.read(1, (3, 20), (15, 50)), pixels[1, 3:20, 15:50])
    with pytest.raises(ValueError, match="is not read before it is finished"):
        written(tmp_path / "o.tif", pixels).read(0, (0, 1), (0, 1))


@pytest.mark.parametrize(("dtype", "labels"), [("float32", True), ("uint64", False)])
def test_other_types_are_refused(tmp_path: Path, dtype: str, labels: bool) -> None:
    with pytest.raises(InputError, match=f"output of {dtype}; accepted are"):
        create_output(tmp_path / "o.tif", SHAPE, dtype, labels=labels)


SIZE, UNKNOWN = (0.05, 0.004, 0.004), (None, None, None)


def image(
    path: Path, version: str, pixel_size: PixelSize = SIZE, channels: tuple[str, ...] = ()
) -> Path:
    group = zarr.create_group(
        path, zarr_format=2 if version == "0.4" else 3,
        attributes=ome_attributes(version, 1, pixel_size, channels=channels),
    )  # fmt: skip
    group.create_array("0", shape=((len(channels),) if channels else ()) + SHAPE, dtype="u1")[:] = 7
    return path


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_labels_of_an_image_lie_in_it_and_are_listed(tmp_path: Path, version: str) -> None:
    pixels = numbers("uint32")
    raw = image(tmp_path / "raw.zarr", version)
    for name in ("cells", "nuclei.zarr", "cells"):
        path = raw / "labels" / name
        make_labels(path, version, SHAPE, UNKNOWN)
        written(path, pixels, ome_zarr=version, overwrite=True).finish()
    group = zarr.open_group(raw / "labels", mode="r")
    said: Any = group.attrs["ome"] if version == "0.5" else group.attrs
    assert said["labels"] == ["cells", "nuclei.zarr"]
    if version == "0.5" and COLOURLESS:
        Labels.from_zarr(group)
    np.testing.assert_array_equal(read_stack(raw / "labels" / "cells", labels=True), pixels)
    assert read_stack(raw).shape == SHAPE


def test_labels_of_another_version_than_the_image(tmp_path: Path) -> None:
    raw = image(tmp_path / "raw.zarr", "0.4")
    with pytest.raises(InputError, match=r"is Zarr of version 2, so its labels are OME-Zarr 0\.4"):
        make_labels(raw / "labels" / "cells", "0.5", SHAPE, UNKNOWN)
    assert not (raw / "labels").exists()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_labels_of_another_shape_than_the_image(tmp_path: Path, version: str) -> None:
    path = image(tmp_path / "raw.zarr", version) / "labels" / "cells"
    for shape in ((1, 37, 50), (3, 37, 50), (2, 50, 37)):
        ours = " x ".join(map(str, shape))
        with pytest.raises(InputError, match=f"cells: would be {ours}, .* is 2 x 37 x 50; "):
            make_labels(path, version, shape, SIZE)
    assert not path.parent.exists()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("own", "wanted"),
    [(UNKNOWN, SIZE), ((None, 0.005, 0.005), (0.05, 0.005, 0.005)), ((1, 2, 3), (1, 2, 3))],
)
def test_labels_have_the_pixels_of_the_image_where_they_have_no_size_of_their_own(
    tmp_path: Path, version: str, own: PixelSize, wanted: PixelSize
) -> None:
    raw = image(tmp_path / "raw.zarr", version)
    assert make_labels(raw / "labels" / "cells", version, SHAPE, own) == pytest.approx(wanted)
    unknown = image(tmp_path / "unknown.zarr", version, UNKNOWN)
    assert make_labels(unknown / "labels" / "cells", version, SHAPE, own) == own


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_channels_of_an_image_are_not_its_extent(tmp_path: Path, version: str) -> None:
    path = image(tmp_path / "raw.zarr", version, channels=("a", "b", "c"))
    assert make_labels(path / "labels" / "cells", version, SHAPE, UNKNOWN) == pytest.approx(SIZE)


def test_a_group_of_no_image_has_no_extent(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "volumes")
    path = tmp_path / "volumes" / "labels" / "cells"
    assert make_labels(path, "0.5", (9, 9, 9), UNKNOWN) == UNKNOWN
    assert path.parent.is_dir()


def test_a_folder_called_labels_that_is_no_image_is_left_alone(tmp_path: Path) -> None:
    make_labels(tmp_path / "labels" / "cells", "0.5", SHAPE, UNKNOWN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("unit", "own", "scale", "start"),
    [
        ("nanometer", UNKNOWN, [0.05, 0.004, 0.0045], [1.0, 0.2, -0.3]),
        ("nanometer", (1.0, 2.0, 3.0), [1.0, 2.0, 3.0], [1.0, 0.2, -0.3]),
        (None, UNKNOWN, [50, 4, 4.5], [1000, 200, -300]),
        (None, (1.0, 2.0, 3.0), [1.0, 2.0, 3.0], [20.0, 100.0, -200.0]),
    ],
)
def test_labels_lie_where_their_image_does(
    tmp_path: Path, version: str, unit: str | None, own: PixelSize, scale: Any, start: Any
) -> None:
    """At every level: the first pixel of each is that of the image."""
    raw = image(tmp_path / "raw.zarr", version)
    move(raw, version, [50, 4, 4.5], [1000, 200, -300], unit)
    path = raw / "labels" / "cells"
    size = make_labels(path, version, SHAPE, own)
    written(path, numbers("uint32"), ome_zarr=version, pixel_size=size).finish()
    datasets = said_of(path, version)["multiscales"][0]["datasets"]
    assert len(datasets) == 3
    for level, dataset in enumerate(datasets):
        scaled, moved = dataset["coordinateTransformations"]
        sides = [scale[0], *(k * 2**level for k in scale[1:])]
        assert scaled["scale"] == pytest.approx(sides)
        assert moved["translation"] == pytest.approx(start)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_means_of_a_moved_image_are_shifted_by_the_pooling_too(version: str) -> None:
    places = [(0.05, 1.0), (0.004, 0.2), (0.004, -0.3)]
    said = ome_attributes(version, 3, SIZE, places=places)
    datasets = said.get("ome", said)["multiscales"][0]["datasets"]
    moved = [dataset["coordinateTransformations"][1]["translation"] for dataset in datasets]
    assert moved == [pytest.approx([1.0, 0.2 + shift, -0.3 + shift]) for shift in (0, 0.002, 0.006)]


def said_of(path: Path, version: str) -> Any:
    attributes: Any = zarr.open_group(path, mode="r").attrs
    return attributes["ome"] if version == "0.5" else attributes


def move(path: Path, version: str, scale: Any, start: Any, unit: str | None) -> None:
    """Let an image say where its pixels lie."""
    group, said = zarr.open_group(path, mode="r+"), dict(said_of(path, version))
    about = said["multiscales"][0]
    about["axes"] = [
        {"name": k, "type": "space", **({"unit": unit} if unit else {})} for k in "zyx"
    ]
    about["datasets"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": scale}, {"type": "translation", "translation": start},
    ]  # fmt: skip
    group.attrs.update({"ome": said} if version == "0.5" else said)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    "name", ["a.tif", "a.OME.TIF", "a.btf", "a.h5", "a.h5:/x", "a.precomputed"]
)
def test_only_a_zarr_lies_among_the_labels_of_an_image(
    tmp_path: Path, version: str, name: str
) -> None:
    """Another file would lie there unlisted: no reader of the image knows of it."""
    path = image(tmp_path / "raw.zarr", version) / "labels" / name
    with pytest.raises(InputError, match=r"labels of the OME-Zarr image raw\.zarr are Zarrs, too"):
        create_output(path, SHAPE, "uint8", pixel_size=make_labels(path, version, SHAPE, UNKNOWN))
    assert not (tmp_path / "raw.zarr" / "labels").exists()
    with pytest.raises(InputError, match=r"labels of the OME-Zarr image raw\.zarr are Zarrs, too"):
        create_output(path, SHAPE, "uint8")
    (tmp_path / "labels").mkdir()  # of no image
    create_output(tmp_path / "labels" / name, SHAPE, "uint8")
