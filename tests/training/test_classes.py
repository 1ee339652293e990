"""Several classes: from labels by their numbers to a probability of each."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from paper_unet import UNet, load_model, predict_image, predict_stack
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.inference.readout import probability
from paper_unet.networks.weights_file import save_model
from paper_unet.training.data import training_set_of_classes


def bands(sections: int = 3, side: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark, grey and bright bands, two, three and three parts of eight; and their classes."""
    classes = np.zeros((sections, side, side), np.uint8)
    classes[:, side // 4 :] = 1
    classes[:, side * 5 // 8 :] = 2
    return np.array([30, 120, 210], np.uint8)[classes], classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, stack in zip(("in.tif", "classes.tif"), bands(), strict=True):
        tifffile.imwrite(tmp_path / name, stack, photometric="minisblack")
    return tmp_path


def train(folder: Path, *more: str, kind: str = "class") -> int:
    return main(["train", "--images", str(folder / "in.tif"), "--labels",
                 str(folder / "classes.tif"), "--label-kind", kind, "--tile", "64", "--width", "4",
                 "--network", "popular", "--out", str(folder / "run"), *more])  # fmt: skip


def test_weights_balance_the_classes() -> None:
    images, classes = bands()
    data = training_set_of_classes(images.astype(np.float32) / 255, classes, 4)
    sums = [float(data.weights[classes == k].sum()) for k in range(3)]
    np.testing.assert_allclose(sums, classes.size / 3, rtol=1e-6)
    assert data.classes.dtype == np.uint8
    assert len(np.unique(data.weights)) == 2  # two classes are as frequent as each other
    with pytest.raises(InputError, match="classes from 0 to 2; the network has 2, from 0 to 1"):
        training_set_of_classes(images.astype(np.float32) / 255, classes, 2)


def test_three_classes_are_learnt_and_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "--classes", "3", "--weighting", "map", "--steps", "80", "--optimizer",
                 "adam", "--lr", "0.005", "--warmup", "1", "--grey", "0") == 0  # fmt: skip
    weights = folder / "run" / "weights.safetensors"
    found = []
    for k in range(3):
        out = folder / f"{k}.tif"
        command = ["predict", str(folder / "in.tif"), "-o", str(out), "--weights", str(weights)]
        assert main([*command, "--of-class", str(k)]) == 0
        found.append(read_stack(out))
    np.testing.assert_allclose(sum(found), 1, atol=1e-5)
    right = np.argmax(found, axis=0) == read_stack(folder / "classes.tif")
    assert right.mean() > 0.8
    last = folder / "last.tif"
    assert (
        main(["predict", str(folder / "in.tif"), "-o", str(last), "--weights", str(weights)]) == 0
    )
    np.testing.assert_array_equal(read_stack(last), found[2])
    capsys.readouterr()
    assert main(["predict", str(folder / "in.tif"), "-o", str(folder / "3.tif"), "--weights",
                 str(weights), "--of-class", "3"]) == 2  # fmt: skip
    assert "no class 3; the network has 3, from 0 to 2" in capsys.readouterr().err
    model, stack = load_model(weights), read_stack(folder / "in.tif")
    np.testing.assert_allclose(predict_stack(model, stack, of_class=1), found[1], atol=1e-6)
    with pytest.raises(InputError, match="no class -1"):
        predict_image(model, stack[0], of_class=-1)


@pytest.mark.parametrize(("kind", "given"), [("membrane", "two"), ("instance", "two")])
def test_other_labels_know_two_classes(
    folder: Path, kind: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(folder / "classes.tif", bands()[1] // 2, photometric="minisblack")
    assert train(folder, "--classes", "3", "--steps", "1", kind=kind) == 2
    assert f"classes is 3; {kind} labels have {given}" in capsys.readouterr().err


def test_a_class_too_many(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "--steps", "1") == 2
    said, error = capsys.readouterr().err.splitlines()
    assert said.startswith("grey values of section 0: ")
    assert "classes from 0 to 2; the network has 2" in error


def test_a_logit_has_two_classes() -> None:
    logits = torch.linspace(-8, 8, 50).reshape(1, 5, 10)
    cell, background = (probability(logits, True, k) for k in (1, 0))
    np.testing.assert_array_equal(cell, probability(logits, True))
    np.testing.assert_allclose(cell + background, 1, atol=1e-6)
    np.testing.assert_allclose(cell, 1 / (1 + np.exp(-logits[0].numpy())), rtol=1e-6)


def test_two_classes_by_their_numbers(folder: Path) -> None:
    model = UNet(width=2)
    save_model(folder / "net.safetensors", model)
    image = read_stack(folder / "in.tif")[0]
    both = [predict_image(model.eval(), image, of_class=k) for k in (0, 1)]
    np.testing.assert_allclose(both[0] + both[1], 1, atol=1e-6)
    np.testing.assert_array_equal(both[1], predict_image(model, image))
