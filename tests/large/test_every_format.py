"""One stack of odd size through every format, in and out: equal pixels, equal predictions."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from large_helpers import settings, small_network
from n5_helpers import write_n5
from numpy.typing import NDArray
from PIL import Image
from precomputed_helpers import KINDS, write_precomputed
from process_helpers import run_interpreter

from paper_unet import TrainConfig
from paper_unet.images import create_output, open_stack, read_stack
from paper_unet.large import predict_file
from paper_unet.training.reading import read_training_set

SHAPE = (3, 131, 87)
EM = (0.05, 0.005, 0.004)
GREY = np.random.default_rng(5).integers(0, 256, SHAPE, dtype=np.uint8)
ZYX = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
Write = Callable[[Path, NDArray[Any]], str]


def of_output(name: str) -> Write:
    """What this software writes itself."""

    def write(folder: Path, stack: NDArray[Any]) -> str:
        output = create_output(folder / name, stack.shape, stack.dtype, pixel_size=EM)
        output.prepare(resume=False)
        for z, section in enumerate(stack):
            output.write(z, 0, 0, section)
            output.sync(z, (0, SHAPE[1]), (0, SHAPE[2]))
        for stage in output.stages():
            for task in stage:
                output.run(task)
        output.finish()
        return str(folder / name)

    return write


def tiff(**given: Any) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        tifffile.imwrite(folder / "a.tif", stack, **{**ZYX, **given})
        return str(folder / "a.tif")

    return write


def pictures(folder: Path, stack: NDArray[Any]) -> str:
    (folder / "in").mkdir()
    for z, section in enumerate(stack):
        Image.fromarray(section).save(folder / "in" / f"{z}.png")
    return str(folder / "in")


def zarrs(version: int) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        given: Any = {"zarr_format": version, "shape": SHAPE, "dtype": stack.dtype}
        with zarr.config.set({"array.write_empty_chunks": True}):
            zarr.create_array(folder / "a.zarr", chunks=(2, 50, 50), **given)[:] = stack
        return str(folder / "a.zarr")

    return write


def in_shards(folder: Path, stack: NDArray[Any]) -> str:
    more: Any = {"shape": SHAPE, "chunks": (1, 16, 16), "shards": (2, 64, 48)}
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.create_array(folder / "a.zarr", dtype=stack.dtype, **more)[:] = stack
    return str(folder / "a.zarr")


def zipped(name: str, method: int, write: Write) -> Write:
    def make(folder: Path, stack: NDArray[Any]) -> str:
        store = Path(write(folder, stack))
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for file in sorted(one for one in store.rglob("*") if one.is_file()):
                archive.write(file, file.relative_to(store))
        return str(folder / name)

    return make


def among_others(write: Callable[[Path, NDArray[Any]], None], name: str) -> Write:
    """As channel 1 of time point 2, of which the others are noise."""

    def make(folder: Path, stack: NDArray[Any]) -> str:
        noise = np.random.default_rng(6).integers(0, 256, (3, 2, *SHAPE), dtype=np.uint8)
        noise[2, 1] = stack
        write(folder / name, noise)
        return str(folder / name)

    return make


def bioformats2raw(path: Path, data: NDArray[Any]) -> None:
    """The image ``0`` of a root, T, C, Z, Y and X."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    group = root.create_group("0")
    group.create_array("0", data=data, chunks=(1, 1, 1, 64, 64))
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1.0] * 5}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.attrs["omero"] = {"channels": [{"label": "DAPI"}, {"label": "EM"}]}


def ome_tiff(path: Path, data: NDArray[Any]) -> None:
    about = {"axes": "TCZYX", "Channel": {"Name": ["DAPI", "EM"]}}
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=about)


