"""What may go on or be overwritten, and what is refused."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_helpers import KINDS, everything, make
from process_helpers import run_python
from train_helpers import easy_data, files_of, interrupted, log_of, result, run, small, without_time

from paper_unet import train
from paper_unet.errors import InputError
from paper_unet.networks.tensor_file import read_tensors, write_tensors
from paper_unet.networks.weights_file import load_model
from paper_unet.training import loop
from paper_unet.training.checkpoint import CHECKPOINT, WEIGHTS
from paper_unet.training.log import LOG
from paper_unet.training.run_folder import CONFIG, locked, save_scores


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 2e-3}, {"seed": 1}, {"width": 3}, {"tile": 204}, {"elastic": 5.0},
        {"dropout": 0.4}, {"w0": 5.0}, {"network": "release"}, {"value_range": (0.0, 9.0)},
        {"optimizer": "adam"}, {"init": "pytorch"}, {"extrapolation": "zero"},
    ],
)  # fmt: skip
def test_going_on_with_another_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    interrupted(small(tmp_path), 9, monkeypatch)
    before = files_of(tmp_path)
    (name, value), *_ = changes.items()
    old = getattr(small(tmp_path), name)
    with pytest.raises(InputError) as refusal:
        run(small(tmp_path, **changes), resume=True)
    shown = list(value) if isinstance(value, tuple) else value
    assert f"was trained with {name} = {old!r}, now {shown!r}" in str(refusal.value)
    assert files_of(tmp_path) == before


def test_more_steps_are_taken_while_the_rate_has_not_begun_to_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a run with so many from the start would have come to the same checkpoint."""
    interrupted(small(tmp_path / "a", steps=20), 9, monkeypatch)
    run(small(tmp_path / "a", steps=24), resume=True)
    run(small(tmp_path / "b", steps=24))
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


def test_a_warm_up_that_follows_from_the_steps_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the steps, of which there may be more."""
    interrupted(small(tmp_path, warmup=None), 9, monkeypatch)
    with pytest.raises(InputError, match="was trained with warmup = 6, now 10"):
        run(small(tmp_path, warmup=None, steps=20), resume=True)
    run(small(tmp_path, warmup=6, steps=20), resume=True)


def test_a_device_may_be_named_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    interrupted(small(tmp_path, device="auto"), 9, monkeypatch)
    run(small(tmp_path, device="cpu"), resume=True)


def test_more_steps_than_a_rate_was_lowered_for_are_another_run(tmp_path: Path) -> None:
    run(small(tmp_path / "a"))
    before = files_of(tmp_path / "a")
    advice = r"with `start` (\S+weights\.safetensors) and another folder"
    with pytest.raises(InputError, match=advice) as refusal:
        run(small(tmp_path / "a", steps=14), resume=True)
    assert files_of(tmp_path / "a") == before
    run(small(tmp_path / "b", steps=14, start=re.search(advice, str(refusal.value))[1]))
    assert (tmp_path / "b" / WEIGHTS).exists()


def test_going_on_with_other_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is half of one data set and half of another is neither."""
    interrupted(small(tmp_path), 9, monkeypatch)
    before = files_of(tmp_path)
    data = easy_data()
    data.images[0, 0, 5, 5] += 0.25
    with pytest.raises(InputError, match="data"):
        train(small(tmp_path), data, progress=False, resume=True)
    assert files_of(tmp_path) == before


