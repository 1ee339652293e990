"""The procedure of the authors' driver against a literal re-writing, and its command."""

from __future__ import annotations

import json
import signal
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import open_stack
from paper_unet.inference.layers import Layers
from paper_unet.inference.settings import Precision
from paper_unet.large.config import PredictConfig
from paper_unet.model import UNet
from paper_unet.networks.weights_file import save_model
from paper_unet.release import driver
from paper_unet.release.driver import (
    ReleaseSettings,
    release_cells,
    release_input,
    release_scores,
    strip_size,
)
from paper_unet.release.predict import FIXED
from paper_unet.settings import options
from paper_unet.system.stop import Stop


@pytest.fixture(scope="module")
def model() -> UNet:
    torch.manual_seed(0)
    model = UNet.release(width=2).eval()
    with torch.no_grad():
        model.head.weight *= 50  # scores of the order of 1
    return model


def see_through(channels: int = 1) -> UNet:
    """A network whose scores are 0.5 and the first channel, by way of the first skip connection."""
    model = UNet.release(channels, width=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for layer, channel in ((model.down0[0], 0), (model.down0[2], 0), (model.up0[0], 2)):
            layer.weight[0, channel, 1, 1] = 1  # behind the two channels of the up-convolution
        model.up0[2].weight[0, 0, 1, 1] = 1
        model.head.weight[1, 0, 0, 0] = 1
        model.head.bias[0] = 0.5
    return model


def literal_scores(
    model: UNet, image: NDArray[np.float32], strips: int, *, rest: str = "zero"
) -> NDArray[np.float64]:
    """The driver, written down axis by axis: (x, y) sizes, padding, strips, flips."""
    H, W = image.shape
    d = [ceil((side + 124) / 16) for side in (W, ceil(H / strips))]
    columns, rows = (16 * k + 60 for k in d)
    out_columns, out_rows = (16 * k - 124 for k in d)
    mean = np.zeros((model.config.out_channels, H, W))
    for flip_x in (False, True):
        for flip_y in (False, True):
            turned = image[:, ::-1] if flip_x else image
            turned = turned[::-1] if flip_y else turned
            padded = np.pad(turned, 92, mode="reflect")
            missing = (0, out_rows * strips + 184), (0, columns - padded.shape[1])
            missing = (0, max(0, missing[0][1] - padded.shape[0])), missing[1]
            mode = {"zero": "constant", "mirror": "reflect"}[rest]
            volume = np.pad(padded, missing, mode=mode)
            scores = np.zeros((model.config.out_channels, out_rows * strips, out_columns))
            for k in range(strips):
                tile = volume[k * out_rows : k * out_rows + rows, :columns]
                with torch.no_grad():
                    found = model(torch.from_numpy(tile.copy())[None, None])[0].numpy()
                scores[:, k * out_rows : (k + 1) * out_rows] = found
            scores = scores[:, :H, :W]
            scores = scores[:, ::-1] if flip_y else scores
            mean += (scores[:, :, ::-1] if flip_x else scores) / 4
    return mean


def test_sizes_of_the_strips() -> None:
    assert strip_size(520, 696, 2) == (444, 892)  # those of the release's own test network
    for height in (1, 4, 5, 137, 512, 1000):
        for strips in (1, 2, 3, 7):
            expected = [16 * ceil((side + 124) / 16) + 60 for side in (ceil(height / strips), 696)]
            assert list(strip_size(height, 696, strips)) == expected


@pytest.mark.parametrize(
    ("height", "width", "strips"),
    [
        (520, 696, 2),
        (130, 200, 1),
        (130, 96, 2),
        (133, 85, 3),
        (61, 40, 2),
        (10, 7, 4),
        (100, 100, 5),
    ],
)
def test_scores_are_those_of_the_literal_procedure(
    model: UNet, height: int, width: int, strips: int
) -> None:
    image = np.random.default_rng(height).random((height, width), np.float32)
    expected = literal_scores(model, image, strips)
    scores = release_scores(Layers(model), image, strips).numpy()
    assert scores.shape == expected.shape
    assert expected.std() > 0.05
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "rounds"), [("float32", False), ("tf32", True)])
def test_the_arithmetic_is_that_of_the_layers(
    model: UNet, precision: Precision, rounds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def one_pass(layers: Layers, image: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return as_it_is(layers, image)

    as_it_is = driver.one_pass
    monkeypatch.setattr(driver, "one_pass", one_pass)
    release_scores(Layers(model, precision), np.zeros((20, 20), np.float32))
    assert set(seen) == {rounds}


def test_the_rest_beyond_the_mirrored_volume_is_zero_and_matters(model: UNet) -> None:
    image = np.random.default_rng(0).random((133, 85), np.float32)
    scores = release_scores(Layers(model), image, 2).numpy()
    mirrored = literal_scores(model, image, 2, rest="mirror")
    assert abs(scores - mirrored).max() > 1e-4  # ten times what the test above allows


def test_strips_are_not_one_pass_and_flips_commute(model: UNet) -> None:
    layers = Layers(model)
    image = np.random.default_rng(1).random((140, 90), np.float32)
    two, one = (release_scores(layers, image, strips) for strips in (2, 1))
    assert (two - one).abs().max() > 1e-3  # 72 = 8 (mod 16): another phase of the pools
    flipped = release_scores(layers, image[::-1, ::-1], 2)
    torch.testing.assert_close(flipped.flip([1, 2]), two, rtol=0, atol=1e-5)


def test_colour_images(model: UNet) -> None:
    torch.manual_seed(1)
    layers = Layers(UNet.release(in_channels=3, out_channels=4, width=2))
    image = np.random.default_rng(1).random((3, 30, 20), np.float32)
    assert release_scores(layers, image).shape == (4, 30, 20)


@pytest.mark.parametrize("shape", [(3, 20, 20), (0, 20), (20,), (1, 1, 20, 20)])
def test_images_of_other_shapes_are_refused(model: UNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"needed"):
        release_scores(Layers(model), np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["strips", "min_area", "field_of_interest"])
def test_settings_have_limits(model: UNet, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is -1"):
        ReleaseSettings(**{name: -1})
    with pytest.raises(InputError, match="strips is 0"):
        release_scores(Layers(model), np.zeros((20, 20), np.float32), 0)


def test_grey_values_become_0_to_1_by_their_type() -> None:
    for kind in (np.uint8, np.uint16, np.uint32):
        top = np.iinfo(kind).max
        found = release_input(np.array([[0, top // 3, top]], kind), {})
        np.testing.assert_allclose(found, [[0, 1 / 3, 1]], atol=1e-6)
    sixteen = np.array([[100, 300, 500]], np.uint16)
    np.testing.assert_allclose(release_input(sixteen, {"uint16": (100, 500)}), [[0, 0.5, 1]])
    wins = release_input(sixteen, {"uint16": (0, 9)}, value_range=(100, 500))
    np.testing.assert_allclose(wins, [[0, 0.5, 1]])
    nan = np.array([[0.25, np.nan]], np.float32)
    np.testing.assert_allclose(release_input(nan, {}, fill=1.0), [[0.25, 1]])
    for bad in (nan, np.array([[1.5]], np.float32), np.array([[3]], np.int16)):
        with pytest.raises(InputError):
            release_input(bad, {})


def cells() -> NDArray[np.uint8]:
    """Bright cells on dark ground; which of them count is decided by area, and by 50 pixels."""
    frame = np.full((200, 260), 20, np.uint8)
    frame[60:80, 60:85] = 200  # 500 pixels: too few
    frame[60:80, 100:125] = 200
    frame[80, 125] = 200  # 501, the last one touching by a corner
    frame[40:80, 0:50] = 200  # within 50 pixels of the left side
    frame[100:140, 0:51] = 200  # reaches one pixel into the field of interest
    frame[90:130, 100:140] = 200
    frame[100:110, 110:120] = 20  # a hole
    return frame


def expected_cells(fill_holes: bool = False) -> NDArray[np.bool_]:
    mask = np.zeros((200, 260), bool)
    mask[60:80, 100:125] = mask[80, 125] = mask[100:140, 0:51] = mask[90:130, 100:140] = True
    mask[100:110, 110:120] = fill_holes
    return mask


@pytest.mark.parametrize("fill_holes", [False, True])
def test_cells_of_known_sizes_and_places(fill_holes: bool) -> None:
    frame, layers = cells(), Layers(see_through())
    found = release_cells(layers, frame / np.float32(255), ReleaseSettings(fill_holes=fill_holes))
    assert found.max() == 3
    np.testing.assert_array_equal(found > 0, expected_cells(fill_holes))
    few = ReleaseSettings(min_area=501, field_of_interest=51)
    assert release_cells(layers, frame / np.float32(255), few).max() == 1
    everything = ReleaseSettings(min_area=0, field_of_interest=0)
    assert release_cells(layers, frame / np.float32(255), everything).max() == 5


def test_any_class_but_the_first_is_foreground() -> None:
    model = see_through()
    three = UNet.release(out_channels=3, width=1)
    state = model.state_dict()
    for name in ("head.weight", "head.bias"):
        state[name] = torch.cat([state[name], state[name][1:]])
    state["head.bias"][2] = 0.01  # always above the second
    three.load_state_dict(state)
    found = release_cells(Layers(three), cells() / np.float32(255))
    np.testing.assert_array_equal(found > 0, expected_cells())


def test_scores_that_are_not_finite_are_refused() -> None:
    model = see_through()
    with torch.no_grad():
        model.head.bias[1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        release_cells(Layers(model), np.zeros((20, 20), np.float32))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A folder with weights, and the frames t007.tif to t009.tif in 01."""
    save_model(tmp_path / "w.safetensors", see_through())
    (tmp_path / "01").mkdir()
    for k, frame in enumerate((cells(), cells()[::-1], np.full((200, 260), 20, np.uint8))):
        path = tmp_path / "01" / f"t{k + 7:03d}.tif"
        tifffile.imwrite(path, frame, photometric="minisblack")
    return tmp_path


def predict(film: Path, out: str, *more: str, source: str = "01") -> int:
    weights = [] if "--weights" in more else ["--weights", str(film / "w.safetensors")]
    fixed = ["--device", "cpu", *weights]
    release = [] if "no" in more else ["--release"]
    more = tuple(one for one in more if one != "no")
    return main(["predict", str(film / source), "-o", str(film / out), *release, *fixed, *more])


def test_a_folder_of_masks_that_evaluate_cells_takes(
    film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = film / "01_GT" / "SEG"
    truth.mkdir(parents=True)
    assert predict(film, "01_RES", "--slices", "0:2") == 0
    masks = sorted(path.name for path in (film / "01_RES").iterdir())
    assert masks == ["mask007.tif", "mask008.tif"]
    found = tifffile.imread(film / "01_RES" / "mask008.tif")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found.reshape(200, 260) > 0, expected_cells()[::-1])
    for name in ("007", "008"):
        labels = tifffile.imread(film / "01_RES" / f"mask{name}.tif")
        tifffile.imwrite(truth / f"man_seg{name}.tif", labels.reshape(200, 260))
    capsys.readouterr()
    assert main(["evaluate-cells", str(film / "01_GT"), str(film / "01_RES"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"seg": 1.0, "objects": 6}

    assert predict(film, "01_RES", "--slices", "1:3") == 2
    assert "mask008.tif: exists already; " in capsys.readouterr().err
    assert not (film / "01_RES" / "mask009.tif").exists()
    assert predict(film, "01_RES", "--slices", "2") == 0  # going on where it ended
    assert not tifffile.imread(film / "01_RES" / "mask009.tif").any()
    assert predict(film, "01_RES", "--overwrite", "--min-area", "600") == 0
    assert tifffile.imread(film / "01_RES" / "mask007.tif").max() == 2


def test_two_files_of_one_frame(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They count from 0 no longer, which gave frame 7 the masks 0 and 1."""
    (film / "01" / "t7.tif").write_bytes((film / "01" / "t007.tif").read_bytes())
    assert predict(film, "01_RES") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "01: has two files of frame 7, " in line
    assert not (film / "01_RES").exists()


@pytest.mark.parametrize("ending", ["tif", "TIF", "Tiff"])
def test_frames_are_known_by_their_numbers_in_any_case(film: Path, ending: str) -> None:
    for path in list((film / "01").iterdir()):
        path.rename(path.with_name(f"{path.stem.upper()}.{ending}"))
    assert predict(film, "01_RES", "--slices", "0") == 0
    assert [path.name for path in (film / "01_RES").iterdir()] == ["mask007.tif"]


def test_one_stack_of_all_frames_and_frames_of_a_stack(film: Path) -> None:
    frames = np.stack([cells(), cells()[:, ::-1]]).astype(np.uint16) * 257  # the same grey values
    tifffile.imwrite(film / "film.tif", frames, photometric="minisblack")
    assert predict(film, "cells.tif", source="film.tif") == 0
    found = tifffile.imread(film / "cells.tif")
    assert (found.shape, found.dtype) == ((2, 200, 260), np.uint16)
    np.testing.assert_array_equal(found[1] > 0, expected_cells()[:, ::-1])
    assert predict(film, "masks", "--slices", "1:", source="film.tif") == 0
    (mask,) = (film / "masks").iterdir()
    assert mask.name == "mask001.tif"
    np.testing.assert_array_equal(tifffile.imread(mask).reshape(200, 260), found[1])


def test_frames_in_colour(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(film / "colour.safetensors", see_through(channels=3))
    (film / "02").mkdir()
    for k, frame in ((3, cells()), (4, cells()[::-1])):
        colours = np.stack([frame, 255 - frame, np.full_like(frame, 255)], axis=-1)  # red counts
        tifffile.imwrite(film / "02" / f"t{k:03d}.tif", colours, photometric="rgb")
    more = ("--weights", str(film / "colour.safetensors"))
    assert predict(film, "02_RES", *more, source="02") == 0
    found = tifffile.imread(film / "02_RES" / "mask004.tif").reshape(200, 260)
    np.testing.assert_array_equal(found > 0, expected_cells()[::-1])
    capsys.readouterr()
    assert predict(film, "03_RES", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a stack of 3 values for each pixel is needed" in line or "3 are needed" in line


@pytest.mark.parametrize(
    ("out", "more", "says"),
    [
        ("cells.zarr", (), "a folder of maskTTT.tif"),
        ("cells.png", (), "a folder of maskTTT.tif"),
        ("01", (), "is the input"),
        ("no/01", ("--strips", "0"), "strips is 0"),
        ("r", ("--strips", "3", "no"), "are of --release"),
        ("r", ("--fill-holes", "no"), "are of --release"),
        ("r", ("--tile", "204"), "leave --tile out"),
        ("r", ("--average", "flips"), "leave --average out"),
        ("r", ("--memory", "1GB"), "leave --memory out"),
        ("r", ("--timings",), "leave --timings out"),
        ("r", ("--shard", "512"), "leave --shard out"),
        ("r", ("--dask", "local:1"), "leave --dask out"),
        ("r", ("--slices", "9"), "has 3 slices"),
        ("r", ("--weights", "none.safetensors"), "no such file of weights"),
    ],
)
def test_what_the_driver_cannot_do_is_refused(
    film: Path, capsys: pytest.CaptureFixture[str], out: str, more: tuple[str, ...], says: str
) -> None:
    before = sorted(film.iterdir())
    assert predict(film, out, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(path for path in film.iterdir() if path.name != "r") == before
    assert not list(film.glob("r/*"))


def test_every_setting_of_a_prediction_is_used_or_refused() -> None:
    used = {
        "source", "out", "weights", "slices", "axes", "series", "channel", "time", "value_range",
        "missing", "fill", "precision", "device", "threads",
    }  # fmt: skip
    assert used.isdisjoint(FIXED)
    assert used.union(FIXED) == {option.name for option in options(PredictConfig)}


@pytest.mark.parametrize("out", ["masks", "cells.tif", "cells.ome.tif"])
def test_the_size_of_a_pixel_goes_to_the_cells_and_notes_are_said(
    film: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(
        film / "film.tif", 255 - np.stack([cells(), cells()]), photometric="miniswhite",
        resolution=(2e4, 1e4), resolutionunit=3,
        metadata={"axes": "ZYX", "spacing": 0.3, "unit": "um"},
    )  # fmt: skip
    assert predict(film, out, source="film.tif") == 0
    assert "white is stored as zero" in capsys.readouterr().err
    paths = [film / out] if out != "masks" else sorted((film / "masks").iterdir())
    assert len(paths) == (2 if out == "masks" else 1)
    for path in paths:
        with open_stack(path) as stack:
            assert stack.pixel_size == pytest.approx((0.3, 1, 0.5))


def test_the_bundled_weights_are_not_taken_silently(
    film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(film / "01"), "-o", str(film / "r"), "--release"]) == 2
    assert "needs --weights" in capsys.readouterr().err


def test_a_bad_frame_is_named(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.stack([np.zeros((20, 20), np.float32), np.full((20, 20), 3, np.float32)])
    tifffile.imwrite(film / "film.tif", frames, photometric="minisblack")
    assert predict(film, "cells.tif", source="film.tif") == 2
    assert "section 1: " in capsys.readouterr().err
    assert not (film / "cells.tif").exists()
    assert not list(film.glob("*.partial"))


def test_a_signal_leaves_the_finished_masks_and_says_how_to_go_on(
    film: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def after_one_frame(stop: Stop) -> bool:
        asked.append(1)
        stop.signal = 15 if len(asked) > 1 else 0
        return len(asked) > 1

    monkeypatch.setattr(Stop, "__call__", after_one_frame)
    assert predict(film, "01_RES") == 143
    assert "--slices 1:3" in capsys.readouterr().err
    assert [path.name for path in (film / "01_RES").iterdir()] == ["mask007.tif"]


@pytest.mark.parametrize(
    ("out", "said"),
    [("cells", "what is finished is kept"), ("cells.tif", "kept whole or not at all")],
)
def test_a_signal_says_what_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out: str,
    said: str,
) -> None:
    from paper_unet.release import predict as predict_release

    tifffile.imwrite(tmp_path / "in.tif", np.zeros((3, 40, 40), np.uint8), photometric="minisblack")
    save_model(tmp_path / "net.safetensors", UNet.release(width=2))
    segment = predict_release.release_cells

    def first(*args: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return segment(*args)

    monkeypatch.setattr(predict_release, "release_cells", first)
    monkeypatch.chdir(tmp_path)
    options = ["--release", "--weights", "net.safetensors"]
    assert main(["predict", "in.tif", "-o", out, *options]) == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    assert "stopped by SIGTERM" in last and said in last
    kept = sorted(path.name for path in tmp_path.rglob("*mask*"))
    assert kept == (["mask000.tif"] if out == "cells" else [])
    assert not list(tmp_path.glob("*.partial"))


def test_the_threads_of_the_process_are_as_before(film: Path) -> None:
    before = torch.get_num_threads()
    assert predict(film, "01_RES", "--threads", str(before + 1)) == 0
    assert torch.get_num_threads() == before
