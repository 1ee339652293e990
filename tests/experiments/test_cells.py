"""The cell tracking experiments: which frames choose and which are scored, and readings of maps."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paper_unet.datasets import CellFrames
from paper_unet.errors import DivergedError
from paper_unet.training.data import training_set

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    names = ("cells", "cell_splits", "cell_readings", "table2_cell_tracking")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def frames(count: int, first: int, side: int = 8) -> CellFrames:
    """Frames whose grey values, masks and gaps in the annotation are their numbers."""
    numbers = np.arange(first, first + count)
    values = np.broadcast_to(numbers[:, None, None], (count, side, side))
    return CellFrames(
        tuple(int(n) for n in numbers), values.astype(np.uint8), values.astype(np.int32),
        values % 2 == 0, 3, 2,
    )  # fmt: skip


@pytest.mark.parametrize("counts", [(9, 9), (15, 19), (3, 4), (5, 31)])
def test_nothing_that_is_scored_is_learned_from_or_chooses(
    house: SimpleNamespace, counts: tuple[int, int]
) -> None:
    sequences = house.cells.Sequences(
        "DIC-C2DH-HeLa", "x", {"01": frames(counts[0], 0), "02": frames(counts[1], 100)}
    )
    splits = house.cell_splits.splits(sequences)
    assert [(s.protocol, s.name) for s in splits] == [
        ("across", "01"), ("across", "02"), ("forward", "forward"),
    ]  # fmt: skip
    for split in splits:
        parts = [split.learned, split.held_out, split.scored]
        numbers = [set(part.frames) for part in parts]
        assert all(numbers)
        assert not (numbers[0] & numbers[1] or numbers[0] & numbers[2] or numbers[1] & numbers[2])
        for part in parts:  # images, masks and what is unknown go with the frames
            np.testing.assert_array_equal(part.images[:, 0, 0], part.frames)
            np.testing.assert_array_equal(part.instances[:, 0, 0], part.frames)
            np.testing.assert_array_equal(part.ignore[:, 0, 0], np.array(part.frames) % 2 == 0)
            assert (part.border, part.around) == (3, 2)
        assert {
            name: [n for numbers in of.values() for n in numbers]
            for name, of in split.frames.items()
        } == {
            name: list(part.frames)
            for name, part in zip(("learned", "held_out", "scored"), parts, strict=True)
        }
    one, other, forward = splits
    assert set(one.learned.frames + one.held_out.frames) == set(range(counts[0]))
    assert one.scored.frames == tuple(range(100, 100 + counts[1]))
    assert other.scored.frames == tuple(range(counts[0]))
    assert len(one.held_out.frames) == -(-counts[0] // 5)
    assert max(one.learned.frames) < min(one.held_out.frames)
    for name, count in zip(("01", "02"), counts, strict=True):  # in time, in each sequence
        parts = [forward.frames[part][name] for part in ("learned", "held_out", "scored")]
        assert max(parts[0]) < min(parts[1]) <= max(parts[1]) < min(parts[2])
        assert len(parts[2]) == count - count * 2 // 3


def test_the_prior_is_what_the_weights_moved(house: SimpleNamespace) -> None:
    """A network that knows the shares alone says, after weighted training, the prior threshold."""
    instances = np.zeros((1, 20, 20), np.int32)
    instances[0, :5] = 1
    instances[0, 7:9] = 2
    ignore = np.zeros(instances.shape, bool)
    ignore[0, :, 15:] = True
    for balance in (0.0, 0.5, 1.0):
        data = training_set(
            np.zeros(instances.shape, np.float32), instances, ignore=ignore, balance=balance
        )
        share = data.classes[~ignore].mean()
        mass = [data.weights[data.classes == k].sum() for k in (0, 1)]
        best_constant = mass[1] / (mass[0] + mass[1])  # of Eq. 1
        odds = best_constant / (1 - best_constant)
        found = house.cell_readings.prior_threshold(data)
        assert found / (1 - found) == pytest.approx(odds / (share / (1 - share)), rel=1e-5)


def leaking(side: int = 260) -> tuple[CellFrames, np.ndarray]:
    """Two cells whose border leaks in one place, as a map."""
    instances = np.zeros((1, side, side), np.int32)
    instances[0, 80:180, 60:130], instances[0, 80:180, 130:200] = 1, 2
    maps = np.where(instances > 0, 0.7, 0.1).astype(np.float32)
    maps[0, 85:175, 65:126] = maps[0, 85:175, 134:195] = 0.97
    maps[0, :120, 129:131] = maps[0, 130:, 129:131] = 0.2
    return CellFrames((0,), maps, instances, instances < 0), maps


def test_pairs_that_were_found_as_one(house: SimpleNamespace) -> None:
    truth, maps = leaking()
    whole, parted = (maps > t for t in (0.5, 0.9))
    joined = house.cell_readings.joined
    assert joined(truth, whole.astype(np.int32)) == 1
    assert joined(truth, truth.instances) == 0
    assert joined(truth, np.where(parted, truth.instances, 0)) == 0
    assert joined(truth, np.zeros_like(truth.instances)) == 0  # neither was found
    alone = CellFrames((0,), maps, (truth.instances == 1).astype(np.int32), truth.ignore)
    assert joined(alone, alone.instances) is None


def test_growing_mends_a_leak_that_no_threshold_does(house: SimpleNamespace) -> None:
    truth, maps = leaking()
    curve = house.cell_readings.seg_curve(truth, maps)
    best, grid = house.cell_readings.best_reading(truth, maps)
    assert curve[0.5] < 0.51  # one region, half of which is each cell's
    assert best.core > best.edge
    assert house.cell_readings.seg(truth, maps, best) >= max(grid.values()) - 0.02 > 0.95
    assert max(grid.values()) > max(curve.values()) + 0.1


def test_a_neck_parts_what_no_threshold_does(house: SimpleNamespace) -> None:
    truth, maps = leaking()
    maps[0, 125:133, 126:134] = 0.995  # surer than the cells
    (joined, _), (parted, _) = (
        house.cell_readings.best_reading(truth, maps, 1.0, n) for n in (0, 5)
    )
    assert house.cell_readings.seg(truth, maps, joined) < 0.51
    assert house.cell_readings.seg(truth, maps, parted) > 0.9


def test_the_neck_is_that_of_the_set_and_a_row_is_known_by_it(house: SimpleNamespace) -> None:
    for name, neck in house.cells.NECKS.items():
        some = house.cells.Sequences(name, "x", {s: frames(9, 0) for s in house.cells.SEQUENCES})
        for split in house.cell_splits.splits(some):
            assert split.neck == neck
            assert split.facts.get("neck", 0) == neck
        assert {split.neck for split in house.cell_splits.splits(some, neck=2.5)} == {2.5}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({0.1: 0.2, 0.2: 0.5, 0.3: 0.502, 0.4: 0.499, 0.5: 0.1}, (0.3,)),
        ({0.1: 0.2, 0.2: 0.5, 0.3: 0.6, 0.4: 0.5}, (0.3,)),
        ({0.1: 0.5, 0.2: 0.5}, (0.15,)),
        (
            {(0.5, 0.2): 0.6, (0.9, 0.2): 0.6, (0.9, 0.4): 0.59, (0.6, 0.1): 0.57},
            (2.3 / 3, 0.8 / 3),
        ),
        ({(0.5, 0.2): 0.6, (0.9, 0.2): 0.5}, (0.5, 0.2)),
    ],
)
def test_the_middle_of_what_is_best(
    house: SimpleNamespace, found: dict[Any, float], expected: tuple[float, ...]
) -> None:
    assert house.cell_readings.middle_of_best(found) == pytest.approx(expected)


def test_what_is_best_in_two_places_has_no_middle(
    house: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seg(_: Any, __: Any, reading: Any) -> float:
        return 0.8 if (reading.core, reading.edge) in ((0.5, 0.1), (0.98, 0.95)) else 0.3

    monkeypatch.setattr(house.cell_readings, "seg", seg)
    best, grid = house.cell_readings.best_reading(*leaking())
    assert (best.core, best.edge) == (0.5, 0.1)
    assert grid["0.98 0.95"] == max(grid.values()) == 0.8


def test_probabilities_where_cells_touch(house: SimpleNamespace) -> None:
    truth, maps = leaking()
    found = house.cell_readings.in_gaps(truth, maps)
    assert 100 <= len(found) <= 200
    np.testing.assert_allclose(np.unique(found), [0.2, 0.7], rtol=1e-6)


def test_the_table_has_both_protocols(house: SimpleNamespace) -> None:
    def row(protocol: str, split: str, seed: int, value: float) -> dict[str, Any]:
        ways = dict.fromkeys(house.cell_readings.WAYS, 0.1) | {"grown": value}
        return {
            "set": "DIC-C2DH-HeLa", "protocol": protocol, "trained_on": split, "seed": seed,
            "seg": {"held_out": ways, "scored": ways},
        }  # fmt: skip

    rows = [
        row("across", "01", 0, 0.5), row("across", "02", 0, 0.7), row("forward", "forward", 0, 0.9),
        row("across", "01", 1, 0.6), row("across", "02", 1, 0.8), row("across", "01", 2, 0.1),
    ]  # fmt: skip
    found = house.table2_cell_tracking.summary(rows)["DIC-C2DH-HeLa"]
    assert found["paper"] == 0.7756
    assert found["across"]["seg"] == pytest.approx(0.65)
    assert (found["across"]["folds"], found["forward"]["folds"]) == (["01", "02"], ["forward"])
    assert found["across"]["sd_over_seeds"] == pytest.approx(np.std([0.6, 0.7], ddof=1))
    assert (found["forward"]["seg"], found["forward"]["sd_over_seeds"]) == (0.9, None)
    assert (found["across"]["seeds"], found["across"]["seg_argmax"]) == (2, pytest.approx(0.1))
    alone = house.table2_cell_tracking.summary(rows[-1:])["DIC-C2DH-HeLa"]["across"]
    assert (alone["seg"], alone["folds"], alone["seeds"]) == (0.1, ["01"], 1)
    assert found["across"]["diverged"] == 0
    gone = {"diverged": "why", **rows[1]}
    gone.pop("seg")
    rows[1] = gone
    found = house.table2_cell_tracking.summary(rows)["DIC-C2DH-HeLa"]["across"]
    assert (found["seg"], found["seeds"], found["diverged"]) == (pytest.approx(0.7), 1, 1)
    none = house.table2_cell_tracking.summary([gone])["DIC-C2DH-HeLa"]["across"]
    assert (none["seg"], none["seeds"], none["diverged"]) == (None, 0, 1)
    page = house.table2_cell_tracking.draw([{**row, "source": "x"} for row in rows])
    crosses = [line for line in page.axes[0].lines if line.get_marker() == "x"]
    assert [list(line.get_ydata()) for line in crosses if len(line.get_ydata())] == [[0.0]]


@pytest.mark.parametrize("name", ["table1_isbi2012", "table2_cell_tracking"])
def test_a_run_that_collapses_is_a_row_and_the_others_go_on(
    house: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module(name)

    def collapses(*_: Any) -> None:
        raise DivergedError("at step 7")

    monkeypatch.setattr(importlib.import_module("recipes"), "train_stages", collapses)
    config = SimpleNamespace(width=16, seed=3, gap=1.0, balance=1.0)
    part = SimpleNamespace(protocol="across", name="01", learned=0, held_out=0, facts={"frames": 0})
    job = SimpleNamespace(
        name="x", set="x", source="x", split=part, sections=[0], stages=(config,), test=None
    )
    row = script.run(job)
    assert row["seed"] == 3
    assert row["diverged"] == "at step 7"


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ("--tile 380", 1e-3),
        ("--tile 572", 1e-3),
        ("--tile 572 --lr 3e-3", 3e-3),
        ("--tile 380 --optimizer adam", 1e-3),
    ],
)
def test_cells_are_learned_at_the_rate_that_holds(
    house: SimpleNamespace, tmp_path: Path, words: str, rate: float
) -> None:
    common, recipes = (importlib.import_module(name) for name in ("common", "recipes"))
    parser = common.parser("table2_cell_tracking", "")
    recipes.add_training_options(parser, width=16, steps=4000, tile=380)
    recipes.add_recipe_options(parser)
    house.cells.add_set_options(parser)
    options = parser.parse_args(["--work", str(tmp_path), *words.split()])
    sequences = house.cells.Sequences("PhC-C2DH-U373", "PhC-C2DH-U373", {})
    assert house.cells.stages_of(options, sequences, "01", 0)[0].rate == rate
