"""Several classes at once: a channel for each, or a label image; on disk as in memory."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from large_helpers import Crashing, Fails, content, sections, settings
from numpy.typing import NDArray

from paper_unet import UNet, load_model, predict_image, predict_stack
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack, read_stack
from paper_unet.images.outputs import OUTPUTS
from paper_unet.images.outputs.tiff import TiffOutput
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.large import PredictConfig, join_parts, predict_file, predict_part
from paper_unet.networks.table import network_class
from paper_unet.networks.weights_file import save_model

ALL = ["out.tif", "out.btf", "out.ome.tif", "out.h5", "out.zarr"]
K = 3


def network(path: Path, classes: int = K, **record: object) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = UNet(width=2, out_channels=classes)
        with torch.no_grad():
            noise = model(torch.rand(1, 1, 268, 268))
            model.head.weight.div_(noise.std() / 3)
            model.head.bias.sub_(noise.mean(dim=(0, 2, 3)) / noise.std() * 3)  # none wins always
    model.record.update(record)
    save_model(path, model)


OF_ONE_SCORE = network_class("keras")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif", (2, 300, 210))
    return tmp_path


def read(path: Path) -> NDArray[Any]:
    """The pixels, by the formats' own libraries."""
    if path.suffix == ".zarr":
        return np.asarray(zarr.open_group(path, mode="r")["0"][:])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file["data"][:])
    return np.asarray(tifffile.imread(path))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "uint16"])
@pytest.mark.parametrize("name", ALL)
def test_a_channel_for_each_class(folder: Path, name: str, dtype: str) -> None:
    out = predict_file(settings(folder, name, all_classes=True, dtype=dtype))
    found, stack = read(out), read_stack(folder / "in.tif")
    assert (found.shape, found.dtype) == ((K, 2, 300, 210), dtype)
    model = load_model(folder / "net.safetensors")
    memory = predict_stack(model, stack, all_classes=True, dtype=dtype)  # type: ignore[arg-type]
    assert isinstance(memory, np.ndarray)
    assert memory.shape == found.shape
    steps = 1 if dtype != "float32" else 1e-6
    assert np.abs(found.astype(np.float64) - memory).max() <= steps
    for k in range(K):
        one = predict_file(settings(folder, f"{k}-{name}", of_class=k, dtype=dtype))
        np.testing.assert_array_equal(read(one).reshape(found[k].shape), found[k])
    if dtype == "float32":
        np.testing.assert_allclose(found.sum(axis=0), 1, rtol=0, atol=1e-5)
    assert all(
        np.ptp(channel) > 0.1 * (1 if steps < 1 else np.iinfo(dtype).max) for channel in found
    )


@pytest.mark.parametrize("name", ALL)
def test_the_most_probable_class(folder: Path, name: str) -> None:
    every = predict_file(settings(folder, "every.tif", all_classes=True))
    out = predict_file(settings(folder, name, argmax=True))
    found = read(out)
    assert (found.shape, found.dtype) == ((2, 300, 210), np.uint8)
    with open_stack(out, labels=True) as stored:
        assert stored.says_labels
    np.testing.assert_array_equal(found, read(every).argmax(axis=0))
    assert set(np.unique(found)) == set(range(K))
    model, stack = load_model(folder / "net.safetensors"), read_stack(folder / "in.tif")
    memory = predict_stack(model, stack, argmax=True)
    assert np.asarray(memory).dtype == np.uint8
    assert np.mean(np.asarray(memory) != found) < 1e-3


def test_ties_and_one_score(tmp_path: Path) -> None:
    """Equal scores are the first class; one score is a logit, of class 1."""
    image = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    flat = UNet(width=2, out_channels=3)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.zero_()
    assert not predict_image(flat, image, argmax=True).any()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = OF_ONE_SCORE(out_channels=1, width=2).eval()
    every = predict_image(one, image, all_classes=True)
    assert every.shape == (2, 60, 50)
    for k in (0, 1):
        np.testing.assert_array_equal(every[k], predict_image(one, image, of_class=k))
    np.testing.assert_array_equal(predict_image(one, image, argmax=True), every[1] > every[0])


