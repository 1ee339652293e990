"""Figures 1 to 3: what they show is what the code does, and nothing on them hides anything."""

from __future__ import annotations

import importlib
import json
import os
import sys
from argparse import Namespace
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figure_helpers import nothing_overlaps, page_inches
from matplotlib.figure import Figure
from process_helpers import run_python
from torch.utils.flop_counter import FlopCounterMode

from paper_unet import UNet, separate_touching
from paper_unet.errors import InputError
from paper_unet.figures.architecture import architecture_figure, arrows, lay_out
from paper_unet.figures.cell_colours import touching_pairs
from paper_unet.figures.overlap_tile import TiledSection, overlap_tile_figure
from paper_unet.figures.style import picture
from paper_unet.figures.tilings import busiest_window, difference, log_odds
from paper_unet.figures.trace import Trace, trace
from paper_unet.figures.weight_map import weight_map_figure, weighted_frame
from paper_unet.synthetic import PIXEL_SIZE, synthetic_stack

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

# Fig. 1, read from the paper: operation, channels, x-y size, in the order of the arrows
CONV, POOL, UP, COPY = "conv 3x3", "max pool 2x2", "up-conv 2x2", "copy and crop"
FIGURE_1 = [
    ("input", 1, 572), (CONV, 64, 570), (CONV, 64, 568),
    (POOL, 64, 284), (CONV, 128, 282), (CONV, 128, 280),
    (POOL, 128, 140), (CONV, 256, 138), (CONV, 256, 136),
    (POOL, 256, 68), (CONV, 512, 66), (CONV, 512, 64),
    (POOL, 512, 32), (CONV, 1024, 30), (CONV, 1024, 28),
    (UP, 512, 56), (COPY, 512, 56), (CONV, 512, 54), (CONV, 512, 52),
    (UP, 256, 104), (COPY, 256, 104), (CONV, 256, 102), (CONV, 256, 100),
    (UP, 128, 200), (COPY, 128, 200), (CONV, 128, 198), (CONV, 128, 196),
    (UP, 64, 392), (COPY, 64, 392), (CONV, 64, 390), (CONV, 64, 388),
    ("conv 1x1", 2, 388),
]  # fmt: skip


def traced(side: int = 572, width: int = 64, release: bool = False) -> Trace:
    with torch.device("meta"):
        return trace((UNet.release if release else UNet)(width=width), side)


def test_the_maps_of_fig_1() -> None:
    found = traced()
    assert [(made.operation, made.channels, made.side) for made in found.maps] == FIGURE_1
    assert found.convolutions == 23  # sec. 2
    assert found.parameters == 31_030_658
    assert round(found.macs / 1e9, 2) == 150.43
    joined = [m.from_channels for b, m in pairwise(found.maps) if b.operation == COPY]
    assert joined == [1024, 512, 256, 128]
    assert all(made.relu == (made.operation == CONV) for made in found.maps)
    assert [(m.channels, m.side) for m in found.maps if m.dropout] == [(512, 64), (1024, 28)]


def test_the_maps_of_the_release() -> None:
    found = traced(release=True)
    assert found.parameters == 31_100_354
    assert round(found.macs / 1e9, 2) == 157.29
    ups = [made for made in found.maps if made.operation == UP]
    assert [made.channels for made in ups] == [512, 256, 128, 128]
    assert all(made.relu for made in ups)


@pytest.mark.parametrize(("side", "width", "release"), [(188, 3, False), (252, 5, True)])
def test_a_pass_without_values_has_the_shapes_of_a_real_one(
    side: int, width: int, release: bool
) -> None:
    model = (UNet.release if release else UNet)(width=width).eval()
    image = torch.zeros(1, 1, side, side)
    with torch.no_grad():
        before = model(image)
    found = trace(model, side)
    assert found == traced(side, width, release)
    assert (found.maps[-1].channels, found.maps[-1].side) == before.shape[1:3]
    with torch.no_grad():  # the network is left as it was
        assert torch.equal(model(image), before)
    assert not model.training and not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(("side", "width", "release"), [(572, 64, False), (300, 7, True)])
