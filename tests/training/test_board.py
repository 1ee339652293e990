"""What TensorBoard is given of a run: the log, and where the network is wrong."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paper_unet import TrainConfig, UNet, predict_image
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.synthetic import synthetic_stack
from paper_unet.training import board
from paper_unet.training.board import FOLDER, mistakes
from paper_unet.training.data import instances_from_membranes, training_set
from paper_unet.training.held_out import HeldOut, SectionFound
from paper_unet.training.loop import train


def made(sections: int, shape: tuple[int, int], seed: int = 0) -> Any:
    stack = synthetic_stack(sections=sections, shape=shape, seed=seed)
    images = stack.images.astype(np.float32) / np.float32(255)
    return training_set(images, instances_from_membranes(stack.labels))


@pytest.mark.parametrize("shape", [(68, 68), (164, 116), (36, 212), (150, 130)])
def test_a_section_is_what_prediction_gives(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    model = UNet(width=3).train()
    data = made(2, shape)
    unseen = HeldOut(data, TrainConfig(tile=252), UNet.output_side, torch.device("cpu"))
    found = unseen.section(model)
    assert model.training
    np.testing.assert_allclose(found.image, data.images[0], rtol=0, atol=2e-5)
    np.testing.assert_array_equal(found.labels, data.classes[0])
    assert found.annotated.all()
    np.testing.assert_array_equal(found.found, found.probability > 0.5)
    model.centre = TrainConfig().centre
    expected = predict_image(model.eval(), data.images[0, 0])
    if shape != (150, 130):  # there, pooling begins elsewhere than in one pass: tiles off 16
        np.testing.assert_allclose(found.probability, expected, rtol=0, atol=1e-4)
    assert np.corrcoef(found.probability.ravel(), expected.ravel())[0, 1] > 0.9


def test_what_is_wrong_has_a_colour_and_what_is_ignored_none() -> None:
    labels = np.array([[0, 1, 0, 1, 255]])
    found = np.array([[0, 1, 1, 0, 1]])
    grey = np.full((1, 1, 5), 0.5, np.float32)
    section = SectionFound(grey, labels, labels < 2, found, found.astype(np.float32))
    painted = mistakes(section)[0]
    for place in (0, 1, 4):
        assert painted[place].tolist() == [128, 128, 128]
    assert painted[2, 2] > painted[2, 0]  # sky blue: cell in place of membrane
    assert painted[3, 0] > painted[3, 2]  # vermilion: membrane in place of cell


def events(out: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(out / FOLDER), {"images": 0, "scalars": 0})
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard itself
def test_the_log_and_pictures_of_a_held_out_section(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = TrainConfig(out=str(tmp_path / "run"), tile=252, width=2, steps=6, log_every=2,
                         validate_every=3, device="cpu", checkpoint_every=4)  # fmt: skip
    data, unseen = made(1, (188, 188)), made(1, (96, 70), seed=1)
    train(config, data, held_out=unseen, progress=False, tensorboard=True)
    shown = events(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    for name, key in (("loss/training", "loss"), ("learning rate", "lr"),
                      ("loss/held out", "held_out_loss")):  # fmt: skip
        written = {entry.step: entry.value for entry in shown.Scalars(name)}
        assert written == {
            line["step"]: pytest.approx(line[key], rel=1e-6) for line in lines if key in line
        }
    for name in ("held out/wrong pixels", "held out/probability"):
        pictures = shown.Images(name)
        assert [(p.step, p.height, p.width) for p in pictures] == [(3, 96, 70), (6, 96, 70)]
    before = list((tmp_path / "run" / FOLDER).iterdir())
    train(config, data, held_out=unseen, progress=False, tensorboard=True, overwrite=True)
    assert not set(before) & set((tmp_path / "run" / FOLDER).iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard itself
def test_a_resumed_run_goes_on_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from paper_unet.training import loop

    config = TrainConfig(out=str(tmp_path / "run"), tile=188, width=2, steps=6, log_every=1,
                         device="cpu", checkpoint_every=2)  # fmt: skip
    data, step = made(1, (188, 188)), loop.train_step

    def ends(trainer: Any, at: int) -> Any:
        if at == 3:
            raise KeyboardInterrupt
        return step(trainer, at)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_step", ends)
        train(config, data, progress=False, tensorboard=True)
    train(config, data, progress=False, tensorboard=True, resume=True)
    assert [entry.step for entry in events(tmp_path / "run").Scalars("loss/training")] == [
        1, 2, 3, 4, 5, 6
    ]  # fmt: skip


def test_without_tensorboard_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r'pip install "paper-unet\[tensorboard\]"'):
        train(TrainConfig(out=str(tmp_path / "run")), made(1, (188, 188)), tensorboard=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="showing a run needs tensorboard"):
        board.Board(tmp_path, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard itself
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    import tifffile

    monkeypatch.chdir(tmp_path)
    stack = synthetic_stack(sections=2, side=188)
    tifffile.imwrite("images.tif", stack.images)
    tifffile.imwrite("labels.tif", stack.labels)
    given = ["--images", "images.tif", "--labels", "labels.tif", "--out", "run", "--width", "2"]
    given += ["--slices", "0:1", "--validate", "1:2", "--validate-every", "2", "--tensorboard"]
    assert main(["train", *given, "--tile", "252", "--steps", "2", "--device", "cpu"]) == 0
    assert [p.step for p in events(Path("run")).Images("held out/wrong pixels")] == [2]
