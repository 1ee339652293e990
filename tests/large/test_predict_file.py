"""From file to file: the right pixels, and nothing lost, mixed or half-finished."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from large_helpers import NAMES, SHAPE, Counted, Crashing, Fails, content, sections, settings
from process_helpers import Child, run_python

from paper_unet import load_model, predict_image
from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import Stored, open_stack, read_stack
from paper_unet.images.ome_metadata import ome_attributes
from paper_unet.images.outputs.tiff import TiffOutput
from paper_unet.inference.readout import stored
from paper_unet.large import PredictConfig, predict_file
from paper_unet.large.memory import bytes_of
from paper_unet.large.pieces import Done
from paper_unet.large.report import Report
from paper_unet.large.worker import Prediction, Worker
from paper_unet.system.stop import Stopped, stopping

# --- the pixels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "out.btf", "out.ome.tif"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "uint16"])
def test_the_output_is_the_prediction_of_every_section(folder: Path, name: str, dtype: str) -> None:
    out = predict_file(settings(folder, name, dtype=dtype))
    found, stack = read_stack(out), read_stack(folder / "in.tif")
    assert (found.shape, found.dtype) == (SHAPE, dtype)
    model = load_model(folder / "net.safetensors")
    for z in range(len(stack)):
        expected = predict_image(model, stack[z], dtype=dtype)  # type: ignore[arg-type]
        steps = 1 if dtype != "float32" else 1e-6
        assert np.abs(found[z].astype(np.float64) - expected).max() <= steps
    assert np.ptp(found[0]) > 0.1 * (1 if dtype == "float32" else np.iinfo(dtype).max)
    left = {path.name for path in folder.iterdir()}
    assert left == {"in.tif", "net.safetensors", name}


@pytest.mark.parametrize(
    "given",
    [
        {"engine": "tiles", "tile": 236},
        {"engine": "tiles", "tiling": "abutting", "tile": 220},
        {"average": "flips"},
        {"average": "rotations"},
        {"precision": "bfloat16"},
        {"value_range": (10.0, 200.0)},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_every_procedure_writes_what_it_returns_in_memory(
    folder: Path, given: dict[str, object], name: str
) -> None:
    out = predict_file(settings(folder, name, slices="1:2", **given))
    model, section = load_model(folder / "net.safetensors"), read_stack(folder / "in.tif")[1]
    expected = predict_image(model, section, **given)  # type: ignore[arg-type]
    tolerance = 1e-6 if given.get("precision") is None else 0.02
    np.testing.assert_allclose(read_stack(out)[0], expected, rtol=0, atol=tolerance)


def test_strips_are_seamless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little memory: several strips, whose result is that of one."""
    whole = read_stack(predict_file(settings(folder)))
    lines: list[str] = []
    monkeypatch.setattr(
        "paper_unet.large.executor.LocalExecutor.allowed", lambda self, device: (0, 2**40)
    )
    monkeypatch.setattr("paper_unet.inference.streaming.STARTED", 0)
    config = settings(folder, "strips.tif", memory="1.2MB")
    strips = read_stack(predict_file(config, report=Report(say=lines.append)))
    assert "3 strip(s)" in lines[0] or "4 strip(s)" in lines[0] or "5 strip(s)" in lines[0]
    np.testing.assert_allclose(strips, whole, rtol=0, atol=1e-6)


def test_probabilities_are_rounded_to_the_nearest_step() -> None:
    steps = torch.tensor([0, 0.2 / 255, 0.7 / 255, 1])
    assert stored(steps, np.dtype("uint8")).tolist() == [0, 0, 1, 255]
    assert stored(steps, np.dtype("uint16"))[3].item() == 65535
    assert stored(steps, np.dtype("float32")) is steps


def test_the_plan_is_told_before_the_start(folder: Path) -> None:
    lines: list[str] = []
    predict_file(settings(folder), report=Report(say=lines.append))
    assert lines[0].startswith("3 x 300 x 210 pixels; bands of 64 rows, 1 strip(s)")
    assert "MB of " in lines[1]
    assert lines[2].startswith("time: about ")


@pytest.mark.parametrize(
    ("times", "precision", "there", "said"),
    [
        (3.0, "float32", True, True), (1.1, "float32", True, False),
        (3.0, "bfloat16", True, False), (3.0, "float32", False, False),
    ],
)  # fmt: skip
def test_a_processor_that_has_bfloat16_says_what_it_would_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch,
    times: float, precision: str, there: bool, said: bool,
) -> None:  # fmt: skip
    def rate(prediction: Prediction) -> float:
        return 1e11 * (times if prediction.precision == "bfloat16" else 1)

    monkeypatch.setattr("paper_unet.large.estimate.matrix_rate", rate)
    monkeypatch.setattr("paper_unet.large.estimate.can_fuse", lambda dtype: there)
    lines: list[str] = []
    predict_file(settings(folder, precision=precision), report=Report(say=lines.append))
    assert ("in precision bfloat16 3.0 times as fast" in lines[2]) == said