@pytest.mark.parametrize("average", ["flips", "rotations"])
def test_averages_are_of_the_scores(folder: Path, average: str) -> None:
    out = predict_file(settings(folder, all_classes=True, average=average))
    label = predict_file(settings(folder, "label.tif", argmax=True, average=average))
    np.testing.assert_array_equal(read(label), read(out).argmax(axis=0))
    model, stack = load_model(folder / "net.safetensors"), read_stack(folder / "in.tif")
    expected = predict_image(model, stack[1], all_classes=True, average=average)  # type: ignore[arg-type]
    np.testing.assert_allclose(read(out)[:, 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["stream", "tiles"])
def test_engines_agree(folder: Path, engine: str) -> None:
    model, stack = load_model(folder / "net.safetensors"), read_stack(folder / "in.tif")
    found = predict_image(model, stack[0], all_classes=True, engine=engine, tile=236)  # type: ignore[arg-type]
    expected = predict_image(model, stack[0], all_classes=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# --- metadata -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_channels_of_ome_zarr_have_names(folder: Path, version: str) -> None:
    network(folder / "net.safetensors", class_names=["membrane", "cell", "a  b"])
    sections(folder / "in.tif", (1, 600, 100))
    out = predict_file(settings(folder, "out.zarr", all_classes=True, ome_zarr=version))
    group = zarr.open_group(out, mode="r")
    about = dict(group.attrs) if version == "0.4" else group.attrs["ome"]
    assert [channel["label"] for channel in about["omero"]["channels"]] == [
        "membrane",
        "cell",
        "a b",
    ]
    (pyramid,) = about["multiscales"]
    assert [axis["name"] for axis in pyramid["axes"]] == ["c", "z", "y", "x"]
    assert pyramid["axes"][0]["type"] == "channel"
    second = pyramid["datasets"][1]["coordinateTransformations"]
    assert second[0]["scale"] == [1, 1, 2, 2] and second[1]["translation"] == [0, 0, 0.5, 0.5]
    assert group["0"].chunks == (1, 1, 512, 512) and group["1"].shape == (3, 1, 300, 50)
    full = np.asarray(group["0"][:]).astype(np.float64)
    means = full.reshape(3, 1, 300, 2, 50, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(np.asarray(group["1"][:]), means, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_label_image_has_a_nearest_pyramid(folder: Path, version: str) -> None:
    sections(folder / "in.tif", (1, 600, 100))
    out = predict_file(settings(folder, "out.zarr", argmax=True, ome_zarr=version))
    group = zarr.open_group(out, mode="r")
    about = dict(group.attrs) if version == "0.4" else group.attrs["ome"]
    assert "image-label" in about
    np.testing.assert_array_equal(group["1"][:], np.asarray(group["0"][:])[:, ::2, ::2])
    assert about["multiscales"][0]["type"] == "nearest"


def test_labels_of_an_image(folder: Path) -> None:
    predict_file(settings(folder, "image.zarr"))
    out = predict_file(settings(folder, "image.zarr/labels/kinds", argmax=True))
    assert zarr.open_group(folder / "image.zarr/labels", mode="r").attrs["ome"] == {
        "version": "0.5", "labels": ["kinds"],
    }  # fmt: skip
    np.testing.assert_array_equal(
        zarr.open_group(out, mode="r")["0"][:],
        read(predict_file(settings(folder, "plain.zarr", argmax=True))),
    )


def test_labels_of_a_part_of_an_image(folder: Path) -> None:
    predict_file(settings(folder, "image.zarr"))
    with open_stack(folder / "image.zarr") as stack:
        deep, high, wide = stack.shape
    said = rf"would be 1 x {high} x {wide}, .* is {deep} x {high} x {wide}; .* `slices`"
    with pytest.raises(InputError, match=said):
        predict_file(settings(folder, "image.zarr/labels/kinds", argmax=True, slices="1"))
    assert not (folder / "image.zarr" / "labels").exists()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("given", [{"memory": "1MB"}, {"shard": 7}])
def test_what_is_refused_leaves_nothing_in_the_image(
    folder: Path, given: dict[str, Any], version: str
) -> None:
    predict_file(settings(folder, "image.zarr", ome_zarr=version))
    before = content(folder / "image.zarr")
    config = settings(folder, "image.zarr/labels/kinds", argmax=True, ome_zarr=version, **given)
    for run in (predict_file, partial(predict_part, part="1/2")):
        with pytest.raises(InputError):
            run(config)
        assert content(folder / "image.zarr") == before
        assert not (folder / "image.zarr" / "labels").exists()


def test_names_in_tiff_and_hdf5(folder: Path) -> None:
    names = ["membrane", "cell", "other"]
    network(folder / "net.safetensors", class_names=names)
    with tifffile.TiffFile(predict_file(settings(folder, "o.ome.tif", all_classes=True))) as file:
        assert file.is_ome and file.series[0].axes == "CZYX"
        for name in names:
            assert f'Name="{name}"' in (file.ome_metadata or "")
    with tifffile.TiffFile(predict_file(settings(folder, "o.tif", all_classes=True))) as file:
        assert file.series[0].axes == "CZYX"
        assert json.loads(file.pages.first.description)["channels"] == names
    with h5py.File(predict_file(settings(folder, "o.h5", all_classes=True))) as opened:
        about = opened["data"].attrs
        assert about["axes"] == b"czyx"
        assert list(about["channels"]) == names


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.h5"])
def test_what_is_written_is_read_as_channels(folder: Path, name: str) -> None:
    out = predict_file(settings(folder, name, all_classes=True))
    np.testing.assert_array_equal(read_stack(out, channels=K), read(out).swapaxes(0, 1))
    with pytest.raises(InputError, match="channel"):
        read_stack(out)


# --- resuming, parts, memory ----------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.parametrize("given", [{"all_classes": True}, {"argmax": True}], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_stopped_and_in_parts_the_bytes_are_the_same(
    folder: Path, name: str, given: dict[str, Any]
) -> None:
    sections(folder / "in.tif", (1, 1100, 100))
    single = predict_file(settings(folder, f"single.{name.partition('.')[2]}", **given))
    config = settings(folder, name, **given)
    with pytest.raises(Fails):
        predict_file(config, executor=Crashing(pieces=1))
    with pytest.raises(InputError, match="classes = "):
        predict_file(settings(folder, name, dtype=config.stored))
    predict_file(config, verify=True)
    assert content(folder / name) == content(single)
    for part in ("2/2", "1/2"):
        predict_part(config, part, overwrite=True)
    join_parts(config, overwrite=True, verify=True)
    assert content(folder / name) == content(single)


def test_damage_in_any_channel_is_found(folder: Path) -> None:
    single = predict_file(settings(folder, "single.tif", all_classes=True))
    for channel in range(K):
        config = settings(folder, f"{channel}.tif", all_classes=True)
        with pytest.raises(Fails):
            predict_file(config, executor=Crashing(pieces=5))
        partial = folder / f"{channel}.tif.partial"
        data = bytearray(partial.read_bytes())
        pixels = K * 2 * 300 * 210 * 4
        data[len(data) - pixels + channel * pixels // K + 1000] ^= 1
        partial.write_bytes(data)
        counted = Crashing()
        predict_file(config, executor=counted)
        assert 0 in counted.done
        assert content(folder / f"{channel}.tif") == content(single)


def test_memory_counts_the_channels(folder: Path) -> None:
    model = load_model(folder / "net.safetensors")
    for settings_ in (InferenceSettings(), InferenceSettings(engine="tiles")):
        engine = engine_for(model, settings_)
        plan = Plan(64, 2048, 512)
        one, all_ = (engine.peak_bytes(plan, (2048, 2048), values) for values in (1, K))
        assert all_ - one >= (K - 1) * 20 * 512 * 2048


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"argmax": True, "all_classes": True}, {"argmax": True, "of_class": 0},
              {"all_classes": True, "of_class": 1}], ids=str,
)  # fmt: skip
def test_one_of_them(folder: Path, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give one of them"):
        predict_file(settings(folder, **given))
    model, image = load_model(folder / "net.safetensors"), np.zeros((20, 20), np.uint8)
    with pytest.raises(InputError, match="give one of them"):
        predict_image(model, image, **given)
    assert not list(folder.glob("out*"))


def test_other_refusals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="argmax"):
        PredictConfig("in.tif", "out.tif", argmax=True, dtype="uint16")

    class Grey(TiffOutput):
        holds_channels = False

    monkeypatch.setitem(OUTPUTS, ".grey", Grey)
    with pytest.raises(InputError, match="one value for each pixel, not 3"):
        predict_file(settings(folder, "out.grey", all_classes=True))
    with pytest.raises(InputError, match="unknown kind"):
        predict_file(settings(folder, "out.jpg", all_classes=True))
    network(folder / "many.safetensors", classes=257)
    with pytest.raises(InputError, match="257 classes"):
        predict_file(settings(folder, argmax=True, weights=str(folder / "many.safetensors")))


def test_the_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["predict", str(folder / "in.tif"), "--weights", str(folder / "net.safetensors")]
    assert main([*given, "-o", str(folder / "a.tif"), "--all-classes", "--dtype", "uint8"]) == 0
    assert "a channel for each, uint8" in capsys.readouterr().out
    assert main([*given, "-o", str(folder / "b.tif"), "--argmax"]) == 0
    assert "most probable class, uint8" in capsys.readouterr().out
    assert main([*given, "-o", str(folder / "c.tif"), "--argmax", "--all-classes"]) == 2
    assert "--all-classes and --argmax are given" in capsys.readouterr().err
