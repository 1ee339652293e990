"""The loss of held-out sections while training: the right number, and nothing learnt from it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional
from train_helpers import easy_data, files_of, log_of, result, run, small

from paper_unet import UNet, load_model
from paper_unet.cli import main
from paper_unet.system.stop import Stopped
from paper_unet.training.data import TrainingSet, training_set
from paper_unet.training.held_out import HeldOut
from paper_unet.training.loop import train
from paper_unet.training.tiles import Sample

CPU = torch.device("cpu")


def other_data(height: int = 72, width: int = 72) -> TrainingSet:
    waves = np.random.default_rng(7).normal(size=(2, height, width))
    cells = np.array([ndimage.gaussian_filter(wave, 6) > 0 for wave in waves])
    images = np.where(cells, 0.7, 0.3) + np.random.default_rng(8).normal(0, 0.05, cells.shape)
    return training_set(images.astype(np.float32), np.stack([ndimage.label(c)[0] for c in cells]))


def literal_loss(model: torch.nn.Module, data: TrainingSet, weights: NDArray[np.floating]) -> float:
    """Tiles of 380 that give 196, cut out of sections of 196 x 392 whose borders are mirrored."""
    total = 0.0
    for z in range(2):
        padded = np.pad(data.images[z, 0], 92, "reflect")
        for x in (0, 196):
            tile = torch.from_numpy(padded[:, x : x + 380].copy())[None, None]
            with torch.no_grad():
                log_p = torch.log_softmax(model(tile)[0], 0)
            labels = torch.from_numpy(data.classes[z, :, x : x + 196].astype(np.int64))
            chosen = functional.nll_loss(log_p[None], labels[None], reduction="none")[0]
            total += float((chosen.numpy() * weights[z, :, x : x + 196]).sum())
    return total / float(weights.sum())


@pytest.mark.parametrize(("weighting", "tile"), [("map", 220), ("none", 236)])
def test_it_is_eq_1_over_the_whole_sections(tmp_path: Path, weighting: str, tile: int) -> None:
    config = small(tmp_path, tile=tile, steps=4, lr=1e-2, weighting=weighting, validate_every=2)
    held_out = other_data(196, 392)
    train(config, easy_data(), held_out=held_out, progress=False)
    log = log_of(tmp_path)
    assert [entry["step"] for entry in log if "held_out_loss" in entry] == [2, 4]
    weights = held_out.weights if weighting == "map" else np.ones_like(held_out.weights)
    expected = literal_loss(load_model(tmp_path / "weights.safetensors"), held_out, weights)
    assert log[-1]["held_out_loss"] == pytest.approx(expected, rel=1e-5)
    assert log[-1]["held_out_loss"] != pytest.approx(log[-1]["loss"], rel=1e-3)


def test_looking_does_not_change_the_run(tmp_path: Path) -> None:
    run(small(tmp_path / "blind", tile=220))
    run(small(tmp_path / "looking", tile=220, validate_every=3), held_out=other_data())
    with_it, without = result(tmp_path / "looking"), result(tmp_path / "blind")
    with_it[1]["record"]["config"].pop("validate_every", None)
    without[1]["record"]["config"].pop("validate_every", None)
    assert with_it == without


def test_statistics_of_batch_normalisation_stay(tmp_path: Path) -> None:
    config = {"network": "paper_batch_norm", "tile": 220}
    run(small(tmp_path / "blind", **config))
    run(small(tmp_path / "looking", **config, validate_every=2), held_out=other_data())
    looking = files_of(tmp_path / "looking")["weights.safetensors"]
    assert looking == files_of(tmp_path / "blind")["weights.safetensors"]


@pytest.mark.parametrize("size", [(30, 36), (37, 100), (36, 1), (75, 41)])
def test_every_pixel_counts_once_whatever_the_size(tmp_path: Path, size: tuple[int, int]) -> None:
    data = other_data(*size)
    marked = TrainingSet(data.images, data.classes, np.ones_like(data.weights))
    config = small(tmp_path, tile=220)
    held_out = HeldOut(marked, config, UNet.output_side, CPU)
    numbers = np.arange(1, 1 + size[0] * size[1], dtype=np.float32).reshape(1, *size)
    held_out.sampler.weights = torch.from_numpy(np.repeat(numbers, 2, 0))
    seen = torch.cat([tile.weights.flatten().round() for tile in held_out.tiles()])
    counts = torch.bincount(seen.int())[1:]
    assert counts.tolist() == [2] * numbers.size  # once in each of two sections


@pytest.mark.parametrize(
    ("tile", "size", "side", "tiles"),
    [
        (188, (256, 256), 380, 4),  # 4,096 of 188 pixels
        (188, (40, 300), 220, 18),  # no tile is larger than the section
        (188, (3, 3), 188, 1),
        (252, (500, 500), 380, 9),
        (572, (512, 512), 572, 4),
    ],
)
def test_tiles_that_are_little_but_border_are_larger(
    tmp_path: Path, tile: int, size: tuple[int, int], side: int, tiles: int
) -> None:
    data = other_data(*size)
    held_out = HeldOut(data, small(tmp_path, tile=tile), UNet.output_side, CPU)
    assert held_out.sampler.output == UNet.output_side(side)
    seen = list(held_out.tiles())
    assert len(seen) == tiles * len(data.images)
    assert {tuple(one.image.shape[2:]) for one in seen} == {(side, side)}


@pytest.mark.parametrize("steps", [4, 5])
def test_a_signal_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """It can take minutes; the last one of a run, which ends there anyway, is computed."""
    tiles, config = HeldOut.tiles, small(tmp_path, tile=220, steps=steps, validate_every=4)
    taken = 0

    def interrupted(self: HeldOut) -> Iterator[Sample]:
        nonlocal taken
        for tile in tiles(self):
            if taken == 1:
                signal.raise_signal(signal.SIGTERM)
            taken += 1
            yield tile

    with monkeypatch.context() as patch:
        patch.setattr(HeldOut, "tiles", interrupted)
        if steps == 4:
            train(config, easy_data(), held_out=other_data(), progress=False)
        else:
            with pytest.raises(Stopped):
                train(config, easy_data(), held_out=other_data(), progress=False)
    assert taken == (8 if steps == 4 else 2)
    assert log_of(tmp_path)[-1]["step"] == 4
    assert ("held_out_loss" in log_of(tmp_path)[-1]) == (steps == 4)
    train(config, easy_data(), held_out=other_data(), resume=True, progress=False)
    assert log_of(tmp_path)[-1]["step"] == steps


def test_nothing_annotated(tmp_path: Path) -> None:
    data = other_data()
    nothing = TrainingSet(data.images, data.classes, np.zeros_like(data.weights))
    config = small(tmp_path, tile=220, steps=1, validate_every=1)
    train(config, easy_data(), held_out=nothing, progress=False)
    assert log_of(tmp_path)[0]["held_out_loss"] == 0


def test_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = np.array([ndimage.gaussian_filter(w, 5) > 0 for w in
                      np.random.default_rng(0).normal(size=(4, 64, 64))])  # fmt: skip
    for name, stack in (("in.tif", cells * 90 + 80), ("labels.tif", cells * 255)):
        tifffile.imwrite(tmp_path / name, stack.astype(np.uint8), photometric="minisblack")
    command = ["train", "--images", str(tmp_path / "in.tif"), "--labels",
               str(tmp_path / "labels.tif"), "--network", "keras", "--tile", "64", "--width", "2",
               "--steps", "4", "--out", str(tmp_path / "run"), "--validate-every", "2"]  # fmt: skip
    assert main([*command, "--slices", "0:3"]) == 2
    assert "name them with --validate" in capsys.readouterr().err
    assert main([*command, "--slices", "0:3", "--validate", "2:4"]) == 2
    assert "shares section 2" in capsys.readouterr().err
    assert main([*command, "--slices", "0:3", "--validate", "3:4"]) == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert ["held_out_loss" in json.loads(line) for line in lines] == [True, True]
    assert "v_rand" in capsys.readouterr().out.lower()
    instances = [*command, "--overwrite", "--label-kind", "instance", "--slices", "0:3"]
    assert main([*instances, "--validate", "3:4"]) == 0
