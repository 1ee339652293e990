import errno
import json
import os
import random
import signal
import time
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from process_helpers import Child

from paper_unet.errors import InputError
from paper_unet.images import Stored
from paper_unet.large import lines
from paper_unet.large.journal import current_run, open_journal
from paper_unet.system.claim import without_mark


def text_of(path: Path) -> str:
    """What a journal says, behind the mark that makes it ours."""
    return without_mark(path.read_bytes()).decode()


def entries(path: Path) -> list[dict]:
    """The lines of a journal, without their checksums, which each has."""
    found = [json.loads(line) for line in text_of(path).splitlines()]
    for line in found:
        assert len(line.pop("check")) == 8
    return found


HEADER = {"input": {"shape": [3, 40, 50], "pixels": "abc"}, "range": [0, 4095], "threads": 2}
OLD_HEADER = {"version": 1, **HEADER}
"""Begins as those of earlier versions did."""


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
    assert entries(path) == [HEADER, {"done": 4}, {"done": 0}]
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header, journal.done) == (HEADER, {0, 4})
        journal.begin({**HEADER, "range": (0, 4095)})  # a tuple is a list in JSON
        journal.record(7)
        journal.record(4)
        assert journal.done == {0, 4, 7}
    assert text_of(path).count("\n") == 4
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
    mark = len(whole) - len(without_mark(whole))
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")][1:]
    for cut in range(mark, len(whole) + 1):
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
            assert entries(path)[0] == HEADER
            assert entries(path)[-1] == {"done": 99}


DAMAGED = [
    b"", b"\0\0\0", b"[]", b'{"done": "x"}', b'{"done": true}', b'{"other": 1}', b"\xff",
    b'{"done": 11}', b'{"done": -1}', b'{"done": 1e400}', b'{"done": 11, "check": "00000000"}',
    b"[" * 10_000, b'{"done": ' + b"9" * 5000 + b"}", b'{"a":' * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("bad", DAMAGED, ids=lambda line: repr(line[:20]))
@pytest.mark.parametrize("number", [1, 3])
def test_a_line_that_no_crash_can_leave_is_refused(tmp_path, bad, number):
    """A kill tears the last one; a power loss leaves sectors of zeros."""
    path = left_behind(tmp_path / "out.tif", [10, 11, 12])
    lines = path.read_bytes().splitlines()
    lines[number] = b"{" * (number == 1) + bad  # line 0 is the mark
    path.write_bytes(b"\n".join(lines) + b"\n")
    before = path.read_bytes()
    with (
        pytest.raises(InputError, match=f"journal: line {number} .*overwrite.*another") as got,
        open_journal(tmp_path / "out.tif"),
    ):
        pass
    assert "\n" not in str(got.value)
    assert path.read_bytes() == before
    with open_journal(tmp_path / "out.tif", overwrite=True) as journal:
        assert (journal.header, journal.done) == (None, set())
        journal.begin(HEADER)
        journal.record(1)
    assert entries(path) == [HEADER, {"done": 1}]


def test_lines_cannot_be_changed_moved_removed_or_added(tmp_path):
    path = left_behind(tmp_path / "out.tif", [10, 11, 12])
    mark, header, *rest = path.read_bytes().splitlines(keepends=True)
    other = left_behind(tmp_path / "other.tif", [20, 11, 22]).read_bytes().splitlines(True)
    for changed in (
        [header.replace(b"4095", b"4096"), *rest],
        [header, rest[1], rest[0], rest[2]],
        [header, *rest[1:]],
        [header, *rest, other[-1]],
        [header, *rest, b'{"done": 13}\n'],
        [header, *rest[:2], rest[2].replace(b"12", b"13")],
        [header, rest[0], rest[0]],
    ):
        path.write_bytes(mark + b"".join(changed))
        with pytest.raises(InputError, match="line"), open_journal(tmp_path / "out.tif"):
            pass
    path.write_bytes(mark + b"".join([header, *rest[:2]]))  # the last ones are done again
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == {10, 11}


def test_checksums_come_back(tmp_path):
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin(HEADER)
        journal.record_frame(Stored(7, 8))
        journal.record(3, Stored(10, 2**32 - 1))
        journal.record(4)
        journal.record(5, Stored(0, 0))
        journal.take_back([5])
    for _ in range(2):
        with open_journal(tmp_path / "out.tif") as journal:
            assert journal.sealed
            assert journal.frame == Stored(7, 8)
            assert journal.done == {3, 4}
            assert [journal.stored[k] for k in (3, 4)] == [Stored(10, 2**32 - 1), None]
    with open_journal(tmp_path / "out.tif") as journal:
        journal.record(5, Stored(1, 1))
        journal.restart()
        assert (journal.frame, journal.stored) == (None, {})
        journal.begin(HEADER)
        journal.record_frame(None)
    assert entries(tmp_path / "out.tif.journal") == [HEADER]


def test_one_of_an_earlier_version_has_no_checksums_and_goes_on(tmp_path):
    path = tmp_path / "out.tif.journal"
    path.write_text(json.dumps(OLD_HEADER) + '\n{"done": 10}\n{"done": 11}\n')
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header, journal.done, journal.sealed) == (OLD_HEADER, {10, 11}, False)
        journal.record(12, Stored(5, 6))
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == {10, 11, 12}
        assert journal.stored == {10: None, 11: None, 12: Stored(5, 6)}
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"[5, 6]", b"[5, 7]"))
    with pytest.raises(InputError, match="line 4"), open_journal(tmp_path / "out.tif"):
        pass
    for bad in (b'{"done": -1}', b'{"done": 1.5}', b"{}", b'{"done": 1, "stored": 3}'):
        path.write_bytes(whole.replace(b'{"done": 11}', bad))
        with pytest.raises(InputError, match="line"), open_journal(tmp_path / "out.tif"):
            pass


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
            InputError, match=rf"out\.tif: .* had {expected}; .*`overwrite`.*another"
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
    assert entries(path) == [{"threads": 3}, {"done": 1}]