def test_the_arithmetic_is_what_pytorch_counts(side: int, width: int, release: bool) -> None:
    with torch.device("meta"):
        model = (UNet.release if release else UNet)(width=width)
        image = torch.empty(1, 1, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert 2 * traced(side, width, release).macs == counter.get_total_flops()


DRAWN = [(572, 64, False), (188, 64, True), (1020, 4, False), (700, 128, True)]


@pytest.mark.parametrize(("side", "width", "release"), DRAWN)
def test_boxes_stand_apart_and_arrows_join_them(side: int, width: int, release: bool) -> None:
    found = traced(side, width, release)
    boxes = lay_out(found)
    assert [box.made for box in boxes] == list(found.maps)
    for one, other in combinations(boxes, 2):
        apart = one.right <= other.left + 1e-9 or other.right <= one.left + 1e-9
        assert apart or one.bottom > other.top or other.bottom > one.top
    heights = [box.height / box.made.side for box in boxes if box.made.side > side / 20]
    assert heights == pytest.approx([heights[0]] * len(heights))
    drawn = list(arrows(boxes))
    counts = Counter(operation for operation, _, _ in drawn)
    assert counts == {CONV: 18, POOL: 4, UP: 4, COPY: 4, "conv 1x1": 1}
    for operation, (x0, y0), (x1, y1) in drawn:
        if operation in (POOL, UP):
            assert x0 == x1 and (y1 - y0 > 3 if operation == UP else y0 - y1 > 3)
        else:
            assert y0 == y1 and x1 - x0 > 3
    figure = architecture_figure(found, "a title")
    assert page_inches(picture(figure, "pdf"))[0] == pytest.approx(6.9)
    nothing_overlaps(figure)


def test_the_finder_of_overlapping_text_finds_it() -> None:
    figure = Figure()
    for n in range(4):
        figure.text(0.1, 0.2 + 0.1 * n, "some text")
    nothing_overlaps(figure)
    figure.text(0.11, 0.21, "more")
    with pytest.raises(AssertionError, match="lies over"):
        nothing_overlaps(figure)


def test_log_odds() -> None:
    scores = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(scores.double(), dim=0)[-1].numpy()
    np.testing.assert_allclose(log_odds(scores), np.log(p / (1 - p)), atol=1e-5)


def test_a_difference_is_given_in_standard_deviations() -> None:
    reference = np.array([[-2, 2], [-2, 2]], np.float32)  # spread 2
    other = np.array([[-2, 2], [1, 1]], np.float32)
    found = difference(reference, other, 572, "abutting")
    np.testing.assert_array_equal(found.map, [[0, 0], [1.5, -0.5]])
    numbers = found.to_dict()
    assert numbers["spread_of_log_odds"] == 2
    assert numbers["max_difference_in_spreads"] == 1.5
    assert numbers["mean_difference_in_spreads"] == 0.5
    assert (numbers["pixels_of_another_class"], numbers["share_of_pixels"]) == (1, 0.25)
    assert numbers["starts"] == [[0], [0]]
    with pytest.raises(InputError, match="trained weights"):
        difference(np.ones((2, 2), np.float32), other, 572, "abutting")
    with pytest.raises(InputError, match="one image"):
        difference(reference, other[:1], 572, "abutting")


def test_abutting_tiles_start_on_other_phases() -> None:
    image = np.arange(800 * 512, dtype=np.float32).reshape(800, 512)
    numbers = difference(image, image, 572, "abutting").to_dict()
    assert numbers["starts"] == [[0, 388, 776], [0, 388]]
    assert numbers["phases"] == [[0, 4, 8], [0, 4]]
    exact = difference(image, image, 572, "exact").to_dict()
    assert all(phase == 0 for axis in exact["phases"] for phase in axis)


@pytest.mark.parametrize(("shape", "side"), [((9, 13), 4), ((6, 5), 5), ((3, 8), 6), ((4, 4), 9)])
def test_busiest_window(shape: tuple[int, int], side: int) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.3
    rows, columns = min(side, shape[0]), min(side, shape[1])
    counts = [
        mask[y : y + rows, x : x + columns].sum()
        for y in range(shape[0] - rows + 1)
        for x in range(shape[1] - columns + 1)
    ]
    found = mask[busiest_window(mask, side)]
    assert found.shape == (rows, columns)
    assert found.sum() == max(counts)


def compared(monkeypatch: pytest.MonkeyPatch) -> tuple[TiledSection, list[dict[str, Any]]]:
    torch.manual_seed(0)
    image = synthetic_stack(sections=1, side=144, seed=3).images[0]
    script = import_experiment("fig2_overlap_tile", monkeypatch)
    section, rows = script.compare(UNet(width=2), image, 252)
    return section, rows


def test_exact_tiles_agree_and_abutting_ones_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    section, rows = compared(monkeypatch)
    by_way = {(row["tiling"], row["tile"]): row for row in rows}
    assert set(by_way) == {(t, s) for t in ("exact", "abutting") for s in (572, 252)}
    for way in (("exact", 572), ("exact", 252), ("abutting", 572)):  # 572 alone holds the section
        assert by_way[way]["max_difference_in_spreads"] < 1e-4
    assert by_way["abutting", 252]["starts"] == [[0, 68, 136]] * 2
    found = section.abutting[1]
    assert by_way["abutting", 252]["max_difference_in_spreads"] == found.maximum > 0.01
    assert np.abs(found.map[:68, :68]).max() < 1e-4  # the first tile has the phase of one pass
    assert min(np.abs(found.map[68:136, :68]).max(), np.abs(found.map[:68, 136:]).max()) > 1e-3
    same = difference(section.one_pass, section.one_pass.copy(), 252, "exact")
    assert same.maximum == same.mean == 0 and not same.changed.any()
    nothing_overlaps(overlap_tile_figure(section, "SYNTHETIC tissue", PIXEL_SIZE))


def test_a_section_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    script = import_experiment("fig2_overlap_tile", monkeypatch)
    options = Namespace(image=None, data=Path("none"), quick=True, section=30)
    with pytest.raises(InputError, match="--section is 30; synthetic has 0 to 27"):
        script.read(options)


def small_cells() -> tuple[np.ndarray, np.ndarray]:
    """Four cells: 3 and 7 touch along a line, 9 meets 7 at a corner, 5 stands alone."""
    cells = np.zeros((24, 26), np.int32)
    cells[3:10, 2:9] = 3
    cells[10:15, 4:12] = 7
    cells[15:20, 12:17] = 9
    cells[4:12, 18:23] = 5
    unknown = np.zeros(cells.shape, bool)
    unknown[20:, :6] = True
    return cells, unknown


def test_touching_pairs() -> None:
    cells, _ = small_cells()
    assert touching_pairs(cells) == {(3, 7), (7, 9)}
    assert touching_pairs(separate_touching(cells)) == set()
    noise = np.random.default_rng(0).integers(0, 9, (12, 11)) * 10
    pairs = set()
    for y, x in np.ndindex(noise.shape):
        for b in np.unique(noise[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]):
            if 0 < noise[y, x] < b:
                pairs.add((int(noise[y, x]), int(b)))
    assert touching_pairs(noise) == pairs


def test_the_numbers_of_fig_3_are_those_of_a_literal_count() -> None:
    cells, unknown = small_cells()
    found = weighted_frame(np.zeros(cells.shape, np.uint8), cells, unknown).to_dict()
    cut = cells.copy()
    for y, x in np.ndindex(cells.shape):  # one neighbour of each opposite pair is enough
        before = [(y, x - 1), (y - 1, x - 1), (y - 1, x), (y - 1, x + 1)]
        inside = [cells[p] for p in before if min(p) >= 0 and p[1] < cells.shape[1]]
        if cells[y, x] and any(other not in (0, cells[y, x]) for other in inside):
            cut[y, x] = 0
    known = ~unknown
    n, n_cells = known.sum(), (cut[known] != 0).sum()
    w_c = {"background": n / (2 * (n - n_cells)), "cell": n / (2 * n_cells)}
    weights, base = np.zeros(cells.shape), np.zeros(cells.shape)
    for y, x in np.ndindex(cells.shape):
        distances = sorted(
            np.hypot(*(np.argwhere(cut == label) - (y, x)).T).min() for label in (3, 5, 7, 9)
        )
        border = 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 5**2))
        base[y, x] = w_c["cell" if cut[y, x] else "background"] * known[y, x]
        weights[y, x] = base[y, x] + (border if cut[y, x] == 0 and known[y, x] else 0)
    gaps = (cells != 0) & (cut == 0)
    assert (found["cells"], found["touching_pairs"], found["touching_pairs_after"]) == (4, 2, 0)
    assert (found["gap_pixels"], found["unannotated_pixels"]) == (gaps.sum(), 24)
    assert gaps.sum() > 5
    assert found["w_c"] == pytest.approx(w_c)
    assert found["weight_min"] == pytest.approx(weights[known].min(), rel=1e-5)
    assert found["weight_max"] == pytest.approx(weights.max(), rel=1e-5)
    assert found["weight_mean_in_gaps"] == pytest.approx(weights[gaps].mean(), rel=1e-5)
    assert found["share_of_pixels_in_gaps"] == pytest.approx(gaps.sum() / n)
    assert found["share_of_weight_in_gaps"] == pytest.approx(
        weights[gaps].sum() / weights.sum(), rel=1e-5
    )
    assert found["share_of_weight_from_border_term"] == pytest.approx(
        1 - base.sum() / weights.sum(), rel=1e-4
    )


