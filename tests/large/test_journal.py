import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
from process_helpers import Child

from paper_unet.errors import InputError
from paper_unet.large.journal import open_journal

HEADER = {"input": {"shape": [3, 40, 50], "pixels": "abc"}, "range": [0, 4095], "threads": 2}


def left_behind(out: Path, pieces=(0, 1, 2), header=HEADER) -> Path:
    """The journal of a run that was interrupted."""
    with open_journal(out) as journal:
        journal.begin(header)
        for piece in pieces:
            journal.record(piece)
    return journal.path


def test_a_run_that_is_interrupted_goes_on(tmp_path):
    path = left_behind(tmp_path / "out.tif", [4, 0])
    assert path == tmp_path / "out.tif.journal"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        HEADER, {"done": 4}, {"done": 0},
    ]  # fmt: skip
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header, journal.done) == (HEADER, {0, 4})
        journal.begin({**HEADER, "range": (0, 4095)})  # a tuple is a list in JSON
        journal.record(7)
        journal.record(4)
        assert journal.done == {0, 4, 7}
    assert path.read_text().count("\n") == 4
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == {0, 4, 7}
        journal.remove()
        assert journal.header is None
        assert journal.done == set()
    assert list(tmp_path.iterdir()) == []


def test_nothing_begun_leaves_nothing(tmp_path):
    with open_journal(tmp_path / "out.zarr") as journal:
        assert (journal.header, journal.done) == (None, set())
        with pytest.raises(ValueError, match="begin comes before record"):
            journal.record(0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), open_journal(tmp_path / "out.zarr") as journal:
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_what_is_recorded(tmp_path):
    with pytest.raises(KeyError), open_journal(tmp_path / "out.tif") as journal:
        journal.begin(HEADER)
        journal.record(5)
        raise KeyError
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header, journal.done) == (HEADER, {5})


def test_every_cut_of_the_file_is_survived(tmp_path):
    path = left_behind(tmp_path / "out.tif", [10, 11, 12])
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        for tail in (b"", b"\0" * 20):
            path.write_bytes(whole[:cut] + tail)
            lines = sum(end <= cut for end in ends)
            with open_journal(tmp_path / "out.tif") as journal:
                assert journal.header == (HEADER if lines else None)
                assert journal.done == {10, 11, 12} & set(range(10, 9 + lines))
                if lines:
                    assert path.read_bytes() == whole[: ends[lines - 1]]
                journal.begin(HEADER)
                journal.record(99)
            lines_now = [json.loads(line) for line in path.read_text().splitlines()]
            assert lines_now[0] == HEADER
            assert lines_now[-1] == {"done": 99}


def test_a_damaged_line_costs_what_comes_after_it(tmp_path):
    path = left_behind(tmp_path / "out.tif", [10, 11, 12])
    for bad in (b"\0\0\0", b"[]", b'{"done": "x"}', b'{"done": true}', b'{"other": 1}', b"\xff"):
        lines = path.read_bytes().splitlines()
        lines[2] = bad
        path.write_bytes(b"\n".join(lines) + b"\n")
        with open_journal(tmp_path / "out.tif") as journal:
            assert journal.done == {10}
            journal.record(11)
            journal.record(12)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"threads": 3}, "threads = 2, this one has 3"),
        ({"range": [0, 255]}, r"range = \[0, 4095\], this one has \[0, 255\]"),
        ({"range": None}, r"range = \[0, 4095\], this one has null"),
        (
            {"input": {"shape": [3, 40, 50], "pixels": "xyz"}, "threads": 9},
            'input.pixels = "abc", this one has "xyz"',
        ),
        ({"input": {"shape": [3, 40, 50]}}, 'input.pixels = "abc", this one has nothing'),
        ({"device": "cpu"}, 'device = nothing, this one has "cpu"'),
        ({"input": 4}, "input = .*, this one has 4"),
    ],
)
def test_another_setting_is_named(tmp_path, changed, expected):
    before = left_behind(tmp_path / "out.tif").read_bytes()
    with (
        pytest.raises(
            InputError, match=rf"out\.tif: .* had {expected}; .*--overwrite.*another"
        ) as e,
        open_journal(tmp_path / "out.tif") as journal,
    ):
        journal.begin({**HEADER, **changed})
    assert "\n" not in str(e.value)
    assert (tmp_path / "out.tif.journal").read_bytes() == before