def test_the_stages_are_timed_when_asked_for(folder: Path) -> None:
    lines: list[str] = []
    predict_file(settings(folder), report=Report(say=lines.append))
    assert not any(line.startswith("stages") for line in lines)
    predict_file(settings(folder, "timed.tif", timings=True), report=Report(say=lines.append))
    line = next(line for line in lines if line.startswith("stages"))
    seconds = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+) s", line)}
    assert list(seconds)[:5] == ["read", "send", "compute", "receive", "write"]
    assert seconds["compute"] > 0
    assert content(folder / "timed.tif") == content(folder / "out.tif")


# --- interrupted and resumed --------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_crash_leaves_no_final_name_and_the_same_call_goes_on(
    folder: Path, name: str, after: int
) -> None:
    threads = {"threads": torch.get_num_threads()}
    expected = content(predict_file(settings(folder, f"whole-{name}", **threads)))
    config, out = settings(folder, name, **threads), folder / name
    crashing = Crashing(pieces=after)
    with pytest.raises(Fails):
        predict_file(config, executor=crashing)
    assert not out.exists()
    # before the first piece there is nothing to keep
    assert (folder / f"{name}.partial").exists() == (after > 0)
    rest = Crashing()
    predict_file(config, executor=rest)
    assert content(out) == expected
    assert set(crashing.done) & set(rest.done) == set()
    assert len(rest.done) >= 1
    assert not (folder / f"{name}.journal").exists()