def test_the_balance_of_the_training_set_is_kept() -> None:
    cells, _ = small_cells()
    frame = weighted_frame(np.zeros(cells.shape), cells, balance=(0.7, 1.6))
    assert frame.to_dict()["w_c"] == {"background": 0.7, "cell": 1.6}
    np.testing.assert_allclose(frame.weights[frame.separated != 0], 1.6, rtol=1e-6)


def test_a_frame_that_does_not_fit() -> None:
    cells, unknown = small_cells()
    with pytest.raises(InputError, match="one frame"):
        weighted_frame(np.zeros((3, 4)), cells, unknown)
    with pytest.raises(InputError, match="not annotated"):
        weighted_frame(np.zeros(cells.shape), cells, np.ones(cells.shape, bool))


@pytest.mark.parametrize("known", [True, False])
def test_the_drawing_of_fig_3(known: bool) -> None:
    cells, unknown = small_cells()
    image = np.random.default_rng(0).integers(0, 256, cells.shape).astype(np.uint8)
    frame = weighted_frame(image, cells, None if known else unknown)
    nothing_overlaps(weight_map_figure(frame, "SYNTHETIC cells", 0.19))


def test_made_up_cells_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = import_experiment("fig3_weight_map", monkeypatch).made_up(128, seed=0)
    assert len(touching_pairs(frames.instances[0])) > 3
    assert 0.1 < (frames.instances == 0).mean() < 0.9


