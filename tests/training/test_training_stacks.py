"""Training from files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from train_helpers import blobs, small, write_stacks

from paper_unet import load_model, predict_image, separate_touching, train
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.export.run import export_file
from paper_unet.export.settings import ExportSettings
from paper_unet.export.tensors import grey_ranges, grey_type
from paper_unet.networks.known_weights import TERMS, terms_of
from paper_unet.networks.tensor_file import read_tensors
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS, comparable
from paper_unet.training.data import training_set
from paper_unet.training.reading import read_training_set


def test_stacks_are_read_scaled_chosen_and_weighed(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    config = small(tmp_path, images=images, labels=labels, slices="1:3", w0=4.0, sigma=3.0)
    data = read_training_set(config)
    cells = blobs(sections=4)[1:3]
    grey = (np.where(cells, 150, 80) + np.arange(90)) / 255
    np.testing.assert_allclose(data.images[:, 0], grey, rtol=1e-6)
    np.testing.assert_array_equal(data.classes, cells)
    instances = np.stack([ndimage.label(section)[0] for section in cells])
    expected = training_set(data.images, instances, w0=4.0, sigma=3.0, separate=False)
    np.testing.assert_array_equal(data.weights, expected.weights)
    assert len(read_training_set(replace(config, slices="")).images) == 4


@pytest.mark.parametrize("channel", [1, "1", "blue light"])
def test_one_channel_and_time_point_of_the_images(tmp_path: Path, channel: int | str) -> None:
    images, labels = write_stacks(tmp_path)
    expected = read_training_set(small(tmp_path, images=images, labels=labels))
    stack = tifffile.imread(images)
    several = np.zeros((2, 4, 2, *stack.shape[1:]), np.uint8)  # T, Z, C, Y, X
    several[1, :, 1] = stack
    names = {"axes": "TZCYX", "Channel": {"Name": ["red light", "blue light"]}}
    tifffile.imwrite(tmp_path / "several.ome.tif", several, ome=True, metadata=names)
    config = small(tmp_path, images=str(tmp_path / "several.ome.tif"), labels=labels)
    with pytest.raises(InputError, match="choose one with `time`, 0 to 1, and one with `channel`"):
        read_training_set(config)
    config = replace(config, channel=channel, time=1)
    np.testing.assert_array_equal(read_training_set(config).images, expected.images)
    assert "channel" not in comparable(config)  # the pixels are compared


@pytest.mark.parametrize("kind", ["membrane", "class"])
def test_a_weaker_class_balance_is_used(tmp_path: Path, kind: str) -> None:
    """The ratio of the weights of the two classes is that of the frequencies to a power."""
    classes = blobs(sections=4)
    values = (255 if kind == "membrane" else 1) * classes.astype(np.uint8)
    images, labels = write_stacks(tmp_path, labels=values)
    for balance in (1.0, 0.5, 0.0):
        settings = {"label_kind": kind, "balance": balance}
        settings |= {"classes": 2} if kind == "class" else {"w0": 0.0}
        data = read_training_set(small(tmp_path, images=images, labels=labels, **settings))
        cells, membranes = (data.weights[classes == part].mean() for part in (True, False))
        expected = ((~classes).mean() / classes.mean()) ** balance
        assert cells / membranes == pytest.approx(expected, rel=1e-5)


def test_instance_labels_get_their_gaps(tmp_path: Path) -> None:
    numbered = np.zeros((4, 90, 90), np.uint16)
    numbered[:, 10:40, 10:40], numbered[:, 10:40, 40:70] = 300, 7
    images, labels = write_stacks(tmp_path, labels=numbered)
    data = read_training_set(small(tmp_path, images=images, labels=labels, label_kind="instance"))
    np.testing.assert_array_equal(data.classes, separate_touching(numbered) != 0)
    assert data.classes.sum() < (numbered != 0).sum()
    with pytest.raises(InputError, match="values 0, 7, 300"):
        read_training_set(small(tmp_path, images=images, labels=labels))


def test_the_gap_of_instance_labels_is_as_wide_as_asked_for(tmp_path: Path) -> None:
    numbered = np.zeros((4, 90, 90), np.uint16)
    numbered[:, 10:40, 10:40], numbered[:, 10:40, 40:70] = 300, 7
    images, labels = write_stacks(tmp_path, labels=numbered)
    config = small(tmp_path, images=images, labels=labels, label_kind="instance", gap=4.0)
    data = read_training_set(config)
    np.testing.assert_array_equal(data.classes[:, 10:40, 37:43], 0)
    np.testing.assert_array_equal(data.classes, separate_touching(numbered, 4) != 0)
    expected = training_set(data.images, numbered, gap=4.0, w0=config.w0, sigma=config.sigma)
    np.testing.assert_array_equal(data.weights, expected.weights)


@pytest.mark.parametrize("kind", ["membrane", "class"])
def test_a_gap_that_nothing_would_be_drawn_by_is_refused(tmp_path: Path, kind: str) -> None:
    images, labels = write_stacks(tmp_path)
    config = small(tmp_path, images=images, labels=labels, label_kind=kind, classes=2, gap=2.0)
    with pytest.raises(InputError, match=f"gap is 2.0.*leave it out with {kind} labels"):
        read_training_set(config)


def test_the_scale_of_other_types_is_stored_and_used(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path, np.uint16)
    config = small(tmp_path / "run", images=images, labels=labels, steps=1)
    with pytest.raises(InputError, match="uint16 has no scale of its own"):
        train(config, progress=False)
    config = replace(config, value_range=(50.0, 300.0))
    train(config, progress=False)
    model = load_model(tmp_path / "run" / WEIGHTS)
    assert model.grey_ranges == {"uint8": (0.0, 255.0), "uint16": (50.0, 300.0)}
    image = tifffile.imread(images)[0]
    unit = ((image - 50.0) / 250).astype(np.float32)
    np.testing.assert_array_equal(predict_image(model, image), predict_image(model, unit))
    # and kept through a crash
    assert read_tensors(tmp_path / "run" / CHECKPOINT)[1]["grey_ranges"]["uint16"] == [50, 300]


def test_a_range_for_uint8_wins_over_255(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    config = small(
        tmp_path / "run", images=images, labels=labels, steps=1, value_range=(50.0, 300.0)
    )
    np.testing.assert_allclose(
        read_training_set(config).images[:, 0], (tifffile.imread(images) - 50.0) / 250, atol=1e-6
    )
    model = train(config, progress=False)
    assert model.grey_ranges["uint8"] == (50.0, 300.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros((4, 90, 91), np.uint8)}, r"\(4, 90, 90\).*\(4, 90, 91\)"),
        ({"labels": np.zeros((3, 90, 90), np.uint8)}, r"\(4, 90, 90\).*\(3, 90, 90\)"),
        ({"labels": np.zeros((4, 90, 90), np.float32)}, "labels are float32; integers are needed"),
        (
            {"labels": np.full((4, 90, 90), [0, 127, 255] * 30, np.uint8)},
            "hold the values 0, 127, 255",
        ),
    ],
)
def test_stacks_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, NDArray[Any]], message: str
) -> None:
    images, labels = write_stacks(tmp_path, **changes)
    config = small(tmp_path / "run", images=images, labels=labels)
    with pytest.raises(InputError, match=message):
        train(config, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", [train, read_training_set])
def test_a_missing_stack_is_refused(tmp_path: Path, call: Callable[..., object]) -> None:
    images, _ = write_stacks(tmp_path)
    with pytest.raises(InputError, match=r"nowhere.tif: no such file"):
        call(small(tmp_path / "run", images=images, labels=str(tmp_path / "nowhere.tif")))
    assert not (tmp_path / "run").exists()


def test_what_starts_from_weights_keeps_their_grey_values(tmp_path: Path) -> None:
    """A network of 16-bit sections is trained on without saying again what black and white are."""
    images, labels = write_stacks(tmp_path, np.uint16)
    first = small(tmp_path / "a", images=images, labels=labels, value_range=(50, 300))
    train(first, progress=False)
    start = str(tmp_path / "a" / WEIGHTS)
    second = small(tmp_path / "b", images=images, labels=labels, start=start)
    assert second.value_range is None
    np.testing.assert_array_equal(read_training_set(second).images, read_training_set(first).images)
    train(second, progress=False)
    again = load_model(tmp_path / "b" / WEIGHTS)
    assert again.grey_ranges == {"uint8": (0, 255), "uint16": (50, 300)}
    other = replace(second, out=str(tmp_path / "c"), value_range=(0, 65_535))
    assert train(other, progress=False).grey_ranges["uint16"] == (0, 65_535)
    with pytest.raises(InputError, match="uint16 has no scale of its own"):
        read_training_set(replace(second, start=None))


@pytest.mark.parametrize(("dtype", "value_range", "kind"), [
    (np.uint8, None, "uint8"), (np.uint16, (50, 300), "uint16"), (np.float32, None, "float32"),
    (np.float64, (0.2, 0.9), "float32"),
])  # fmt: skip
def test_the_type_of_the_grey_values_is_that_of_a_package(
    tmp_path: Path, dtype: Any, value_range: Any, kind: str
) -> None:
    images, labels = write_stacks(tmp_path)
    grey = tifffile.imread(images).astype(dtype)
    grey = grey / 255 if kind == "float32" else grey
    tifffile.imwrite(images, grey, photometric="minisblack", metadata={"axes": "ZYX"})
    config = small(
        tmp_path / "a", images=images, labels=labels, value_range=value_range, steps=1, warmup=0
    )
    train(config, progress=False)
    model = load_model(tmp_path / "a" / WEIGHTS)
    assert grey_type(model) == kind
    expected = value_range or ((0, 255) if kind == "uint8" else (0, 1))
    assert grey_ranges(model)[kind] == expected


def test_what_is_trained_on_from_uint16_learns_the_type_of_the_last_images(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path, np.uint16)
    some: dict[str, Any] = {"labels": labels, "steps": 1, "warmup": 0}
    train(small(tmp_path / "a", images=images, value_range=(50, 300), **some), progress=False)
    images, _ = write_stacks(tmp_path)
    start = str(tmp_path / "a" / WEIGHTS)
    train(small(tmp_path / "b", images=images, start=start, **some), progress=False)
    assert grey_type(load_model(tmp_path / "b" / WEIGHTS)) == "uint8"


def test_terms_of_the_first_weights_are_those_of_what_is_made_of_them(tmp_path: Path) -> None:
    """By name, as the bundled ones have them, and by the record of a file, again and again."""
    images, labels = write_stacks(tmp_path)
    some: dict[str, Any] = {"images": images, "labels": labels, "steps": 1, "warmup": 0}
    train(small(tmp_path / "a", start="isbi2012", width=16, **some), progress=False)
    start = str(tmp_path / "a" / WEIGHTS)
    train(small(tmp_path / "b", start=start, width=16, dropout=0.1, **some), progress=False)
    for made in ("a", "b"):
        weights = tmp_path / made / WEIGHTS
        assert terms_of(load_model(weights).record, weights) == TERMS
    with pytest.raises(InputError, match="terms of their own"):
        export_file(
            start, tmp_path / "a.bioimage.zip", settings=ExportSettings(licence="CC-BY-4.0")
        )
    train(small(tmp_path / "c", **some), progress=False)
    assert "terms" not in load_model(tmp_path / "c" / WEIGHTS).record


def test_a_mask_given_as_numbers_of_cells_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((4, 90, 90), np.uint8)
    for k in range(16):
        mask[:, 20 * (k // 4) + 5 :, 20 * (k % 4) + 5 :][:, :12, :12] = 255
    images, labels = write_stacks(tmp_path, labels=mask)
    given = ["train", "--images", images, "--labels", labels, "--width", "2", "--tile", "188"]
    given += ["--steps", "1", "--device", "cpu", "--overwrite", "--out", str(tmp_path / "run")]
    assert main([*given, "--label-kind", "instance"]) == 0
    said = capsys.readouterr().err
    assert f"careful: {labels}: section 0: its 1 values beside 0 lie in 16 pieces" in said
    assert main(given) == 0
    assert "careful" not in capsys.readouterr().err
    write_stacks(tmp_path, labels=ndimage.label(mask[0])[0].astype("u1")[None].repeat(4, 0))
    assert main([*given, "--label-kind", "instance"]) == 0
    assert "careful" not in capsys.readouterr().err


def movie(path: Path, pixels: NDArray[Any], axes: str = "TYX") -> str:
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": axes})
    return str(path)


def test_axes_and_time_points_are_those_of_labels_that_need_them(tmp_path: Path) -> None:
    images, labels = write_stacks(tmp_path)
    expected = read_training_set(small(tmp_path, images=images, labels=labels))
    frames = movie(tmp_path / "frames.tif", tifffile.imread(images))
    masks = movie(tmp_path / "masks.tif", tifffile.imread(labels))
    with pytest.raises(InputError, match="time points"):
        read_training_set(small(tmp_path, images=images, labels=masks))
    for one in (images, frames):
        found = read_training_set(small(tmp_path, images=one, labels=masks, axes="ZYX"))
        np.testing.assert_array_equal(found.classes, expected.classes)
        np.testing.assert_array_equal(found.images, expected.images)
    both = np.stack([tifffile.imread(labels), 0 * tifffile.imread(labels)])
    masks = movie(tmp_path / "times.tif", both, "TZYX")
    found = read_training_set(small(tmp_path, images=images, labels=masks, time=0))
    np.testing.assert_array_equal(found.classes, expected.classes)


def test_labels_of_two_channels_are_refused_without_an_option_that_is_not_theirs(
    tmp_path: Path,
) -> None:
    images, labels = write_stacks(tmp_path)
    two = movie(tmp_path / "two.tif", np.stack([tifffile.imread(labels)] * 2, axis=1), "ZCYX")
    config = small(tmp_path, images=images, labels=two)
    with pytest.raises(InputError, match="labels of several channels; save the one") as caught:
        read_training_set(config)
    assert "`" not in str(caught.value)
