"""Labels as people have them: any value for any class, and what is not annotated counts nothing."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray
from PIL import Image
from train_helpers import CPU, blobs, small, write_stacks

from paper_unet import TrainConfig, UNet, load_model, train
from paper_unet.augment import Augmentation
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.training.data import IGNORED, TrainingSet
from paper_unet.training.held_out import HeldOut
from paper_unet.training.label_map import parse_label_map
from paper_unet.training.labels import mapped_labels
from paper_unet.training.reading import read_training_set
from paper_unet.training.tiles import TileSampler, energy

CELLS = blobs(sections=4)
AREA = np.zeros(CELLS.shape, np.bool_)  # that nobody annotated
AREA[1, 10:40, 20:70] = AREA[2, :, :30] = True


def read(folder: Path, labels: Path | str, kind: str, **more: Any) -> TrainingSet:
    images, _ = write_stacks(folder)
    return read_training_set(
        small(folder, images=images, labels=str(labels), label_kind=kind, **more)
    )


def store(folder: Path, name: str, values: NDArray[Any]) -> str:
    """Labels in a format; what names them."""
    path = folder / name.partition(":")[0]
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"})
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["l"] = values
        return f"{path}:/l"
    elif path.suffix == ".zarr":
        zarr.save_array(path, values)
    else:
        path.mkdir()
        for z, section in enumerate(values):
            Image.fromarray(section).save(path / f"{z}.png")
    return str(path)


# --- the text -------------------------------------------------------------------------------------


def test_the_text() -> None:
    assert parse_label_map("0,255:0,1") == {0: 0, 255: 1}
    assert parse_label_map(" 0, 1 ,2,255 : 0,1,1, Ignore") == {0: 0, 1: 1, 2: 1, 255: None}
    assert parse_label_map("-1,0.5,18446744073709551615:ignore,1,2") == {
        -1: None, 0.5: 1, 18446744073709551615: 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["0,255", ":", "0:0:1", "0,255:0", "0,0:0,1", "1,1.0:0,1", "a:1", "0:-1", "0:1.5", "0:cell",
     "0,:0,1", "nan:1", "0:99999999999999", "0x1:1", "0:ignored", "#ff0000:1"],
)  # fmt: skip
def test_what_is_no_map(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="`label_map`"):
        TrainConfig(label_map=text)
    given = ["train", "--images", "i.tif", "--labels", "l.tif", "--out", str(tmp_path / "run")]
    assert main([*given, "--map", text]) == 2
    error = capsys.readouterr().err
    assert "--map" in error and len(error.strip().splitlines()) == 1


def test_ignored_and_mapped_is_one_too_many() -> None:
    with pytest.raises(InputError, match="makes class 1"):
        TrainConfig(label_map="0,255:0,1", ignore=255)
    TrainConfig(label_map="0,255,7:0,1,ignore", ignore=7)


# --- the values -----------------------------------------------------------------------------------

NAMES = ["l.tif", "l.h5", "l.zarr", "folder"]


@pytest.mark.parametrize("kind", ["membrane", "instance", "class"])
@pytest.mark.parametrize("name", NAMES)
def test_any_value_to_any_class(tmp_path: Path, name: str, kind: str) -> None:
    more: dict[str, Any] = {"classes": 2} if kind == "class" else {}
    plain = store(tmp_path, "plain.tif", CELLS.astype(np.uint8))
    expected = read(tmp_path, plain, kind, **more)
    stored = np.where(CELLS, 17, 200).astype(np.uint8)
    found = read(tmp_path, store(tmp_path, name, stored), kind, label_map="17,200,9:1,0,1", **more)
    assert found.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("dtype", ["uint64", "int64", "int32", "float32", "float64"])
def test_any_type(tmp_path: Path, dtype: str) -> None:
    """Also the largest of 64 bits, which CREMI has where nothing is known, and values below 0."""
    odd = {"uint64": 2**64 - 1, "float32": 0.5, "float64": -1e300}.get(dtype, -1)
    values = np.where(CELLS, 3, 1).astype(dtype)
    values[AREA] = odd
    labels = store(tmp_path, "l.h5" if "64" in dtype else "l.tif", values)
    text = f"1,3,{odd!r}:0,1,ignore"
    found = read(tmp_path, labels, "membrane", label_map=text)
    assert (found.weights[AREA] == 0).all() and (found.classes[AREA] == IGNORED).all()
    np.testing.assert_array_equal(found.classes[~AREA], CELLS[~AREA])
    if isinstance(odd, int):
        values[values == 1] = 0
        labels = store(tmp_path, "m.h5", values)
        again = read(tmp_path, labels, "membrane", ignore=odd)
        assert again.fingerprint() == found.fingerprint()


def test_values_that_are_not_mapped_are_counted(tmp_path: Path) -> None:
    values = CELLS.astype(np.uint8) * 255
    values[0, 0, :3] = 7
    labels = store(tmp_path, "l.tif", values)
    with pytest.raises(InputError, match=r"the value 7 \(3 pixels\) is in the labels"):
        read(tmp_path, labels, "membrane", label_map="0,255:0,1")
    read(tmp_path, labels, "membrane", label_map="0,255:0,1", slices="1:4")
    values[2, 0, :5] = [1, 2, 3, 4, 7]
    labels = store(tmp_path, "m.tif", values)
    with pytest.raises(InputError, match=r"values 7 \(4 pixels\), 1 \(1 pixels\), .* and 2 more"):
        read(tmp_path, labels, "membrane", label_map="0,255:0,1")
    with_nan = np.where(CELLS, np.nan, 0).astype(np.float32)
    with pytest.raises(InputError, match=r"value nan \(\d+ pixels\)"):
        mapped_labels(with_nan, {0: 0, 1: 1}, "l.tif")


@pytest.mark.parametrize("dtype", ["uint64", "int64", "int8"])
def test_classes_of_any_type(tmp_path: Path, dtype: str) -> None:
    plain = read(tmp_path, store(tmp_path, "l.tif", CELLS.astype("u1")), "class", classes=2)
    values = CELLS.astype(dtype)
    for name in ("l.h5", "l.zarr"):
        found = read(tmp_path, store(tmp_path, name, values), "class", classes=2)
        assert found.fingerprint() == plain.fingerprint()
    values[AREA] = np.iinfo(dtype).max
    labels = store(tmp_path, "m.h5", values)
    more: dict[str, Any] = {"classes": 2, "ignore": int(np.iinfo(dtype).max)}
    assert (read(tmp_path, labels, "class", **more).classes[AREA] == IGNORED).all()


def test_many_classes(tmp_path: Path) -> None:
    """The last number of 8 bits is a class, unless pixels are ignored."""
    values = np.where(CELLS, 255, 0).astype(np.uint16)
    labels = store(tmp_path, "l.tif", values)
    assert read(tmp_path, labels, "class", classes=256).classes.max() == 255
    values[0, 0, 0] = 7
    labels = store(tmp_path, "m.tif", values)
    with pytest.raises(InputError, match=r"has 256 classes; with pixels that are ignored .* 255"):
        read(tmp_path, labels, "class", classes=256, ignore=7)
    low = store(tmp_path, "low.tif", np.where(values == 255, 1, values).astype(np.uint16))
    with pytest.raises(InputError, match="has 300 classes"):  # 255 would be one of them
        read(tmp_path, low, "class", classes=300, ignore=7)
    assert read(tmp_path, low, "class", classes=255, ignore=7).classes[0, 0, 0] == IGNORED
    labels = store(tmp_path, "n.tif", np.where(CELLS, 256, 0).astype(np.uint16))
    with pytest.raises(InputError, match="accepted are 0 to 255"):
        read(tmp_path, labels, "class", classes=300)


def test_nothing_left(tmp_path: Path) -> None:
    labels = store(tmp_path, "l.tif", CELLS.astype(np.uint8))
    with pytest.raises(InputError, match="every pixel of the sections chosen is ignored"):
        read(tmp_path, labels, "membrane", label_map="0,1:ignore,ignore")
    with pytest.raises(InputError, match="labels are 1 everywhere"):
        read(tmp_path, labels, "membrane", label_map="0,1:ignore,1")
    with pytest.raises(InputError, match="labels are 1 everywhere"):
        read(tmp_path, labels, "membrane", ignore=0)
    with pytest.raises(InputError, match="classes from 0 to 5"):
        read(tmp_path, labels, "class", label_map="0,1:0,5", classes=3)


# --- what is ignored counts nothing ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["membrane", "instance", "class"])
def test_nothing_depends_on_what_is_ignored(tmp_path: Path, kind: str) -> None:
    """Whatever lies under the area: class balance, weights, classes, every tile's loss."""
    more: dict[str, Any] = {"classes": 2} if kind == "class" else {}
    base = CELLS.astype(np.uint8) * 255
    found = []
    for k, value in enumerate((9, 77)):
        values = base.copy()
        values[AREA] = value
        text = f"0,255,{value}:0,1,ignore"
        labels = store(tmp_path, f"{k}.tif", values)
        found.append(read(tmp_path, labels, kind, label_map=text, **more))
    assert found[0].fingerprint() == found[1].fingerprint()
    counted = ~AREA
    shares = [np.mean(CELLS[counted] == k) for k in (0, 1)]
    if kind == "class":
        weights = found[0].weights[counted]
        for k in (0, 1):
            np.testing.assert_allclose(weights[CELLS[counted] == k], 1 / (2 * shares[k]), rtol=1e-5)