def import_experiment(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module(name)


def run(name: str, tmp_path: Path, *more: str) -> dict[str, Any]:
    """Run a script as a user does; return its metrics after a look at what it left."""
    arguments = ["--quick", "--device", "cpu", "--data", "none", "--out", "out", *more]
    done = run_python(EXPERIMENTS / f"{name}.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert (out / f"{name}.png").stat().st_size > 10_000
    assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "log.txt").stat().st_size > 0
    assert json.loads((out / "config.json").read_text())["quick"] is True
    assert "torch" in json.loads((out / "environment.json").read_text())
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    assert {"date", "torch", "cpu"} <= set(metrics["environment"])
    return metrics


@pytest.mark.slow
def test_fig1(tmp_path: Path) -> None:
    metrics = run("fig1_architecture", tmp_path)
    rows = [(row["operation"], row["channels"], row["side"]) for row in metrics["maps"]]
    assert rows == FIGURE_1
    assert metrics["convolutional_layers"] == 23 and metrics["parameters"] == 31_030_658


def test_fig1_of_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--release", "--tile", "188", "--width", "8", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fig1_architecture.py", *options])
    import_experiment("fig1_architecture", monkeypatch).main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["network"], metrics["tile"]) == ("release", 188)
    assert metrics["maps"] == traced(188, 8, release=True).to_dict()["maps"]
    monkeypatch.setattr(sys, "argv", ["fig1_architecture.py", "--tile", "512"])
    with pytest.raises(InputError, match="use 508 or 524"):
        import_experiment("fig1_architecture", monkeypatch).main()