def test_restart_forgets(tmp_path):
    path = left_behind(tmp_path / "out.tif")
    with open_journal(tmp_path / "out.tif") as journal:
        journal.restart()
        assert (journal.header, journal.done) == (None, set())
        journal.begin({"threads": 3})
        journal.record(1)
    assert path.read_text() == '{"threads": 3}\n{"done": 1}\n'


@pytest.mark.parametrize(
    "text", ["a diary\n", "[1, 2]\n", '"text"', '{"done": 3}\n', '{"a": 1\n}\n']
)
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, text):
    path = tmp_path / "out.tif.journal"
    path.write_text(text)
    with pytest.raises(InputError, match="is no journal"), open_journal(tmp_path / "out.tif"):
        pass
    assert path.read_text() == text


# on disk


def test_a_record_is_on_disk_when_record_returns(tmp_path, monkeypatch):
    """At each fsync of the file it must hold what was recorded until then."""
    seen, fsync = [], os.fsync
    path = tmp_path / "out.tif.journal"

    def noted(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            seen.append(path.read_text())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        assert seen[-1] == '{"a": 1}\n'
        for k in (3, 5):
            journal.record(k)
            assert seen[-1].endswith(f'{{"done": {k}}}\n')
    assert len(seen) == 3


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch):
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, "no room")
        return write(descriptor, data[:4])

    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        journal.record(1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(InputError, match=r"disk is full: .* same command again") as got:
                journal.record(22)
        assert "\n" not in str(got.value)
        assert journal.done == {1}
        journal.record(3)
    assert (tmp_path / "out.tif.journal").read_text() == '{"a": 1}\n{"done": 1}\n{"done": 3}\n'


def test_a_folder_that_is_not_there_or_cannot_be_written(tmp_path, monkeypatch):
    with (
        pytest.raises(InputError, match="does not exist; create it first"),
        open_journal(tmp_path / "none" / "out.tif"),
    ):
        pass

    def fail(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    with (
        pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"),
        open_journal(tmp_path / "out.tif"),
    ):
        pass


KILLED = """
import sys
from paper_unet.large.journal import open_journal
with open_journal(sys.argv[1]) as journal:
    journal.begin({"a": 1})
    for k in range(10**6):
        journal.record(k)
        print(k, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_loses_no_record_and_frees_the_lock(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out.tif"
    with Child(KILLED, str(out)) as process:
        while not process.out.read_text().startswith("0\n"):
            assert process.poll() is None, process.error.read_text()
            time.sleep(0.01)
        with (
            pytest.raises(InputError, match=r"out\.tif: another process is writing it") as got,
            open_journal(out),
        ):
            pass
        assert "\n" not in str(got.value)
        time.sleep(0.2)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        said = [int(line) for line in process.out.read_text().splitlines()]
    with open_journal(out) as journal:
        assert journal.header == {"a": 1}
        assert journal.done >= set(said)
        assert len(journal.done) - len(said) in (0, 1)


def test_the_lock_is_held_to_the_end(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out.tif"

    def refused() -> bool:
        try:
            with open_journal(out):
                return False
        except InputError:
            return True

    with open_journal(out) as journal:
        assert refused()
        journal.begin(HEADER)
        assert refused()
        journal.restart()
        assert refused()
        journal.begin(HEADER)
        journal.remove()
        assert refused()
    assert not refused()


def test_a_run_that_ends_while_another_opens(tmp_path, monkeypatch):
    """Between opening and locking, the file was removed: a lock on it protects nothing."""
    fcntl = pytest.importorskip("fcntl")
    path = left_behind(tmp_path / "out.tif")
    monkeypatch.setattr(fcntl, "flock", lambda *_: path.unlink())
    with (
        pytest.raises(InputError, match="another process"),
        open_journal(tmp_path / "out.tif"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
