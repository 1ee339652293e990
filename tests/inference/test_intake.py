"""Grey values and probabilities where the network is: the bits that they have on the host."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from predict_helpers import random_network

from paper_unet import predict_image, predict_stack
from paper_unet.errors import InputError
from paper_unet.geometry import mirror_window
from paper_unet.images import to_unit_range
from paper_unet.inference.intake import NOT_FINITE, OUT_OF_RANGE, Intake
from paper_unet.inference.readout import Readout, probability, stored
from paper_unet.inference.section import Section, Window, whole
from paper_unet.inference.settings import Classes

RANGES = {
    "uint8": [None, (0.0, 255.0), (3.0, 200.0), (-1e3, 1e3)],
    "uint16": [(0.0, 65535.0), (100.0, 5000.0), (-7.5, 0.1)],
    "uint32": [(0.0, 2.0**32 - 1), (1e6, 3e9)],
    "int16": [(-900.0, 900.0)],
    "int32": [(-2e9, 2e9)],
    "float16": [None, (-2.0, 7.0)],
    "float32": [None, (0.1, 0.3)],
    "float64": [None, (-1e300, 1e300)],
}
CASES = [(dtype, value_range) for dtype, ranges in RANGES.items() for value_range in ranges]


def values(dtype: str, seed: int, *shape: int) -> NDArray[np.generic]:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.exact
@pytest.mark.parametrize(("dtype", "value_range"), CASES, ids=str)
def test_what_is_taken_in_has_the_bits_of_the_rule(
    dtype: str, value_range: tuple[float, float] | None
) -> None:
    image = values(dtype, 0, 1, 70, 300)
    section = whole(image, Intake(dtype, value_range))
    found = section.mirrored((-40, 130), (-92, 400))
    unit = to_unit_range(image, value_range)
    expected = mirror_window(unit, (-40, 130), (-92, 400))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), top=st.integers(-100, 60),
    left=st.integers(-100, 60), rows=st.integers(1, 150), columns=st.integers(1, 150),
    flip=st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_windows_are_mirrored_as_the_section_is(
    height: int, width: int, top: int, left: int, rows: int, columns: int, flip: tuple[bool, bool]
) -> None:
    image = values("uint8", 1, 1, height, width)
    section = whole(image, Intake("uint8")).flipped(*flip)
    spans = (top, top + rows), (left, left + columns)
    shown = to_unit_range(image)[:, :: -1 if flip[0] else 1, :: -1 if flip[1] else 1]
    found = section.mirrored(*spans).numpy()
    np.testing.assert_array_equal(found, mirror_window(shown, *spans))


def test_only_what_a_window_shows_is_read() -> None:
    asked = []

    def read(rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.uint8]:
        asked.append((rows, columns))
        return np.zeros((1, rows[1] - rows[0], columns[1] - columns[0]), np.uint8)

    section = Section(read, 1000, 800, Intake("uint8"))
    section.mirrored((-92, 64), (700, 900))
    section.flipped(rows=True, columns=False).mirrored((0, 16), (0, 800))
    assert asked == [((0, 93), (699, 800)), ((984, 1000), (0, 800))]
    windows = [Window((k, k + 16), (0, 800)) for k in (0, 16)]
    assert [image.shape for image in section.images(windows)] == [(1, 16, 800)] * 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_wrong_with_a_value_is_noted(dtype: str) -> None:
    good = values(dtype, 2, 1, 20, 20)
    for bad, flaw in ((np.nan, NOT_FINITE), (np.inf, NOT_FINITE), (1.5, OUT_OF_RANGE)):
        image = good.copy()
        image[0, 3, 4] = bad
        intake = Intake(dtype)
        section = whole(image, intake)
        section.mirrored((5, 20), (0, 20))
        noted = intake.flaws()
        assert noted is not None
        assert noted.item() == 0
        section.mirrored((0, 5), (0, 20))
        section.mirrored((5, 20), (0, 20))
        noted = intake.flaws()
        assert noted is not None
        assert noted.item() == flaw
        assert intake.flaws() is None  # asked for once
    assert Intake("uint8").flaws() is None


def test_what_is_not_finite_may_be_filled() -> None:
    image = values("float32", 3, 1, 20, 20)
    image[0, 2, 3], image[0, 5, 6], image[0, 7, 8] = np.nan, np.inf, -np.inf
    intake = Intake("float32", (0.0, 0.5), fill=0.25)
    found = whole(image, intake).mirrored((0, 20), (0, 20)).numpy()
    np.testing.assert_array_equal(found, to_unit_range(image, (0.0, 0.5), fill=0.25))
    noted = intake.flaws()
    assert noted is not None
    assert noted.item() == 0


def test_a_section_of_a_stack_is_named() -> None:
    stack = np.random.default_rng(0).random((4, 40, 50)).astype(np.float32)
    stack[2, 30, 7] = np.nan
    with pytest.raises(InputError, match=r"section 2: .*1 of 2000 pixels are NaN"):
        predict_stack(random_network(2), stack)
    stack[2, 30, 7] = 1.25
    with pytest.raises(InputError, match=r"section 2: .*1\.25"):
        predict_stack(random_network(2), stack)


# --- the way out --------------------------------------------------------------------------------


def one_row_at_a_time(scores: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.softmax(row.contiguous(), 0)[-1] for row in scores.unbind(dim=1)])


@pytest.mark.exact
@pytest.mark.parametrize("threads", [1, 2, 3])
@given(
    classes=st.integers(2, 4), rows=st.integers(1, 20), columns=st.integers(1, 300),
    seed=st.integers(0, 99), wide=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_a_row_has_the_bits_that_it_has_alone(
    threads: int, classes: int, rows: int, columns: int, seed: int, wide: bool
) -> None:
    """So a resumed run, which cuts rows elsewhere, and earlier versions give the same bytes."""
    columns = columns + 4096 if wide else columns
    generator = torch.Generator().manual_seed(seed)
    # as the network leaves them: the classes of a pixel side by side
    scores = 3 * torch.randn(rows, columns, classes, generator=generator).permute(2, 0, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, finite = Readout()(scores)
        expected = one_row_at_a_time(scores)
    finally:
        torch.set_num_threads(before)
    assert bool(finite)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_score_that_is_not_finite_is_seen(bad: float) -> None:
    scores = torch.zeros(2, 30, 40)
    scores[1, 29, 39] = bad
    assert not bool(Readout()(scores)[1])
    with pytest.raises(InputError, match="scores are not finite"):
        probability(scores)


def test_the_classes_add_up_to_one() -> None:
    scores = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    every = [Readout(of_class=k)(scores)[0] for k in range(3)]
    torch.testing.assert_close(sum(every), torch.ones(5, 7))
    assert torch.equal(Readout()(scores)[0], every[2])


@pytest.mark.parametrize("classes", ["one", "all"])
def test_what_was_read_out_stays_when_more_is(classes: Classes) -> None:
    """The memory between is kept from call to call; nothing of it shows."""
    generator = torch.Generator().manual_seed(0)
    several = [torch.randn(2, *shape, generator=generator) for shape in ((9, 70), (4, 5), (11, 90))]
    readout = Readout(classes=classes)
    found = [readout(scores)[0] for scores in several]
    for values, scores in zip(found, several, strict=True):
        assert torch.equal(values, Readout(classes=classes)(scores)[0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_the_rounded_probability(dtype: str) -> None:
    model, image = random_network(4), values("uint8", 5, 60, 90)
    exact = predict_image(model, image)
    found = predict_image(model, image, dtype=dtype)  # type: ignore[arg-type]
    assert found.dtype == dtype
    largest = np.float32(np.iinfo(dtype).max)
    np.testing.assert_array_equal(found, np.rint(exact * largest).astype(dtype))
    ends = stored(torch.tensor([0.0, 1.0]), np.dtype(dtype))
    assert ends.numpy().tolist() == [0, largest]
    with pytest.raises(InputError, match="dtype is 'int8'; accepted are float32, uint8, uint16"):
        predict_image(model, image, dtype="int8")  # type: ignore[arg-type]
