"""Pixel sizes are read as the formats write them; what is damaged is unknown, never an error."""

import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import tifffile
import zarr
from hdf5_helpers import data_set
from image_helpers import GREY, ZYX
from n5_helpers import write_n5
from precomputed_helpers import write_precomputed
from test_inputs import ome_zarr

from paper_unet.images import open_stack
from paper_unet.images.ome_metadata import ome_attributes
from paper_unet.images.pixel_size import micrometres


def test_pixel_sizes(tmp_path: Path) -> None:
    nanometres = {"PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 5.0,
                  "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 50.0,
                  "PhysicalSizeZUnit": "nm"}  # fmt: skip
    cases: list[tuple[dict[str, Any], tuple[float | None, ...]]] = [
        ({"ome": True, "metadata": {**ZYX, **nanometres}}, (0.05, 0.005, 0.004)),
        ({"ome": True, "metadata": {**ZYX, "PhysicalSizeX": 0.3}}, (None, None, 0.3)),
        ({"imagej": True, "resolution": (250, 200),
          "metadata": {**ZYX, "unit": "um", "spacing": 0.05}}, (0.05, 0.005, 0.004)),
        ({"resolution": (25_400, 50_800), "resolutionunit": "INCH", "metadata": ZYX},
         (None, 0.5, 1.0)),
        ({"resolution": (2e6, 1e6), "resolutionunit": "CENTIMETER", "metadata": ZYX},
         (None, 0.01, 0.005)),
        ({"resolution": (300, 300), "resolutionunit": "NONE", "metadata": ZYX}, (None, None, None)),
        ({"metadata": None}, (None, None, None)),
    ]  # fmt: skip
    for number, (options, expected) in enumerate(cases):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, GREY, **options)
        with open_stack(path) as stack:
            assert stack.pixel_size == pytest.approx(expected), options


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"unit": "nm"}, (0.05, 0.005, 0.004)),
        ({"unit": "nm", "zunit": "um"}, (50, 0.005, 0.004)),
        ({"unit": "nm", "yunit": "um"}, (0.05, 5, 0.004)),
        ({"unit": "um", "yunit": "nm", "zunit": "\\u00B5m"}, (50, 0.005, 4)),
        ({"zunit": "nm"}, (0.05, None, None)),
        ({"unit": "nm", "zunit": "slice"}, (None, 0.005, 0.004)),
    ],
)
def test_imagej_names_the_unit_of_an_axis_where_it_is_another(
    tmp_path: Path, units: dict[str, str], expected: tuple[float | None, ...]
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", GREY, imagej=True, resolution=(1 / 4, 1 / 5),
        metadata={**ZYX, "spacing": 50, **units},
    )  # fmt: skip
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.pixel_size == pytest.approx(expected)


@pytest.mark.parametrize("version", [2, 3])
def test_pixel_size_of_an_ome_zarr(tmp_path: Path, version: int) -> None:
    """Of level 0, times the scale of the whole image; nanometres become micrometres."""
    with open_stack(ome_zarr(version)(tmp_path, GREY)) as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.004, 0.004))
    shutil.rmtree(tmp_path / "image.zarr")
    with open_stack(ome_zarr(version, unit="furlong")(tmp_path, GREY)) as stack:
        assert stack.pixel_size == (None, None, None)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (4, "nm", 0.004), ("4.0", "nanometer", 0.004), (1, "\u00b5m", 1), (1, "\u03bcm", 1),
        (1, "\\u00B5m", 1), (2, "mm", 2000), (40, "\u00c5", 0.004), (1, "inch", 25_400),
        (3, "Mm", 3e12), (3, "MM", 3000), (3, "Pm", 3e21), (3, "pm", 3e-6), (2, "\u212b", 2e-4),
        (4, None, None), (4, "pixel", None), (4, "reference frame", None),
        (0, "nm", None), (-4, "nm", None),
        (None, "nm", None), ("wide", "nm", None), (float("inf"), "nm", None),
        (float("nan"), "nm", None), (10**400, "nm", None), ([4], "nm", None),
    ],
)  # fmt: skip
def test_lengths_in_micrometres(value: object, unit: object, expected: float | None) -> None:
    assert micrometres(value, unit) == pytest.approx(expected)


