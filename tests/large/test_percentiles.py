"""A range from content, for who asks: stated, recorded, the same for every part and piece."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from large_helpers import Crashing, Fails, content, sections, settings
from numpy.typing import NDArray

from paper_unet import load_model
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import Stack, open_stack, percentile_range, percentiles, read_stack
from paper_unet.large import PredictConfig, join_parts, predict_file, predict_part
from paper_unet.large.journal import header_of
from paper_unet.large.report import Report
from paper_unet.training.config import TrainConfig
from paper_unet.training.loop import train
from paper_unet.training.reading import read_training_set

WORD = "percentile:2,98.5"


def write(path: Path, pixels: NDArray[Any]) -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    return path


def noise(dtype: str, shape: tuple[int, int, int] = (3, 200, 120)) -> NDArray[Any]:
    values = np.random.default_rng(5).normal(1000, 200, shape)
    return np.clip(values, 1, None).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_it_is_the_percentile_and_equals_that_range(folder: Path, dtype: str) -> None:
    pixels = noise(dtype) if dtype != "uint8" else (noise("uint16") // 8).astype(dtype)
    write(folder / "in.tif", pixels)
    low, high = np.percentile(pixels.astype(np.float64), [2, 98.5])
    with open_stack(folder / "in.tif") as stack:
        found = percentile_range(stack, (2, 98.5))
    assert found.grey_range == (low, high)
    assert found.sample == "3 of 3 sections, all rows"
    by_content = predict_file(settings(folder, "a.tif", value_range=WORD))
    by_value = predict_file(settings(folder, "b.tif", value_range=(low, high)))
    np.testing.assert_array_equal(read_stack(by_content), read_stack(by_value))


def test_never_by_default(folder: Path) -> None:
    plain = predict_file(settings(folder, "a.tif"))
    full = predict_file(settings(folder, "b.tif", value_range=(0, 255)))
    assert content(plain) == content(full)


def test_the_sample_of_a_large_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections and rows evenly spread, the first and the last ones, whole rows."""
    monkeypatch.setattr("paper_unet.images.percentiles.VALUES", 16 * 10 * 3)
    monkeypatch.setattr("paper_unet.images.percentiles.BLOCKS", 3)
    pixels = np.zeros((40, 400, 10), np.uint16)
    pixels[:] = np.arange(40)[:, None, None] * 1000 + np.arange(400)[None, :, None]
    with open_stack(write(tmp_path / "in.tif", pixels)) as stack:
        found = percentile_range(stack, (0, 100))
    assert found.grey_range == (0.0, 39 * 1000 + 399)
    assert found.sample == "16 of 40 sections, 48 of 400 rows each"


def test_the_sample_of_wide_sections(tmp_path: Path) -> None:
    """Fewer rows a block, never fewer blocks than 16: the top of a section is not all of it."""
    pixels = np.zeros((2, 400, 20_000), np.uint16)
    pixels[:] = np.arange(400)[None, :, None]
    with open_stack(write(tmp_path / "in.tif", pixels)) as stack:
        found = percentile_range(stack, (0, 100))
        middle = percentile_range(stack, (50, 100)).grey_range[0]
    assert found.grey_range == (0.0, 399.0) and 190 < middle < 210
    assert found.sample == "2 of 2 sections, 26 of 400 rows each"
    assert percentiles._sampled(stack)[1][:2] == [(0, 1), (16, 17)]


@pytest.mark.parametrize("width", [2000, 2100, 4096, 16_385, 20_000, 10**6])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_sections_of_any_width(width: int, channels: int) -> None:
    stack = SimpleNamespace(shape=(1, 5000, width), channels=channels)
    _, blocks = percentiles._sampled(stack)  # type: ignore[arg-type]
    assert len(blocks) >= 16 and blocks[0][0] == 0 and blocks[-1][1] == 5000
    values = sum(stop - start for start, stop in blocks) * width * channels
    assert values <= max(percentiles.VALUES, 16 * width * channels)
    assert values > percentiles.VALUES / 2