def named_hdf5(path: Path, data: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("raw", data=data.transpose(1, 2, 0, 3, 4), chunks=True)
        made.attrs["axes"] = "czTyx"


def hdf5(**given: Any) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("volumes/raw", data=stack, **given)
            file["volumes/labels/neuron_ids"] = stack.astype("u8")
        return f"{folder}/a.h5:/volumes/raw"

    return write


def n5(compression: str, **given: Any) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        size = {"resolution": [4, 5, 50], "units": ["nm"] * 3, "compression": compression}
        write_n5(folder / "a.n5", "labels/cells", stack.astype("u8"))
        return str(write_n5(folder / "a.n5", "raw/s0", stack, **size, **given))

    return write


def precomputed(kind: str) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        scale = {**KINDS[kind], "voxel_offset": [7, -3, 1000]}
        write_precomputed(folder / "volume", stack, **scale)
        return f"precomputed://file://{folder}/volume"

    return write


def mrc(dtype: str, shift: int = 0) -> Write:
    def write(folder: Path, stack: NDArray[Any]) -> str:
        with mrcfile.new(folder / "a.mrc") as file:
            file.set_data((stack.astype("i2") - shift).astype(dtype))
        return str(folder / "a.mrc")

    return write


OUTPUTS = [
    "a.tif", "a.btf", "a.ome.tif", "a.h5", "a.h5:/volumes/raw", "a.zarr", "a.ome.zarr",
    "a.precomputed",
]  # fmt: skip
INPUTS: dict[str, tuple[Write, tuple[float, float] | None]] = {
    **{name: (of_output(name), None) for name in OUTPUTS},
    "deflate": (tiff(compression="zlib", tile=(32, 32)), None),
    "PNG": (pictures, None),
    "Zarr 2": (zarrs(2), None),
    "Zarr 3": (zarrs(3), None),
    "Zarr 3, shards": (in_shards, None),
    "Zarr in a ZIP": (zipped("a.zarr.zip", zipfile.ZIP_DEFLATED, zarrs(2)), None),
    "OME-Zarr in a ZIP": (zipped("a.ozx", zipfile.ZIP_STORED, of_output("b.zarr")), None),
    "bioformats2raw, T and C": (among_others(bioformats2raw, "a.zarr"), None),
    "OME-TIFF, T and C": (among_others(ome_tiff, "a.ome.tif"), None),
    "HDF5, T and C": (among_others(named_hdf5, "a.h5"), None),
    "HDF5 block": (hdf5(), None),
    "HDF5 chunks": (hdf5(chunks=(2, 50, 50), compression="gzip", shuffle=True), None),
    "HDF5 lzf": (hdf5(chunks=(1, 16, 87), compression="lzf"), None),
    "N5 gzip": (n5("gzip"), None),
    "N5 blosc": (n5("blosc", block=(1, 40, 87)), None),
    "N5 raw": (n5("raw", block=(3, 131, 87)), None),
    "precomputed raw": (precomputed("raw"), None),
    "precomputed png": (precomputed("png"), None),
    "precomputed sharded": (precomputed("sharded"), None),
    "MRC 0": (mrc("i1", 128), None),
    "MRC 1": (mrc("i2"), (0.0, 255.0)),
    "MRC 2": (mrc("f4"), (0.0, 255.0)),
    "MRC 6": (mrc("u2"), (0.0, 255.0)),
}


SIZED = [*OUTPUTS, *(name for name in INPUTS if name.startswith(("N5", "precomputed")))]
"""Those that say the size of a pixel."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("expected")
    return predicted(folder, tiff()(folder, GREY), "out.tif", None)


def predicted(folder: Path, source: str, name: str, value_range: Any, **more: Any) -> NDArray[Any]:
    small_network(folder / "net.safetensors")
    config = settings(folder, name, value_range=value_range, **more)
    return read_stack(predict_file(replace(config, source=source)))


@pytest.mark.parametrize("name", INPUTS)
def test_pixels_and_predictions_are_equal(tmp_path: Path, name: str, expected: Any) -> None:
    write, value_range = INPUTS[name]
    source = write(tmp_path, GREY)
    chosen: Any = {}
    if "T and C" in name:
        chosen = {"time": 2, "channel": "1" if name.startswith("HDF5") else "EM"}
    with open_stack(source, **chosen) as stack:
        assert stack.shape == SHAPE
        shift = 128 if name == "MRC 0" else 0
        np.testing.assert_array_equal(np.array(list(stack)).astype(int) + shift, GREY)
        if name in SIZED:
            assert stack.pixel_size == pytest.approx(EM)
    found = predicted(tmp_path, source, "out.h5:/prediction", value_range, **chosen)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", [*OUTPUTS, "a.tiff", "a.tf8", "a.hdf5"])
def test_predictions_in_every_output_are_equal(tmp_path: Path, name: str, expected: Any) -> None:
    source = of_output("in.h5")(tmp_path, GREY)
    np.testing.assert_array_equal(predicted(tmp_path, source, name, None), expected)
    with open_stack(tmp_path / name) as stack:
        assert stack.pixel_size == pytest.approx(EM)


@pytest.mark.parametrize("shard", [512, 1024])
def test_predictions_in_shards_are_equal(tmp_path: Path, shard: int, expected: Any) -> None:
    source = of_output("in.h5")(tmp_path, GREY)
    found = predicted(tmp_path, source, "out.zarr", None, shard=shard)
    np.testing.assert_array_equal(found, expected)
    assert zarr.open_array(tmp_path / "out.zarr" / "0", mode="r").shards == (1, shard, shard)
    with open_stack(tmp_path / "out.zarr") as stack:
        assert stack.pixel_size == pytest.approx(EM)


@pytest.mark.parametrize("dtype", ["u1", "u8"])
@pytest.mark.parametrize(
    ("name", "of_labels"),
    [("HDF5 block", "HDF5 block"), ("HDF5 chunks", "HDF5 chunks"), ("a.zarr", "Zarr 3"),
     ("a.h5", "HDF5 lzf"), ("MRC 0", "HDF5 block"), ("MRC 6", "Zarr 2"), ("N5 gzip", "N5 blosc"),
     ("a.precomputed", "precomputed sharded"), ("precomputed png", "precomputed raw")],
)  # fmt: skip
def test_training_takes_them(tmp_path: Path, name: str, of_labels: str, dtype: str) -> None:
    """Of the same pixels and labels, the same data to learn from, to the bit."""
    write, value_range = INPUTS[name]
    cells = np.zeros(SHAPE, np.uint8)
    cells[:, 5:60, 5:40], cells[:, 5:60, 41:80] = 1, 2
    folders = [tmp_path / name for name in ("images", "labels", "more images", "more labels")]
    for folder in folders:
        folder.mkdir()
    given: dict[str, Any] = {"out": str(tmp_path / "run"), "label_kind": "instance"}
    plain = TrainConfig(images=tiff()(folders[0], GREY), labels=tiff()(folders[1], cells), **given)
    images, labels = write(folders[2], GREY), INPUTS[of_labels][0](folders[3], cells.astype(dtype))
    other = TrainConfig(images=images, labels=labels, value_range=value_range, **given)
    assert read_training_set(other).fingerprint() == read_training_set(plain).fingerprint()


def test_labels_of_signed_bytes(tmp_path: Path) -> None:
    """Numbers of cells stay what they are."""
    cells = (GREY % 100).astype("i1")
    np.testing.assert_array_equal(read_stack(mrc("i1")(tmp_path, cells), labels=True), cells)


PEAK = """
import sys
from pathlib import Path
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.executor import LocalExecutor
source, out, weights = sys.argv[1:]
# what importing takes is up to the build of PyTorch
allowed = LocalExecutor().allowed("cpu")[0] // 10**6 + 455
config = PredictConfig(
    source, out, weights=weights, memory=f"{allowed}MB", threads=1, device="cpu", slices="399:400",
    missing="fill",
)
predict_file(config)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(allowed, 1.024e-3 * peak)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["h5", "deep h5", "mrc", "n5", "precomputed"])
def test_peak_memory_is_within_what_is_allowed(tmp_path: Path, kind: str) -> None:
    """A file larger than the memory allowed, of which one section is predicted."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    small_network(tmp_path / "net.safetensors")
    shape = (400, 1400, 1500)  # 840 MB
    written = np.full((100, *shape[1:]), 5, np.uint8)  # the last sections; the rest is missing
    if kind == "n5":
        source = write_n5(tmp_path / "in.n5", "raw", written, (100, 256, 256), before=300)
    elif kind == "precomputed":
        chunk = 256, 256, 100
        source = write_precomputed(tmp_path / "in", written, chunk, before=300, **KINDS["sharded"])
    elif kind == "mrc":
        source = tmp_path / "in.mrc"
        with mrcfile.new_mmap(source, shape, mrc_mode=0):
            pass
    else:
        source = tmp_path / "in.h5"
        deep = {"chunks": (100, 256, 256), "compression": "gzip"} if kind != "h5" else {}
        with h5py.File(source, "w") as file:
            made = file.create_dataset("raw", shape, "u1", **deep)
            if deep:
                made[300:] = written
            else:
                made[-1] = 5
    run = run_interpreter(
        PEAK, str(source), str(tmp_path / "out.h5"), str(tmp_path / "net.safetensors")
    )
    assert run.returncode == 0, run.stderr
    allowed, peak = map(float, run.stdout.splitlines()[-1].split())  # MB
    assert peak < allowed