@pytest.mark.parametrize(
    "text",
    ["a diary\n", "[1, 2]\n", '"text"', '{"done": 3}\n', '{"a": 1\n}\n', '{"version": 1}\n', "",
     "\0" * 200,
     f'{{"paper_unet": "training", "token": "{"0" * 32}", "partial": "{" " * 50}"}}\n'],
)  # fmt: skip
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, text):
    path = tmp_path / "out.tif.journal"
    path.write_text(text)
    before = path.stat()
    with pytest.raises(InputError, match="is no journal"), open_journal(tmp_path / "out.tif"):
        pass
    assert path.read_text() == text
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_journal_of_an_earlier_version_gets_a_mark_when_it_starts_anew(tmp_path):
    path = tmp_path / "out.tif.journal"
    old = '{"version": 1, "input": {"format": "TiffStack"}, "run": "a"}\n{"done": 3}\n'
    path.write_text(old)
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header["run"], journal.done) == ("a", {3})
        journal.record(4)
    assert path.read_text().startswith(old + '{"done": 4, "check": ')
    with open_journal(tmp_path / "out.tif") as journal:
        journal.restart()
        journal.begin({"threads": 3})
        token = journal.claim.token
    assert entries(path) == [{"threads": 3}]
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.header == {"threads": 3}
        assert len(token) == 32 and journal.claim.token == token


def test_fields_of_the_header_are_amended_and_the_pieces_stay(tmp_path):
    path = left_behind(tmp_path / "out.tif", [4])
    with open_journal(tmp_path / "out.tif") as journal:
        journal.amend({})
        journal.amend({"range": [0, 9], "more": None})
        journal.record(5, Stored(1, 2))
    amended = {**HEADER, "range": [0, 9], "more": None}
    assert entries(path)[2] == {"amended": {"range": [0, 9], "more": None}}
    with open_journal(tmp_path / "out.tif") as journal:
        assert (journal.header, journal.done) == (amended, {4, 5})
        journal.compare(amended)
        with pytest.raises(InputError, match=r"range = \[0, 9\], this one has \[0, 4095\]"):
            journal.compare(HEADER)


