"""How far work is: what a terminal gets, and what a log."""

import io
import sys
import time
from types import SimpleNamespace

import pytest

from paper_unet.system import progress
from paper_unet.system.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that goes on only when it is told to, for the lines and for tqdm."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    monkeypatch.setattr(time, "time", lambda: now.seconds)
    return now


def work(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, count: int, stream: io.StringIO
) -> str:
    """Do ``count`` things of ten seconds each and return what was written."""
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=count, unit="section", desc="scores") as bar:
        bar._time = lambda: clock.seconds
        bar.start_t = bar.last_print_t = clock.seconds
        for _ in range(count):
            clock.seconds += 10
            bar.update()
            bar.set_postfix(loss="0.5")  # which tqdm shows at once
    return stream.getvalue()


def test_a_log_gets_a_line_a_minute(clock, monkeypatch) -> None:
    lines = work(clock, monkeypatch, 20, io.StringIO()).splitlines()
    assert len(lines) == 4  # after one, two and three minutes, and the end
    assert lines[0].startswith("scores: 6 of 20 section (30 %), ")
    assert "02:20 left" in lines[0]
    assert "10.00s/section" in lines[0]
    assert lines[0].endswith("loss=0.5")
    assert lines[-1].startswith("scores: 20 of 20 section (100 %)")
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_short_work_says_nothing_in_a_log(clock, monkeypatch) -> None:
    assert work(clock, monkeypatch, 5, io.StringIO()) == ""


def test_a_terminal_gets_a_bar(clock, monkeypatch) -> None:
    text = work(clock, monkeypatch, 5, Terminal())
    assert text.count("\r") > 3
    assert "5/5" in text
    assert "scores: 100%" in text


def test_nothing_is_shown_unasked(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress_bar(range(3), show=False)) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_of_work_without_a_total_the_amount_is_said(clock, monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = progress_bar(unit="B", unit_scale=True)
    assert bar  # a library asks whether there is one
    bar._time = lambda: clock.seconds
    bar.start_t = bar.last_print_t = clock.seconds
    clock.seconds += 60
    bar.update(6_000_000)
    assert stream.getvalue() == "6.00M B, 100kB/s, 01:00 gone\n"
    bar.total = 9_000_000  # as pooch ends
    bar.reset()
    bar.update(9_000_000)
    bar.close()
    assert "9.00M of 9.00M B (100 %), " in stream.getvalue()
