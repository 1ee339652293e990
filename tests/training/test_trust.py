"""What an interrupted training left is believed only if it is what the run wrote."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_helpers import bits, files_of, interrupted, log_of, result, run, small, without_time

from paper_unet.errors import InputError
from paper_unet.networks.tensor_file import read_tensors, write_tensors
from paper_unet.training.checkpoint import CHECKPOINT
from paper_unet.training.log import LOG
from paper_unet.training.run_folder import CONFIG


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 13 steps, and one that ended before its tenth; its checkpoint is of step 8."""
    folder = tmp_path_factory.mktemp("runs")
    run(small(folder / "whole"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted(small(folder / "cut"), 9, monkeypatch)
    return folder


@pytest.fixture
def cut(runs: Path, tmp_path: Path) -> Path:
    """The one that ended, to be damaged."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    return tmp_path / "cut"


def refused(out: Path, reason: str) -> None:
    """It is refused in one line, nothing is touched, and overwriting gets out of it."""
    before = files_of(out)
    with pytest.raises(InputError, match=reason) as got:
        run(small(out), resume=True)
    said = str(got.value)
    assert "\n" not in said and len(said) < 1000
    assert "overwrite" in said
    assert files_of(out) == before
    run(small(out), overwrite=True)
    assert result(out) == result(out.with_name("whole"))


# --- the checkpoint -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 8, 100, -1])
def test_a_checkpoint_that_was_cut(cut: Path, size: int) -> None:
    path = cut / CHECKPOINT
    os.truncate(path, size % path.stat().st_size)
    refused(cut, "not a complete safetensors file")


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 8), (8, 200), (-5000, -4000)])
def test_a_checkpoint_with_zeros(cut: Path, start: int, stop: int | None) -> None:
    data = bytearray((cut / CHECKPOINT).read_bytes())
    data[start:stop] = bytes(len(data[start:stop]))
    (cut / CHECKPOINT).write_bytes(data)
    refused(cut, "not a complete|damaged|holds no|has no description")


NONE: Any = object()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *(("step", value, "is of step") for value in (
            0, -1, 8.0, True, "8", None, [], NONE, float("nan"), 14, 10**400)),
        *(("config", value, "settings that cannot be|trained with") for value in (
            None, [], "x", 5, {"width": "x"}, {"width": -1}, {"seed": float("nan")}, {}, NONE)),
        *(("log", value, LOG) for value in ("", 5, [], "0" * 64)),
        ("data", 5, "trained with data"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_description_of_odd_values(cut: Path, name: str, value: Any, reason: str) -> None:
    """With the right SHA-256, as whoever knows how it is made would write it."""
    tensors, about = read_tensors(cut / CHECKPOINT)
    if value is NONE:
        del about[name]
    else:
        about[name] = value
    write_tensors(cut / CHECKPOINT, tensors, about)
    before = files_of(cut)
    with pytest.raises(InputError, match=reason) as got:
        run(small(cut), resume=True)
    assert "\n" not in str(got.value) and len(str(got.value)) < 2000
    assert files_of(cut) == before


Tensors = dict[str, torch.Tensor]


def weight_of_nan(tensors: Tensors) -> None:
    tensors["head.weight"].view(-1)[0] = float("nan")


def memory_of_infinity(tensors: Tensors) -> None:
    tensors["optimizer/3/momentum_buffer"].view(-1)[-1] = float("inf")


def memory_forgotten(tensors: Tensors) -> None:
    tensors["optimizer/3/other"] = tensors.pop("optimizer/3/momentum_buffer")


def memory_of_another_shape(tensors: Tensors) -> None:
    tensors["optimizer/0/momentum_buffer"] = torch.zeros(7)


def named(name: str) -> Callable[[Tensors], None]:
    def add(tensors: Tensors) -> None:
        tensors[name] = torch.zeros(())

    return add


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (weight_of_nan, "head.weight has values that are NaN"),
        (memory_of_infinity, "optimizer/3/momentum_buffer has values that are NaN or infinite"),
        (memory_forgotten, "remembers less of some"),
        (memory_of_another_shape, "optimizer/0/momentum_buffer is not of this optimiser"),
        *((named(name), "is not of this optimiser") for name in (
            "optimizer/x/y", "optimizer/-1/y", "optimizer/999/y", "optimizer/1", "other/1/2",
            "optimizer/1/2/3", "optimizer/" + "9" * 50 + "/y", "/", "optimizer/²/y")),
    ],
    ids=lambda value: getattr(value, "__name__", value)[:20],
)  # fmt: skip
def test_tensors_that_cannot_be(cut: Path, change: Callable[[Tensors], None], reason: str) -> None:
    tensors, about = read_tensors(cut / CHECKPOINT)
    change(tensors)
    write_tensors(cut / CHECKPOINT, tensors, about)
    refused(cut, reason)


# --- the log ------------------------------------------------------------------------------------


def other_loss(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'"loss": ', b'"loss": 1'), *lines[1:]]


def shorter(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def one_more(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[0]]


def not_text(lines: list[bytes]) -> list[bytes]:
    return [b"\xff\xfe\n", *lines[1:]]


def zeroed(lines: list[bytes]) -> list[bytes]:
    return [bytes(len(line)) for line in lines]


def deep(lines: list[bytes]) -> list[bytes]:
    return [b'{"step": ' * 100_000 + b"\n", *lines[1:]]


def none(lines: list[bytes]) -> list[bytes]:
    return []


@pytest.mark.parametrize("change", [other_loss, shorter, one_more, not_text, zeroed, deep, none])
def test_a_log_that_was_changed(cut: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = (cut / LOG).read_bytes().splitlines(keepends=True)
    (cut / LOG).write_bytes(b"".join(change(lines)))
    refused(cut, f"{LOG}: up to step 8 it is not as the run wrote it")


def test_a_log_that_is_gone(cut: Path) -> None:
    (cut / LOG).unlink()
    refused(cut, f"{LOG}: up to step 8 it is not as the run wrote it")


@pytest.mark.parametrize("tail", [b'{"step": 9, "lo', b"\xff", bytes(30), b"[" * 10_000 + b"\n"])
def test_what_a_crash_left_at_the_end_of_the_log_is_dropped(cut: Path, tail: bytes) -> None:
    with (cut / LOG).open("ab") as file:
        file.write(tail)
    run(small(cut), resume=True)
    whole = cut.with_name("whole")
    assert result(cut) == result(whole)
    assert bits(cut / CHECKPOINT) == bits(whole / CHECKPOINT)
    assert without_time(log_of(cut)) == without_time(log_of(whole))


def test_a_log_of_an_earlier_version_goes_on(cut: Path) -> None:
    tensors, about = read_tensors(cut / CHECKPOINT)
    del about["log"]
    write_tensors(cut / CHECKPOINT, tensors, about)
    (cut / LOG).write_bytes((cut / LOG).read_bytes() + b"\xff\n[1]\n3\n")
    run(small(cut), resume=True)
    assert result(cut) == result(cut.with_name("whole"))
    assert [entry["step"] for entry in log_of(cut)] == [3, 4, 6, 8, 9, 12, 13]


def test_the_log_is_on_disk_before_the_checkpoint_that_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def replaced(source: Any, target: Any, **more: Any) -> None:
        order.append(f"-> {Path(target).name}")
        replace(source, target, **more)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    run(small(tmp_path))
    moments = [k for k, what in enumerate(order) if what == f"-> {CHECKPOINT}"]
    assert len(moments) == 4
    assert all(LOG in order[k - 3 : k] for k in moments)


# --- the configuration --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '{"width": 64}', "\0" * 50])
def test_a_configuration_is_written_anew(cut: Path, text: str) -> None:
    """Nothing is read from it: what has to agree is in the checkpoint."""
    written = {**json.loads((cut / CONFIG).read_bytes()), "out": str(cut)}
    (cut / CONFIG).write_text(text)
    run(small(cut), resume=True)
    assert json.loads((cut / CONFIG).read_bytes()) == written
