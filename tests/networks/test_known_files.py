"""The well-known variants in predictions from file to file, and in the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from variant_helpers import NAMES, live, noise, stop_after

from paper_unet import load_model, predict_stack
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.report import Report
from paper_unet.networks.weights_file import save_model
from paper_unet.system.stop import Stop, Stopped


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    sections = np.random.default_rng(2).integers(0, 256, (2, 430, 200)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", sections)
    return tmp_path / "in.tif"


@pytest.mark.exact
@pytest.mark.parametrize("name", [*NAMES, "same_padding"])
def test_a_file_gets_what_memory_gets(name: str, stack: Path, tmp_path: Path) -> None:
    model = live(name)
    model.centre = 0.5 if model.context.padded else 0.0
    save_model(tmp_path / "w.safetensors", model)
    said: list[str] = []
    config = PredictConfig(
        source=str(stack), out=str(tmp_path / "out.tif"), weights=str(tmp_path / "w.safetensors"),
        tile=412, device="cpu", memory="3GB",
    )  # fmt: skip
    predict_file(config, report=Report(said.append))
    assert "does not stream" in said[0]
    expected = predict_stack(
        load_model(tmp_path / "w.safetensors"), tifffile.imread(stack), tile=412
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), expected)


@pytest.mark.exact
@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_an_interrupted_file_gets_the_same_bytes(
    suffix: str, stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "w.safetensors", live("popular_bilinear"))
    files = {}
    for run in ("whole", "cut"):
        config = PredictConfig(
            source=str(stack), out=str(tmp_path / (run + suffix)), tile=380, halo=32,
            weights=str(tmp_path / "w.safetensors"), device="cpu", memory="3GB",
        )  # fmt: skip
        if run == "cut":
            with monkeypatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(Stop, "__call__", stop_after(2))
                predict_file(config)
        out = predict_file(config)
        if suffix == ".tif":
            files[run] = {"": out.read_bytes()}
        else:
            files[run] = {
                str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()
            }
    differing = [k for k in files["whole"] if files["whole"][k] != files["cut"].get(k)]
    assert len(files["whole"]) == len(files["cut"])
    assert all(key.endswith("zarr.json") for key in differing)


def test_too_little_memory_for_a_tile(stack: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "w.safetensors", live("annotated", width=16))
    config = PredictConfig(
        source=str(stack), out=str(tmp_path / "out.tif"), weights=str(tmp_path / "w.safetensors"),
        device="cpu", memory="50MB",
    )  # fmt: skip
    with pytest.raises(InputError, match="use a smaller `tile`"):
        predict_file(config)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = noise(100, 110)[None].repeat(2, 0)
    tifffile.imwrite(tmp_path / "images.tif", images)
    tifffile.imwrite(tmp_path / "labels.tif", np.where(images > 60, 255, 0).astype(np.uint8))
    out = tmp_path / "run"
    arguments = [
        "train", "--images", tmp_path / "images.tif", "--labels", tmp_path / "labels.tif",
        "--out", out, "--network", "valid_batchnorm", "--width", "2", "--tile", "204",
        "--steps", "2", "--device", "cpu", "--slices", "0",
    ]  # fmt: skip
    assert main([str(a) for a in arguments]) in (None, 0)
    arguments = [
        "predict", tmp_path / "images.tif", "-o", tmp_path / "p.tif", "--weights",
        out / "weights.safetensors", "--device", "cpu", "--tile", "284",
    ]  # fmt: skip
    assert main([str(a) for a in arguments]) in (None, 0)
    assert "does not stream" in capsys.readouterr().err
    model = load_model(out / "weights.safetensors")
    found = tifffile.imread(tmp_path / "p.tif")
    assert np.array_equal(found, np.asarray(predict_stack(model, images, tile=284)))
