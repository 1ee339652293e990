"""Stacks, section by section."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import zarr
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


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((2, 1, 1), np.float32), "out has shape"),
        (np.zeros((9, *SECTIONS.shape[1:]), np.float32), "out has shape"),
        (np.zeros(SECTIONS.shape, np.uint8), "out is uint8; it has to hold float32"),
        (np.zeros(SECTIONS.shape, np.int64), "out is int64"),
        (np.zeros(SECTIONS.shape, bool), "out is bool"),
    ],
)
def test_what_would_broadcast_or_cut_is_not_filled(out: Image, message: str) -> None:
    before = out.copy()
    with pytest.raises(InputError, match=message):
        predict_stack(NARROW, SECTIONS, out)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize(
    ("out", "dtype"), [("float64", "float32"), ("float16", "float32"), ("uint16", "uint8")]
)
def test_another_dtype_that_holds_the_values_is_filled(out: str, dtype: Any) -> None:
    filled = np.zeros(SECTIONS.shape, out)
    predict_stack(NARROW, SECTIONS, filled, dtype=dtype)
    expected = predict_stack(NARROW, SECTIONS, dtype=dtype)
    np.testing.assert_array_equal(filled, np.asarray(expected).astype(out))


def test_all_classes_go_into_an_array_one_section_after_the_other() -> None:
    filled = np.zeros((len(SECTIONS), 2, *SECTIONS.shape[1:]), np.float32)
    predict_stack(NARROW, SECTIONS, filled, all_classes=True)
    expected = predict_stack(NARROW, SECTIONS, all_classes=True)
    np.testing.assert_array_equal(filled.swapaxes(0, 1), np.asarray(expected))


def test_a_tensor_is_predicted_as_an_array_is() -> None:
    image: Any = torch.from_numpy(np.ascontiguousarray(SECTIONS[0]))
    np.testing.assert_array_equal(predict_image(NARROW, image), predict_image(NARROW, SECTIONS[0]))


@pytest.mark.parametrize("value_range", ["percentile:1,99", (0, "white"), 5, (1, 2, 3)])
def test_a_range_that_is_no_pair_of_numbers_is_refused(value_range: Any) -> None:
    with pytest.raises(InputError, match=r"value_range.*must be a pair of numbers"):
        predict_image(NARROW, SECTIONS[0], value_range=value_range)


def test_a_class_is_a_whole_number() -> None:
    with pytest.raises(InputError, match=r"no class 0\.5"):
        predict_image(NARROW, SECTIONS[0], of_class=0.5)  # type: ignore[arg-type]  # that is it


def test_what_numpy_takes_as_an_array_is_a_stack(tmp_path: Path) -> None:
    expected = predict_stack(NARROW, SECTIONS)
    tensors = [torch.from_numpy(section) for section in SECTIONS]
    for given in (list(SECTIONS), tuple(SECTIONS), tensors, torch.from_numpy(SECTIONS)):
        np.testing.assert_array_equal(predict_stack(NARROW, given), expected)  # type: ignore[arg-type]
    stored = zarr.create_array(tmp_path / "a.zarr", shape=SECTIONS.shape, dtype="u1")
    stored[:] = SECTIONS
    np.testing.assert_array_equal(predict_stack(NARROW, stored), expected)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        written = file.create_dataset("a", data=SECTIONS)
        np.testing.assert_array_equal(predict_stack(NARROW, written), expected)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([np.zeros((4, 5)), np.zeros((4, 6))], "the stack cannot be taken as one array: "),
        ("stack.tif", r"the stack has shape \(\); \(Z, Y, X\) is needed"),
        (None, r"the stack has shape \(\); \(Z, Y, X\) is needed"),
        (np.zeros((2, 4, 5), object), "section 0: .*object"),
        (torch.zeros(2, 4, 5, requires_grad=True), "section 0: it cannot be taken as one array"),
    ],
)
def test_what_is_no_stack_is_refused_in_a_line(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        predict_stack(NARROW, given)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_refused_in_a_line() -> None:
    with pytest.raises(InputError, match="the image cannot be taken as one array: "):
        predict_image(NARROW, [[1], [1, 2]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "predict", [predict_stack, lambda model, stack, **more: predict_image(model, stack[0], **more)]
)
def test_numbers_of_classes_have_their_own_dtype(predict: Any) -> None:
    for dtype in ("float32", "uint8"):
        assert predict(NARROW, SECTIONS, argmax=True, dtype=dtype).dtype == np.uint8
    with pytest.raises(InputError, match="`argmax` writes numbers of uint8; leave `dtype` out"):
        predict(NARROW, SECTIONS, argmax=True, dtype="uint16")
    with pytest.raises(InputError, match="dtype is 'int8'; accepted are"):
        predict(NARROW, SECTIONS, argmax=True, dtype="int8")
