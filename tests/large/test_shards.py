"""Predictions in shards: stopped and gone on with, chosen by the size and the memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from large_helpers import Crashing, Fails, content, sections, settings, small_network
from process_helpers import run_interpreter

from paper_unet.errors import InputError
from paper_unet.images import read_stack
from paper_unet.images.outputs import zarr_shards as module
from paper_unet.large import join_parts, predict_file, predict_part
from paper_unet.large.layout import lay_out
from paper_unet.large.report import Report

SHAPE = (2, 1300, 1100)
SHARD = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif", SHAPE)
    return tmp_path


def shards_of(path: Path) -> Any:
    return zarr.open_array(path / "0", mode="r").shards


def test_stopped_anywhere_it_goes_on_to_the_same_bytes(folder: Path) -> None:
    whole = predict_file(settings(folder, "whole.zarr", shard=SHARD))
    plain = predict_file(settings(folder, "plain.zarr"))
    np.testing.assert_array_equal(read_stack(whole), read_stack(plain))
    assert shards_of(plain) is None
    config = settings(folder, "out.zarr", shard=SHARD)
    for crash in (Crashing(pieces=1), Crashing(pieces=2), Crashing(tasks=0)):
        with pytest.raises(Fails):
            predict_file(config, executor=crash)
        assert shards_of(folder / "out.zarr.partial") == (1, SHARD, SHARD)
    predict_file(config)
    assert content(folder / "out.zarr") == content(whole)


def test_a_damaged_shard_is_found_and_computed_again(folder: Path) -> None:
    whole = predict_file(settings(folder, "whole.zarr", shard=SHARD))
    config = settings(folder, "out.zarr", shard=SHARD)
    with pytest.raises(Fails):
        predict_file(config, executor=Crashing(pieces=3))
    shard = folder / "out.zarr.partial" / "0" / "c" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    said: list[str] = []
    predict_file(config, report=Report(say=said.append))
    assert any("are computed again; the first is rows 0 to" in line for line in said)
    assert content(folder / "out.zarr") == content(whole)


def test_another_size_of_shard_is_another_run(folder: Path) -> None:
    with pytest.raises(Fails):
        predict_file(settings(folder, "out.zarr", shard=SHARD), executor=Crashing(pieces=1))
    for shard in (0, 512):
        with pytest.raises(InputError, match=r"format.*") as refusal:
            predict_file(settings(folder, "out.zarr", shard=shard))
        assert "\n" not in str(refusal.value)
    predict_file(settings(folder, "out.zarr"))  # as it was begun
    assert shards_of(folder / "out.zarr") == (1, SHARD, SHARD)


def test_very_large_ones_have_shards_where_the_memory_suffices(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_CHUNKS", 3)
    monkeypatch.setattr(module, "SHARD", SHARD)
    predict_file(settings(folder, "out.zarr"))
    assert shards_of(folder / "out.zarr") == (1, SHARD, SHARD)
    monkeypatch.setattr(module, "SHARD", 2**14)
    monkeypatch.setattr("paper_unet.large.prepare.choose_plan", too_little_for_shards)
    predict_file(settings(folder, "small.zarr"))
    assert shards_of(folder / "small.zarr") is None
    with pytest.raises(InputError, match="too little"):
        predict_file(settings(folder, "asked.zarr", shard=2**14))


@pytest.mark.parametrize("first", ["1/2", "2/2"])
def test_parts_whose_shards_did_not_fit_the_memory_are_joined(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The second is described before the first has laid the output out."""
    expected = content(predict_file(settings(folder, "whole.zarr")))
    monkeypatch.setattr(module, "MANY_CHUNKS", 3)
    monkeypatch.setattr(module, "SHARD", 2**14)
    monkeypatch.setattr("paper_unet.large.prepare.choose_plan", too_little_for_shards)
    config = settings(folder, "out.zarr")

    def late(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr("paper_unet.large.parts.lay_out", lay_out)
        predict_part(config, first)
        return lay_out(*given, **more)

    monkeypatch.setattr("paper_unet.large.parts.lay_out", late)
    predict_part(config, {"1/2": "2/2", "2/2": "1/2"}[first])
    predict_part(config, first)
    join_parts(config)
    assert shards_of(folder / "out.zarr") is None
    assert content(folder / "out.zarr") == expected


def test_parts_take_no_other_shards_than_they_were_asked_for(folder: Path) -> None:
    predict_part(settings(folder, "out.zarr", shard=SHARD), "1/2")
    with pytest.raises(InputError, match="format"):
        predict_part(settings(folder, "out.zarr", shard=0), "2/2")
    predict_part(settings(folder, "out.zarr"), "2/2")
    join_parts(settings(folder, "out.zarr"))
    assert shards_of(folder / "out.zarr") == (1, SHARD, SHARD)


def too_little_for_shards(*given: Any, alignment: tuple[int, int], **more: Any) -> Any:
    from paper_unet.large.plan import choose_plan

    if alignment != (512, 512):
        raise InputError("too little")
    return choose_plan(*given, alignment=alignment, **more)


PEAK = """
import sys
from pathlib import Path
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.executor import LocalExecutor
source, out, weights = sys.argv[1:]
# what importing takes is up to the build of PyTorch
allowed = LocalExecutor().allowed("cpu")[0] // 10**6 + 655
config = PredictConfig(
    source, out, weights=weights, memory=f"{allowed}MB", threads=1, device="cpu", shard=4096
)
predict_file(config)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(allowed, 1.024e-3 * peak)
"""


@pytest.mark.slow
def test_peak_memory_is_within_what_is_allowed(tmp_path: Path) -> None:
    """Of shards of 4096, in float32, of noise that does not compress."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    small_network(tmp_path / "net.safetensors")
    sections(tmp_path / "in.tif", (1, 8300, 4200))
    names = ("in.tif", "out.zarr", "net.safetensors")
    run = run_interpreter(PEAK, *(str(tmp_path / name) for name in names))
    assert run.returncode == 0, run.stderr
    allowed, peak = map(float, run.stdout.splitlines()[-1].split())  # MB
    assert peak < allowed