def test_behind_a_mark_no_line_is_without_a_checksum(tmp_path):
    path = left_behind(tmp_path / "out.tif", [])
    mark = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(mark + json.dumps(OLD_HEADER).encode() + b'\n{"done": 1}\n')
    with (
        pytest.raises(InputError, match="line 1 has no checksum"),
        open_journal(tmp_path / "out.tif"),
    ):
        pass


def test_a_header_of_which_a_sector_is_lost_is_written_anew(tmp_path):
    """Its checksum stood in that sector and in the next one."""
    path = left_behind(tmp_path / "out.tif", [], {"a": ""})
    length = len(path.read_bytes())
    path = left_behind(tmp_path / "it.tif", [], {"a": "x" * (1030 - length)})
    whole = path.read_bytes()
    assert len(whole) == 1030
    path.write_bytes(whole[:512] + bytes(512) + whole[1024:])
    with open_journal(tmp_path / "it.tif") as journal:
        assert (journal.header, journal.left, journal.sealed) == (None, False, True)
        journal.begin({"a": 1})
    assert entries(path) == [{"a": 1}]


def test_what_is_adopted_changes_the_mark_and_no_line(tmp_path):
    path = left_behind(tmp_path / "out.tif", [1])
    lines = text_of(path)
    with open_journal(tmp_path / "out.tif") as journal:
        journal.record(2)
        (tmp_path / "made").touch()
        journal.claim.adopt(tmp_path / "made")
        journal.record(3)
    assert text_of(path).startswith(lines)
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == {1, 2, 3}
        assert journal.claim.owns(tmp_path / "made")


@pytest.mark.parametrize("old", [False, True])
def test_which_run_it_is_stands_in_a_header_of_any_length(tmp_path, old):
    out, header = tmp_path / "out.tif", {"version": 1, "input": {"f": "x" * 2**21}, "run": "a"}
    assert current_run(out) is None
    path = left_behind(out, [3], header)
    if old:
        path.write_bytes(without_mark(path.read_bytes()))
    assert current_run(out) == "a"
    with open_journal(out) as journal:
        journal.amend({"fill": 0.0})
        assert current_run(out) == "a"
        journal.restart()
        assert current_run(out) is None


