"""The command line from end to end, and what it says when the input cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from paper_unet.cli import main
from paper_unet.inference.predict import predict_image
from paper_unet.metrics import isbi2012_scores
from paper_unet.model import UNet
from paper_unet.networks.weights_file import load_model, save_model
from paper_unet.synthetic import synthetic_stack

TINY = ["--width", "2", "--tile", "204", "--device", "cpu", "--log-every", "2"]


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images.tif and labels.tif of a small synthetic stack."""
    folder = tmp_path_factory.mktemp("tissue")
    made = synthetic_stack(sections=3, side=96, seed=1)
    tifffile.imwrite(folder / "images.tif", made.images, photometric="minisblack")
    tifffile.imwrite(folder / "labels.tif", made.labels, photometric="minisblack")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "w.safetensors", UNet(width=2))
    return tmp_path / "w.safetensors"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with 2 and one line, and return the line."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("paper-unet: ")]
    assert len(lines) == 1
    assert "Traceback" not in said.err
    return lines[0]


def test_train_then_predict_then_evaluate(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels, run = tissue / "images.tif", tissue / "labels.tif", tmp_path / "run"
    train = ["train", "--images", str(images), "--labels", str(labels), "--out", str(run), *TINY]
    assert main([*train, "--slices", "0:2", "--validate", "2", "--steps", "3"]) == 0
    record = load_model(run / "weights.safetensors").record
    assert record["held_out"]["sections"] == "2"
    config = json.loads((run / "config.json").read_text())
    assert (config["width"], config["slices"], config["momentum"]) == (2, "0:2", 0.99)

    out = tmp_path / "p.tif"
    predict = [
        "predict",
        str(images),
        "-o",
        str(out),
        "--weights",
        str(run / "weights.safetensors"),
    ]
    assert main([*predict, "--slices", "2", "--device", "cpu"]) == 0
    probability = tifffile.imread(out)
    model = load_model(run / "weights.safetensors")
    section = tifffile.imread(images)[2]
    assert probability.dtype == np.float32
    np.testing.assert_array_equal(probability.reshape(96, 96), predict_image(model, section))

    capsys.readouterr()
    assert main(["evaluate", str(labels), str(out), "--slices", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = isbi2012_scores(tifffile.imread(labels)[2], probability.reshape(96, 96))
    names = {"pixel_error", "rand_error", "warping_error", "v_rand", "v_info"}
    assert set(printed) == names | {"thresholds"}
    assert {name: printed[name] for name in names} == {n: getattr(expected, n) for n in names}
    assert record["held_out"]["v_info"] == pytest.approx(expected.v_info, abs=1e-12)


def test_eight_bits_are_rounded_and_rescaled(
    tissue: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = str(tissue / "images.tif")
    more = ["--weights", str(weights), "--device", "cpu"]
    assert main(["predict", images, "-o", str(tmp_path / "f.tif"), *more]) == 0
    assert main(["predict", images, "-o", str(tmp_path / "b.tif"), *more, "--dtype", "uint8"]) == 0
    wide, narrow = (tifffile.imread(tmp_path / name) for name in ("f.tif", "b.tif"))
    assert narrow.dtype == np.uint8
    np.testing.assert_array_equal(narrow, np.rint(wide * np.float32(255)))
    capsys.readouterr()
    main(["evaluate", str(tissue / "labels.tif"), str(tmp_path / "b.tif"), "--json"])
    said = capsys.readouterr()
    assert "uint8, 0 means 0 and 255 means 1" in said.err
    scaled = (narrow / np.float64(255)).astype(np.float32)
    expected = isbi2012_scores(tifffile.imread(tissue / "labels.tif"), scaled)
    assert json.loads(said.out)["v_info"] == expected.v_info


def test_plot(tissue: Path, tmp_path: Path) -> None:
    labels = str(tissue / "labels.tif")
    assert main(["evaluate", labels, labels, "--plot", str(tmp_path / "scores.png")]) == 0
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, result = tmp_path / "01_GT", tmp_path / "01_RES"
    (truth / "SEG").mkdir(parents=True)
    result.mkdir()
    cells = np.zeros((20, 20), np.uint16)
    cells[2:8, 2:8], cells[10:18, 10:18] = 1, 2
    found = np.where(cells == 1, 7, 0).astype(np.uint16)  # one of two cells, exactly
    tifffile.imwrite(truth / "SEG" / "man_seg003.tif", cells)
    tifffile.imwrite(result / "mask003.tif", found)
    tifffile.imwrite(result / "mask004.tif", found)
    assert main(["evaluate-cells", str(truth), str(result), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"seg": 0.5, "objects": 2}
    (result / "mask003.tif").unlink()
    assert "no mask for frame 3" in refused(capsys, "evaluate-cells", truth, result)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--out", str(tmp_path), "--sections", "2", "--side", "96"]
    assert main(arguments) == 0
    assert "V_rand" in capsys.readouterr().out
    shapes = {name: tifffile.imread(tmp_path / name).shape for name in ("image.tif", "labels.tif")}
    assert shapes == {"image.tif": (2, 96, 96), "labels.tif": (2, 96, 96)}
    probability = tifffile.imread(tmp_path / "probability.tif")
    truth = tifffile.imread(tmp_path / "labels.tif")
    assert probability[truth > 0].mean() - probability[truth == 0].mean() > 0.3
    assert "exists" in refused(capsys, *arguments)


def test_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "512"]) == 0
    said = capsys.readouterr().out
    assert "508 and 524" in said
    assert "700 (gives 516)" in said


def test_dry_run_writes_nothing(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    images, labels = str(tissue / "images.tif"), str(tissue / "labels.tif")
    command = ["train", "--images", images, "--labels", labels, "--out", str(out)]
    assert main([*command, "--no-mirror", "--range", "0", "200", "--dry-run"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["mirror"] is False
    assert settings["value_range"] == [0.0, 200.0]
    assert settings["momentum"] == 0.99
    assert not out.exists()


def write(folder: Path, name: str, pixels: np.ndarray, **more: object) -> Path:
    tifffile.imwrite(folder / name, pixels, **{"photometric": "minisblack", **more})
    return folder / name


def test_unusable_images_are_refused(
    tissue: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = np.full((40, 40), 100, np.uint8)
    with_nan = np.zeros((2, 40, 40), np.float32)
    with_nan[1, 3, 4] = np.nan
    truncated = tmp_path / "truncated.tif"
    whole = (tissue / "images.tif").read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.tif").touch()
    cases = {
        write(tmp_path, "rgb.tif", np.stack([grey] * 3, -1), photometric="rgb"): "RGB",
        tmp_path / "empty.tif": "empty",
        truncated: "",
        write(tmp_path, "nan.tif", with_nan): "section 1",
        write(tmp_path, "deep.tif", grey.astype(np.uint16)): "--range",
        write(tmp_path, "float.tif", grey.astype(np.float32)): "--range",
        tmp_path / "missing.tif": "no such file",
    }
    for path, expected in cases.items():
        out = tmp_path / "out.tif"
        said = refused(capsys, "predict", path, "-o", out, "--weights", weights)
        assert expected in said
        assert str(path) in said
        assert not out.exists()
        left = {found.name for found in tmp_path.glob("out.tif*")}
        if path.name == "nan.tif":  # section 0 was finished, and is kept
            assert left == {"out.tif.partial", "out.tif.journal"}
            for name in left:
                (tmp_path / name).unlink()
        else:
            assert not left


def test_unusable_outputs_weights_and_tiles_are_refused(
    tissue: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tissue / "images.tif", tmp_path / "out.tif"
    predict = ("predict", images, "-o", out)
    out.write_bytes(b"mine")
    assert "--overwrite" in refused(capsys, *predict, "--weights", weights)
    assert out.read_bytes() == b"mine"
    out.unlink()
    assert "no such file" in refused(capsys, *predict, "--weights", tmp_path / "none.safetensors")
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    said = refused(capsys, *predict, "--weights", tmp_path / "damaged.safetensors")
    assert "SHA-256" in said
    assert "572 or 588" in refused(capsys, *predict, "--weights", weights, "--tile", "580")
    assert "3 slices" in refused(capsys, *predict, "--weights", weights, "--slices", "2:9")
    assert "is the input" in refused(capsys, "predict", images, "-o", images, "--overwrite")
    assert "CUDA" in refused(capsys, *predict, "--device", "cuda:77")
    assert not out.exists()


def test_unusable_labels_are_refused(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tissue / "images.tif"
    three = write(tmp_path, "three.tif", np.resize(np.uint8([0, 128, 255]), (3, 96, 96)))
    few = write(tmp_path, "few.tif", np.zeros((2, 96, 96), np.uint8))
    out = tmp_path / "run"
    train = ("train", "--images", images, *TINY, "--out", out, "--steps", "1")
    assert "0, 128, 255" in refused(capsys, *train, "--labels", three)
    assert "(2, 96, 96)" in refused(capsys, *train, "--labels", few)
    assert not out.exists()
    labels = tissue / "labels.tif"
    assert "(2, 96, 96)" in refused(capsys, "evaluate", labels, few)


def test_divergence_exits_with_1(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = str(tissue / "images.tif"), str(tissue / "labels.tif")
    command = ["train", "--images", images, "--labels", labels, "--out", str(tmp_path / "run")]
    assert main([*command, *TINY, "--steps", "60", "--lr", "1e9", "--warmup", "1"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step" in said
    assert "learning rate" in said


@pytest.mark.data
def test_fetch_from_a_folder(isbi2012_folder: Path, tmp_path: Path) -> None:
    assert main(["fetch", "isbi2012", "--from", str(isbi2012_folder), "--to", str(tmp_path)]) == 0
    fetched = tifffile.imread(tmp_path / "isbi2012" / "train-volume.tif")
    np.testing.assert_array_equal(fetched, tifffile.imread(isbi2012_folder / "train-volume.tif"))


@pytest.mark.data
@pytest.mark.slow
def test_bundled_weights_segment_held_out_sections(isbi2012_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.tif"
    volume = str(isbi2012_folder / "train-volume.tif")
    predict = ["predict", volume, "-o", str(out), "--device", "cpu"]
    assert main([*predict, "--slices", "24:30"]) == 0
    labels = tifffile.imread(isbi2012_folder / "train-labels.tif")[24:30]
    scores = isbi2012_scores(labels, tifffile.imread(out))
    assert scores.pixel_error <= 0.055


@pytest.mark.data
@pytest.mark.slow
def test_a_stack_larger_than_a_tile(vnc_stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.tif"
    assert (
        main(["predict", str(vnc_stack), "-o", str(out), "--slices", "3", "--device", "cpu"]) == 0
    )
    probability = tifffile.imread(out).reshape(1024, 1024)
    with_large_tiles = predict_image(load_model(), tifffile.imread(vnc_stack)[3], tile=1212)
    np.testing.assert_array_equal(probability, with_large_tiles)
    assert probability.std() > 0.2


def test_one_class_of_all_is_scored_as_it_is_alone(
    tissue: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = tissue / "images.tif", tissue / "labels.tif"
    for name, more in (("one.tif", []), ("all.ome.tif", ["--all-classes"])):
        out = tmp_path / name
        command = ["predict", str(images), "-o", str(out), "--weights", str(weights), *more]
        assert main(command) == 0
    capsys.readouterr()
    assert "choose one with --channel" in refused(
        capsys, "evaluate", labels, tmp_path / "all.ome.tif"
    )
    found = []
    for words in ([tmp_path / "one.tif"], [tmp_path / "all.ome.tif", "--channel", "1"]):
        assert main(["evaluate", str(labels), *map(str, words), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]


def test_numbers_of_cells_are_sent_to_the_option_that_compares_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = np.kron(np.arange(4, dtype=np.uint16).reshape(1, 2, 2), np.ones((1, 9, 9), np.uint16))
    path = write(tmp_path, "numbers.tif", numbers)
    assert "are compared with --labels" in refused(capsys, "evaluate", path, path)
    movie = tmp_path / "movie.tif"
    tifffile.imwrite(movie, np.concatenate([numbers] * 2), imagej=True, metadata={"axes": "TYX"})
    assert "--time" in refused(capsys, "evaluate", movie, movie, "--labels")
    assert main(["evaluate", str(movie), str(movie), "--labels", "--axes", "ZYX", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adapted_rand_error"] == 0


def test_a_run_that_is_to_go_on_and_is_not_there_is_said(
    tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--images", str(tissue / "images.tif")]
    command += ["--labels", str(tissue / "labels.tif"), "--width", "2", "--tile", "188"]
    command += ["--steps", "1", "--device", "cpu", "--resume", "--out", str(tmp_path / "new")]
    assert main(command) == 0
    assert "new has no checkpoint: training begins at its first step" in capsys.readouterr().err
    assert main(command) == 0
    assert "no checkpoint" not in capsys.readouterr().err
