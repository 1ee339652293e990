"""Bands, strips and pieces, and the memory model that chooses them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from process_helpers import run_python
from torch import nn

from paper_unet import UNet, input_size
from paper_unet.errors import InputError
from paper_unet.images import create_output
from paper_unet.inference.layers import evaluating
from paper_unet.inference.memory import maps_bytes, weights_bytes
from paper_unet.inference.predict import engine_for
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.inference.streaming import Streaming, multiply_accumulates
from paper_unet.inference.tiled import Tiled
from paper_unet.large.memory import bytes_of
from paper_unet.large.pieces import Grid
from paper_unet.large.plan import choose_plan, waiting_bytes
from paper_unet.networks.base import NetworkConfig

NARROW, PAPER = NetworkConfig(width=16), NetworkConfig()


def engine(config: NetworkConfig, **settings: Any) -> Streaming | Tiled:
    """What would compute, by a network without memory."""
    with torch.device("meta"):
        return engine_for(UNet.from_config(config), InferenceSettings(**settings))


STREAM = engine(NARROW)
ENGINES = {
    (name, average): engine(NARROW, engine=name, average=average)
    for name in ("stream", "tiles")
    for average in ("none", "flips")
}
MEGA = 10**6


# --- what there is to do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        (NetworkConfig(width=3), 40, 17),
        (NetworkConfig(in_channels=2, out_channels=5, width=2), 1, 90),
        (NetworkConfig(width=2, up_relu=True, last_up_width=4), 33, 4),
    ],
)
def test_the_arithmetic_is_what_the_layers_do(
    config: NetworkConfig, height: int, width: int
) -> None:
    model, counted = UNet.from_config(config), []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        pixels = (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output)[0, 0].numel()
        counted.append(layer.weight.numel() * pixels)

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with evaluating(model):
        model(torch.zeros(1, config.in_channels, input_size(height), input_size(width)))
    assert multiply_accumulates(config, height, width) == sum(counted)


def test_the_paper_tile_takes_150_billion() -> None:
    assert multiply_accumulates(PAPER, 388, 388) == pytest.approx(150.43e9, rel=1e-4)


def test_streaming_saves_what_the_halos_cost() -> None:
    tile = multiply_accumulates(PAPER, 388, 388) / 384**2
    section = multiply_accumulates(PAPER, 2048, 2048) / 2048**2
    assert tile / section == pytest.approx(1.31, abs=0.01)  # 572 tiles 384 apart, by their sizes


def test_the_bytes_of_the_weights() -> None:
    for config in (PAPER, NARROW, NetworkConfig(in_channels=3, width=5)):
        model = UNet.from_config(config)
        expected = 4 * sum(p.numel() for p in model.parameters() if p.ndim > 1)
        assert weights_bytes(config) == pytest.approx(expected, rel=1e-2)


# --- pieces -------------------------------------------------------------------------------------

grids = st.builds(
    Grid,
    st.integers(1, 4),
    st.integers(1, 90),
    st.integers(1, 90),
    st.builds(Plan, st.just(16), st.sampled_from([16, 32, 96]), st.sampled_from([16, 48, 128])),
)


@given(grids)
@settings(deadline=None)
def test_pieces_cover_every_pixel_once(grid: Grid) -> None:
    seen = np.zeros((grid.sections, grid.height, grid.width), int)
    for index in range(len(grid)):
        piece = grid.piece(index)
        assert piece.index == index
        seen[piece.z, slice(*piece.rows), slice(*piece.columns)] += 1
        assert piece.rows[0] % grid.plan.rows == piece.columns[0] % grid.plan.strip == 0
    assert (seen == 1).all()


@given(grids, st.sets(st.integers(0, 500)), st.none() | st.integers(1, 5))
@settings(deadline=None)
def test_runs_are_what_is_missing_strip_by_strip(
    grid: Grid, chosen: set[int], longest: int | None
) -> None:
    missing = sorted(index for index in chosen if index < len(grid))
    runs = list(grid.runs(missing, longest))
    assert [index for run in runs for index in run] == missing
    for run in runs:
        pieces = [grid.piece(index) for index in run]
        assert len({(piece.z, piece.columns) for piece in pieces}) == 1
        assert all(a.rows[1] == b.rows[0] for a, b in pairwise(pieces))
        assert longest is None or len(run) <= longest
    if longest is None:  # no two runs could be one
        for a, b in pairwise(runs):
            assert a.stop != b.start or b.start % grid.in_strip == 0


@given(grids)
@settings(deadline=None)
def test_pixels_are_those_of_the_pieces(grid: Grid) -> None:
    pieces = [grid.piece(index) for index in range(len(grid))]
    expected = [
        (p.rows[1] - p.rows[0]) * (p.columns[1] - p.columns[0]) for p in pieces
    ]  # fmt: skip
    assert grid.pixels(np.arange(len(grid))).tolist() == expected


def test_runs_are_made_when_they_are_asked_for() -> None:
    grid, taken = Grid(10**6, 64, 64, Plan(16, 64, 16)), list[int]()

    def missing() -> Iterator[int]:
        for index in range(len(grid)):
            taken.append(index)
            yield index

    runs = grid.runs(missing())
    assert [next(runs), next(runs)] == [range(4), range(4, 8)]
    assert len(taken) == 9


# --- the choice ---------------------------------------------------------------------------------


@given(
    height=st.integers(1, 30_000), width=st.integers(1, 30_000),
    memory=st.integers(300 * MEGA, 20_000 * MEGA), align=st.sampled_from([1, 512]),
    engine=st.sampled_from(["stream", "tiles"]), average=st.sampled_from(["none", "flips"]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_plan_fits_its_memory_and_the_lattice(
    height: int, width: int, memory: int, align: int, engine: str, average: str
) -> None:
    way = ENGINES[engine, average]
    try:
        plan = choose_plan(way, (height, width), memory, alignment=(align, align))
    except InputError as error:
        assert "needs" in str(error)
        assert "`memory`" in str(error)
        return
    assert way.peak_bytes(plan, (height, width)) <= memory
    assert plan.band % 16 == plan.strip % 16 == plan.rows % 16 == 0
    assert plan.strip % align == plan.rows % align == 0


def test_less_memory_makes_narrower_strips_or_bands() -> None:
    shape = (20_000, 20_000)
    widths = []
    for memory in (4000, 1600, 800, 500):
        plan = choose_plan(STREAM, shape, memory * MEGA)
        widths.append((plan.strip, plan.band))
    assert widths[0][0] >= 20_000
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) >= 3


def test_too_little_memory_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"1000 x 800 pixels needs \d+ MB .* 100 MB are allowed"):
        choose_plan(engine(PAPER), (800, 1000), 100 * MEGA)


@pytest.mark.parametrize(
    "asked",
    [{"engine": "tiles", "tiling": "abutting"}, {"average": "rotations"}],
    ids=["abutting", "rotations"],
)
def test_what_needs_whole_sections_is_not_cut(asked: dict[str, str]) -> None:
    plan = choose_plan(engine(NARROW, **asked), (3000, 2000), 10**11, alignment=(512, 512))
    assert (plan.rows, plan.strip) == (3072, 2048)


def test_memory_goes_with_the_width_and_not_with_the_height() -> None:
    plan = Plan(64, 2000, 128)
    low = STREAM.peak_bytes(plan, (2000, 2000))
    assert STREAM.peak_bytes(plan, (80_000, 2000)) == low
    wide = replace(plan, strip=8000)
    assert STREAM.peak_bytes(wide, (2000, 8000)) > 2 * low
    assert maps_bytes(NARROW, "bfloat16", 2000, 64) * 2 == maps_bytes(NARROW, "float32", 2000, 64)


# --- the model against measured peaks -----------------------------------------------------------

IMPORTS = """
import sys, numpy as np, torch
from pathlib import Path
from paper_unet import UNet
from paper_unet.inference.averaging import region_scores
from paper_unet.inference.layers import exact_arithmetic, keep_freed_memory
from paper_unet.inference.predict import engine_for
from paper_unet.inference.section import Section
from paper_unet.inference.settings import InferenceSettings, Plan
from paper_unet.large.executor import LocalExecutor
"""
MEASURE = f"""{IMPORTS}
torch.set_num_threads(1)
keep_freed_memory()
width, height, columns, band, precision, name = eval(sys.argv[1])
base = LocalExecutor().allowed("cpu")[0]
model = UNet(width=width).eval()
engine = engine_for(model, InferenceSettings(engine=name), precision, band)
read = lambda y, x: np.zeros((1, y[1] - y[0], x[1] - x[0]), np.float32)
with exact_arithmetic():
    for _ in region_scores(engine, Section(read, height, columns), (0, height), (0, columns)):
        pass
peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(peak, base + engine.peak_bytes(Plan(band, columns, 128), (height, columns)))
"""


def measured(*case: object) -> tuple[int, int]:
    """Peak of a process that streams zeros, and what the model says, in bytes."""
    run = run_python(MEASURE, repr(case), imports=IMPORTS)
    assert run.returncode == 0, run.stderr
    peak, estimate = map(int, run.stdout.split())
    return peak, estimate


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    "case",
    [
        (16, 700, 2000, 64, "float32", "stream"),
        (16, 500, 6000, 16, "float32", "stream"),
        (4, 500, 9000, 64, "float32", "stream"),
        (32, 400, 900, 32, "float32", "stream"),
        (64, 64, 300, 64, "float32", "stream"),
        (16, 400, 1000, 64, "bfloat16", "stream"),
        (16, 800, 800, 64, "float32", "tiles"),
    ],
    ids=str,
)
def test_the_model_holds_against_measured_peaks(case: tuple[object, ...]) -> None:
    peak, estimate = measured(*case)
    assert 0.5 * estimate <= peak <= 1.05 * estimate


PREDICT = """
import sys, numpy as np, tifffile, torch
from pathlib import Path
from paper_unet.networks.weights_file import save_model
from paper_unet.training.config import TrainConfig
from paper_unet.large import PredictConfig
from paper_unet.large.executor import LocalExecutor
from paper_unet.large.report import Report
from paper_unet.large.run import predict_file
from paper_unet.inference.layers import keep_freed_memory
from paper_unet.training.initial_weights import new_network
keep_freed_memory()
folder, (height, width, name, given) = Path(sys.argv[1]), eval(sys.argv[2])
network = TrainConfig(network=given.pop("network", "paper"), width=2)
save_model(folder / "net.safetensors", new_network(network))
tifffile.imwrite(folder / "in.tif", np.zeros((height, width), np.uint8))
network = str(folder / "net.safetensors")
if "above" in given:  # what importing takes is up to the build of PyTorch
    import torch._dynamo  # for networks other than the paper's
    base = LocalExecutor().allowed("cpu")[0] // 10**6
    given["memory"] = f"{base + given.pop('above')}MB"