# on disk


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that the journal sees."""
    now = [100.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def synced(tmp_path, monkeypatch) -> list[list[dict]]:
    """What the journal of out.tif held at each sync of it."""
    seen, fsync = [], os.fsync
    path = tmp_path / "out.tif.journal"

    def noted(descriptor: int) -> None:
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            seen.append(entries(path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return seen


def test_records_wait_for_half_a_second_at_most(tmp_path, clock, synced):
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        assert synced == [[{"a": 1}]]
        for k, seconds in enumerate([0.1, 0.1, 0.29]):
            clock[0] += seconds
            journal.record(k)
            assert journal.done == set(range(k + 1))
        assert len(synced) == 1
        clock[0] += 0.02  # 0.51 after the last one
        journal.record(3)
        assert synced[1:] == [[{"a": 1}, *({"done": k} for k in range(4))]]
        clock[0] += 7  # pieces that take long are on disk at once
        journal.record(4)
        assert len(synced) == 3
        assert synced[2][-1] == {"done": 4}


def test_256_records_wait_at_most(tmp_path, clock, synced):
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        for k in range(1000):
            journal.record(k)
        assert [len(seen) for seen in synced] == [1, 257, 513, 769]
    assert len(synced) == 5
    assert synced[-1] == [{"a": 1}, *({"done": k} for k in range(1000))]


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt, GeneratorExit])
def test_what_waits_is_on_disk_when_a_run_ends_however_it_does(tmp_path, clock, error):
    with suppress(error or ()), open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        journal.record(1)
        assert entries(journal.path) == [{"a": 1}]
        if error:
            raise error
    assert entries(tmp_path / "out.tif.journal") == [{"a": 1}, {"done": 1}]


def test_what_is_not_of_a_piece_does_not_wait(tmp_path, clock, synced):
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        journal.record_frame(Stored(1, 2))
        assert synced[-1][-1] == {"frame": [1, 2]}
        journal.record(1)
        journal.record(2)
        journal.take_back([1])
        assert synced[-1][2:] == [{"done": 1}, {"done": 2}, {"again": [1]}]
        journal.record(1)
        journal.flush()
        assert synced[-1][-1] == {"done": 1}


def test_the_bytes_are_those_that_the_version_before_wrote(tmp_path):
    """Each can go on with what the other left."""
    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": [1, None]})
        journal.record_frame(Stored(7, 8))
        journal.record(3, Stored(10, 2**32 - 1))
        journal.record(4)
        journal.take_back([3])
        journal.record(5, Stored(0, 0))
    assert text_of(journal.path) == (
        '{"a": [1, null], "check": "f8bd2ff4"}\n'
        '{"frame": [7, 8], "check": "29a81eb4"}\n'
        '{"done": 3, "stored": [10, 4294967295], "check": "4042c865"}\n'
        '{"done": 4, "check": "6c8e3d2c"}\n'
        '{"again": [3], "check": "352c4418"}\n'
        '{"done": 5, "stored": [0, 0], "check": "bb965dba"}\n'
    )


def test_many_pieces_are_taken_back_in_short_lines(tmp_path, clock):
    path = left_behind(tmp_path / "out.tif", range(1000))
    with open_journal(tmp_path / "out.tif") as journal:
        journal.take_back(k for k in range(1000) if k % 4)
    assert max(map(len, path.read_bytes().splitlines())) < 1000
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == set(range(0, 1000, 4))


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch):
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, "no room")
        return write(descriptor, data[:4])

    with open_journal(tmp_path / "out.tif") as journal:
        journal.begin({"a": 1})
        journal.record(1)
        journal.flush()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(InputError, match=r"disk is full: .* same command again") as got:
                journal.record(22)
                journal.flush()
            assert entries(journal.path) == [{"a": 1}, {"done": 1}]
        assert "\n" not in str(got.value)
        journal.record(3)
    done = [{"done": 1}, {"done": 22}, {"done": 3}]
    assert entries(tmp_path / "out.tif.journal") == [{"a": 1}, *done]


def test_a_disk_that_is_full_at_the_start_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch, open_journal(tmp_path / "out.tif") as journal:
        patch.setattr(os, "write", fail)
        with pytest.raises(InputError, match="disk is full"):
            journal.begin({"a": 1})
        assert (journal.header, journal.done) == (None, set())
    assert list(tmp_path.iterdir()) == []


def group(path: Path, pieces: int = 60) -> tuple[bytes, bytes]:
    """A journal, and what one write adds to it."""
    out = path.with_suffix("")
    left_behind(out, range(10))
    before = path.read_bytes()
    with open_journal(out) as journal:
        for k in range(10, 10 + pieces):
            journal.record(k, Stored(1000, 2**32 - k))
    return before, path.read_bytes()[len(before) :]


def test_any_sectors_of_a_write_that_a_power_loss_loses(tmp_path, clock):
    """What stands before the first of them is kept."""
    path = tmp_path / "out.tif.journal"
    before, added = group(path)
    whole, start = before + added, len(before)
    edges = [start, *range(-(-start // 512) * 512, len(whole), 512), len(whole)]
    assert len(edges) > 7
    chance = random.Random(0)
    for kept in [
        *([k != lost for k in range(len(edges) - 1)] for lost in range(len(edges) - 1)),
        *([chance.random() < 0.5 for _ in edges[1:]] for _ in range(30)),
    ]:
        data = bytearray(whole)
        for (a, b), sound in zip(pairwise(edges), kept, strict=True):
            data[a:b] = data[a:b] if sound else bytes(b - a)
        path.write_bytes(data)
        first = edges[kept.index(False)] if False in kept else len(whole)
        count = whole[:first].count(b"\n")
        with open_journal(tmp_path / "out.tif") as journal:
            assert journal.done == set(range(count - 2))  # behind mark and header
            journal.record(999)
        assert entries(path)[-1] == {"done": 999}


def test_zeros_that_no_power_loss_leaves_are_refused(tmp_path, clock):
    out = tmp_path / "out.tif"
    path = tmp_path / "out.tif.journal"
    before, added = group(path, 256)
    whole = before + added
    second = -(-len(before) // 512) * 512 + 512
    for a, b in [(second, second + 100), (second + 3, second + 512), (second + 1, second + 513)]:
        path.write_bytes(whole[:a] + bytes(b - a) + whole[b:])
        with pytest.raises(InputError, match=r"line \d+ is damaged"), open_journal(out):
            pass
    more = b"x" * lines.TORN  # so much is not written at once
    path.write_bytes(whole[:second] + bytes(512) + whole[second + 512 :] + more)
    with pytest.raises(InputError, match="damaged"), open_journal(out):
        pass


def test_a_line_without_end_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 2**21)
    path = left_behind(tmp_path / "out.tif", [1])
    sound = path.read_bytes()
    path.write_bytes(sound + bytes(2**23))  # zeros alone a crash may leave
    with open_journal(tmp_path / "out.tif") as journal:
        assert journal.done == {1}
    assert path.read_bytes() == sound
    path.write_bytes(sound + b"x" * 2**23)
    with pytest.raises(InputError, match="line 3 is damaged"), open_journal(tmp_path / "out.tif"):
        pass


def test_memory_to_read_does_not_grow_with_the_lines(tmp_path):
    """13 bytes a piece, and no line that was read is kept."""
    path, crc, count = tmp_path / "out.tif.journal", 0, 50_000
    with path.open("wb") as file:
        for entry in [OLD_HEADER, *({"done": k, "stored": [2**20, k]} for k in range(count))]:
            line, crc = lines.sealed_line(entry, crc)
            file.write(line)
    tracemalloc.start()
    with open_journal(tmp_path / "out.tif") as journal:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(journal.done) == count
        assert journal.stored[count - 1] == Stored(2**20, count - 1)
        assert path.stat().st_size > 60 * count
    assert peak < 13 * count + 3 * 2**20  # a quarter of a MiB is read at a time


@pytest.mark.parametrize("bad", ["[1, 4294967296]", "[9223372036854775808, 1]", "[-1, 1]", "[1]"])
def test_bytes_that_no_piece_can_have_are_refused(tmp_path, bad):
    path = tmp_path / "out.tif.journal"
    path.write_text(json.dumps(OLD_HEADER) + f'\n{{"done": 10, "stored": {bad}}}\n')
    with pytest.raises(InputError, match="line 2 is of no use"), open_journal(path.with_suffix("")):
        pass


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
import sys, time
from paper_unet.large.journal import open_journal
with open_journal(sys.argv[1]) as journal:
    journal.begin({"a": 1})
    for k in range(10**6):
        journal.record(k)
        print(k, time.monotonic(), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_loses_half_a_second_at_most_and_frees_the_lock(tmp_path):
    pytest.importorskip("fcntl")
    out = tmp_path / "out.tif"
    with Child(KILLED, str(out)) as process:
        while not process.out.read_text().startswith("0 "):
            assert process.poll() is None, process.error.read_text()
            time.sleep(0.01)
        with (
            pytest.raises(InputError, match=r"out\.tif: another process is writing it") as got,
            open_journal(out),
        ):
            pass
        assert "\n" not in str(got.value)
        time.sleep(1.2)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        said = [line.split() for line in process.out.read_text().splitlines()]
    with open_journal(out) as journal:
        assert journal.header == {"a": 1}
        kept = len(journal.done)
        assert journal.done == set(range(kept))  # none but the last ones
    assert kept > 0
    assert len(said) - kept < 256


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