@pytest.mark.slow
def test_fig2(tmp_path: Path) -> None:
    metrics = run("fig2_overlap_tile", tmp_path)
    assert metrics["source"] == "synthetic" and metrics["shape"] == [128, 128]
    by_way = {(row["tiling"], row["tile"]): row for row in metrics["tilings"]}
    assert by_way["exact", 252]["max_difference_in_spreads"] < 1e-4
    assert by_way["abutting", 252]["max_difference_in_spreads"] > 0.01


@pytest.mark.slow
def test_fig3(tmp_path: Path) -> None:
    metrics = run("fig3_weight_map", tmp_path)
    assert metrics["source"] == "synthetic"
    assert metrics["touching_pairs"] > metrics["touching_pairs_after"] == 0
    assert 5 < metrics["weight_max"] < 10 + max(metrics["w_c"].values())


def real_data(name: str) -> Path:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("PAPER_UNET_DATA") or beside) / name
    if not path.exists():
        pytest.skip(f"{name} not found: fetch the data and set PAPER_UNET_DATA to its folder")
    return path


@pytest.mark.data
@pytest.mark.slow
def test_the_default_frame_is_whole_and_has_the_longest_gaps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = real_data("DIC-C2DH-HeLa").parent
    script = import_experiment("fig3_weight_map", monkeypatch)
    gaps = {}
    for sequence in ("01", "02"):
        options = Namespace(data=data, frame=f"{sequence}/067", quick=False, seed=0)
        frames, _, source = script.read(options)
        assert source == "DIC-C2DH-HeLa"
        for number, cells, unknown in zip(
            frames.frames, frames.instances, frames.ignore, strict=True
        ):
            if not unknown.any():
                cut = (cells != 0) & (separate_touching(cells) == 0)
                gaps[f"{sequence}/{number:03}"] = int(cut.sum())
    assert max(gaps, key=gaps.__getitem__) == "02/038"
    with pytest.raises(InputError, match="--frame is 02/001; frames of 02 with cells are 006"):
        script.read(Namespace(data=data, frame="02/001", quick=False, seed=0))


@pytest.mark.data
@pytest.mark.slow
def test_abutting_tiles_of_the_paper_on_a_real_section(monkeypatch: pytest.MonkeyPatch) -> None:
    from paper_unet import load_model

    data = real_data("isbi2012/train-volume.tif").parents[1]
    script = import_experiment("fig2_overlap_tile", monkeypatch)
    image, source = script.read(Namespace(image=None, data=data, quick=False, section=27))
    assert source == "ISBI 2012"
    section, _ = script.compare(load_model(), image, 380)
    paper = section.abutting[0]
    assert paper.starts() == ([0, 388], [0, 388])
    assert np.abs(paper.map[:388, :388]).max() < 1e-4 < 0.01 < paper.maximum
    nothing_overlaps(overlap_tile_figure(section, source))
