"""What other software reads of ours, and we of theirs: ome-zarr-py, ngff-zarr, bioio.

Each test is skipped where its library is not there: ``pip install -e ".[interop]"``.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from output_helpers import complete, windows, write

from paper_unet.images import create_output, open_stack, read_stack

pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries

SHAPE = (3, 611, 523)
EM = (0.05, 0.005, 0.004)
STACK = np.random.default_rng(5).integers(0, 256, SHAPE, dtype=np.uint8)
ZARRS: dict[str, Any] = {"0.5": {}, "0.5 in shards": {"shard": 1024}, "0.4": {"ome_zarr": "0.4"}}
Size = tuple[float, float, float]
Read = Callable[[Path], tuple[Any, Size]]


def library(name: str) -> Any:
    """Import a library, whatever it warns of, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f'{name} is not there: pip install ".[interop]"')


def written(path: Path, **more: Any) -> Path:
    output = create_output(path, SHAPE, "uint8", pixel_size=EM, **more)
    output.prepare(resume=False)
    write(output, STACK, windows(output, SHAPE[1], SHAPE[2]))
    complete(output)
    return path


def by_ome_zarr_py(path: Path) -> tuple[Any, Size]:
    library("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (node,) = Reader(parse_url(path))()
    assert [level.shape for level in node.data] == [
        array.shape for _, array in sorted(zarr.open_group(path, mode="r").arrays())
    ]
    axes = node.metadata["axes"]
    assert [(axis["name"], axis["unit"]) for axis in axes] == [(k, "micrometer") for k in "zyx"]
    return np.asarray(node.data[0]), tuple(
        node.metadata["coordinateTransformations"][0][0]["scale"]
    )


def by_ngff_zarr(path: Path) -> tuple[Any, Size]:
    found = library("ngff_zarr").from_ngff_zarr(str(path)).images[0]
    assert tuple(found.dims) == ("z", "y", "x")
    assert set(found.axes_units.values()) == {"micrometer"}
    z, y, x = (found.scale[axis] for axis in "zyx")
    return np.asarray(found.data), (z, y, x)


def by_bioio(path: Path) -> tuple[Any, Size]:
    library("bioio_ome_tiff" if path.suffix == ".tif" else "bioio_ome_zarr")
    image = library("bioio").BioImage(path)
    size = image.physical_pixel_sizes
    return image.get_image_data("ZYX"), (size.Z, size.Y, size.X)


READERS: dict[str, Read] = {
    "ome-zarr-py": by_ome_zarr_py,
    "ngff-zarr": by_ngff_zarr,
    "bioio": by_bioio,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ZARRS)
def test_they_read_our_ome_zarr(tmp_path: Path, name: str, reader: str) -> None:
    pixels, size = READERS[reader](written(tmp_path / "out.zarr", **ZARRS[name]))
    np.testing.assert_array_equal(pixels, STACK)
    assert size == pytest.approx(EM)


def test_bioio_reads_our_ome_tiff(tmp_path: Path) -> None:
    pixels, size = by_bioio(written(tmp_path / "out.ome.tif"))
    np.testing.assert_array_equal(pixels, STACK)
    assert size == pytest.approx(EM)


# theirs, of several channels and time points

FIVE = np.stack([np.stack([STACK, 255 - STACK]), np.stack([STACK // 2, STACK // 3])])


def check(path: Path, size: Any = EM) -> None:
    for time, channel in ((0, 1), (1, 0)):
        found = read_stack(path, time=time, channel=channel)
        np.testing.assert_array_equal(found, FIVE[time, channel])
    with open_stack(path, time=0, channel=0) as stack:
        assert stack.pixel_size == pytest.approx(size)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_we_read_what_ome_zarr_py_writes(tmp_path: Path, version: str) -> None:
    library("ome_zarr")
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_image

    kind = {"0.4": FormatV04, "0.5": FormatV05}[version]()
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=kind.zarr_format)
    write_image(
        FIVE, group, axes="tczyx", fmt=kind, scale=dict(zip("zyx", EM, strict=True)),
        axes_units=dict.fromkeys("zyx", "micrometer"), scale_factors=[2],
    )  # fmt: skip
    check(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "a.ozx"])
def test_we_read_what_ngff_zarr_writes(tmp_path: Path, name: str) -> None:
    """In a ZIP file, too, as RFC 9 has it."""
    ngff_zarr = library("ngff_zarr")
    scale = dict(zip("tczyx", (1.0, 1.0, *EM), strict=True))
    units = dict.fromkeys("zyx", "micrometer")
    image = ngff_zarr.to_ngff_image(
        FIVE, dims=list("tczyx"), scale=scale, axes_units=units
    )  # fmt: skip
    several = ngff_zarr.to_multiscales(image, scale_factors=[])
    ngff_zarr.to_ngff_zarr(str(tmp_path / name), several, version="0.5")
    check(tmp_path / name)


def test_we_read_what_bioio_writes(tmp_path: Path) -> None:
    library("bioio_ome_tiff")
    from bioio_base.types import PhysicalPixelSizes
    from bioio_ome_tiff.writers import OmeTiffWriter

    OmeTiffWriter.save(
        FIVE, tmp_path / "a.ome.tif", dim_order="TCZYX",
        channel_names=["EM", "membrane"], physical_pixel_sizes=PhysicalPixelSizes(*EM),
    )  # fmt: skip
    check(tmp_path / "a.ome.tif")
    found = read_stack(tmp_path / "a.ome.tif", channel="membrane", time=1)
    np.testing.assert_array_equal(found, FIVE[1, 1])
