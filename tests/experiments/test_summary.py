"""What the table of all results and the one of README.md say of rows that repeat or are lost."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from figure_helpers import nothing_overlaps

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


def test_a_training_counts_once_and_so_does_another_that_took_as_long(scripts: Any) -> None:
    summary = scripts("summary")
    assert summary.AVERAGES == scripts("ablation").AVERAGES
    rows = [{"network": f"w-seed{k}", "seed": k, "training_seconds": 270.0} for k in range(3)]
    assert summary.spent({"rows": rows, "wall_seconds": 300.0}) == "14 min of training"
    rows = [
        {"choice": choice, "seed": seed, "training_seconds": 120.0}
        for choice in ("Adam", "Adam, flips", "Adam, rotations", "no drop-out") for seed in (0, 1)
    ]  # fmt: skip
    found = {"base": "Adam", "rows": [*rows, {"choice": "same padding", "diverged": "why"}]}
    assert summary.spent(found | {"wall_seconds": 60.0}) == "8 min of training"
    assert summary.spent(found | {"wall_seconds": 600.0}) == "10 min"
    alone = {"training_seconds": 6000.0, "wall_seconds": 120.0}  # trained before it was called
    assert summary.spent(alone) == "100 min of training"


def test_a_mean_says_what_is_not_in_it(scripts: Any) -> None:
    """In the table of README.md as in that of all results."""
    headline, summary = scripts("headline"), scripts("summary")
    errors = {name: {"mean": 0.25, "sd": None} for name in headline.ERRORS}
    row = {"network": "w-seed0", "seed": 0, "held_out": {"rotations": dict.fromkeys(errors, 0.25)}}
    row["held_out"]["rotations"] |= {"v_rand": 0.5, "v_info": 0.5}
    of_table1 = {
        "command": "python experiments/table1_isbi2012.py", "config": [{"width": 16}],
        "recipe": "R", "held_out": {"rotations": errors}, "best": "w-seed0", "diverged": 1,
        "paper_test_volume": errors,
        "rows": [row, {"network": "w-seed1", "seed": 1, "diverged": "x"}],
    }  # fmt: skip
    whole = of_table1 | {"diverged": 0, "rows": [row]}
    assert [next(headline.table1(m, "-"))[2] for m in (whole, of_table1)] == [
        "0.250000 (width 16; R)", "0.250000 (width 16; R; 1 collapsed)",
    ]  # fmt: skip
    assert next(summary.table1(of_table1))[2] == "0.250000 (best: w-seed0), 1 collapsed"

    def table2(folds: list[str], diverged: int, seg: float | None = 0.5) -> Any:
        found: dict[str, Any] = {
            "seg": seg,
            "sd_over_seeds": None,
            "seg_argmax": seg,
            "folds": folds,
        }
        found["diverged"] = diverged
        return {
            "command": "python experiments/table2_cell_tracking.py", "rows": [],
            "config": {"S": [{"width": 16}]},
            "summary": {"S": {"paper": 0.9, "recipe": "R", "across": found}},
        }  # fmt: skip

    for folds, diverged, said in (
        (["01", "02"], 0, ""),
        (["01", "02"], 1, "1 collapsed"),
        (["02"], 1, "not all folds, 1 collapsed"),
    ):
        metrics = table2(folds, diverged)
        about = f" ({said})" if said else ""
        shown = f"0.5000 across sequences{about} (width 16; R)"
        assert next(headline.table2(metrics, "-"))[2] == shown
        about = f", {said}" if said else ""
        assert next(summary.table2(metrics))[2] == f"0.5000{about}; by the argmax 0.5000"
    shown = "collapsed across sequences (width 16; R)"
    assert next(headline.table2(table2([], 2, None), "-"))[2] == shown


GONE = {"diverged": "at step 7", "source": "x", "seed": 0}


def said(figure: Any) -> str:
    nothing_overlaps(figure)
    texts = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return "\n".join(texts + [t.get_text() for t in figure.axes[0].get_yticklabels()])


def test_a_learning_curve_of_runs_that_collapsed(scripts: Any) -> None:
    curve = scripts("learning_curve")
    sound = {"choice": curve.AUGMENTED, "sections": 2, "v_rand": 0.5, "v_info": 0.5}
    lost = [GONE | {"choice": curve.AUGMENTED, "sections": 1}] * 2
    rows = [*lost, sound | {"pixel_error": 0.25}]
    ours = [of for *_, of in scripts("summary").learning_curve({"recipe": "R", "rows": rows})]
    assert ours == [
        "v_rand -, v_info -, pixel_error - (0 seeds, 2 collapsed or diverged)",
        "v_rand 0.5000, v_info 0.5000, pixel_error 0.2500 (1 seed)",
    ]
    assert said(curve.draw(rows, "R")).startswith("R; 2 of 3 runs collapsed or diverged")
    assert "2 of 2 runs collapsed or diverged" in said(curve.draw(lost, "R"))
    assert "collapsed" not in said(curve.draw(rows[2:], "R"))


def test_a_study_of_cells_whose_runs_collapsed(scripts: Any) -> None:
    study = scripts("cells_study")
    of_set = {"set": "S", "trained_on": "01"}
    rows = [GONE | of_set | {"choice": "base"}] * 2
    assert "base\n2 of 2 runs collapsed or diverged" in said(study.draw(rows))
    (line,) = study.table(rows)
    ours = next(scripts("summary").cells_study({"recipe": "R", "table": [line]}))[2]
    assert ours.endswith("(0 runs, 2 collapsed)")
    curves = {part: {"0.2": 0.5, "0.8": 0.75} for part in study.PARTS}
    sound = of_set | {
        "source": "x", "choice": "gap 3", "curves": curves,
        "seg": {"scored": {"grown": 0.5}}, "readings": {"threshold": {"edge": 0.5}},
    }  # fmt: skip
    figure = study.draw([*rows, sound])
    assert said(figure).count("collapsed") == 1
    assert [len(axes.lines) for axes in figure.axes] == [0, 4]


def test_rates_that_all_collapsed(scripts: Any) -> None:
    rate = scripts("summary").learning_rate
    lost = {"lr": 1e-2, "centre": 0.5, "diverged": "at step 7"}
    assert next(rate({"rows": [lost] * 2}))[2] == "2 of 2 runs collapsed or diverged"
    sound = {"lr": 1e-3, "centre": 0.5, "v_info": 0.5}
    ours = next(rate({"rows": [sound, lost]}))[2]
    assert ours == "0.001 with centre 0.5, 1 of 2 runs collapsed or diverged"
    assert next(rate({"rows": [{"lr": 1e-3, "seg": 0.5}]}))[2] == "-"


def test_figures_of_choices_say_what_collapsed(scripts: Any) -> None:
    ablation, variants, table1 = (
        scripts(name) for name in ("ablation", "variants_table", "table1_isbi2012")
    )
    names = dict.fromkeys(table1.ISBI2012, 0.5)
    sound = {"data": ablation.ISBI, "source": "x", "seed": 0, "choice": ablation.BASE} | names
    gone = GONE | {"data": ablation.ISBI, "choice": "Adam"}
    for rows in ([sound, gone, gone | {"seed": 1}], [gone, gone | {"seed": 1}]):
        assert "Adam (2 collapsed)" in said(ablation.draw(ablation.table(rows), rows))
    gone = GONE | {"network": "keras", "recipe": "own"}
    assert "x; 1 of 1 runs" in said(variants.draw(variants.table([gone]), [gone]))
    sound = {"network": "w", "held_out": dict.fromkeys(scripts("common").LOOKS, names)}
    rows = [sound, GONE | {"network": "v-seed0"}]
    assert "sections 24-29; 1 of 2 runs collapsed" in said(table1.draw(rows, "x"))