@pytest.mark.parametrize("kind", ["membrane", "class"])
@pytest.mark.parametrize("weighted", [True, False])
def test_scores_there_have_no_gradient(tmp_path: Path, kind: str, weighted: bool) -> None:
    """In turned and stretched tiles, whose weights lie between those of pixels."""
    more: dict[str, Any] = {"classes": 2} if kind == "class" else {}
    values = CELLS.astype(np.uint8)
    values[AREA] = 5
    data = read(
        tmp_path, store(tmp_path, "l.tif", values), kind, label_map="0,1,5:0,1,ignore", **more
    )
    data = data if weighted else data.unweighted()
    sampler = TileSampler(data, 252, small(tmp_path).augmentation, 0, CPU)
    marked = TrainingSet(data.images, AREA.astype(np.uint8), np.ones_like(data.weights))
    where = TileSampler(marked, 252, small(tmp_path).augmentation, 0, CPU)
    model, seen = UNet(width=2), 0
    for n in range(8):
        tile, area = sampler[n], where[n].labels == 1
        scores = torch.zeros(1, 2, *tile.labels.shape[1:], requires_grad=True)
        energy(model, scores, tile, normalise=True).backward()  # type: ignore[no-untyped-call]
        assert scores.grad is not None
        assert not scores.grad[area.expand(2, -1, -1)[None]].any()
        assert scores.grad.any()
        seen += int(area.sum())
    assert seen > 1000