@pytest.mark.exact
@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.h5", "out.zarr"])
def test_recorded_resumed_and_in_parts(folder: Path, name: str) -> None:
    given: dict[str, Any] = {"value_range": WORD}
    single = predict_file(settings(folder, f"single.{name.partition('.')[2]}", **given))
    config = settings(folder, name, **given)
    with pytest.raises(Fails):
        predict_file(config, executor=Crashing(pieces=1))
    header = header_of(folder / name)
    assert header is not None
    scaling = header["scaling"]
    assert header["range"] == scaling["grey_range"] and scaling["percentiles"] == [2, 98.5]
    with pytest.raises(InputError, match="range = "):
        predict_file(settings(folder, name, value_range="percentile:3,97"))
    with pytest.raises(InputError, match="scaling = "):
        predict_file(settings(folder, name, value_range=tuple(scaling["grey_range"])))
    predict_file(config)
    assert content(folder / name) == content(single)
    assert said(folder / name) == scaling
    for part in ("3/3", "1/3", "2/3"):
        predict_part(config, part, overwrite=True)
    join_parts(config, overwrite=True)
    assert content(folder / name) == content(single)


def said(path: Path) -> Any:
    """What an output says of its scaling."""
    if path.suffix == ".zarr":
        return zarr.open_group(path, mode="r").attrs["paper_unet"]
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return json.loads(str(file["data"].attrs["paper_unet"]))
    with tifffile.TiffFile(path) as file:
        if file.is_ome:
            about = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]["Description"]
            return json.loads(str(about))
        return json.loads(file.pages.first.description)["paper_unet"]


def test_imagej_reads_the_depth_beside_it(folder: Path) -> None:
    size = {f"PhysicalSize{axis}": 0.008 for axis in "XYZ"}
    tifffile.imwrite(folder / "in.tif", noise("uint16"), ome=True, metadata={"axes": "ZYX", **size})
    out = predict_file(settings(folder, value_range=WORD))
    with tifffile.TiffFile(out) as file:
        assert file.is_imagej and file.series[0].axes == "ZYX"
        assert '\npaper_unet={"percentiles": [2.0, 98.5]' in file.pages.first.description


def test_parts_of_a_stack_are_scaled_alike(folder: Path) -> None:
    whole = read_stack(predict_file(settings(folder, "a.tif", value_range=WORD)))
    one = read_stack(predict_file(settings(folder, "b.tif", value_range=WORD, slices="1:2")))
    np.testing.assert_array_equal(whole[1:2], one)


