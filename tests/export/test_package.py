"""A package of BioImage.IO: its own reader passes it, and its tiles are one pass."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_unet import UNet, load_model, predict_image
from paper_unet.errors import InputError
from paper_unet.export.bioimageio import _allowed, _tiling
from paper_unet.export.graph import SameSize
from paper_unet.export.run import export_file
from paper_unet.export.settings import ExportSettings
from paper_unet.export.tensors import grey_ranges, grey_type
from paper_unet.networks.card import model_card
from paper_unet.networks.keras import KerasUNet
from paper_unet.networks.known_weights import TERMS
from paper_unet.networks.table import make_network
from paper_unet.networks.weights_file import save_model
from paper_unet.synthetic import synthetic_stack

pytest.importorskip("onnx", reason='pip install "paper-unet[export]"')
yaml: Any = pytest.importorskip("yaml")
THEIRS = pytest.mark.filterwarnings("ignore")  # of the libraries that the reader uses


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_file("bundled", tmp_path_factory.mktemp("zip") / "m.bioimage.zip").path


def described(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return yaml.safe_load(files["rdf.yaml"]), files


def array(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


@pytest.mark.slow
def test_what_is_in_it(package: Path) -> None:
    rdf, files = described(package)
    (given,), (output,) = rdf["inputs"], rdf["outputs"]
    for axis in given["axes"][2:]:
        assert axis["size"] == {"min": 208, "step": 16}
    for axis in output["axes"][2:]:
        assert axis["halo"] == 96 and axis["size"]["tensor_id"] == "image"
    assert given["pad"] == {"mode": "reflect"}
    assert output["axes"][1]["channel_names"] == ["membrane", "cell"]
    assert rdf["name"] == "isbi2012 (U-Net)"
    assert files[rdf["license"]["source"]].decode() == f"{TERMS}\n"
    dois = [entry["doi"] for entry in rdf["cite"]]
    assert dois[0] == "10.1007/978-3-319-24574-4_28" and "10.1371/journal.pbio.1000502" in dois
    assert rdf["config"]["paper_unet"]["centre"] == "0.0"
    assert files["cover.png"].startswith(b"\x89PNG") and len(files["cover.png"]) < 500_000
    card = files["README.md"].decode()
    assert "1,940,834 parameters" in card and "## Tiles" in card and "halo of 96" in card


@pytest.mark.slow
def test_its_tensors_are_our_own_prediction(package: Path) -> None:
    _, files = described(package)
    image, probability = array(files["test_input.npy"]), array(files["test_output.npy"])
    assert image.dtype == np.uint8
    expected = predict_image(load_model(), image[0, 0])
    np.testing.assert_array_equal(probability[0, -1], expected)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.slow
@THEIRS
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_its_own_reader_passes_it(package: Path, kind: str) -> None:
    """And tiles of it are one pass: as they are where sides are multiples of 16, else mirrored."""
    core = pytest.importorskip("bioimageio.core", reason='pip install "paper-unet[bioimageio]"')
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.core.tensor import Tensor

    assert core.test_model(package, weight_format=kind).status == "passed"
    model = core.load_model_description(package)
    section = synthetic_stack(sections=1, shape=(272, 336)).images[0]
    part = section[:250, :330]
    mirrored = np.pad(part, [(0, 96 + -250 % 16), (0, 96 + -330 % 16)], mode="reflect")
    with core.create_prediction_pipeline(model, weight_format=kind) as pipeline:
        for image, wanted in ((section, section), (mirrored, part)):
            given = Tensor(image[None, None], dims=("batch", "channel", "y", "x"))
            sample = create_sample_for_model(model, inputs={"image": given})
            made = pipeline.predict_sample_with_blocking(sample, ns=3)  # 256, of which 64 are kept
            tiled = np.asarray(made.members["probability"].data)[0, -1]
            expected = predict_image(load_model(), wanted)
            found = tiled[: wanted.shape[0], : wanted.shape[1]]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@THEIRS
def test_the_network_as_the_paper_has_it(tmp_path: Path) -> None:
    """Its output is 184 pixels smaller, and says so; 16 bits, a range, a centre, a licence."""
    core = pytest.importorskip("bioimageio.core", reason='pip install "paper-unet[bioimageio]"')
    model = UNet(1, 3, 2)
    model.centre, model.grey_ranges["uint16"] = 0.5, (100.0, 4000.0)
    model.record = {"config": {"value_range": [100, 4000], "label_kind": "class"}}
    save_model(tmp_path / "w.safetensors", model)
    settings = ExportSettings(
        valid=True, title="Käfer / 3 classes", author="A. Author", licence="CC-BY-4.0"
    )
    done = export_file(tmp_path / "w.safetensors", tmp_path / "m.bioimage.zip", settings)
    assert "tiles" in done.notes[0]
    rdf, files = described(done.path)
    (given,), (output,) = rdf["inputs"], rdf["outputs"]
    assert given["data"]["type"] == "uint16"
    for taken, axis in zip(given["axes"][2:], output["axes"][2:], strict=True):
        assert taken["size"] == {"min": 188, "step": 16}
        assert axis["size"]["offset"] == -184 and "halo" not in axis
    scaling = next(step for step in given["preprocessing"] if step["id"] == "scale_linear")
    gain, offset = scaling["kwargs"]["gain"], scaling["kwargs"]["offset"]
    assert (100 * gain + offset, 4000 * gain + offset) == pytest.approx((0, 1))
    assert (rdf["license"], rdf["authors"]) == ("CC-BY-4.0", [{"name": "A. Author"}])
    assert rdf["name"] == "K fer 3 classes" and "LICENSE.txt" not in files
    image, probability = array(files["test_input.npy"]), array(files["test_output.npy"])
    assert [a - b for a, b in zip(image.shape[2:], probability.shape[2:], strict=True)] == [184] * 2
    assert core.test_model(done.path, weight_format="onnx").status == "passed"


@pytest.mark.slow
@THEIRS
def test_colours_and_a_network_with_padding(tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason='pip install "paper-unet[bioimageio]"')
    model = KerasUNet(3, 1, 2).eval()
    model.centre = 0.5
    save_model(tmp_path / "weights.safetensors", model)
    done = export_file(tmp_path / "weights.safetensors", tmp_path / "m.zip")
    assert "pads by zeros" in done.notes[0]
    rdf, _ = described(done.path)
    assert rdf["outputs"][0]["axes"][1]["channel_names"] == ["cell"]
    assert "license" not in rdf and rdf["authors"] == [{"name": "not stated"}]
    assert rdf["name"] == f"{_allowed(tmp_path.name)} (U-Net)"
    assert core.test_model(done.path, weight_format="onnx").status == "passed"


def test_whose_grey_values_they_are() -> None:
    model = UNet(1, 2, 2)
    assert grey_type(model) == "uint8"
    model.grey_ranges = {"uint16": (0.0, 4095.0), "uint8": (0.0, 255.0)}  # as a file has them
    assert grey_type(model) == "uint8"  # nothing says that it was trained on the others
    model.record = {"config": {"value_range": [0, 4095]}}
    assert grey_type(model) == "uint16"
    model.record = {"config": {"value_range": None}}  # goes on from weights that were
    assert grey_type(model) == "uint16"
    model.grey_ranges["int16"] = (-5.0, 5.0)
    with pytest.raises(InputError, match=r"int16.*choose one with `grey_type`"):
        grey_type(model)
    assert grey_type(model, "uint8") == "uint8"
    with pytest.raises(InputError, match="knows the grey values of uint16, uint8, int16"):
        grey_type(model, "float64")
    model.record["grey_type"] = "uint8"  # fine-tuned: the last training decides
    assert grey_type(model) == "uint8"
    model.record["grey_type"] = "float64"  # in [0, 1]; a package names float32
    assert grey_type(model) == "float32" and grey_ranges(model)["float32"] == (0.0, 1.0)
    model.grey_ranges["float64"] = (-2.0, 3.0)
    assert grey_ranges(model)["float32"] == (-2.0, 3.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ExportSettings(title="ab"), "`title` is 'ab'"),
        (ExportSettings(title="日本語のモデル"), "at least 5 letters"),
        (ExportSettings(licence="my own terms"), "give an SPDX identifier"),
        (ExportSettings(licence="CC0-1.0"), "have terms of their own"),
        (ExportSettings(grey_type="uint16"), "knows the grey values of uint8"),
    ],
)
def test_what_a_package_cannot_say(settings: ExportSettings, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        export_file("bundled", tmp_path / "m.bioimage.zip", settings)
    assert not list(tmp_path.iterdir())


def test_what_learnt_from_percentiles_is_no_package(tmp_path: Path) -> None:
    """Other software would scale each image by itself, or, worse, by the range of its type."""
    model = UNet(1, 2, 1)
    model.record = {"scaling": {"percentiles": [0.5, 99.5], "grey_range": [120.0, 3000.0]}}
    save_model(tmp_path / "w.safetensors", model)
    with pytest.raises(InputError, match=r"percentiles 0.5 and 99.5 of a whole stack"):
        export_file(tmp_path / "w.safetensors", tmp_path / "m.bioimage.zip")
    done = export_file(tmp_path / "w.safetensors", tmp_path / "m.pt2")
    assert "percentiles 0.5 and 99.5" in done.notes[0]
    assert "percentiles 0.5 and 99.5" in model_card(model, "m") and "0 to 255" not in done.notes[0]


def test_what_is_said_of_tiles_is_true_of_the_network() -> None:
    """Bilinear up-sampling between aligned corners depends on the size of the whole image."""
    tiled, other = (
        _tiling(SameSize(make_network(name, 1, 2, 1, 0.0).eval()))
        for name in ("popular", "popular_bilinear")
    )
    assert "give what one pass over the whole image gives" in tiled and "no tiles give" in other