def test_the_first_weights_are_compared_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by name: the weights may lie elsewhere now, and others may have taken their place."""
    run(small(tmp_path / "first"))
    run(small(tmp_path / "other", seed=1))
    there, moved = tmp_path / "start.safetensors", tmp_path / "moved.safetensors"
    shutil.copy(tmp_path / "first" / WEIGHTS, there)
    run(small(tmp_path / "whole", start=there))
    interrupted(small(tmp_path / "cut", start=there), 9, monkeypatch)
    before = files_of(tmp_path / "cut")
    there.rename(moved)
    shutil.copy(tmp_path / "other" / WEIGHTS, there)
    digest = hashlib.sha256(moved.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"trained with start = '{digest}'"):
        run(small(tmp_path / "cut", start=there), resume=True)
    assert files_of(tmp_path / "cut") == before
    run(small(tmp_path / "cut", start=moved), resume=True)
    tensors, about = result(tmp_path / "cut")
    assert tensors == result(tmp_path / "whole")[0]
    assert about["record"]["start_sha256"] == digest


def test_a_run_from_before_a_setting_was_there_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not written down had its default."""
    run(small(tmp_path / "whole"))
    interrupted(small(tmp_path / "older"), 9, monkeypatch)
    tensors, about = read_tensors(tmp_path / "older" / CHECKPOINT)
    del about["config"]["extrapolation"]
    write_tensors(tmp_path / "older" / CHECKPOINT, tensors, about)
    with pytest.raises(InputError, match="trained with extrapolation = 'mirror', now 'zero'"):
        run(small(tmp_path / "older", extrapolation="zero"), resume=True)
    run(small(tmp_path / "older"), resume=True)
    assert result(tmp_path / "older") == result(tmp_path / "whole")


def test_how_it_reports_and_where_it_lies_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tmp_path / "whole"))
    interrupted(small(tmp_path / "cut"), 9, monkeypatch)
    (tmp_path / "cut").rename(tmp_path / "moved")
    run(small(tmp_path / "moved", log_every=1, checkpoint_every=2), resume=True)
    assert result(tmp_path / "moved") == result(tmp_path / "whole")


def test_a_damaged_checkpoint_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(small(tmp_path), 9, monkeypatch)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[-1] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        run(small(tmp_path), resume=True)
    assert files_of(tmp_path) == before


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    run(small(tmp_path))
    before = files_of(tmp_path)
    for name in (CHECKPOINT, WEIGHTS, CONFIG, LOG):
        advice = f"already holds a run .{name}.; use `resume`, `overwrite` or another folder"
        with pytest.raises(InputError, match=advice):
            run(small(tmp_path, seed=1))
        assert files_of(tmp_path) == before
        (tmp_path / name).unlink()  # what is left is worth as much
        del before[name]


def test_weights_without_a_checkpoint_cannot_go_on(tmp_path: Path) -> None:
    run(small(tmp_path))
    (tmp_path / CHECKPOINT).unlink()
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint.safetensors to go on from"):
        run(small(tmp_path), resume=True)
    with pytest.raises(InputError, match="exclude each other"):
        run(small(tmp_path), resume=True, overwrite=True)
    assert files_of(tmp_path) == before


def test_two_processes_in_one_folder_are_refused(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    run(small(tmp_path))
    before = files_of(tmp_path)
    with (tmp_path / ".lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training there"):
            run(small(tmp_path, seed=1), overwrite=True)
    assert files_of(tmp_path) == before
    run(small(tmp_path, seed=1), overwrite=True)


def test_an_overwritten_run_that_was_cut_leaves_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tmp_path))
    interrupted(small(tmp_path, seed=1), 2, monkeypatch, overwrite=True)
    assert not (tmp_path / WEIGHTS).exists()
    assert not (tmp_path / CHECKPOINT).exists()
    run(small(tmp_path, seed=1), resume=True)
    run(small(tmp_path / "fresh", seed=1))
    assert result(tmp_path) == result(tmp_path / "fresh")


def test_overwriting_begins_anew(tmp_path: Path) -> None:
    run(small(tmp_path / "fresh", seed=1))
    run(small(tmp_path / "used", steps=20))
    run(small(tmp_path / "used", seed=1), overwrite=True)
    assert result(tmp_path / "used") == result(tmp_path / "fresh")
    logs = (without_time(log_of(tmp_path / name)) for name in ("used", "fresh"))
    assert next(logs) == next(logs)


# --- what belongs to the user, and two processes --------------------------------------------------


