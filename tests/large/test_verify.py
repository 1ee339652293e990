"""What an interrupted run left is compared with what it wrote, before anything is built on it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from large_helpers import NAMES, Crashing, Fails, content, sections, settings, small_network

from paper_unet.cli import main
from paper_unet.errors import InputError
from paper_unet.images import create_output
from paper_unet.large import predict_file, verify
from paper_unet.large.journal import open_journal
from paper_unet.large.left import left_in
from paper_unet.large.lines import sealed_line
from paper_unet.large.pieces import Grid
from paper_unet.large.report import Report
from paper_unet.system.claim import without_mark


def left_behind(folder: Path, name: str, pieces: int = 4) -> Path:
    """A run that a crash ended after some pieces; return its partial output."""
    with pytest.raises(Fails):
        predict_file(settings(folder, name), executor=Crashing(pieces=pieces))
    return folder / f"{name}.partial"


def go_on(folder: Path, name: str, **options: Any) -> tuple[list[int], str]:
    """Finish it; return which pieces were computed, and what was said."""
    rest, said = Crashing(), list[str]()
    predict_file(settings(folder, name), executor=rest, report=Report(said.append), **options)
    return rest.done, "\n".join(said)


def command(folder: Path, name: str, *more: str) -> list[str]:
    weights, out = str(folder / "net.safetensors"), str(folder / name)
    return ["predict", str(folder / "in.tif"), "-o", out, "--weights", weights, "--threads", "1",
            *more]  # fmt: skip


def refused(
    folder: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str], *more: str
) -> None:
    """It is refused in one line that says what to do, and --overwrite gets out of it."""
    capsys.readouterr()
    before = {path: content(path) for path in folder.iterdir()}
    assert main(command(folder, name, *more)) == 2
    said = capsys.readouterr().err.splitlines()
    assert reason in said[-1] and "overwrite" in said[-1], said
    assert said[-1].startswith("paper-unet: ") and len(said[-1]) < 2000
    assert {path: content(path) for path in folder.iterdir()} == before
    assert main(command(folder, name, *more, "--overwrite")) == 0
    assert content(folder / name) == content(folder / f"whole-{name}")
    assert not {f"{name}.journal", f"{name}.partial"} & {path.name for path in folder.iterdir()}


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sections of two rows of chunks, and what they are predicted to be."""
    folder = tmp_path_factory.mktemp("predicted")
    small_network(folder / "net.safetensors")
    sections(folder / "in.tif", (2, 600, 40))
    for name in NAMES:
        predict_file(settings(folder, f"whole-{name}"))
    return folder