OF_OME_XML = {
    "Ym": 1e24, "Zm": 1e21, "Em": 1e18, "Pm": 1e15, "Tm": 1e12, "Gm": 1e9, "Mm": 1e6, "km": 1e3,
    "hm": 1e2, "dam": 10, "m": 1, "dm": 0.1, "cm": 1e-2, "mm": 1e-3, "µm": 1e-6, "nm": 1e-9,
    "pm": 1e-12, "fm": 1e-15, "am": 1e-18, "zm": 1e-21, "ym": 1e-24, "Å": 1e-10, "thou": 2.54e-5,
    "li": 0.0254 / 12, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344,
    "ua": 1.495978707e11, "ly": 9.4607304725808e15, "pc": 3.0856775814913673e16,
    "pt": 0.0254 / 72,
}  # fmt: skip
OF_OME_ZARR = {
    "angstrom": 1e-10, "attometer": 1e-18, "centimeter": 1e-2, "decimeter": 0.1, "exameter": 1e18,
    "femtometer": 1e-15, "foot": 0.3048, "gigameter": 1e9, "hectometer": 1e2, "inch": 0.0254,
    "kilometer": 1e3, "megameter": 1e6, "meter": 1, "micrometer": 1e-6, "mile": 1609.344,
    "millimeter": 1e-3, "nanometer": 1e-9, "parsec": 3.0856775814913673e16, "petameter": 1e15,
    "picometer": 1e-12, "terameter": 1e12, "yard": 0.9144, "yoctometer": 1e-24, "yottameter": 1e24,
    "zeptometer": 1e-21, "zettameter": 1e21,
}  # fmt: skip


@pytest.mark.parametrize(("unit", "metres"), [*OF_OME_XML.items(), *OF_OME_ZARR.items()])
def test_units_of_length_of_ome(unit: str, metres: float) -> None:
    assert micrometres(3, unit) == pytest.approx(3e6 * metres)


def test_picometres_of_an_ome_tiff_and_of_an_ome_zarr(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 4000, "PhysicalSizeXUnit": "pm", "PhysicalSizeY": 3e-3,
             "PhysicalSizeYUnit": "thou"}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", GREY, ome=True, metadata={**ZYX, **sizes})
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.pixel_size == pytest.approx((None, 0.0762, 0.004))
    with open_stack(ome_zarr(3, unit="picometer")(tmp_path, GREY)) as stack:
        assert stack.pixel_size == pytest.approx((5e-5, 4e-6, 4e-6))


@pytest.mark.parametrize("ratio", [(0, 0), (0, 1), (1, 0)])
def test_a_resolution_of_nothing_is_unknown(tmp_path: Path, ratio: tuple[int, int]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[0], resolution=(2e6, 1e6), resolutionunit=3, metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags["XResolution"].overwrite(ratio)
    with open_stack(path) as stack:
        assert stack.pixel_size == pytest.approx((None, 0.01, None))


@pytest.mark.parametrize("unit", ["nanometer", "second", None])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("names", "given"), [("tyx", "ZYX"), ("syx", "zyx"), ("tzcyx", "ZTCYX"), ("tyx", "QYX")]
)
def test_given_axes_take_the_sizes_of_their_places_in_an_ome_zarr(
    tmp_path: Path, version: int, unit: str | None, names: str, given: str
) -> None:
    """Sections saved as time points: the step along the first axis is that of Z."""
    shape = (6, *(1 for _ in names[1:-2]), 16, 32)
    ome_array(tmp_path / "a.zarr", version, names, shape, unit)
    with open_stack(tmp_path / "a.zarr", axes=given) as stack:
        assert stack.shape == (6, 16, 32)
        depth = 0.05 if unit == "nanometer" else None
        assert stack.pixel_size == pytest.approx((depth, 0.004, 0.008))


def test_one_section_of_an_ome_zarr_has_a_depth(tmp_path: Path) -> None:
    ome_array(tmp_path / "a.zarr", 3, "zyx", (1, 16, 32), "nanometer")
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.pixel_size == pytest.approx((0.05, 0.004, 0.008))


def ome_array(
    path: Path, version: int, names: str, shape: tuple[int, ...], unit: str | None
) -> None:
    """An OME-Zarr of 50 along its first axis, 4 along Y and 8 along X; one unit for the first."""
    group = zarr.create_group(path, zarr_format=version)  # type: ignore[arg-type]
    group.create_array("0", shape=shape, dtype="u1")[:] = 1
    units = [unit, *("parsec" for _ in names[1:-2]), "nanometer", "nanometer"]
    axes = [
        {"name": name, "type": "time" if name == "t" else "space", **({"unit": u} if u else {})}
        for name, u in zip(names, units, strict=True)
    ]
    scale = [50, *(1 for _ in names[1:-2]), 4, 8]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    image = {"version": "0.4", "axes": axes, "datasets": datasets}
    if version == 2:
        group.attrs["multiscales"] = [image]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_sections_saved_as_time_points_keep_the_depth_of_a_tiff(tmp_path: Path, kind: str) -> None:
    """These formats have one depth for the file, not one for each axis."""
    about: dict[str, Any] = {"axes": "TYX"}
    if kind == "ome":
        about |= {"PhysicalSizeZ": 50.0, "PhysicalSizeZUnit": "nm", "TimeIncrement": 7.0}
    else:
        about |= {"spacing": 0.05, "unit": "um", "finterval": 7.0}
    tifffile.imwrite(tmp_path / "a.tif", GREY, metadata=about, **{kind: True})
    with open_stack(tmp_path / "a.tif", axes="ZYX") as stack:
        assert stack.pixel_size[0] == pytest.approx(0.05)


