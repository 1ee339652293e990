"""Figure 4: which network and frame it takes, what it says of them, and what it draws."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from figure_helpers import nothing_overlaps
from process_helpers import run_python

from paper_unet import UNet
from paper_unet.datasets import CellFrames
from paper_unet.networks.weights_file import load_model, save_model

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
HELA = "DIC-C2DH-HeLa"


@pytest.fixture
def fig4(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("fig4_cells")


@pytest.mark.slow
def test_it_runs_quickly_without_data_and_networks(tmp_path: Path) -> None:
    arguments = ["--quick", "--device", "cpu", "--data", "none", "--out", "out", "--work", "work"]
    done = run_python(EXPERIMENTS / "fig4_cells.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["source"] == "synthetic"
    assert [row["set"] for row in metrics["rows"]] == ["PhC-C2DH-U373", HELA]
    for row in metrics["rows"]:
        assert (row["trained_here"], row["width"], row["steps"]) == (True, 4, 10)
        assert (row["trained_on"], row["sequence"]) == ("01", "02")
        assert 0 <= row["seg"] <= 1 and row["objects"] > 5
    assert (out / "fig4_cells.png").stat().st_size > 10_000
    assert (out / "fig4_cells.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((out / "config.json").read_text())["quick"] is True
    assert "SHORT" not in (out / "log.txt").read_text()
    assert "steps of training instead" in (out / "log.txt").read_text()


def blocks(seed: int = 0, frames: int = 2, side: int = 240) -> CellFrames:
    """Frames of square cells; the last has one more."""
    instances = np.zeros((frames, side, side), np.int32)
    instances[:, 60:100, 60:100] = 3
    instances[:, 60:100, 100:140] = 5  # they touch
    instances[-1, 150:190, 60:100] = 8
    noise = np.random.default_rng(seed).integers(0, 20, instances.shape)
    images = (100 + 40 * (instances > 0) + noise).astype(np.uint8)
    return CellFrames(tuple(range(10, 10 + frames)), images, instances, instances < 0)


def sequences(fig4: Any, name: str = HELA, source: str | None = None) -> Any:
    frames = {"01": blocks(1), "02": blocks(2)}
    return fig4.cells.Sequences(name, name if source is None else source, frames)


def options(folder: Path, **changes: Any) -> SimpleNamespace:
    settings: dict[str, Any] = {
        "weights_from": folder / "table2", "work": folder / "work", "seed": 0, "device": "cpu",
        "width": 2, "steps": 1, "tile": 188, "lr": 1e-3, "precision": "float32",
        "network": "paper", "optimizer": "sgd", "finish": 0, "finish_lr": 1e-3,
        "finish_balance": 1.0, "finish_sets": (HELA,), "gap": None,
        "neck": None, "balance": None,
    }  # fmt: skip
    return SimpleNamespace(**settings | changes)


def leave_network(folder: Path, run: str, value_range: object, steps: int = 77) -> Path:
    """What a finished run of table 2 leaves."""
    model = UNet(width=2)
    model.record = {"steps": steps, "config": {"value_range": value_range}}
    (folder / "table2" / run).mkdir(parents=True)
    save_model(folder / "table2" / run / "weights.safetensors", model)
    return folder / "table2" / run


def test_the_network_of_table_2_is_taken(fig4: Any, tmp_path: Path) -> None:
    run = leave_network(tmp_path, f"{HELA}-02-seed0", fig4.cells.VALUE_RANGES[HELA])
    found = fig4.network(options(tmp_path), sequences(fig4))
    assert (found.trained_on, found.steps, found.weights) == ("02", 77, str(run))
    assert not found.trained_here and found.model.config.width == 2
    leave_network(tmp_path, f"{HELA}-01-seed0", fig4.cells.VALUE_RANGES[HELA], steps=88)
    assert fig4.network(options(tmp_path), sequences(fig4)).trained_on == "01"
    assert fig4.network(options(tmp_path, seed=3), sequences(fig4)).trained_here


def test_the_steps_before_a_finish_count(fig4: Any, tmp_path: Path) -> None:
    grey = fig4.cells.VALUE_RANGES[HELA]
    first = leave_network(tmp_path, f"{HELA}-01-paper_batch_norm-seed0", grey)
    last = leave_network(tmp_path, f"{HELA}-01-paper_batch_norm-seed0-finished", grey, steps=5)
    model = load_model(last / "weights.safetensors")
    model.record["config"]["start"] = str(first / "weights.safetensors")
    save_model(last / "weights.safetensors", model)
    found = fig4.network(options(tmp_path, network="paper_batch_norm", finish=5), sequences(fig4))
    assert (found.weights, found.steps) == (str(last), 82)


def test_a_set_may_do_without_the_finish(fig4: Any, tmp_path: Path) -> None:
    run = leave_network(tmp_path, f"{HELA}-01-seed0", fig4.cells.VALUE_RANGES[HELA])
    leave_network(tmp_path, f"{HELA}-01-seed0-finished", fig4.cells.VALUE_RANGES[HELA])
    settings = options(tmp_path, finish=5, finish_sets=("PhC-C2DH-U373",))
    found = fig4.network(settings, sequences(fig4))
    assert (found.weights, found.recipe) == (str(run), fig4.recipes.PAPERS_RECIPE)


@pytest.mark.parametrize("value_range", [None, (0.0, 255.0)])
def test_a_network_of_other_data_is_left_aside(
    fig4: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], value_range: object
) -> None:
    """Table 2 on synthetic cells leaves the same names, and has no range of grey values."""
    leave_network(tmp_path, f"{HELA}-01-seed0", value_range)
    found = fig4.network(options(tmp_path), sequences(fig4))
    assert found.trained_here and found.steps == 1
    assert "not trained on the real DIC-C2DH-HeLa, left aside" in capsys.readouterr().out


def test_a_real_network_is_not_shown_on_synthetic_cells(fig4: Any, tmp_path: Path) -> None:
    leave_network(tmp_path, f"{HELA}-01-seed0", fig4.cells.VALUE_RANGES[HELA])
    assert fig4.network(options(tmp_path), sequences(fig4, source="synthetic")).trained_here


def test_the_frame_is_annotated_in_full_and_has_most_cells(fig4: Any) -> None:
    frames = blocks(frames=4)
    more = fig4.best_annotated(frames)
    assert more.frames == (13,)
    np.testing.assert_array_equal(more.images, frames.images[3:])
    frames.ignore[3, 0, 0] = True  # a cell of it is not annotated
    assert fig4.best_annotated(frames).frames == (10,)
    frames.ignore[:, :2, 0] = True
    frames.ignore[2, 1, 0] = False  # all have gaps: the smallest
    assert fig4.best_annotated(frames).frames == (12,)


def test_the_frame_is_of_the_sequence_that_was_not_trained_on(fig4: Any) -> None:
    both, reading = sequences(fig4), fig4.cell_readings.Reading(0.9, 0.5)
    for trained_on, other in (("01", "02"), ("02", "01")):
        network = fig4.Shown(UNet(width=2).eval(), reading, trained_on, 5, "r", "x", False)
        result = fig4.predict(both, network)
        assert (result.sequence, result.frame) == (other, 11)
        np.testing.assert_array_equal(result.image, both.frames[other].images[1])
        np.testing.assert_array_equal(result.truth, both.frames[other].instances[1])
        one = CellFrames((11,), result.image[None], result.truth[None], result.truth[None] < 0)
        assert result.scores == fig4.cells.score(one, result.found[None])
        assert result.row()["sequence"] == other and result.row()["steps"] == 5


def brute_force(truth: np.ndarray, rows: int, columns: int) -> int:
    ys, xs = truth.shape[0] - rows + 1, truth.shape[1] - columns + 1
    return max(
        (truth[y : y + rows, x : x + columns] > 0).sum() for y in range(ys) for x in range(xs)
    )


@pytest.mark.parametrize("side", [1, 5, 9, 12, 40])
def test_the_part_shown_holds_most_of_the_cells(fig4: Any, side: int) -> None:
    truth = (np.random.default_rng(side).random((9, 14)) < 0.3).astype(np.int32)
    window = fig4.fullest(truth, side)
    rows, columns = truth[window].shape
    assert (rows, columns) == (min(side, 9), min(side, 14))
    assert (truth[window] > 0).sum() == brute_force(truth, rows, columns)


def drawn(fig4: Any, found: np.ndarray, here: bool = False, source: str | None = None) -> Any:
    """The figure of two results with these cells found; the truth is that of `blocks`."""
    frames = blocks()
    results = []
    for name in fig4.cells.SETS:
        network = fig4.Shown(
            UNet(width=2), fig4.cell_readings.Reading(), "01", 4000, "its recipe", "x", here
        )
        one = CellFrames((11,), frames.images[1:], frames.instances[1:], frames.ignore[1:])
        results.append(
            fig4.Result(
                sequences(fig4, name, source),
                network,
                "02",
                11,
                one.images[0],
                one.instances[0],
                found,
                fig4.cells.score(one, found[None]),
            )
        )
    return fig4.draw(results)


def test_what_the_figure_says(fig4: Any) -> None:
    truth = blocks().instances[1]
    titles = [part.get_suptitle() for part in drawn(fig4, truth).subfigs]
    assert titles[0] == (
        "PhC-C2DH-U373, sequence 02, frame 11\n"
        "its recipe; width 2\n"
        "4000 steps on sequence 01; SEG of this frame 1.000"
    )
    assert titles[1].startswith(HELA)
    short = drawn(fig4, truth * 0, here=True, source="synthetic").subfigs[0].get_suptitle()
    assert "SYNTHETIC cells" in short and "a SHORT TRAINING for this figure" in short
    assert "SEG of this frame 0.000" in short


def test_what_the_figure_shows(fig4: Any) -> None:
    """Colour exactly where cells were found; the outlines are of the truth, in its colours."""
    truth = blocks().instances[1]
    found = np.where(truth == 8, 0, truth)  # one is missed
    found[found == 5], found[found == 3] = 1, 2
    found[150:190, 150:190] = 9  # and this is none
    figure = drawn(fig4, found)
    letters = []
    for part in figure.subfigs:
        plain, over = part.axes
        letters += [plain.get_title()[:3], over.get_title()[:3]]
        grey = np.asarray(plain.get_images()[0].get_array())
        panel = np.asarray(over.get_images()[0].get_array())
        assert not plain.collections
        np.testing.assert_array_equal(np.ptp(panel, axis=2) > 0.1, (found > 0) & (found != 9))
        np.testing.assert_allclose(panel[found == 0], grey[found == 0][:, None].repeat(3, 1))
        tint = np.round((panel - 0.55 * grey[..., None]) / 0.45, 6)  # what lies over the grey
        hues = {k: {tuple(colour) for colour in tint[found == k]} for k in (1, 2, 9)}
        assert all(len(colours) == 1 for colours in hues.values())
        assert hues[9] == {(1.0, 1.0, 1.0)} and hues[1] != hues[2]
        outlines = [tuple(np.round(c.get_edgecolor()[0, :3], 6)) for c in over.collections]
        assert [{outlines[0]}, {outlines[1]}] == [hues[2], hues[1]]  # of 3 and of 5
        assert outlines[2] not in (*outlines[:2], (1.0, 1.0, 1.0))  # of the missed one
        corners = [c.get_paths()[0].vertices for c in over.collections]
        boxes = sorted((*points.min(0), *points.max(0)) for points in corners)
        assert boxes == [  # x, y of the first, x, y of the last pixel; the line lies beyond
            (59.5, 59.5, 99.5, 99.5), (59.5, 149.5, 99.5, 189.5), (99.5, 59.5, 139.5, 99.5),
        ]  # fmt: skip
    assert letters == ["(a)", "(b)", "(c)", "(d)"]
    title = figure.subfigs[0].axes[1].get_title()
    assert title == "(b) filled: found; outline: truth\nwhite, grey: no true cell"
    sizes = [bar.txt_label.get_text() for part in figure.subfigs for bar in part.axes[0].artists]
    assert sizes == ["20 µm", "10 µm"]  # of 240 pixels of 0.65 and 0.19
    synthetic = drawn(fig4, found, source="synthetic")
    assert not any(axes.artists for part in synthetic.subfigs for axes in part.axes)
    nothing_overlaps(figure)


def test_an_outline_closes_at_the_side_of_the_image(fig4: Any) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    truth = np.zeros((6, 8), np.int32)
    truth[:3, 5:] = 4
    fig4.outline(axes, truth, {4: (1.0, 0.0, 0.0)})
    points = axes.collections[0].get_paths()[0].vertices
    np.testing.assert_array_equal((points.min(0), points.max(0)), ((4.5, -0.5), (7.5, 2.5)))
    assert axes.get_xlim() == (-0.5, 7.5) and axes.get_ylim() == (5.5, -0.5)