@pytest.fixture
def tall(predicted: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(predicted, tmp_path, dirs_exist_ok=True)


# --- pieces on disk -----------------------------------------------------------------------------


def place_of(partial: Path, piece: int) -> tuple[Path, int, int]:
    """The file of a piece of `tall`, and where its bytes begin and end."""
    if partial.is_dir():
        path = partial / "0" / "c" / str(piece // 2) / str(piece % 2) / "0"
        return path, 0, path.stat().st_size
    row, step = 40 * 4, 128 * 40 * 4
    # the pixels lie in one block; what is behind them is as long as in any such file
    import h5py
    import tifffile

    if ".h5" in partial.suffixes:
        with h5py.File(partial) as file:
            offset = int(file["data"].id.get_offset() or 0)
    else:
        with tifffile.TiffFile(partial) as file:
            offset = int(file.series[0].dataoffset or 0)
    z, k = divmod(piece, 5)
    start = offset + z * 600 * row + k * step
    return partial, start, min(start + step, offset + (z + 1) * 600 * row)


def overwritten(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def zeroed(path: Path, start: int, stop: int) -> None:
    overwritten(path, start, bytes(stop - start))


def one_bit(path: Path, start: int, stop: int) -> None:
    middle = (start + stop) // 2
    overwritten(path, middle, bytes([path.read_bytes()[middle] ^ 1]))


def first_byte(path: Path, start: int, stop: int) -> None:
    overwritten(path, start, bytes([path.read_bytes()[start] ^ 128]))


def last_byte(path: Path, start: int, stop: int) -> None:
    overwritten(path, stop - 1, bytes([path.read_bytes()[stop - 1] ^ 128]))


def cut(path: Path, start: int, stop: int) -> None:
    os.truncate(path, stop - 1)


def gone(path: Path, start: int, stop: int) -> None:
    path.unlink()


def swapped(path: Path, start: int, stop: int) -> None:
    """The chunk of another section, whole and sound."""
    shutil.copy(path.parents[2] / "1" / "0" / "0", path)


Damage = Callable[[Path, int, int], None]


@pytest.mark.exact
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    ("name", "damage"),
    [*((name, damage) for name in NAMES for damage in (zeroed, one_bit, first_byte, last_byte)),
     *(("out.zarr", damage) for damage in (cut, gone, swapped))],
)  # fmt: skip
def test_a_damaged_piece_is_computed_again(
    tall: Path, name: str, damage: Damage, every: bool
) -> None:
    pieces = 3 if name == "out.zarr" else 4
    partial = left_behind(tall, name, pieces)
    damage(*place_of(partial, 1 if damage is not swapped else 0))
    done, said = go_on(tall, name, verify=every)
    assert set(done) == {0 if damage is swapped else 1, *range(pieces, 4 if pieces == 3 else 10)}
    assert f"1 of {pieces} finished pieces are not on disk as they were written" in said
    assert content(tall / name) == content(tall / f"whole-{name}")


@pytest.mark.parametrize("name", NAMES)
def test_sound_pieces_are_kept(tall: Path, name: str) -> None:
    partial = left_behind(tall, name, 3)
    if name != "out.zarr":  # what is not recorded may be anything
        zeroed(*place_of(partial, 7))
    done, said = go_on(tall, name)
    assert min(done) == 3
    assert "verified: 3 of 3 finished pieces" in said
    assert content(tall / name) == content(tall / f"whole-{name}")


@pytest.mark.parametrize("name", NAMES)
def test_a_share_is_drawn_and_one_damaged_piece_has_all_read(
    tall: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "READ_ALWAYS", 1)
    monkeypatch.setattr(verify, "SHARE", 0.0)
    monkeypatch.setattr(verify, "_shuffled", np.arange)  # the first one is drawn
    partial = left_behind(tall, name, 3)
    # where a chunk is compressed, its head: a bit of the rest may decode to other pixels
    (first_byte if name == "out.zarr" else one_bit)(*place_of(partial, 2))
    kept = tall / "kept"
    (shutil.copytree if partial.is_dir() else shutil.copy)(partial, kept)
    shutil.copy(tall / f"{name}.journal", tall / "journal")
    if name != "out.zarr":
        done, said = go_on(tall, name)
        assert 2 not in done  # that is the price of a share
        assert content(tall / name) != content(tall / f"whole-{name}")
        assert "verified: 1 of 3 finished pieces, and the size of all" in said
        (tall / name).unlink()
    else:
        with pytest.raises(InputError, match=r"cannot be decoded .* with `verify`"):
            go_on(tall, name)
        shutil.rmtree(partial)
    kept.rename(partial)
    (tall / "journal").rename(tall / f"{name}.journal")
    one_bit(*place_of(partial, 0))
    done, said = go_on(tall, name)
    assert "2 of 3 finished pieces are not on disk as they were written" in said
    assert content(tall / name) == content(tall / f"whole-{name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_piece_is_read_if_asked(
    tall: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "READ_ALWAYS", 1)
    monkeypatch.setattr(verify, "SHARE", 0.0)
    monkeypatch.setattr(verify, "_shuffled", np.arange)
    one_bit(*place_of(left_behind(tall, name, 3), 2))
    assert main(command(tall, name, "--verify")) == 0
    assert "verified: 3 of 3 finished pieces" in capsys.readouterr().err
    assert content(tall / name) == content(tall / f"whole-{name}")


def test_how_large_the_share_is() -> None:
    sizes, finished = np.full(1200, 2**24), np.arange(1200) < 1000  # of 16 GiB
    sizes[~finished] = 0
    drawn = verify._drawn(sizes, finished)
    assert np.count_nonzero(drawn) == -(-(64 + 0.05 * (1000 - 64)) // 1)
    assert not (drawn & ~finished).any()
    assert (drawn != verify._drawn(sizes, finished)).any()
    assert verify._drawn(np.full(10, 2**20), np.full(10, True)).all()


def test_a_piece_taken_back_stays_so(tall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found damaged, then killed before it was computed again."""
    zeroed(*place_of(left_behind(tall, "out.tif"), 2))
    with pytest.raises(Fails):
        predict_file(settings(tall), executor=Crashing(pieces=0))
    monkeypatch.setattr(verify, "READ_ALWAYS", 0)
    monkeypatch.setattr(verify, "SHARE", 0.0)
    done, _ = go_on(tall, "out.tif")
    assert 2 in done
    assert content(tall / "out.tif") == content(tall / "whole-out.tif")


# --- what lies beside the pixels ----------------------------------------------------------------


def cut_to_100_bytes(partial: Path) -> None:
    os.truncate(partial, 100)


def cut_by_a_byte(partial: Path) -> None:
    os.truncate(partial, partial.stat().st_size - 1)


def longer(partial: Path) -> None:
    with partial.open("ab") as file:
        file.write(b"more")


def directory_zeroed(partial: Path) -> None:
    size = partial.stat().st_size
    zeroed(partial, size - 40, size)


def description_changed(partial: Path) -> None:
    data = partial.read_bytes()
    overwritten(partial, data.index(b'"axes": "ZYX"'), b'"axes": "TYX"')


@pytest.mark.parametrize(
    "damage",
    [cut_to_100_bytes, cut_by_a_byte, longer, directory_zeroed, description_changed],
)
def test_a_tiff_that_is_not_as_it_was_prepared(
    tall: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(left_behind(tall, "out.tif"))
    refused(tall, "out.tif", "nothing to go on from", capsys)


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "1/zarr.json"])
def test_metadata_that_are_not_as_they_were_prepared(
    tall: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = left_behind(tall, "out.zarr", 2) / name
    path.write_text(path.read_text().replace('"attributes": {', '"attributes": {"x": 1,', 1)
                    if name == "zarr.json" else path.read_text() + " ")  # fmt: skip
    refused(tall, "out.zarr", "nothing to go on from", capsys)


# --- what the journal says ----------------------------------------------------------------------

NONE: Any = object()
ODD: list[tuple[str, Any]] = [
    *(("plan.rows", value) for value in (0, -128, 1.5, True, "128", None, [], 1e400, 100, 10**400)),
    *(("plan.band", value) for value in (0, -64, 64.0, 17, float("nan"))),
    *(("plan.strip", value) for value in (0, 17, {}, NONE)),
    ("plan.more", 1), ("plan", NONE), ("plan", None), ("plan", []), ("plan", "x"),
    *(("threads", value) for value in (0, -1, 1.0, True, "1", None, NONE, float("nan"))),
    *(("run", value) for value in (None, 5, [], NONE)),
]  # fmt: skip


def changed(header: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    header = json.loads(json.dumps(header))
    inner = header
    *above, last = name.split(".")
    for key in above:
        inner = inner[key]
    if value is NONE:
        del inner[last]
    else:
        inner[last] = value
    return header


def lines_of(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = without_mark((folder / f"{name}.journal").read_bytes()).splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "check"} for line in lines]


MARK = f'{{"paper_unet": "journal", "token": "{"5" * 32}", "partial": "{" " * 50}"}}\n'.encode()
"""How a journal begins that knows of no partial output."""


def sealed(path: Path, lines: list[dict[str, Any]]) -> None:
    """As whoever knows how the checksums are made would write it."""
    before = path.read_bytes() if path.exists() else b""
    crc, text = 0, before[: len(before) - len(without_mark(before))] or MARK
    for line in lines:
        data, crc = sealed_line(line, crc)
        text += data
    path.write_bytes(text)


def unsealed(path: Path, lines: list[dict[str, Any]]) -> None:
    """As earlier versions wrote it."""
    kept = [{k: v for k, v in line.items() if k != "stored"} for line in lines]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in kept if "frame" not in line)
    path.write_bytes(text)


@pytest.mark.parametrize(("name", "value"), ODD, ids=lambda value: str(value)[:20])
def test_what_goes_on_is_believed_only_if_it_can_be(tmp_path: Path, name: str, value: Any) -> None:
    output = create_output(tmp_path / "out.tif", (2, 600, 40), "float32")
    plan = {"band": 64, "strip": 48, "rows": 128}
    header = {"version": 1, "input": {}, "plan": plan, "threads": 1, "run": "abc"}
    for write in (sealed, unsealed):
        path = tmp_path / "out.tif.journal"
        write(path, [header, {"done": 9}])
        with open_journal(output.path) as journal:
            left = left_in(journal, output)
        assert (left.threads, left.run, len(Grid(2, 600, 40, left.plan))) == (1, "abc", 10)
        write(path, [changed(header, name, value), {"done": 9}])
        with (
            pytest.raises(InputError, match=r"out\.tif\.journal: .* start anew") as got,
            open_journal(output.path) as journal,
        ):
            left_in(journal, output)
        assert len(str(got.value)) < 500 and "\n" not in str(got.value)


@pytest.mark.parametrize("write", [sealed, unsealed])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("plan.band", float("nan"), "its plan is none"),
        ("threads", "1", 'threads = "1"'),
        ("input", None, "input = null"), ("input", {"a": {"b": []}}, "input.format = nothing"),
        ("version", 10**400, "version = 1000"), ("more", 1, "more = 1"), ("dtype", NONE, "dtype"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_header_of_odd_values_is_refused(
    folder: Path, name: str, value: Any, reason: str, write: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sections(folder / "in.tif", (1, 200, 40))
    predict_file(settings(folder, "whole-out.tif"))
    left_behind(folder, "out.tif", 1)
    header, *rest = lines_of(folder, "out.tif")
    path = folder / "out.tif.journal"
    write(path, [changed(header, name, value), *rest])
    if write is unsealed and not path.read_bytes().startswith(b'{"version": 1, "input": {'):
        nobodys = content(path)  # neither a mark nor how earlier ones began
        assert main(command(folder, "out.tif", "--overwrite")) == 2
        assert "is no journal of an interrupted run" in capsys.readouterr().err
        assert content(path) == nobodys
        return
    refused(folder, "out.tif", reason, capsys)


@pytest.mark.parametrize("piece", [10, 10**30])
@pytest.mark.parametrize("write", [sealed, unsealed])
def test_pieces_that_the_plan_does_not_have(
    tall: Path, piece: int, write: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(tall, "out.tif")
    lines = lines_of(tall, "out.tif")
    write(tall / "out.tif.journal", [*lines, {"done": piece}])
    refused(tall, "out.tif", f"piece {piece} is none of the 10 of its plan", capsys)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [sealed, unsealed])
def test_pieces_that_were_never_written(tall: Path, name: str, write: Callable[..., None]) -> None:
    """Whoever says so, they are not there."""
    left_behind(tall, name, 1)
    lines = lines_of(tall, name)
    last = 3 if name == "out.zarr" else 9  # far from what was written and not recorded yet
    write(tall / f"{name}.journal", [*lines, {"done": last}])
    done, said = go_on(tall, name)
    assert last in done
    assert "1 of 2 finished pieces are not on disk as they were written" in said
    assert content(tall / name) == content(tall / f"whole-{name}")


def test_another_number_of_rows(tall: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_behind(tall, "out.tif")
    path = tall / "out.tif.journal"
    path.write_bytes(path.read_bytes().replace(b'"rows": 128', b'"rows": 256', 1))
    refused(tall, "out.tif", "line 1 is damaged", capsys)
    (tall / "out.tif").unlink()
    left_behind(tall, "out.tif", 2)  # and the third was written and not recorded
    header, *rest = lines_of(tall, "out.tif")
    unsealed(path, [changed(header, "plan.rows", 256), *rest])
    done, _ = go_on(tall, "out.tif")  # rows that are missing in the larger pieces are seen
    assert {2, 3, 4, 5} <= set(done) <= {1, 2, 3, 4, 5}


# --- journals of earlier versions ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_without_checksums_what_can_be_compared_is_and_it_is_said(tall: Path, name: str) -> None:
    partial = left_behind(tall, name, 3)
    path = tall / f"{name}.journal"
    unsealed(path, lines_of(tall, name))
    file, start, stop = place_of(partial, 1)
    if name != "out.zarr":
        zeroed(file, start, stop)
    else:
        file.write_bytes(file.read_bytes()[:-7])
    done, said = go_on(tall, name)
    assert {1, 3} <= set(done) and not {0, 2} & set(done)
    assert "3 of them have no checksum (an earlier version recorded them)" in said
    assert "1 of 3 finished pieces are not on disk as they were written" in said
    assert content(tall / name) == content(tall / f"whole-{name}")


def test_an_output_without_checksums(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One from outside need not have them."""
    from paper_unet.images import Output
    from paper_unet.images.outputs.tiff import TiffOutput

    write = TiffOutput.write
    monkeypatch.setattr(TiffOutput, "write", lambda *given: write(*given) and None)
    for method in ("stored", "size_stored", "frame", "looks_written"):
        monkeypatch.setattr(TiffOutput, method, getattr(Output, method))
    expected = content(predict_file(settings(folder, "whole.tif")))
    left_behind(folder, "out.tif", 2)
    assert lines_of(folder, "out.tif")[1:] == [{"done": 0}, {"done": 1}]
    done, said = go_on(folder, "out.tif")
    assert min(done) == 2
    assert "2 of them have no checksum" in said
    assert content(folder / "out.tif") == expected


def test_verify_is_of_runs_that_can_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "out.tif", "--release", "--verify")) == 2
    assert "leave --verify out" in capsys.readouterr().err


def test_a_signal_while_reading_stops(tall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from paper_unet.images.outputs.tiff import TiffOutput
    from paper_unet.system.stop import Stopped

    left_behind(tall, "out.tif")
    read = TiffOutput.stored

    def signalled(self: TiffOutput, *place: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return read(self, *place)

    with monkeypatch.context() as patch:
        patch.setattr(TiffOutput, "stored", signalled)
        with pytest.raises(Stopped):
            go_on(tall, "out.tif", verify=True)
    done, _ = go_on(tall, "out.tif")
    assert min(done) == 4
    with pytest.raises(InputError, match="exists already"):
        go_on(tall, "out.tif")