def test_each_series_of_a_tiff_has_its_own_depth(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for depth in (1.0, 2.0):
            writer.write(
                GREY, resolution=(1e4, 1e4), resolutionunit=3,
                metadata={**ZYX, "spacing": depth, "unit": "um"},
            )  # fmt: skip
    for series, depth in enumerate((1.0, 2.0)):
        with open_stack(tmp_path / "a.tif", series=series) as stack:
            assert stack.pixel_size == pytest.approx((depth, 1, 1))


def test_damaged_ome_xml_is_no_reason_to_refuse_the_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], description="<OME><broken </OME>", metadata=None)
    with open_stack(tmp_path / "a.tif") as stack:
        assert stack.pixel_size == (None, None, None)
        assert (stack[0] == GREY[0]).all()


def test_each_series_of_an_ome_tiff_has_its_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        for size in (1.0, 2.0):
            writer.write(GREY, metadata={**ZYX, "PhysicalSizeX": size})
    for series, size in enumerate((1.0, 2.0)):
        with open_stack(tmp_path / "a.tif", series=series) as stack:
            assert stack.pixel_size == (None, None, size)


@pytest.mark.parametrize(
    "transform",
    [{"type": "scale", "path": "x"}, {"type": "scale", "scale": [4]}, {}, "scale",
     {"type": "scale", "scale": [1, 25, 1, 2, "wide"]}],
)  # fmt: skip
def test_damaged_scales_of_an_ome_zarr(tmp_path: Path, transform: Any) -> None:
    path = ome_zarr(3)(tmp_path, GREY)
    group = zarr.open_group(path)
    about: Any = group.attrs["ome"]
    about["multiscales"][0]["coordinateTransformations"] = [transform]
    group.attrs["ome"] = about
    with open_stack(path) as stack:
        assert stack.pixel_size == (None, None, None)
        assert (stack[3] == GREY[3]).all()


def test_a_plain_zarr_and_a_png_do_not_say(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(2, 3, 4), dtype="u1")[:] = 1
    with open_stack(tmp_path / "a.zarr") as stack:
        assert stack.pixel_size == (None, None, None)


def test_a_folder_has_that_of_its_first_section(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "1.tif", GREY[0], resolution=(2e6, 1e6), resolutionunit=3, metadata=None
    )
    with open_stack(tmp_path) as stack:
        assert stack.pixel_size == pytest.approx((None, 0.01, 0.005))


def n5(path: Path) -> Path:
    return write_n5(path / "a.n5", "raw", GREY, resolution=[1000.0, 2000.0, 3000.0])


def precomputed(path: Path) -> Path:
    return write_precomputed(path / "a", GREY, resolution=[1000, 2000, 3000])


def ome_zarr_of_123(version: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        group = zarr.create_group(
            path / "a.zarr", zarr_format=2 if version == "0.4" else 3,
            attributes=ome_attributes(version, 1, (3, 2, 1)),
        )  # fmt: skip
        group.create_array("0", shape=GREY.shape, dtype="u1")[:] = GREY
        return path / "a.zarr"

    return write


def hdf5(attribute: str, unit: float) -> Callable[[Path], Path]:
    sizes = {attribute: (3 * unit, 2 * unit, unit)}
    return lambda path: data_set(attrs={**sizes, "axes": "zyx"})(path / "a.h5", GREY)


def tiff(**about: Any) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        tifffile.imwrite(path / "a.tif", GREY, **about)
        return path / "a.tif"

    return write


OF_MICROMETRES = {"resolution": (1e4, 5e3), "resolutionunit": 3}
DEPTH = {**ZYX, "spacing": 3, "unit": "um"}
OF_123: dict[str, Callable[[Path], Path]] = {
    "OME-Zarr 0.5": ome_zarr_of_123("0.5"),
    "OME-Zarr 0.4": ome_zarr_of_123("0.4"),
    "HDF5, micrometres": hdf5("element_size_um", 1),
    "HDF5, nanometres": hdf5("resolution", 1000),
    "N5": n5,
    "precomputed": precomputed,
    "OME-TIFF": tiff(
        ome=True,
        metadata={**ZYX, "PhysicalSizeX": 1, "PhysicalSizeY": 2, "PhysicalSizeZ": 3},
    ),
    "ImageJ": tiff(imagej=True, resolution=(1, 0.5), metadata=DEPTH),
    "TIFF": tiff(metadata=DEPTH, **OF_MICROMETRES),
}
"""Each format that takes axes, of z = 3, y = 2 and x = 1 micrometre."""


@pytest.mark.parametrize("order", ["".join(one) for one in permutations("ZYX")])
@pytest.mark.parametrize("kind", OF_123)
def test_an_axis_keeps_its_size_whatever_it_is_called(
    tmp_path: Path, kind: str, order: str
) -> None:
    with open_stack(OF_123[kind](tmp_path), axes=order) as stack:
        places = [order.index(name) for name in "ZYX"]
        assert stack.shape == tuple(GREY.shape[k] for k in places)
        assert stack.pixel_size == pytest.approx(tuple(3 - k for k in places))
