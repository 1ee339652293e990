"""Work beside the work: in order, bounded, and its errors arrive."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from paper_unet.system.overlap import DEPTH, Ahead, ahead, behind, behind_by


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


def test_what_was_begun_is_finished_before_the_error_of_an_item() -> None:
    """Else pieces that are on disk would not be recorded."""

    def items() -> Iterator[int]:
        yield from range(4)
        raise ValueError("four")

    gate, found = threading.Event(), list[int]()

    def slow(k: int) -> int:
        gate.wait(10)
        return k

    with ThreadPoolExecutor(2) as pool:
        threading.Timer(0.2, gate.set).start()
        with pytest.raises(ValueError, match="four"):
            for result in behind(slow, items(), pool, depth=8):
                found.append(result)
    assert found == [0, 1, 2, 3]


def test_what_is_dropped_begins_nothing_more() -> None:
    done: list[int] = []

    def work(k: int) -> int:
        time.sleep(0.01)
        done.append(k)
        return k

    def items() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("stop")

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError):
        list(behind(work, items(), pool, depth=9))
    assert len(done) <= 3