def test_the_held_out_loss_leaves_them_out(tmp_path: Path) -> None:
    """It is that of the counted pixels: the same whatever the network says in the area."""
    values = CELLS.astype(np.uint8)
    values[AREA] = 5
    labels = store(tmp_path, "l.tif", values)
    data = read(tmp_path, labels, "membrane", label_map="0,1,5:0,1,ignore")
    config = small(tmp_path, tile=252)
    held_out = HeldOut(data, config, UNet.output_side, CPU)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UNet(width=2)
    found = held_out.loss(model)
    model.eval()
    total = weights = 0.0
    with torch.no_grad():
        for tile in held_out.tiles():
            log_p = torch.log_softmax(model(tile.image - config.centre).double(), 1)[0]
            counted = tile.labels[0] < 2
            true = torch.where(tile.labels[0] == 1, log_p[1], log_p[0])
            total -= float((true * tile.weights[0])[counted].sum())
            weights += float(tile.weights[0][counted].sum())
    assert found == pytest.approx(total / weights, rel=1e-6)


def test_the_tile_at_the_edge_of_the_area(tmp_path: Path) -> None:
    """Half a pixel beside it weights are halves, but the class is that of nothing."""
    classes = np.zeros((1, 40, 40), np.uint8)
    data = TrainingSet(np.zeros((1, 1, 40, 40), np.float32), classes, np.ones((1, 40, 40), "f4"))
    ignored = np.zeros((1, 40, 40), np.bool_)
    ignored[:, :, 20:] = True
    sampler = TileSampler(data.without(ignored), 188, small(tmp_path).augmentation, 0, CPU)
    still = np.zeros((2, 3, 3))
    tile = sampler.tile_at(0, Augmentation((19.5, 20.25), 0.0, False, still))
    assert ((tile.weights > 0) & (tile.labels == IGNORED)).any()
    assert ((tile.labels == 0) | (tile.labels == IGNORED)).all()


