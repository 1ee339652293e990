"""What is known of pieces, held against a dict."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_unet.images import Stored
from paper_unet.large.recorded import BLOCK, KNOWN, Recorded

pieces = st.integers(0, 3 * BLOCK) | st.integers(0, 10**30)
known = st.none() | st.builds(Stored, st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
changes = st.lists(st.tuples(st.booleans(), pieces, known), max_size=40)


@given(changes, st.integers(0, 2 * BLOCK))
def test_it_is_a_dict_in_order_of_the_numbers(changes: list, count: int) -> None:
    found, expected = Recorded(), dict[int, Stored | None]()
    for put, piece, stored in changes:
        if put:
            found[piece] = expected[piece] = stored
        else:
            assert found.pop(piece, "absent") == expected.pop(piece, "absent")
        assert len(found) == len(expected)
        assert (piece in found) == put
    assert found == expected
    assert list(found) == sorted(expected)
    assert found.keys() == set(expected)
    assert found.largest() == max(expected, default=None)
    missing = [int(piece) for part in found.missing(range(count)) for piece in part]
    assert missing == [piece for piece in range(count) if piece not in expected]
    found.clear()
    assert (len(found), list(found), found.largest()) == (0, [], None)


def test_what_is_not_there_is_missing() -> None:
    found = Recorded()
    for piece in (0, BLOCK, 10**30):
        with pytest.raises(KeyError):
            found[piece]
        with pytest.raises(KeyError):
            del found[piece]
    found[5] = None
    assert np.int64(5) in found
    assert "5" not in found


def test_13_bytes_a_piece() -> None:
    assert KNOWN.itemsize == 13
    tracemalloc.start()
    found = Recorded()
    for piece in range(20 * BLOCK):
        found[piece] = Stored(piece, piece)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 13.2 * 20 * BLOCK


def test_missing_pieces_are_found_while_others_are_recorded() -> None:
    """As a run does: those that it was told of become recorded."""
    found, count, told = Recorded(), 3 * BLOCK + 7, []
    for piece in range(0, count, 3):
        found[piece] = None
    for part in found.missing(range(count)):
        for piece in part.tolist():
            found[piece] = None
            told.append(piece)
    assert told == [piece for piece in range(count) if piece % 3]