@pytest.mark.parametrize("allowed", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [CHECKPOINT, WEIGHTS, CONFIG, LOG])
def test_what_no_training_made_stays(
    tmp_path: Path, name: str, kind: str, allowed: dict[str, bool]
) -> None:
    (tmp_path / "victim").write_text("mine")
    make(tmp_path / name, kind)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=r"stays as it is; move it|already holds a run") as caught:
        run(small(tmp_path), **allowed)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_is_none_stays(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_text("mine")
    make(tmp_path / ".lock", kind)
    before = everything(tmp_path)
    if kind == "empty file":  # as earlier versions made it: locked, and nothing else
        run(small(tmp_path))
        assert everything(tmp_path)[".lock"] == before[".lock"]
        return
    with pytest.raises(InputError, match=r"\.lock: is no lock of a training and stays as it is"):
        run(small(tmp_path))
    assert everything(tmp_path) == before


def test_a_folder_of_an_earlier_version_goes_on_and_is_swept_from_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(small(tmp_path), 9, monkeypatch)
    (tmp_path / ".lock").write_bytes(b"")
    run(small(tmp_path), resume=True)
    with locked(tmp_path) as claim:
        assert claim.token


@pytest.mark.parametrize("kept", [CHECKPOINT, WEIGHTS, CONFIG, LOG])
def test_a_folder_of_an_earlier_version_is_known_by_any_of_its_files(
    tmp_path: Path, kept: str
) -> None:
    """The others may be damaged: they can be overwritten all the same."""
    run(small(tmp_path))
    (tmp_path / ".lock").unlink()
    for name in {CHECKPOINT, WEIGHTS, CONFIG, LOG} - {kept}:
        (tmp_path / name).write_bytes(b"damaged")
    run(small(tmp_path, seed=1), overwrite=True)
    run(small(tmp_path / "fresh", seed=1))
    assert result(tmp_path) == result(tmp_path / "fresh")


OTHER = """
import sys
from pathlib import Path
from train_helpers import run, small
run(small(Path(sys.argv[1]), seed=1), overwrite=sys.argv[2] == "True")
"""


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_slower_of_two_does_not_destroy_what_the_faster_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """The folder is free when the slower one looks, and holds a run when it has the lock."""
    if overwrite:
        run(small(tmp_path, seed=2))
    finished: list[dict[str, object]] = []

    def after_the_other(out: Path) -> Any:
        other = run_python(OTHER, str(out), str(overwrite), cwd=Path(__file__).parent)
        assert other.returncode == 0, other.stderr
        finished.append(everything(out))
        return locked(out)

    monkeypatch.setattr(loop, "locked", after_the_other)
    with pytest.raises(InputError, match=r"already holds a run|has trained there meanwhile"):
        run(small(tmp_path), overwrite=overwrite)
    assert everything(tmp_path) == finished[0]


def test_the_slower_of_two_that_resume_goes_on_from_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small(tmp_path / "whole"))
    interrupted(small(tmp_path / "cut"), 9, monkeypatch)

    def after_the_other(out: Path) -> Any:
        monkeypatch.setattr(loop, "locked", locked)
        run(small(out), resume=True)
        return locked(out)

    monkeypatch.setattr(loop, "locked", after_the_other)
    run(small(tmp_path / "cut"), resume=True)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_scores_are_not_added_to_what_another_trained(tmp_path: Path) -> None:
    model = run(small(tmp_path))
    model.record["held_out"] = {"v_rand": 1.0}
    save_scores(tmp_path, model)
    assert load_model(tmp_path / WEIGHTS).record["held_out"] == {"v_rand": 1.0}
    run(small(tmp_path, seed=1), overwrite=True)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="another process has trained there meanwhile"):
        save_scores(tmp_path, model)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("link", [False, True])
def test_the_first_weights_are_not_overwritten(tmp_path: Path, link: bool) -> None:
    """Neither by their own name nor through a link."""
    out = tmp_path / "run"
    run(small(out))
    start = out / WEIGHTS
    if link:
        start = tmp_path / "start.safetensors"
        start.symlink_to(out / WEIGHTS)
    before = everything(tmp_path)
    with pytest.raises(InputError, match="is the input"):
        run(small(out, start=str(start)), overwrite=True)
    assert everything(tmp_path) == before