# --- pictures -------------------------------------------------------------------------------------


def test_palettes_are_their_numbers_and_colours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "palette").mkdir()
    (tmp_path / "colour").mkdir()
    for z, section in enumerate(CELLS):
        picture = Image.fromarray(section.astype("u1") * 3, "P")
        picture.putpalette([200, 3, 7, 9, 9, 9, 1, 2, 3, 50, 60, 70])
        picture.save(tmp_path / "palette" / f"{z}.png")
        colour = np.stack([section * 255, section * 0, section * 0], -1).astype("u1")
        Image.fromarray(colour).save(tmp_path / "colour" / f"{z}.png")
    found = read(tmp_path, tmp_path / "palette", "class", classes=2, label_map="0,3:0,1")
    np.testing.assert_array_equal(found.classes, CELLS)
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    for name in ("colour", "rgb.tif"):
        with pytest.raises(InputError, match="labels are numbers"):
            read(tmp_path, tmp_path / name, "class", classes=2, label_map="0,255:0,1")


# --- a training -----------------------------------------------------------------------------------


def test_it_is_part_of_the_run(tmp_path: Path) -> None:
    values = CELLS.astype(np.uint8) * 255
    values[AREA] = 128
    labels = store(tmp_path, "l.tif", values)
    images, _ = write_stacks(tmp_path)
    given: dict[str, Any] = {"images": images, "labels": labels, "steps": 2, "slices": "0:3"}
    config = small(tmp_path / "run", label_map="0,255:0,1", ignore=128, **given)
    unseen = read_training_set(
        small(tmp_path / "x", **{**given, "slices": "2:4"}, label_map="0,255,128:0,1,ignore")
    )
    train(config, held_out=unseen, progress=False)
    record = load_model(tmp_path / "run/weights.safetensors").record["config"]
    assert isinstance(record, dict)
    assert (record["label_map"], record["ignore"]) == ("0,255:0,1", 128)
    assert json.loads((tmp_path / "run/config.json").read_text())["label_map"] == "0,255:0,1"


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.where(CELLS, 1, -1).astype(np.int32)
    values[AREA] = -7
    labels = store(tmp_path, "l.h5", values)
    images, _ = write_stacks(tmp_path)
    given = ["train", "--images", images, "--labels", labels, "--out", str(tmp_path / "run")]
    given += ["--width", "2", "--tile", "188", "--steps", "2", "--device", "cpu"]
    given += ["--map", "-1,1:0,1", "--ignore", "-7", "--slices", "0:2"]
    assert main([*given, "--validate", "2:3"]) == 2
    assert "has ignored pixels" in capsys.readouterr().err
    assert main([*given, "--validate", "3:4"]) == 0
    assert "V_rand" in capsys.readouterr().out
    followed = [*given, "--validate", "2:3", "--validate-every", "1", "--overwrite"]
    assert main(followed) == 0
    assert "not scored" in capsys.readouterr().err