@pytest.mark.parametrize(
    "word",
    ["percentile:", "percentile:1", "percentile:99,1", "percentile:5,5", "percentile:-1,50",
     "percentile:1,101", "percentile:a,b", "percentile:1,2,3", "percentile:nan,9", "percent:1,9"],
)  # fmt: skip
def test_what_is_no_percentile(word: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (PredictConfig, TrainConfig):
        given = {"source": "a", "out": "b.tif"} if kind is PredictConfig else {}
        with pytest.raises(InputError, match="value_range"):
            kind(**given, value_range=word)
    out = str(folder / "out.tif")
    with pytest.raises(SystemExit) if word == "percent:1,9" else no_error():
        code = main(["predict", "--range", word, str(folder / "in.tif"), "-o", out])
        assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


class no_error:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_constant_images_and_nan(folder: Path) -> None:
    write(folder / "in.tif", np.full((2, 50, 60), 7, np.uint8))
    with pytest.raises(InputError, match=r"2 and 98\.5 of its grey values are both 7"):
        predict_file(settings(folder, value_range=WORD))
    flawed = noise("float32", (2, 50, 60))
    flawed[1, 3, 4] = np.nan
    write(folder / "in.tif", flawed)
    with pytest.raises(InputError, match=r"section 1: 1 of .* NaN"):
        predict_file(settings(folder, value_range=WORD))
    predict_file(settings(folder, value_range=WORD, fill=900.0))
    write(folder / "in.tif", np.full((2, 50, 60), np.nan, np.float32))
    with pytest.raises(InputError, match="finite"):
        predict_file(settings(folder, "b.tif", value_range=WORD, fill=900.0))
    assert {path.name for path in folder.glob("*.journal*")} == set()


@pytest.mark.parametrize("form", [["--range", WORD], [f"--range={WORD}"]], ids=str)
def test_the_command(folder: Path, form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["predict", *form, str(folder / "in.tif"), "-o", str(folder / "out.tif")]
    assert main([*given, "--weights", str(folder / "net.safetensors"), "--threads", "1"]) == 0
    assert "scaled by percentiles [2.0, 98.5] of 3 of 3 sections" in capsys.readouterr().err
    expected = predict_file(settings(folder, "b.tif", value_range=WORD))
    assert content(folder / "out.tif") == content(expected)
    assert main([*given, "--print-sbatch", "2"]) == 0
    assert "--range percentile:2.0,98.5" in capsys.readouterr().out


def test_training_records_it_and_predicting_reminds(folder: Path) -> None:
    pixels = noise("uint16", (3, 200, 200))
    write(folder / "images.tif", pixels)
    labels = np.zeros((3, 200, 200), np.uint8)
    labels[:, 20:90, 20:180] = 255
    write(folder / "labels.tif", labels)
    config = TrainConfig(
        images=str(folder / "images.tif"), labels=str(folder / "labels.tif"),
        out=str(folder / "run"), value_range=WORD, slices="0:2", width=2, tile=188, steps=1,
        device="cpu",
    )  # fmt: skip
    low, high = np.percentile(pixels, [2, 98.5])  # of the whole stack
    expected = np.clip((pixels[:2].astype(np.float64) - low) / (high - low), 0, 1)
    np.testing.assert_array_equal(
        read_training_set(config).images[:, 0], expected.astype(np.float32)
    )
    train(config, progress=False)
    model = load_model(folder / "run/weights.safetensors")
    scaling = model.record["scaling"]
    assert isinstance(scaling, dict)
    assert scaling["grey_range"] == [low, high] and scaling["percentiles"] == [2, 98.5]
    assert "uint16" not in model.grey_ranges
    lines: list[str] = []
    sections(folder / "in.tif", (1, 100, 100))
    weights = str(folder / "run/weights.safetensors")
    predict_file(settings(folder, "a.tif", weights=weights), report=Report(say=lines.append))
    assert any("learnt from grey values scaled by percentiles" in line for line in lines)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stack of each sample that is read."""
    real, read = percentiles._sampled, []

    def counted(stack: Stack) -> Any:
        read.append(stack.path)
        return real(stack)

    monkeypatch.setattr(percentiles, "_sampled", counted)
    return read


def test_the_sample_is_read_once_for_a_prediction(folder: Path, samples: list[Path]) -> None:
    given = ["predict", str(folder / "in.tif"), "--range", WORD, "--threads", "1"]
    given += ["--weights", str(folder / "net.safetensors"), "-o"]
    assert main([*given, str(folder / "a.tif")]) == 0
    assert samples == [folder / "in.tif"]
    samples.clear()
    for way in (["--part", "1/2"], ["--part", "2/2"], ["--join"]):
        assert main([*given, str(folder / "b.tif"), *way]) == 0
    assert samples == [folder / "in.tif"] * 3  # each is a process of its own


@pytest.mark.parametrize("more", [[], ["--validate", "2:3"],
                                  ["--validate", "2:3", "--validate-every", "1"]])  # fmt: skip
def test_the_sample_is_read_once_for_a_training(
    folder: Path, samples: list[Path], more: list[str]
) -> None:
    """Though what is learnt from, held out, scored and recorded is scaled by it."""
    write(folder / "images.tif", noise("uint16", (3, 200, 200)))
    labels = np.zeros((3, 200, 200), np.uint8)
    labels[:, 20:90, 20:180] = 255
    write(folder / "labels.tif", labels)
    given = [
        "train",
        "--images",
        str(folder / "images.tif"),
        "--labels",
        str(folder / "labels.tif"),
    ]
    given += ["--out", str(folder / "run"), "--range", WORD, "--slices", "0:2", "--width", "2"]
    assert main([*given, "--tile", "252", "--steps", "1", "--device", "cpu", *more]) == 0
    assert samples == [folder / "images.tif"]
    with open_stack(folder / "images.tif") as stack:
        expected = percentile_range(stack, (2, 98.5)).record()
    assert load_model(folder / "run/weights.safetensors").record["scaling"] == expected


def test_training_on_from_weights_of_percentiles_warns_as_prediction_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "images.tif", noise("uint8", (1, 200, 200)))
    write(folder / "labels.tif", np.eye(200, dtype=np.uint8)[None] * 255)
    given = ["train", "--images", str(folder / "images.tif"), "--labels"]
    given += [str(folder / "labels.tif"), "--width", "2", "--tile", "188", "--steps", "1"]
    given += ["--device", "cpu", "--out", str(folder / "run")]
    assert main([*given, "--range", WORD]) == 0
    assert "warning" not in capsys.readouterr().err
    given = [*given[:-1], str(folder / "on"), "--start", str(folder / "run/weights.safetensors")]
    assert main(given) == 0
    assert "percentiles [2.0, 98.5]; give --range percentile:LOW,HIGH" in capsys.readouterr().err
    assert main([*given, "--range", WORD, "--overwrite"]) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", [5, ("a", "b"), (1, 2, 3), (99, 1), (True, 50), (1, float("nan"))]
)
def test_percentiles_of_python_are_checked(given: Any) -> None:
    with pytest.raises(InputError, match="give two from 0 to 100, the lower one first"):
        TrainConfig(percentiles=given)
