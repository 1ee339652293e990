"""Work beside the work: in order, bounded, and its errors arrive."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from process_helpers import run_interpreter

from paper_unet.system.overlap import DEPTH, Ahead, ahead, behind, behind_by, together


def test_results_come_in_order() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert list(ahead(lambda k: k * k, range(20), pool)) == [k * k for k in range(20)]
        assert list(behind(lambda k: k * k, range(20), pool)) == [k * k for k in range(20)]
    assert list(ahead(lambda k: k * k, range(5), None)) == [0, 1, 4, 9, 16]
    assert list(behind_by(3, range(7))) == list(range(7))
    assert list(behind_by(9, range(7))) == list(range(7))


def test_work_begins_before_it_is_asked_for_and_stays_near() -> None:
    begun: list[int] = []

    def work(k: int) -> int:
        begun.append(k)
        return k

    with ThreadPoolExecutor(1) as pool:
        results = Ahead(work, range(100), pool)
        pool.submit(int).result()  # what was submitted before is done
        assert begun == list(range(DEPTH))
        assert next(results) == 0
        pool.submit(int).result()
        assert len(begun) == DEPTH + 1
        results.close()
        pool.submit(int).result()
        assert len(begun) <= DEPTH + 1
        assert list(results) == []


def test_who_makes_items_waits_for_who_takes_them() -> None:
    made: list[int] = []
    gate = threading.Event()

    def items() -> Iterator[int]:
        for k in range(50):
            made.append(k)
            yield k

    def slow(k: int) -> int:
        gate.wait(10)
        return k

    with ThreadPoolExecutor(1) as pool:
        results = behind(slow, items(), pool, depth=2)
        threading.Timer(0.2, gate.set).start()
        assert next(results) == 0
        assert len(made) == 3  # and no more, however slow the work is
        assert list(results) == list(range(1, 50))


def test_an_error_arrives_where_its_result_would() -> None:
    def work(k: int) -> int:
        if k == 3:
            raise ValueError("three")
        return k

    with ThreadPoolExecutor(1) as pool:
        for results in (ahead(work, range(9), pool), behind(work, range(9), pool)):
            found = [next(results) for _ in range(3)]
            assert found == [0, 1, 2]
            with pytest.raises(ValueError, match="three"):
                next(results)


def test_what_was_made_before_an_error_is_done_first() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("stop")

    found = []
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
        for result in behind(lambda k: k, items(), pool, depth=9):
            found.append(result)
    assert found == [0, 1, 2]


def test_what_is_dropped_begins_nothing_more() -> None:
    done: list[int] = []

    def work(k: int) -> int:
        time.sleep(0.01)
        done.append(k)
        return k

    with ThreadPoolExecutor(1) as pool:
        results = behind(work, range(100), pool, depth=9)
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
    assert len(done) <= 4


def test_together_so_many_at_a_time_and_the_results_in_order() -> None:
    all_begun = threading.Barrier(3)

    def work(item: int) -> int:
        if item < 3:
            all_begun.wait(10)  # three at a time, or this breaks
        return item * item

    assert together(work, range(9), 3, "test") == [k * k for k in range(9)]


def test_together_the_first_error_is_raised_and_nothing_more_is_begun() -> None:
    begun, ended = list[int](), list[int]()

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.02)
        if item in (1, 2):
            raise ValueError(item)
        ended.append(item)

    with pytest.raises(ValueError, match="1"):
        together(work, range(100), 4, "test")
    assert len(begun) < 20
    assert sorted([*ended, 1, 2]) == sorted(begun)  # what was begun has ended


@pytest.mark.parametrize(("items", "threads"), [(1, 8), (5, 1), (0, 8)])
def test_where_there_is_nothing_to_share_no_thread_begins(items: int, threads: int) -> None:
    names = list[str]()
    together(lambda _: names.append(threading.current_thread().name), range(items), threads, "few")
    assert names == [threading.current_thread().name] * items


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_threads_of_its_own() -> None:
    code = """
import os, warnings
from paper_unet.system.overlap import together
def said(text):
    os.write(1, text)
together(said, (b"a", b"b"), 2, "test")
warnings.simplefilter("ignore")  # that there are threads
child = os.fork()
if not child:
    together(said, (b"c", b"d"), 2, "test")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    run = run_interpreter(code)
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout) == ["a", "b", "c", "d"]