config = PredictConfig(
    str(folder / "in.tif"), str(folder / name), weights=network, threads=1, **given
)
predict_file(config, report=Report(say=print))
print("peak", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
WHOLE = [
    (300, 8000, "out.tif", {"engine": "tiles"}),
    (600, 12_000, "out.tif", {"engine": "tiles"}),
    (600, 12_000, "out.zarr", {"engine": "tiles"}),
    (800, 2000, "out.tif", {"engine": "tiles", "tiling": "abutting"}),
    (600, 6000, "out.zarr", {}),
    (2100, 6000, "out.zarr", {"dtype": "float32"}),
    (500, 1000, "out.tif", {"average": "rotations"}),
    (4000, 400, "out.tif", {"average": "flips"}),
    (600, 12_000, "out.tif", {"network": "keras"}),
    (2000, 2000, "out.tif", {"network": "annotated", "average": "flips"}),
    (2000, 2000, "out.tif", {"network": "annotated", "above": 205}),
    (600, 1000, "out.tif", {"network": "three_level", "average": "rotations"}),
]
"""Wide or turned sections through a network so narrow that the scores take most of the memory."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_prediction_takes_what_it_says(case: tuple[object, ...], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PREDICT, str(tmp_path), repr(case)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = re.search(r"memory: about ([\d.]+ [MG]B)", run.stdout)
    assert said is not None
    estimate, peak = bytes_of(said[1]), 1024 * int(run.stdout.split("peak ")[1])
    assert peak <= estimate <= 1.4 * peak


def test_the_scores_of_a_whole_row_of_tiles_count() -> None:
    tiles = engine(NARROW, engine="tiles")
    narrow, wide = (
        tiles.peak_bytes(Plan(64, width, 384), (800, width)) for width in (10_000, 20_000)
    )
    assert wide - narrow > 10_000 * 384 * 4 * 2 * 3  # tiles, their row, its absolute values


def test_the_joined_rows_of_a_piece_count() -> None:
    low, high = (STREAM.peak_bytes(Plan(64, 8000, rows), (4000, 8000)) for rows in (512, 1024))
    assert high - low >= 12 * 512 * 8000  # left over, newly come, and both joined


def test_the_grid_of_a_rotation_counts() -> None:
    rotations = engine(NARROW, average="rotations")
    plan, shape = Plan(64, 3008, 1504), (1500, 3000)
    extra = rotations.peak_bytes(plan, shape) - STREAM.peak_bytes(plan, shape)
    assert extra > 80 * 3356**2  # measured 81 to 94; the grid in float64 alone takes 48


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_section_four_times_as_high_takes_no_more_memory() -> None:
    """Of a narrow network, so that its scores, 48 MB if all were kept, are no small part."""
    low, _ = measured(2, 1000, 1500, 64, "float32", "stream")
    high, _ = measured(2, 4000, 1500, 64, "float32", "stream")
    assert high < 1.05 * low


def test_what_a_pyramid_waits_with_is_counted(tmp_path: Path) -> None:
    """By the size of its values; a TIFF keeps nothing."""
    shape = (1, 2000, 3000)
    waiting = {
        (name, dtype): create_output(tmp_path / name, shape, dtype).waiting
        for name in ("a.zarr", "a.tif", "a.precomputed") for dtype in ("uint8", "float32")
    }  # fmt: skip
    assert waiting["a.tif", "float32"] == 0
    assert waiting["a.zarr", "float32"] == 4 * waiting["a.zarr", "uint8"] == 4
    assert waiting["a.precomputed", "uint8"] == waiting["a.zarr", "uint8"]
    plan = STREAM.plans(shape[1:], (512, 512))[0]
    piece = min(plan.rows, 2000) * min(plan.strip, 3000)
    assert waiting_bytes(plan, shape[1:], 3, 4.0) == 4 * 3 * piece
    needed = STREAM.peak_bytes(plan, shape[1:])
    with pytest.raises(InputError, match="are allowed"):
        choose_plan(STREAM, shape[1:], needed, alignment=(512, 512), waiting=1000.0)
