"""Stacks, section by section."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from predict_helpers import NARROW, SECTIONS, Image

from paper_unet import predict_image, predict_stack
from paper_unet.errors import InputError


class Lazy:
    """A stack that is read one section at a time, from first to last."""

    def __init__(self, sections: NDArray[np.generic]) -> None:
        self.sections, self.shape = sections, sections.shape
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.sections)

    def __getitem__(self, z: int) -> NDArray[np.generic]:
        self.read.append(z)
        return self.sections[z]


class Sink:
    def __init__(self) -> None:
        self.taken: dict[int, Image] = {}

    def __setitem__(self, z: int, section: Image) -> None:
        assert z not in self.taken
        self.taken[z] = section


@pytest.mark.exact
def test_a_stack_is_predicted_section_by_section() -> None:
    expected = np.stack([predict_image(NARROW, section) for section in SECTIONS])
    found = predict_stack(NARROW, SECTIONS)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    lazy, sink = Lazy(SECTIONS), Sink()
    assert predict_stack(NARROW, lazy, sink) is sink
    assert lazy.read == [0, 1, 2]
    assert list(sink.taken) == [0, 1, 2]
    assert np.array_equal(np.stack(list(sink.taken.values())), expected)
    out = np.empty((3, 20, 31), np.float32)
    assert predict_stack(NARROW, lazy, out) is out
    assert np.array_equal(out, expected)


def test_the_options_reach_every_section() -> None:
    options = {
        "engine": "tiles", "average": "flips", "tile": 204, "tiling": "abutting",
        "value_range": (0, 300),
    }  # fmt: skip
    stack = SECTIONS.astype(np.uint16)
    found = predict_stack(NARROW, stack, **options)  # type: ignore[arg-type]
    for z in range(3):
        expected = predict_image(NARROW, stack[z], **options)  # type: ignore[arg-type]
        assert np.array_equal(found[z], expected)  # type: ignore[index]


def test_an_error_names_the_section_and_keeps_what_was_done() -> None:
    stack = SECTIONS / 255
    stack[1, 3, 4] = np.nan
    sink = Sink()
    with pytest.raises(InputError, match=r"section 1: .*1 of 620 pixels are NaN"):
        predict_stack(NARROW, stack, sink)
    assert list(sink.taken) == [0]


@pytest.mark.parametrize("shape", [(20, 31), (2, 20, 31, 3), (5,)])
def test_stacks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"the stack has shape {shape}; (Z, Y, X)")):
        predict_stack(NARROW, np.zeros(shape, np.uint8))


def test_a_stack_of_no_sections() -> None:
    assert predict_stack(NARROW, np.zeros((0, 5, 5), np.uint8)).shape == (0, 5, 5)  # type: ignore[union-attr]


def test_progress_is_shown_on_request_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    predict_stack(NARROW, SECTIONS)
    assert capsys.readouterr() == ("", "")
    predict_stack(NARROW, SECTIONS, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err