@pytest.mark.parametrize("name", ["out.tif", "out.zarr", "out.precomputed", "out.h5"])
def test_a_run_goes_on_that_did_not_find_the_size_of_a_pixel(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an earlier version began it, of a level of an OME-Zarr: its output says none."""
    stack = read_stack(folder / "in.tif")
    group = zarr.create_group(
        folder / "in.zarr", zarr_format=3, attributes=ome_attributes("0.5", 1, (3, 2, 1))
    )
    group.create_array("0", shape=stack.shape, dtype=stack.dtype)[:] = stack
    config = replace(settings(folder, name), source=str(folder / "in.zarr" / "0"))
    with monkeypatch.context() as earlier, pytest.raises(Fails):
        earlier.setattr("paper_unet.images.readers.zarr.places_above", lambda *given: [])
        predict_file(config, executor=Crashing(pieces=1))
    rest = Crashing()
    predict_file(config, executor=rest)
    assert rest.done[0] > 0
    with open_stack(folder / name) as found:
        assert found.pixel_size == (None, None, None)
    predict_file(config, overwrite=True)
    with open_stack(folder / name) as found:
        assert found.pixel_size == pytest.approx((3, 2, 1))


def test_runs_are_taken_when_they_are_computed(folder: Path) -> None:
    """A run of millions of pieces is never a list."""
    ahead: list[int] = []

    class Counting(Crashing):
        def pieces(self, prediction: Prediction, runs: Any, stop: Any) -> Iterator[Done]:
            counted = Counted(runs)
            for count, done in enumerate(super().pieces(prediction, counted, stop), 1):
                ahead.append(counted.taken - count)
                yield done

    sections(folder / "in.tif", (30, 40, 40))
    predict_file(settings(folder), executor=Counting())
    assert len(ahead) == 30
    assert max(ahead) <= 6  # computed, of the next one the first rows read, and some written


def test_the_journal_is_on_disk_before_the_output_takes_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    finish = TiffOutput.finish

    def finishing(self: TiffOutput) -> None:
        found.append((folder / "out.tif.journal").read_bytes().count(b'"done"'))
        finish(self)

    monkeypatch.setattr("paper_unet.large.lines.SECONDS", 1e9)
    monkeypatch.setattr(TiffOutput, "finish", finishing)
    predict_file(settings(folder))
    assert found == [9]


def test_a_crash_between_the_levels_of_the_pyramid(folder: Path) -> None:
    """What a run has only begun with is computed from disk by the next one."""
    sections(folder / "in.tif", (1, 700, 530))
    expected = content(predict_file(settings(folder, "whole.zarr")))
    for crash in (Crashing(pieces=1), Crashing(tasks=0)):
        with pytest.raises(Fails):
            predict_file(settings(folder, "out.zarr"), executor=crash)
        assert not (folder / "out.zarr").exists()
    rest = Crashing()
    predict_file(settings(folder, "out.zarr"), executor=rest)
    assert rest.done == []  # all pieces were there
    assert content(folder / "out.zarr") == expected


class Counting(Crashing):
    """Counts the tasks."""

    def __init__(self, **given: int) -> None:
        super().__init__(**given)
        self.tasks_done = 0

    def tasks(self, *given: Any) -> Iterator[None]:
        for _ in super().tasks(*given):
            self.tasks_done += 1
            yield


@pytest.mark.parametrize(("shape", "kills"), [((2, 2100, 20), 3), ((1, 1100, 1300), 2)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_pyramid_of_a_run_that_was_interrupted(
    folder: Path, shape: tuple[int, int, int], kills: int, dtype: str
) -> None:
    """Computed ahead, from disk, or some of each: the bytes are the same."""
    sections(folder / "in.tif", shape)
    whole, rest = Counting(), Counting()
    made = predict_file(settings(folder, "whole.zarr", dtype=dtype), executor=whole)
    assert whole.tasks_done == 0  # all of it while the pixels were in memory
    wanted = settings(folder, "out.zarr", dtype=dtype)
    for _ in range(kills):
        with pytest.raises(Fails):
            predict_file(wanted, executor=Crashing(pieces=1))
    predict_file(wanted, executor=rest)
    assert rest.tasks_done > 0
    assert content(folder / "out.zarr") == content(made)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value_range": (0.0, 100.0)}, "range"),
        ({"average": "flips"}, "procedure.average"),
        ({"precision": "bfloat16"}, "precision"),
        ({"dtype": "uint8"}, "dtype"),
        ({"threads": 2}, "threads"),
        ({"weights": None}, "weights"),
        ({"slices": "0:2"}, "slices"),
        ({"of_class": 0}, "class"),
    ],
    ids=str,
)
def test_another_setting_is_refused_by_name(
    folder: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Crashing(pieces=1))
    journal = (folder / "out.tif.journal").read_bytes()
    with pytest.raises(InputError, match=named) as caught:
        predict_file(settings(folder, **change))
    assert "\n" not in str(caught.value)
    assert "`overwrite`" in str(caught.value)
    assert (folder / "out.tif.journal").read_bytes() == journal
    predict_file(settings(folder, **change), overwrite=True)
    assert (folder / "out.tif").exists()


def test_another_input_is_refused(folder: Path) -> None:
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Crashing(pieces=1))
    pixels = tifffile.imread(folder / "in.tif")
    tifffile.imwrite(
        folder / "in.tif", pixels + 1, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with pytest.raises(InputError, match=r"input\.\w+"):
        predict_file(settings(folder))


def test_an_input_that_changes_meanwhile_never_becomes_an_output(folder: Path) -> None:
    class Meddling(Crashing):
        def _count(self, what: str) -> None:
            os.utime(folder / "in.tif", ns=(0, 0))

    with pytest.raises(InputError, match="changed while it was being predicted"):
        predict_file(settings(folder), executor=Meddling())
    assert not (folder / "out.tif").exists()


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_output_stays_until_the_new_one_is_complete(folder: Path, name: str) -> None:
    before = content(predict_file(settings(folder, name)))
    with pytest.raises(InputError, match="exists already"):
        predict_file(settings(folder, name))
    other = settings(folder, name, value_range=(0.0, 99.0))
    with pytest.raises(Fails):
        predict_file(other, overwrite=True, executor=Crashing(pieces=1))
    assert content(folder / name) == before
    rest = Crashing()
    predict_file(other, overwrite=True, executor=rest)  # goes on, not anew
    assert 0 not in rest.done
    assert content(folder / name) != before


def test_the_plan_of_the_first_run_is_kept(folder: Path) -> None:
    """Whatever memory is free now: other bands would round otherwise."""
    with pytest.raises(Fails):
        predict_file(settings(folder), executor=Crashing(pieces=1))
    header = json.loads((folder / "out.tif.journal").read_text().splitlines()[1])
    with pytest.raises(InputError, match=r"planned for \d+ MB .* 1 MB are allowed"):
        predict_file(settings(folder, memory="1MB"))
    assert header["plan"] == {"band": 64, "strip": 224, "rows": 128}


@pytest.mark.parametrize("name", NAMES)
def test_workers_of_a_run_that_was_started_anew_write_no_more(
    folder: Path, name: str, request: pytest.FixtureRequest
) -> None:
    """A driver that was killed may leave workers behind on a cluster, with its settings."""
    expected = content(predict_file(settings(folder, f"whole-{name}")))

    class Remembering(Crashing):
        def pieces(self, prediction: Prediction, *rest: Any) -> Iterator[Done]:
            self.prediction = prediction
            yield from super().pieces(prediction, *rest)

    first, second = Remembering(pieces=1), Remembering(pieces=1)
    with pytest.raises(Fails):
        predict_file(settings(folder, name, average="flips"), executor=first)
    left_behind = Worker(first.prediction)
    request.addfinalizer(left_behind.close)
    last = len(first.prediction.grid) - 1
    done = list(left_behind.compute([range(last, last + 1)]))  # its run is not over
    assert [one.piece for one in done] == [last]
    with pytest.raises(Fails):
        predict_file(settings(folder, name), executor=second, overwrite=True)
    with pytest.raises(InputError, match="was started anew; this one writes no more"):
        next(left_behind.compute([range(last, last + 1)]))
    predict_file(settings(folder, name))
    assert content(folder / name) == expected
    with pytest.raises(InputError, match="its run is over"):
        next(left_behind.compute([range(last, last + 1)]))
    assert content(folder / name) == expected


def test_overwrite_makes_a_plan_that_fits(folder: Path) -> None:
    """An interrupted run had more memory than there is now."""
    sections(folder / "in.tif", (2, 300, 2000))
    with pytest.raises(Fails):
        predict_file(settings(folder, memory="8GB"), executor=Crashing(pieces=1))
    said: list[str] = []
    predict_file(settings(folder), executor=Crashing(), report=Report(said.append), overwrite=True)
    (folder / "out.tif").unlink()
    needed = next(int(n) for line in said for n in re.findall(r"memory: about (\d+) MB", line))
    with pytest.raises(Fails):
        predict_file(settings(folder, memory="8GB"), executor=Crashing(pieces=1))
    less = f"{needed - 20}MB"
    with pytest.raises(InputError, match="or start anew with `overwrite`"):
        predict_file(settings(folder, memory=less))
    predict_file(settings(folder, memory=less), overwrite=True)
    assert not (folder / "out.tif.journal").exists()


@pytest.mark.parametrize("name", NAMES)
def test_overwrite_makes_a_damaged_partial_anew(folder: Path, name: str) -> None:
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    with pytest.raises(Fails):
        predict_file(settings(folder, name), executor=Crashing(pieces=1))
    partial = folder / f"{name}.partial"
    damaged = partial / "zarr.json" if partial.is_dir() else partial
    damaged.write_bytes(b"II*" + b"?" * 50)
    with pytest.raises(InputError, match="overwrite"):
        predict_file(settings(folder, name))
    predict_file(settings(folder, name), overwrite=True)
    assert content(folder / name) == expected


# --- what cannot be used ------------------------------------------------------------------------


def test_pixels_that_are_not_finite(folder: Path) -> None:
    stack = np.random.default_rng(0).random((2, 300, 100), dtype=np.float32)
    stack[1, 5, 5:9], stack[1, 290, 3] = np.nan, np.inf
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match=r"section 1: 5 of 30000 pixels are NaN or infinite"):
        predict_file(settings(folder))
    assert not (folder / "out.tif").exists()
    filled = read_stack(predict_file(settings(folder, fill=0.5), overwrite=True))
    stack[~np.isfinite(stack)] = 0.5
    expected = predict_image(load_model(folder / "net.safetensors"), stack[1])
    np.testing.assert_allclose(filled[1], expected, rtol=0, atol=1e-6)


def test_uint16_needs_a_range(folder: Path) -> None:
    tifffile.imwrite(folder / "in.tif", np.zeros((40, 40), np.uint16))
    with pytest.raises(InputError, match="`value_range` LOW HIGH"):
        predict_file(settings(folder))


def test_too_little_memory(folder: Path) -> None:
    with pytest.raises(InputError, match=r"needs \d+ MB of memory or more, 50 MB are allowed"):
        predict_file(settings(folder, memory="50MB"))


@pytest.mark.parametrize(
    "error",
    [MemoryError("no room"), torch.OutOfMemoryError("CUDA out of memory"),
     RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_out_of_memory_keeps_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:  # fmt: skip
    """The estimate was wrong, or others took the memory: one line, and the run can go on."""
    command = ["predict", str(folder / "in.tif"), "-o", str(folder / "out.tif"), "--weights",
               str(folder / "net.safetensors"), "--threads", "1"]  # fmt: skip
    write = TiffOutput.write

    def write_or_fail(self: TiffOutput, z: int, *arguments: Any) -> Stored | None:
        if z == 1:  # a place, and not a count: several threads write at a time
            raise error
        return write(self, z, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TiffOutput, "write", write_or_fail)
        assert main(command) == 1
    assert re.search(r"paper-unet: out of memory .* --memory", capsys.readouterr().err)
    assert not (folder / "out.tif").exists()
    assert main(command) == 0
    assert "going on: 3 of 9 pieces" in capsys.readouterr().err


def test_output_equal_to_input(folder: Path) -> None:
    with pytest.raises(InputError, match="is the input"):
        predict_file(settings(folder, "in.tif"), overwrite=True)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GB", 2 * 10**9),
        ("800 MB", 8 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("1000", 1000),
        ("3k", 3000),
    ],
)
def test_amounts_of_memory(text: str, count: int) -> None:
    assert bytes_of(text) == count


@pytest.mark.parametrize("given", [{"memory": "much"}, {"threads": 0}, {"dtype": "int8"},
                                   {"precision": "double"}, {"ome_zarr": "0.3"}])  # fmt: skip
def test_settings_that_cannot_be(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        PredictConfig("a", "b.tif", **given)  # type: ignore[arg-type]


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_bands_and_the_run_goes_on(
    folder: Path, number: signal.Signals
) -> None:
    class Signalling(Crashing):
        def _count(self, what: str) -> None:
            if not self.done:  # what waits to be written is written
                os.kill(os.getpid(), number)

    expected = content(predict_file(settings(folder, "whole.tif")))
    with pytest.raises(Stopped) as caught:
        predict_file(settings(folder), executor=Signalling())
    assert caught.value.signal == number
    assert not (folder / "out.tif").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # put back
    predict_file(settings(folder))
    assert content(folder / "out.tif") == expected


def test_a_second_signal_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        while not stop():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


MAIN = "import sys; from paper_unet.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_sigterm_of_the_command_line(folder: Path) -> None:
    """Exit code 143, the command to go on with, and the same bytes in the end."""
    sections(folder / "in.tif", (20, 400, 400))
    command = [
        MAIN, "predict", str(folder / "in.tif"), "-o", str(folder / "out.tif"),
        "--weights", str(folder / "net.safetensors"), "--threads", "1",
    ]  # fmt: skip
    with Child(*command) as run:
        journal = folder / "out.tif.journal"
        while run.poll() is None and not (journal.exists() and b'"done"' in journal.read_bytes()):
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGTERM)
        code, errors = run.wait(), run.error.read_text()
    assert code == 143, errors
    assert "to go on: paper-unet predict" in errors
    assert "stopped by SIGTERM; what is finished is kept" in errors.splitlines()[-1]
    assert not (folder / "out.tif").exists()
    assert run_python(*command).returncode == 0
    whole = predict_file(settings(folder, "whole.tif"))
    assert content(folder / "out.tif") == content(whole)


# --- kill -9 ------------------------------------------------------------------------------------

KILLS = os.environ.get("PAPER_UNET_KILLS", "20")
KILLING = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from large_helpers import settings
from paper_unet.large import predict_file
folder, name, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance, done, span = random.Random(0), 0, float(sys.argv[4])
while done < kills:
    child = os.fork()
    if not child:
        predict_file(settings(folder, name))
        os._exit(0)
    time.sleep(chance.uniform(0.02, span))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    done += os.WIFSIGNALED(status)
    if (folder / name).exists():  # it was faster: begin again
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
predict_file(settings(folder, name))
print(done)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", NAMES)
def test_random_kills(folder: Path, name: str) -> None:
    """kill -9 at random moments of one prediction, each time gone on with; equal bytes."""
    sections(folder / "in.tif", (12, 520, 520))
    start = time.perf_counter()
    expected = content(predict_file(settings(folder, f"whole-{name}")))
    span = (time.perf_counter() - start) / 4
    arguments = str(folder), name, KILLS, str(span)
    run = run_python(KILLING, *arguments, cwd=Path(__file__).parent)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == KILLS
    assert content(folder / name) == expected
    assert {p.name for p in folder.iterdir()} == {
        "in.tif", "net.safetensors", name, f"whole-{name}"
    }  # fmt: skip


@pytest.mark.parametrize("crash", [None, 1])
def test_the_threads_of_the_process_are_as_before(folder: Path, crash: int | None) -> None:
    before = torch.get_num_threads()
    assert before < 3
    config = settings(folder, threads=3)
    if crash:
        with pytest.raises(Fails):
            predict_file(config, executor=Crashing(pieces=crash))
    else:
        predict_file(config)
    assert torch.get_num_threads() == before
